//! Where a rig's store stands: in memory, or on real files whose shadow is a simulated disk.
//!
//! The shadow repeats what the kernel is asked for, so it knows what a power cut would leave. That
//! is written into a directory of its own, and opened there by the same backend. What the shadow
//! fails, the store fails with, so every scenario of the simulated disk is one of real files too.
//!
//! Not by real files: reads that fail. The shadow does not hear of them, and that a backend reports
//! an error is nothing a power cut has to do with.

use crate::rig::{ManifestFault, Rig};
use bop_storage::io::{
    BufferPool, Disk, FileKind, IoBackend, IoOp, NativeDisk, OpenDiskError, layout,
};
use bop_storage::testing::{SimDisk, disk_suite};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// Bytes of a disk's pool of buffers: many disks are open at a time, and rings pin theirs.
const POOL_BYTES_MAX: u64 = 1 << 20;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ground {
    Simulated,
    Files(IoBackend, Place),
}

/// What a directory of real files is on.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// A file system in memory: what is durable the shadow says, so a sync may cost nothing.
    Memory,
    /// The device of temporary files, where an image takes a hundred times as long.
    Device,
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simulated => f.write_str("the simulated disk"),
            Self::Files(io, Place::Memory) => write!(f, "files in memory by {io}"),
            Self::Files(io, Place::Device) => write!(f, "files of a device by {io}"),
        }
    }
}

impl Ground {
    /// Real files by each backend that is to be had: in memory if it is to be had there.
    pub(crate) fn real() -> impl Iterator<Item = Self> {
        first_of(&[Place::Memory, Place::Device])
    }

    /// Real files of a device by each backend that is to be had there.
    pub(crate) fn device() -> impl Iterator<Item = Self> {
        first_of(&[Place::Device])
    }

    /// Whether a sync costs what a device takes for it.
    pub(crate) fn is_slow(self) -> bool {
        matches!(self, Self::Files(_, Place::Device))
    }

    /// For how many cases of the simulated disk one is tried here.
    pub(crate) fn less(self) -> usize {
        match self {
            Self::Simulated => 1,
            Self::Files(_, Place::Memory) => 8,
            Self::Files(_, Place::Device) => 128,
        }
    }

    /// The call with which a batch of the log becomes durable.
    pub(crate) fn durable_op(self) -> IoOp {
        match self {
            Self::Files(IoBackend::Std, _) => IoOp::Sync,
            _ => IoOp::WriteDurable,
        }
    }
}

impl Place {
    fn new_dir(self) -> std::io::Result<TempDir> {
        match self {
            Self::Memory => TempDir::new_in("/dev/shm"),
            Self::Device => TempDir::new(),
        }
    }
}

fn first_of(places: &'static [Place]) -> impl Iterator<Item = Ground> {
    let all = [IoBackend::Std, IoBackend::Direct, IoBackend::Uring];
    all.into_iter().filter_map(move |io| {
        let mut why = String::new();
        for place in places {
            match try_out(io, *place) {
                Ok(()) => return Some(Ground::Files(io, *place)),
                Err(refusal) => why = refusal,
            }
        }
        eprintln!("SKIPPED: no power cut of files by {io}: {why}");
        None
    })
}

fn try_out(io: IoBackend, place: Place) -> Result<(), String> {
    let dir = place.new_dir().map_err(|error| error.to_string())?;
    match NativeDisk::open(dir.path(), false, io, &BufferPool::new(POOL_BYTES_MAX)) {
        Ok(_) => Ok(()),
        Err(OpenDiskError::Unavailable(why)) => Err(why.to_string()),
        Err(error) => panic!("{error}"),
    }
}

/// New files that hold what `shadow` does, and are repeated on it from now on.
fn files_of(shadow: &SimDisk, io: IoBackend, place: Place) -> (Arc<dyn Disk>, TempDir) {
    let dir = place.new_dir().unwrap();
    copy_out(shadow, Path::new(""), dir.path());
    let pool = BufferPool::new(POOL_BYTES_MAX);
    let disk = NativeDisk::open(dir.path(), false, io, &pool).unwrap();
    (Arc::new(disk.shadowed_by(Arc::new(shadow.clone()))), dir)
}

impl Rig {
    /// A new one on some ground.
    pub(crate) fn on(ground: Ground, seed: u64, fault: ManifestFault) -> Self {
        let mut rig = Self::new(seed, fault);
        if let Ground::Files(io, place) = ground {
            rig.make_files = Some(Arc::new(move |shadow| files_of(shadow, io, place)));
        }
        rig
    }

    /// The shadow of real files has missed nothing; only where no fault came between the two.
    pub(crate) fn assert_shadow_is_whole(&self) {
        if let Some((_, dir)) = self.files.get() {
            assert_same(dir.path(), &self.disk);
        }
    }
}

/// A directory holds what a simulated disk does.
fn assert_same(root: &Path, shadow: &SimDisk) {
    let mut real = BTreeMap::new();
    read_in(root, Path::new(""), &mut real);
    // A lock is no effect that a shadow has to hear of.
    real.remove(Path::new(layout::LOCK));
    for (path, bytes) in shadow.files() {
        let found = real.remove(&path);
        let found = found.unwrap_or_else(|| panic!("{} is not there", path.display()));
        assert_eq!(found.len() as u64, bytes, "length of {}", path.display());
        let same = found == shadow.read_raw(&path);
        assert!(same, "{} is not its shadow", path.display());
    }
    let missed: Vec<_> = real.keys().collect();
    assert!(missed.is_empty(), "the shadow has no {missed:?}");
}

/// Writes a directory of the simulated disk, as a reader sees it.
fn copy_out(disk: &SimDisk, from: &Path, to: &Path) {
    for entry in disk.list(from).unwrap() {
        let (from, to) = (from.join(&entry.name), to.join(&entry.name));
        if entry.kind == FileKind::Directory {
            std::fs::create_dir(&to).unwrap();
            copy_out(disk, &from, &to);
        } else {
            std::fs::write(&to, disk.read_raw(&from)).unwrap();
        }
    }
}

/// The bytes of all files below `dir` of `root`.
fn read_in(root: &Path, dir: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(root.join(dir)).unwrap() {
        let entry = entry.unwrap();
        let path = dir.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            read_in(root, &path, files);
        } else {
            files.insert(path, std::fs::read(entry.path()).unwrap());
        }
    }
}

/// The two answer and do the same, what they refuse too.
#[test]
fn real_files_and_their_shadow_are_the_same_disk() {
    for ground in Ground::real() {
        let Ground::Files(io, place) = ground else {
            continue;
        };
        let made = RefCell::new(Vec::new());
        disk_suite(&|| {
            let shadow = SimDisk::new(5);
            let (disk, dir) = files_of(&shadow, io, place);
            made.borrow_mut().push((dir, shadow));
            disk
        });
        for (dir, shadow) in made.into_inner() {
            assert_same(dir.path(), &shadow);
        }
    }
}
