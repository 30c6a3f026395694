//! Files that are read and nothing else, perhaps found in another place than where their names say.
//!
//! Invariant: nothing that changes a file or a name gets through.

use super::errno::EROFS;
use super::{
    BufferPool, Disk, DiskFile, FileEntry, IoFailure, IoOp, LockFailure, OpenMode, StoreLock,
    layout,
};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Opens a file for reading.
type Find = dyn Fn(&Path) -> Result<Arc<dyn DiskFile>, IoFailure> + Send + Sync;

/// A disk that refuses to write.
pub struct ReadOnlyDisk {
    disk: Arc<dyn Disk>,
    find: Box<Find>,
}

impl ReadOnlyDisk {
    /// The files of `disk`; what is opened is what `find` finds.
    pub fn new(
        disk: Arc<dyn Disk>,
        find: impl Fn(&Path) -> Result<Arc<dyn DiskFile>, IoFailure> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let find = Box::new(find);
        Arc::new(Self { disk, find })
    }
}

/// A call that would change something.
pub(crate) fn refused(op: IoOp, path: &Path) -> IoFailure {
    IoFailure {
        op,
        path: path.to_owned(),
        offset: None,
        errno: EROFS,
    }
}

impl fmt::Debug for ReadOnlyDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadOnlyDisk({:?})", self.disk)
    }
}

impl Disk for ReadOnlyDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn DiskFile>, IoFailure> {
        if mode != OpenMode::Read {
            return Err(refused(IoOp::Open, path));
        }
        (self.find)(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<FileEntry>, IoFailure> {
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> Result<(), IoFailure> {
        Err(refused(IoOp::Directory, dir))
    }

    fn rename(&self, from: &Path, _to: &Path) -> Result<(), IoFailure> {
        Err(refused(IoOp::Rename, from))
    }

    fn remove(&self, path: &Path) -> Result<(), IoFailure> {
        Err(refused(IoOp::Remove, path))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), IoFailure> {
        Err(refused(IoOp::SyncDirectory, dir))
    }

    fn free_bytes(&self) -> Result<u64, IoFailure> {
        self.disk.free_bytes()
    }

    /// Whoever made this has the lock.
    fn lock(&self) -> Result<Box<dyn StoreLock>, LockFailure> {
        Err(LockFailure::Io(refused(
            IoOp::Lock,
            Path::new(layout::LOCK),
        )))
    }

    fn describe(&self) -> String {
        self.disk.describe()
    }

    fn buffers(&self) -> &Arc<BufferPool> {
        self.disk.buffers()
    }
}
