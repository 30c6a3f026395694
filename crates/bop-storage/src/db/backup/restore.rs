//! A store made of a backup.
//!
//! ```text
//! NEW.unfinished: superblock, log, chunks, rows, each proved  -> opened: positions far behind the other store's
//!    -> every database, fork and snapshot compared with the index -> closed -> NEW
//!    '-- anything fails --> removed, and nothing is at NEW
//! ```
//! Invariants
//! - what is restored has all that was backed up, or is not there;
//! - the store keeps its id, by which every byte of it is checked; no position of the log and no epoch that
//!   it gives out can be one that the other store has given out since the backup;
//! - it shares no byte with the backup.
//!
//! Never: changes a backup.

use super::super::fresh_dir::{FreshDir, NotFresh, is_inside};
use super::super::housekeeper::Housekeeping;
use super::super::manager::Manager;
use super::super::options::Options;
use super::options::{BackupOptions, BackupProgress, BackupStage, Told};
use super::states::{difference, missing};
use crate::backup::{
    Access, BackedChunk, BackedSegment, BackupIndex, CopyError, FileSink, Shelf, StateOf,
    copy_file, decode_rows, digest_file, names,
};
use crate::error::{BackupError, Damage, OpenError, Place, ReadError, Reject};
use crate::ids::Lsn;
use crate::io::{BufferPool, Disk, IoFailure, NativeDisk, OpenDiskError, OpenMode, layout};
use crate::limits::ValidLimits;
use crate::manifest::LmdbManifest;
use crate::pagestore::{ChunkHasher, ChunkReader};
use crate::superblock::Superblock;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a store that was made may take to close.
pub(super) const CLOSE_WAIT: Duration = Duration::from_secs(600);

/// A store that was made of a backup.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RestoredStore {
    /// Where it is.
    pub path: PathBuf,
    /// The backup's number.
    pub number: u64,
    /// Where the log of the backup ended.
    pub lsn: Lsn,
    /// The time of the newest record in it, in microseconds since the Unix epoch.
    pub state_us: u64,
    /// Bytes of the backup's files.
    pub bytes: u64,
    /// Databases, forks among them.
    pub databases: usize,
    /// Snapshots.
    pub snapshots: usize,
}

pub(super) fn restore(
    dir: &Path,
    new: &Path,
    options: &Options,
    backup: &BackupOptions,
    progress: &mut dyn FnMut(BackupProgress),
) -> Result<RestoredStore, BackupError> {
    let _span = tracing::info_span!("restore", dir = %dir.display()).entered();
    let shelf = Shelf::open(dir, Access::Use, backup.io, backup.disk.clone())?;
    let (index, _) = shelf.index(shelf.number(backup.number)?)?;
    if backup.disk.is_none() && is_inside(new, dir) {
        let (path, store) = (new.to_owned(), dir.to_owned());
        return Err(BackupError::InsideStore { path, store });
    }
    let place = FreshDir::find(new).map_err(not_fresh)?;
    let draft = Draft(place.at.clone());
    let mut told = Told::new(index.file_bytes(), progress);
    Filling::new(&shelf, &index, &draft.0, options, false)?.fill(&mut told)?;
    let store = open_restored(&draft.0, options)?;
    told.done(BackupStage::Compare, 0);
    let compared = compare(&index, &store);
    let closed = store.close(CLOSE_WAIT);
    compared?;
    closed?;
    let settled = place.settle();
    settled.map_err(|(path, source)| of_file(path, source))?;
    let (databases, snapshots) = counts(&index);
    Ok(RestoredStore {
        path: new.to_owned(),
        number: index.number,
        lsn: index.lsn,
        state_us: index.state_us,
        bytes: index.file_bytes(),
        databases,
        snapshots,
    })
}

/// Databases, and snapshots.
pub(super) fn counts(index: &BackupIndex) -> (usize, usize) {
    let of = |of: StateOf| index.states.iter().filter(|state| state.of == of).count();
    (of(StateOf::Database), of(StateOf::Snapshot))
}

/// Opens a store that was just made, and lets nothing happen in it by itself.
pub(super) fn open_restored(at: &Path, options: &Options) -> Result<Manager, BackupError> {
    let options = Options {
        create: false,
        disk: None,
        manifest: None,
        restored: true,
        housekeeping: Housekeeping::Manual,
        ..options.clone()
    };
    Manager::open(at, options).map_err(|error| BackupError::Open(Box::new(error)))
}

/// Whether what was restored is what was backed up.
pub(super) fn compare(index: &BackupIndex, store: &Manager) -> Result<(), BackupError> {
    match difference(&index.states, &store.engine().present_states()) {
        None => Ok(()),
        Some(what) => Err(BackupError::Different { what }),
    }
}

/// A directory that is removed unless it was given another name.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, at = %self.0.display(), "a store that was not finished stays");
            }
            _ => {}
        }
    }
}

fn not_fresh(error: NotFresh) -> BackupError {
    match error {
        NotFresh::NotEmpty(path) => BackupError::NotEmpty { path },
        NotFresh::Leftover(path) => BackupError::Leftover { path },
        NotFresh::File(path, source) => of_file(path, source),
    }
}

pub(super) fn of_file(path: PathBuf, source: io::Error) -> BackupError {
    let source = Arc::new(source);
    BackupError::File { path, source }
}

/// The files of a store, while they are made.
pub(super) struct Filling<'a> {
    shelf: &'a Shelf,
    index: &'a BackupIndex,
    at: &'a Path,
    disk: Arc<dyn Disk>,
    limits: ValidLimits,
    /// Chunks may be linked: of a store that nobody is to keep.
    links: bool,
    /// What of the backup is not what was written.
    findings: Vec<Damage>,
}

impl<'a> Filling<'a> {
    pub(super) fn new(
        shelf: &'a Shelf,
        index: &'a BackupIndex,
        at: &'a Path,
        options: &Options,
        links: bool,
    ) -> Result<Self, BackupError> {
        let invalid = |error: OpenError| BackupError::Open(Box::new(error));
        let limits = options.limits.clone().validated();
        let limits = limits.map_err(|error| invalid(error.into()))?;
        let pool = BufferPool::new(limits.buffer_pool_bytes_max);
        let disk = NativeDisk::open(at, true, options.io, &pool).map_err(|error| match error {
            OpenDiskError::Io(failure) => BackupError::target(at)(failure),
            OpenDiskError::Unavailable(why) => invalid(why.into()),
        })?;
        Ok(Self {
            shelf,
            index,
            at,
            disk: Arc::new(disk),
            limits: limits.of_store(index.range_bytes),
            links,
            findings: Vec::new(),
        })
    }

    /// Makes all of them; every file of the backup that is damaged is found.
    pub(super) fn fill(mut self, told: &mut Told<'_>) -> Result<(), BackupError> {
        let target = BackupError::target(self.at);
        for dir in [layout::LOG_DIR, layout::CHUNK_DIR, layout::SCRATCH_DIR] {
            self.disk.create_dir(Path::new(dir)).map_err(&target)?;
        }
        let index = self.index;
        let superblock = Superblock::new(index.store, index.created_us, index.range_bytes);
        superblock.create(self.disk.as_ref()).map_err(&target)?;
        for segment in &index.segments {
            self.segment(segment, told)?;
        }
        for chunk in &index.chunks {
            self.chunk(chunk, told)?;
        }
        let rows = self.rows()?;
        if !self.findings.is_empty() {
            let findings = self.findings;
            return Err(BackupError::Damaged { findings });
        }
        for dir in [layout::LOG_DIR, layout::CHUNK_DIR, ""] {
            self.disk.sync_dir(Path::new(dir)).map_err(&target)?;
        }
        LmdbManifest::create(self.at, &self.limits, &rows)?;
        Ok(())
    }

    fn segment(&mut self, segment: &BackedSegment, told: &mut Told<'_>) -> Result<(), BackupError> {
        let (from, bytes) = (names::segment(segment), segment.file_bytes());
        let Some(mut sink) = self.copied(&from, bytes, BackupStage::Log, told, &mut |_| ())? else {
            return Ok(());
        };
        let target = BackupError::target(self.at);
        if sink.proof().map_err(&target)?.digest != segment.digest {
            self.found(&from, Reject::Checksum);
            return Ok(());
        }
        let to = layout::segment(segment.id);
        sink.finish(&to, Some(segment.capacity_bytes))
            .map_err(target)?;
        Ok(())
    }

    fn chunk(&mut self, chunk: &BackedChunk, told: &mut Told<'_>) -> Result<(), BackupError> {
        let (from, to) = (names::chunk(chunk), layout::chunk(chunk.id));
        if self.links && self.shelf.disk.link_out(&from, &self.at.join(&to)).is_ok() {
            // Whoever opens the store reads all of it, and looks whether it is this one.
            told.done(BackupStage::Chunks, chunk.bytes);
            return Ok(());
        }
        let mut digest = ChunkHasher::new(chunk.bytes);
        let update = &mut |piece: &[u8]| digest.update(piece);
        let copied = self.copied(&from, chunk.bytes, BackupStage::Chunks, told, update)?;
        let Some(sink) = copied else {
            return Ok(());
        };
        if digest.finish() != chunk.identity().digest {
            self.found(&from, Reject::Checksum);
            return Ok(());
        }
        let target = BackupError::target(self.at);
        sink.finish(&to, None).map_err(target)?;
        // Its footer, over which no digest is.
        let (disk, store) = (self.disk.as_ref(), self.index.store);
        match ChunkReader::open(disk, store, chunk.id, Some(&chunk.identity())) {
            Ok(_) => Ok(()),
            Err(ReadError::Damaged(damage)) => {
                self.found(&from, damage.reason);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A file of the backup, copied; `None` when it is not there as it should be.
    fn copied(
        &mut self,
        from: &Path,
        bytes: u64,
        stage: BackupStage,
        told: &mut Told<'_>,
        update: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<FileSink>, BackupError> {
        let file = match self.shelf.disk.open(from, OpenMode::Read) {
            Ok(file) => file,
            Err(failure) if failure.is_not_found() => {
                self.findings.push(missing(from));
                return Ok(None);
            }
            Err(failure) => return Err(self.shelf.failed(failure)),
        };
        let found = file.bytes().map_err(|failure| self.shelf.failed(failure))?;
        if found != bytes {
            let needed = bytes;
            self.found(from, Reject::Truncated { found, needed });
            return Ok(None);
        }
        let target = BackupError::target(self.at);
        let mut sink = FileSink::begin(&self.disk).map_err(&target)?;
        let copied = copy_file(file.as_ref(), bytes, &mut sink, |piece| {
            update(piece);
            told.done(stage, piece.len() as u64);
            Ok::<_, IoFailure>(())
        });
        match copied {
            Ok(()) => Ok(Some(sink)),
            Err(CopyError::To(failure)) => Err(target(failure)),
            // The medium does not give it back: as good as damaged.
            Err(CopyError::From(failure)) => {
                self.found(from, Reject::Unreadable(failure));
                Ok(None)
            }
        }
    }

    fn rows(&mut self) -> Result<Vec<crate::manifest::Write>, BackupError> {
        let path = names::rows(self.index.number);
        let proof = self.index.rows;
        let checked = || -> Result<_, BackupError> {
            let file = self.shelf.disk.open(&path, OpenMode::Read);
            let file = file.map_err(|failure| match failure.is_not_found() {
                true => Shelf::damaged(&path, Reject::Missing),
                false => self.shelf.failed(failure),
            })?;
            let found = file.bytes().map_err(|failure| self.shelf.failed(failure))?;
            if found != proof.bytes {
                let needed = proof.bytes;
                return Err(Shelf::damaged(&path, Reject::Truncated { found, needed }));
            }
            let read = digest_file(file.as_ref(), found);
            let read =
                read.map_err(|failure| Shelf::damaged(&path, Reject::Unreadable(failure)))?;
            if read != proof {
                return Err(Shelf::damaged(&path, Reject::Checksum));
            }
            let content = self.shelf.read_whole(&path, proof.bytes)?;
            decode_rows(&content).map_err(|reason| Shelf::damaged(&path, reason))
        };
        match checked() {
            Err(BackupError::Damaged { findings }) => {
                self.findings.extend(findings);
                Ok(Vec::new())
            }
            other => other,
        }
    }

    fn found(&mut self, path: &Path, reason: Reject) {
        let place = Place::File(path.to_owned());
        self.findings.push(Damage::new(place, reason));
    }
}
