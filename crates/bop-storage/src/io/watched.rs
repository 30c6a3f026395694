//! A disk whose calls are watched, and whose syncs are measured: what it does is what the disk below
//! does.
//!
//! Invariants
//! - every call that can hang in the kernel is known to the watchdog from before it begins until
//!   after it returned, however it returned;
//! - a call that panics has failed, with `EIO`: what it did is as open as after that error, and
//!   whoever made it knows what to do about one.

use super::errno::EIO;
use super::watchdog::{FileKey, Watchdog};
use super::{
    Block, BufferPool, Disk, DiskFile, FileEntry, IoFailure, IoOp, LockFailure, OpenMode, ReadPart,
    StoreLock, WritePart,
};
use crate::meters::StoreMeters;
use crate::runtime::fence;
use crate::runtime::sync::{elapsed, now};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A disk, and who watches its calls.
#[derive(Debug)]
pub struct WatchedDisk {
    inner: Arc<dyn Disk>,
    watchdog: Arc<Watchdog>,
    meters: SharedMeters,
}

/// The store's instruments, once it is known which store it is.
type SharedMeters = Arc<OnceLock<Arc<StoreMeters>>>;

fn measured<T>(meters: &SharedMeters, sync: impl FnOnce() -> T) -> T {
    let begun = now();
    let answer = sync();
    if let Some(meters) = meters.get() {
        meters.synced(elapsed(begun));
    }
    answer
}

impl WatchedDisk {
    /// Watches the calls of `inner`.
    pub fn new(inner: Arc<dyn Disk>, watchdog: Arc<Watchdog>) -> Self {
        let meters = SharedMeters::default();
        Self {
            inner,
            watchdog,
            meters,
        }
    }

    /// Measures syncs from now on, those of files too that are open already. Counts once.
    pub fn measure(&self, meters: &Arc<StoreMeters>) {
        self.meters.get_or_init(|| Arc::clone(meters));
    }

    fn watch<T, E: From<IoFailure>>(
        &self,
        op: IoOp,
        path: &Path,
        call: impl FnOnce(&dyn Disk) -> Result<T, E>,
    ) -> Result<T, E> {
        let _watched = self.watchdog.name_call(op, path);
        guarded(op, path, None, || call(self.inner.as_ref()))
    }
}

/// What `call` answers; a panic in it is a failure like any other.
fn guarded<T, E: From<IoFailure>>(
    op: IoOp,
    path: &Path,
    offset: Option<u64>,
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    fence("made a call of the disk", call).unwrap_or_else(|panic| {
        let failure = IoFailure {
            op,
            path: path.to_owned(),
            offset,
            errno: EIO,
        };
        tracing::error!(%failure, %panic, backtrace = %panic.backtrace, "the disk panicked");
        Err(failure.into())
    })
}

impl Disk for WatchedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn DiskFile>, IoFailure> {
        let inner = self.watch(IoOp::Open, path, |disk| disk.open(path, mode))?;
        Ok(Arc::new(WatchedFile {
            inner,
            path: path.to_owned(),
            key: self.watchdog.add_file(path),
            watchdog: Arc::clone(&self.watchdog),
            meters: Arc::clone(&self.meters),
        }))
    }

    fn list(&self, dir: &Path) -> Result<Vec<FileEntry>, IoFailure> {
        self.watch(IoOp::Directory, dir, |disk| disk.list(dir))
    }

    fn create_dir(&self, dir: &Path) -> Result<(), IoFailure> {
        self.watch(IoOp::Directory, dir, |disk| disk.create_dir(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoFailure> {
        self.watch(IoOp::Rename, from, |disk| disk.rename(from, to))
    }

    fn link_out(&self, path: &Path, to: &Path) -> Result<(), IoFailure> {
        self.watch(IoOp::Link, path, |disk| disk.link_out(path, to))
    }

    fn remove(&self, path: &Path) -> Result<(), IoFailure> {
        self.watch(IoOp::Remove, path, |disk| disk.remove(path))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), IoFailure> {
        measured(&self.meters, || {
            self.watch(IoOp::SyncDirectory, dir, |disk| disk.sync_dir(dir))
        })
    }

    fn free_bytes(&self) -> Result<u64, IoFailure> {
        self.watch(IoOp::Directory, Path::new(""), |disk| disk.free_bytes())
    }

    fn lock(&self) -> Result<Box<dyn StoreLock>, LockFailure> {
        self.watch(IoOp::Lock, Path::new(super::layout::LOCK), |disk| {
            disk.lock()
        })
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn buffers(&self) -> &Arc<BufferPool> {
        self.inner.buffers()
    }
}

#[derive(Debug)]
struct WatchedFile {
    inner: Arc<dyn DiskFile>,
    path: PathBuf,
    key: FileKey,
    watchdog: Arc<Watchdog>,
    meters: SharedMeters,
}

impl WatchedFile {
    fn watch<T>(
        &self,
        op: IoOp,
        offset: Option<u64>,
        call: impl FnOnce(&dyn DiskFile) -> Result<T, IoFailure>,
    ) -> Result<T, IoFailure> {
        let _watched = self.watchdog.transfer(op, self.key, offset);
        guarded(op, &self.path, offset, || call(self.inner.as_ref()))
    }
}

impl Drop for WatchedFile {
    fn drop(&mut self) {
        self.watchdog.remove_file(self.key);
    }
}

impl DiskFile for WatchedFile {
    fn bytes(&self) -> Result<u64, IoFailure> {
        self.watch(IoOp::Read, None, |file| file.bytes())
    }

    fn read_at(&self, offset: u64, blocks: &mut [Block]) -> Result<usize, IoFailure> {
        self.watch(IoOp::Read, Some(offset), |file| {
            file.read_at(offset, blocks)
        })
    }

    fn write_at(&self, offset: u64, blocks: &[Block]) -> Result<(), IoFailure> {
        self.watch(IoOp::Write, Some(offset), |file| {
            file.write_at(offset, blocks)
        })
    }

    fn read_many(&self, parts: &mut [ReadPart<'_>]) -> Result<(), IoFailure> {
        let first = parts.first().map(|part| part.offset);
        self.watch(IoOp::Read, first, |file| file.read_many(parts))
    }

    fn write_many(&self, parts: &[WritePart<'_>]) -> Result<(), IoFailure> {
        let first = parts.first().map(|part| part.offset);
        self.watch(IoOp::Write, first, |file| file.write_many(parts))
    }

    fn write_durable_at(&self, offset: u64, blocks: &[Block]) -> Result<(), IoFailure> {
        self.watch(IoOp::WriteDurable, Some(offset), |file| {
            file.write_durable_at(offset, blocks)
        })
    }

    fn write_durable_pieces(&self, offset: u64, pieces: &[&[Block]]) -> Result<(), IoFailure> {
        self.watch(IoOp::WriteDurable, Some(offset), |file| {
            file.write_durable_pieces(offset, pieces)
        })
    }

    fn sync(&self) -> Result<(), IoFailure> {
        measured(&self.meters, || {
            self.watch(IoOp::Sync, None, |file| file.sync())
        })
    }

    fn allocate(&self, bytes: u64) -> Result<(), IoFailure> {
        self.watch(IoOp::Allocate, None, |file| file.allocate(bytes))
    }
}
