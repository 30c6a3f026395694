//! The device of a model: the simulated disk, with a moment before and after each durable write in
//! which others go on, writes that panic, and a memory of what is durable.
//!
//! Never: keeps a lock over such a moment.

use crate::io::{
    Block, BufferPool, Disk, DiskFile, FileEntry, IoFailure, LockFailure, OpenMode, StoreLock,
};
use crate::testing::SimDisk;
use parking_lot::Mutex;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Runs inside of a durable write.
type Hook = Arc<dyn Fn() + Send + Sync>;

/// What the files of a disk share.
#[derive(Default)]
struct Memory {
    hook: Mutex<Option<Hook>>,
    /// Durable writes before the one that panics, counted from 1; 0 for none.
    until_panic: AtomicU32,
    /// What was written durably: file, first byte, end.
    durable: Mutex<Vec<(PathBuf, u64, u64)>>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({})", self.durable.lock().len())
    }
}

/// The disk.
#[derive(Clone, Debug)]
pub(super) struct ModelDisk {
    pub(super) sim: SimDisk,
    memory: Arc<Memory>,
}

impl ModelDisk {
    pub(super) fn new() -> Self {
        Self {
            sim: SimDisk::new(1),
            memory: Arc::default(),
        }
    }

    /// The durable write that follows so many others panics.
    pub(super) fn panic_after(&self, writes: u32) {
        self.memory.until_panic.store(writes + 1, Ordering::Relaxed);
    }

    /// Runs `hook` inside of each durable write from now on.
    pub(super) fn during_writes(&self, hook: impl Fn() + Send + Sync + 'static) {
        *self.memory.hook.lock() = Some(Arc::new(hook));
    }

    /// Whether a byte of a file was written durably.
    pub(super) fn is_durable(&self, path: &Path, offset: u64) -> bool {
        let durable = self.memory.durable.lock();
        let holds = |(file, start, end): &(PathBuf, u64, u64)| {
            file == path && (*start..*end).contains(&offset)
        };
        durable.iter().any(holds)
    }
}

/// Others go on here.
pub(crate) fn moment() {
    shuttle::thread::sleep(Duration::ZERO);
}

#[derive(Debug)]
struct ModelFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    memory: Arc<Memory>,
}

impl DiskFile for ModelFile {
    fn bytes(&self) -> Result<u64, IoFailure> {
        self.file.bytes()
    }

    fn read_at(&self, offset: u64, blocks: &mut [Block]) -> Result<usize, IoFailure> {
        self.file.read_at(offset, blocks)
    }

    fn write_at(&self, offset: u64, blocks: &[Block]) -> Result<(), IoFailure> {
        self.file.write_at(offset, blocks)
    }

    fn write_durable_at(&self, offset: u64, blocks: &[Block]) -> Result<(), IoFailure> {
        moment();
        let left = self.memory.until_panic.load(Ordering::Relaxed);
        self.memory
            .until_panic
            .store(left.saturating_sub(1), Ordering::Relaxed);
        assert!(left != 1, "the device driver's panic");
        let hook = self.memory.hook.lock().clone();
        if let Some(hook) = hook {
            hook();
        }
        self.file.write_durable_at(offset, blocks)?;
        let end = offset + size_of_val(blocks) as u64;
        let written = (self.path.clone(), offset, end);
        self.memory.durable.lock().push(written);
        moment();
        Ok(())
    }

    fn sync(&self) -> Result<(), IoFailure> {
        self.file.sync()
    }

    fn allocate(&self, bytes: u64) -> Result<(), IoFailure> {
        self.file.allocate(bytes)
    }
}

impl Disk for ModelDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn DiskFile>, IoFailure> {
        let file = self.sim.open(path, mode)?;
        let (path, memory) = (path.to_owned(), Arc::clone(&self.memory));
        Ok(Arc::new(ModelFile { file, path, memory }))
    }

    fn list(&self, dir: &Path) -> Result<Vec<FileEntry>, IoFailure> {
        self.sim.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> Result<(), IoFailure> {
        self.sim.create_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoFailure> {
        self.sim.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), IoFailure> {
        self.sim.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), IoFailure> {
        self.sim.sync_dir(dir)
    }

    fn free_bytes(&self) -> Result<u64, IoFailure> {
        self.sim.free_bytes()
    }

    fn lock(&self) -> Result<Box<dyn StoreLock>, LockFailure> {
        self.sim.lock()
    }

    fn describe(&self) -> String {
        self.sim.describe()
    }

    fn buffers(&self) -> &Arc<BufferPool> {
        self.sim.buffers()
    }
}
