//! A disk that is the store's own until it is told to fail, or to hang, in one of its directories.
//!
//! Invariant: what fails or hangs never reaches the disk below.

use bop_storage::io::{
    Block, BufferPool, Disk, DiskFile, FileEntry, IoBackend, IoFailure, IoOp, LockFailure,
    NativeDisk, OpenMode, StoreLock,
};
use parking_lot::{Condvar, Mutex};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The kernel's number for an error of the device.
pub(super) const EIO: i32 = 5;

/// What becomes of writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Pass,
    Fail(i32),
    Hang,
}

/// The switch of a disk.
#[derive(Debug)]
pub(super) struct Faults {
    dir: &'static str,
    mode: Mutex<Mode>,
    changed: Condvar,
}

impl Faults {
    /// From now on writes fail.
    pub(super) fn fail(&self, errno: i32) {
        self.set(Mode::Fail(errno));
    }

    /// From now on they do not return.
    pub(super) fn hang(&self) {
        self.set(Mode::Hang);
    }

    /// They return, and all others pass.
    pub(super) fn heal(&self) {
        self.set(Mode::Pass);
    }

    fn set(&self, mode: Mode) {
        *self.mode.lock() = mode;
        self.changed.notify_all();
    }

    fn meet(&self, op: IoOp, path: &Path) -> Result<(), IoFailure> {
        if !path.starts_with(self.dir) {
            return Ok(());
        }
        let mut mode = self.mode.lock();
        while *mode == Mode::Hang {
            self.changed.wait(&mut mode);
        }
        match *mode {
            Mode::Fail(errno) => Err(IoFailure {
                op,
                path: path.to_owned(),
                offset: None,
                errno,
            }),
            _ => Ok(()),
        }
    }
}

/// The disk.
#[derive(Debug)]
pub(super) struct FaultyDisk {
    below: NativeDisk,
    faults: Arc<Faults>,
}

impl FaultyDisk {
    /// The disk of the store at `path`, whose writes below `dir` may be made to fail.
    pub(super) fn open(path: &Path, dir: &'static str) -> Self {
        let below = NativeDisk::open(path, false, IoBackend::Auto, &BufferPool::new(1 << 20));
        Self {
            below: below.unwrap(),
            faults: Arc::new(Faults {
                dir,
                mode: Mutex::new(Mode::Pass),
                changed: Condvar::new(),
            }),
        }
    }

    /// The switch.
    pub(super) fn faults(&self) -> &Arc<Faults> {
        &self.faults
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn DiskFile>, IoFailure> {
        Ok(Arc::new(FaultyFile {
            below: self.below.open(path, mode)?,
            path: path.to_owned(),
            faults: Arc::clone(&self.faults),
        }))
    }

    fn list(&self, dir: &Path) -> Result<Vec<FileEntry>, IoFailure> {
        self.below.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> Result<(), IoFailure> {
        self.below.create_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoFailure> {
        self.below.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), IoFailure> {
        self.below.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), IoFailure> {
        self.below.sync_dir(dir)
    }

    fn free_bytes(&self) -> Result<u64, IoFailure> {
        self.below.free_bytes()
    }

    fn lock(&self) -> Result<Box<dyn StoreLock>, LockFailure> {
        self.below.lock()
    }

    fn describe(&self) -> String {
        self.below.describe()
    }

    fn buffers(&self) -> &Arc<BufferPool> {
        self.below.buffers()
    }
}

#[derive(Debug)]
struct FaultyFile {
    below: Arc<dyn DiskFile>,
    path: PathBuf,
    faults: Arc<Faults>,
}

impl DiskFile for FaultyFile {
    fn bytes(&self) -> Result<u64, IoFailure> {
        self.below.bytes()
    }

    fn read_at(&self, offset: u64, blocks: &mut [Block]) -> Result<usize, IoFailure> {
        self.below.read_at(offset, blocks)
    }

    fn write_at(&self, offset: u64, blocks: &[Block]) -> Result<(), IoFailure> {
        self.faults.meet(IoOp::Write, &self.path)?;
        self.below.write_at(offset, blocks)
    }

    fn write_durable_at(&self, offset: u64, blocks: &[Block]) -> Result<(), IoFailure> {
        self.faults.meet(IoOp::WriteDurable, &self.path)?;
        self.below.write_durable_at(offset, blocks)
    }

    fn sync(&self) -> Result<(), IoFailure> {
        self.faults.meet(IoOp::Sync, &self.path)?;
        self.below.sync()
    }

    fn allocate(&self, bytes: u64) -> Result<(), IoFailure> {
        self.faults.meet(IoOp::Allocate, &self.path)?;
        self.below.allocate(bytes)
    }
}
