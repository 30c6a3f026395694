//! The LMDB environment as a directory: made, opened, grown. The only file of the manifest with
//! `unsafe` code, since LMDB maps the file.
//!
//! A new environment gets its name only when it is whole:
//!
//! ```text
//! scratch/manifest.new  made -> first transaction committed -> closed -> files and directory synced
//!                       -> renamed to manifest -> both parent directories synced
//! ```
//! because LMDB never syncs a directory, and a power cut while it writes its first pages can leave
//! a file that it refuses to open. What is found under the scratch name is discarded. A manifest that is
//! rebuilt takes the same way, and just before the rename the old one gets a name in `damaged/`.
//!
//! Invariants
//! - every page that LMDB can reach was checked before it maps the file;
//! - the environment syncs at each commit: none of LMDB's flags that weaken this is ever set;
//! - the caller holds the store's lock: one process, one environment.
//!
//! Never: follows a symbolic link of the store; knows our rows.

use super::walker::{self, Sound};
use crate::error::{Damage, ManifestError, Place, Reject};
use crate::io::layout::{DAMAGED_DIR, MANIFEST_DIR, SCRATCH_DIR};
use crate::io::{IoFailure, IoOp};
use crate::limits::ValidLimits;
use heed::types::Bytes;
use heed::{CommitOrAbort, Env, EnvOpenOptions, MdbError, WithoutTls};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// LMDB's data file.
pub(super) const DATA_FILE: &str = "data.mdb";
/// LMDB's table of readers.
const LOCK_FILE: &str = "lock.mdb";
/// The name of an environment that is being made, inside the scratch directory.
const NEW_DIR: &str = "manifest.new";
/// Reads at the same moment; each takes a slot of LMDB's reader table for the length of a call.
pub(super) const READERS_MAX: u32 = 1024;

/// The one table that LMDB knows of; ours are told apart by the first byte of a key.
pub(super) type Rows = heed::Database<'static, Bytes, Bytes>;

/// An open environment.
pub(super) struct Environment {
    pub(super) env: Env<WithoutTls>,
    pub(super) rows: Rows,
    map_bytes_max: u64,
}

impl Environment {
    /// Opens the environment of a store, after checking its file.
    pub(super) fn open(store: &Path, limits: &ValidLimits) -> Result<Self, ManifestError> {
        let dir = Path::new(MANIFEST_DIR);
        require(store, dir, OFlags::DIRECTORY)?;
        require(store, &dir.join(DATA_FILE), OFlags::empty())?;
        // LMDB makes its table of readers when there is none, and writes to what it finds.
        if exists_at(store, &dir.join(LOCK_FILE))? {
            require(store, &dir.join(LOCK_FILE), OFlags::empty())?;
        }
        let max = round_down(limits.manifest_map_bytes_max);
        let sound = check_file(store, &dir.join(DATA_FILE), max)?;
        // Room for a transaction that rewrites everything, so that a first commit seldom grows it.
        let wanted = sound.used_bytes.saturating_mul(2);
        let mut map_bytes = round_up(limits.manifest_map_bytes_min);
        while map_bytes < wanted {
            map_bytes *= 2;
        }
        Self::map(&store.join(dir), map_bytes.min(max), max)
    }

    /// Maps the environment in `dir`, with a map of `map_bytes`.
    fn map(dir: &Path, map_bytes: u64, map_bytes_max: u64) -> Result<Self, ManifestError> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(bytes_usize(map_bytes)?);
        options.max_readers(READERS_MAX);
        // SAFETY: the map is undefined behaviour only if the file is changed other than by LMDB.
        // The caller holds the store's lock, which every process of ours takes before it touches
        // the store, the directory is private to its owner (0700), no flag that switches off
        // LMDB's own locking is set, and the pages LMDB can reach were checked above.
        #[expect(unsafe_code, reason = "LMDB maps its file")]
        let env = unsafe { options.open(dir) }.map_err(|error| engine("open", error))?;
        let txn = env.write_txn().map_err(|error| engine("begin", error))?;
        let rows = env
            .create_databases_and_commit(txn, |opener, txn| {
                opener
                    .create_database::<Bytes, Bytes>(txn, None)
                    .map(CommitOrAbort::<_, ()>::Commit)
            })
            .map_err(|error| engine("open table", error))?
            .commit()
            .ok_or(ManifestError::Closed)?;
        let environment = Self {
            env,
            rows,
            map_bytes_max,
        };
        environment.clear_stale_readers()?;
        Ok(environment)
    }

    /// Frees the places of readers whose process has ended: each would keep pages from being used
    /// again. Ours have none; whoever else looked at the file and was killed may have.
    pub(super) fn clear_stale_readers(&self) -> Result<usize, ManifestError> {
        let cleared = self.env.clear_stale_readers();
        let cleared = cleared.map_err(|error| engine("clear readers", error))?;
        if 0 < cleared {
            tracing::warn!(cleared, "readers of the manifest had ended without a word");
        }
        Ok(cleared)
    }

    /// What the map grows to next: twice its size, as far as the limit allows.
    pub(super) fn next_map_bytes(&self) -> Result<usize, ManifestError> {
        let now = self.env.info().map_size as u64;
        if self.map_bytes_max <= now {
            return Err(ManifestError::Full {
                limit: self.map_bytes_max,
            });
        }
        bytes_usize(now.saturating_mul(2).min(self.map_bytes_max))
    }

    /// Maps the file anew. LMDB unmaps it first: when the kernel refuses the new map, there is
    /// none, LMDB still points into the old one, and the environment is closed.
    pub(super) fn resize(self, map_bytes: usize) -> Result<Self, ManifestError> {
        // SAFETY: LMDB asks that no transaction is active. Transactions borrow the environment
        // and end with the call that began them; it is owned here, which excludes all of them.
        // After a failure nothing but closing may touch it, which frees what LMDB allocated,
        // closes its files and unmaps only what is mapped: its pointer to the map is null then.
        #[expect(unsafe_code, reason = "LMDB maps its file anew")]
        match unsafe { self.env.resize(map_bytes) } {
            Ok(()) => Ok(self),
            Err(error) => {
                self.close();
                Err(engine("grow", error))
            }
        }
    }

    /// Unmaps the file; afterwards the environment can be opened again.
    pub(super) fn close(self) {
        self.env.prepare_for_closing().wait();
    }
}

/// Makes the environment of a new store, with what `first` commits as its first transaction.
pub(super) fn create(
    store: &Path,
    limits: &ValidLimits,
    first: impl FnOnce(Environment) -> Result<Environment, ManifestError>,
) -> Result<(), ManifestError> {
    let new = make_unnamed(store, limits, first)?;
    rename(store, &new, Path::new(MANIFEST_DIR))?;
    sync(store, Path::new(SCRATCH_DIR), IoOp::SyncDirectory)
}

/// Makes the environment anew. What has its name, whatever that is, is kept under the first name that is
/// free in `damaged/`, which is answered. Whoever is killed in between leaves the old one under
/// either name, and the new one, if it is there, whole.
pub(super) fn replace(
    store: &Path,
    limits: &ValidLimits,
    first: impl FnOnce(Environment) -> Result<Environment, ManifestError>,
) -> Result<Option<PathBuf>, ManifestError> {
    let new = make_unnamed(store, limits, first)?;
    let kept = if exists(store)? {
        Some(keep(store)?)
    } else {
        None
    };
    rename(store, &new, Path::new(MANIFEST_DIR))?;
    sync(store, Path::new(SCRATCH_DIR), IoOp::SyncDirectory)?;
    Ok(kept)
}

/// Gives the environment a name in `damaged/`.
fn keep(store: &Path) -> Result<PathBuf, ManifestError> {
    let damaged = Path::new(DAMAGED_DIR);
    make_dir(store, damaged)?;
    sync(store, Path::new(""), IoOp::SyncDirectory)?;
    let mut number = 1_u64;
    let kept = loop {
        let name = damaged.join(format!("{MANIFEST_DIR}-{number}"));
        if !exists_at(store, &name)? {
            break name;
        }
        number += 1;
    };
    rename(store, Path::new(MANIFEST_DIR), &kept)?;
    sync(store, damaged, IoOp::SyncDirectory)?;
    Ok(kept)
}

/// Gives a directory another name, for good: that of the store is synced, which has one of the two.
fn rename(store: &Path, from: &Path, to: &Path) -> Result<(), ManifestError> {
    let (old, new) = (store.join(from), store.join(to));
    rustix::fs::renameat_with(CWD, old, CWD, new, RenameFlags::NOREPLACE)
        .map_err(|errno| io(IoOp::Rename, to, errno))?;
    sync(store, Path::new(""), IoOp::SyncDirectory)
}

/// Makes an environment under its scratch name, whole and durable.
fn make_unnamed(
    store: &Path,
    limits: &ValidLimits,
    first: impl FnOnce(Environment) -> Result<Environment, ManifestError>,
) -> Result<PathBuf, ManifestError> {
    let scratch = Path::new(SCRATCH_DIR);
    let new = scratch.join(NEW_DIR);
    make_dir(store, scratch)?;
    discard_unfinished(store)?;
    make_dir(store, &new)?;
    let (min, max) = (
        round_up(limits.manifest_map_bytes_min),
        round_down(limits.manifest_map_bytes_max),
    );
    let environment = Environment::map(&store.join(&new), min.min(max), max)?;
    first(environment)?.close();
    // LMDB synced the pages at the commit; the file's length and what it wrote before are ours.
    sync(store, &new.join(DATA_FILE), IoOp::Sync)?;
    sync(store, &new, IoOp::SyncDirectory)?;
    Ok(new)
}

/// Removes what an interrupted creation left. Only LMDB's two files are expected there: anything
/// else is not ours, and the directory stays.
fn discard_unfinished(store: &Path) -> Result<(), ManifestError> {
    let new = Path::new(SCRATCH_DIR).join(NEW_DIR);
    let targets = [
        (new.join(DATA_FILE), AtFlags::empty()),
        (new.join(LOCK_FILE), AtFlags::empty()),
        (new, AtFlags::REMOVEDIR),
    ];
    for (path, flags) in targets {
        match rustix::fs::unlinkat(CWD, store.join(&path), flags) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(io(IoOp::Remove, &path, errno)),
        }
    }
    Ok(())
}

/// Whether a store has an environment, whole or damaged.
pub(super) fn exists(store: &Path) -> Result<bool, ManifestError> {
    exists_at(store, Path::new(MANIFEST_DIR))
}

/// Whether a name is there, whatever it stands for.
fn exists_at(store: &Path, path: &Path) -> Result<bool, ManifestError> {
    match rustix::fs::lstat(store.join(path)) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(io(IoOp::Open, path, errno)),
    }
}

/// The name must be there and be what `flags` say, a directory or else a regular file, itself and
/// not by a symbolic link.
fn require(store: &Path, path: &Path, flags: OFlags) -> Result<(), ManifestError> {
    let stat = match rustix::fs::lstat(store.join(path)) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Err(damaged(path, Reject::Missing)),
        Err(errno) => return Err(io(IoOp::Open, path, errno)),
    };
    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    match (kind.is_dir(), kind.is_file()) {
        (true, _) if flags.contains(OFlags::DIRECTORY) => Ok(()),
        (_, true) if !flags.contains(OFlags::DIRECTORY) => Ok(()),
        _ => Err(damaged(path, Reject::Invalid("not a file of its kind"))),
    }
}

/// Checks a data file as LMDB will see it.
fn check_file(store: &Path, path: &Path, map_max: u64) -> Result<Sound, ManifestError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(store.join(path), flags, Mode::empty())
        .map_err(|errno| io(IoOp::Open, path, errno))?;
    let file = File::from(file);
    let length = file.metadata().map_err(|error| std_io(path, &error))?.len();
    let read = |offset: u64, bytes: &mut [u8]| {
        file.read_exact_at(bytes, offset).map_err(|error| {
            Reject::Unreadable(IoFailure {
                op: IoOp::Read,
                path: path.to_owned(),
                offset: Some(offset),
                errno: error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()),
            })
        })
    };
    walker::check(length, map_max, &read).map_err(|reason| damaged(path, reason))
}

fn make_dir(store: &Path, path: &Path) -> Result<(), ManifestError> {
    match rustix::fs::mkdir(store.join(path), Mode::RWXU) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => require(store, path, OFlags::DIRECTORY),
        Err(errno) => Err(io(IoOp::Directory, path, errno)),
    }
}

fn sync(store: &Path, path: &Path, op: IoOp) -> Result<(), ManifestError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(store.join(path), flags, Mode::empty())
        .and_then(rustix::fs::fsync)
        .map_err(|errno| io(op, path, errno))
}

/// Maps a refusal of heed or LMDB: the kernel's errors and damage get types of their own.
pub(super) fn engine(operation: &'static str, error: heed::Error) -> ManifestError {
    let data = Path::new(MANIFEST_DIR).join(DATA_FILE);
    match &error {
        heed::Error::Io(source) => {
            if let Some(errno) = source.raw_os_error() {
                let op = match operation {
                    "commit" => IoOp::ManifestCommit,
                    "read" => IoOp::Read,
                    _ => IoOp::Open,
                };
                return ManifestError::Io(IoFailure {
                    op,
                    path: data,
                    offset: None,
                    errno,
                });
            }
        }
        heed::Error::Mdb(MdbError::ReadersFull) => {
            return ManifestError::ReadersFull { limit: READERS_MAX };
        }
        heed::Error::Mdb(MdbError::Invalid) => return damaged(&data, Reject::Magic),
        heed::Error::Mdb(MdbError::Corrupted | MdbError::PageNotFound) => {
            return damaged(&data, Reject::Invalid("LMDB finds a page damaged"));
        }
        _ => {}
    }
    ManifestError::Engine {
        operation,
        detail: Arc::new(error),
    }
}

/// The data file is damaged.
pub(super) fn damaged_data(why: &'static str) -> ManifestError {
    let data = Path::new(MANIFEST_DIR).join(DATA_FILE);
    damaged(&data, Reject::Invalid(why))
}

fn damaged(path: &Path, reason: Reject) -> ManifestError {
    ManifestError::Damaged(Damage::new(Place::File(path.to_owned()), reason))
}

fn io(op: IoOp, path: &Path, errno: Errno) -> ManifestError {
    ManifestError::Io(IoFailure {
        op,
        path: PathBuf::from(path),
        offset: None,
        errno: errno.raw_os_error(),
    })
}

fn std_io(path: &Path, error: &std::io::Error) -> ManifestError {
    let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
    io(IoOp::Read, path, errno)
}

fn bytes_usize(bytes: u64) -> Result<usize, ManifestError> {
    usize::try_from(bytes).map_err(|_| ManifestError::Full { limit: bytes })
}

/// LMDB's map is a multiple of the machine's page: this is one of every page size there is.
const MAP_STEP: u64 = 64 << 10;

fn round_up(bytes: u64) -> u64 {
    bytes.next_multiple_of(MAP_STEP)
}

fn round_down(bytes: u64) -> u64 {
    bytes / MAP_STEP * MAP_STEP
}
