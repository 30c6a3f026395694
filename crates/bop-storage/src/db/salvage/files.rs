//! The files of the damaged store, to be read and nothing else: segments that were set aside are found
//! where the log would have them.
//!
//! Invariant: nothing that changes a file or a name gets through.

use crate::io::errno::EROFS;
use crate::io::{
    BufferPool, Disk, DiskFile, FileEntry, IoFailure, IoOp, LockFailure, OpenMode, StoreLock,
    layout,
};
use std::path::Path;
use std::sync::Arc;

/// A disk that refuses to write.
#[derive(Debug)]
pub(super) struct ReadOnly(Arc<dyn Disk>);

impl ReadOnly {
    pub(super) fn new(disk: Arc<dyn Disk>) -> Arc<Self> {
        Arc::new(Self(disk))
    }
}

fn refused(op: IoOp, path: &Path) -> IoFailure {
    IoFailure {
        op,
        path: path.to_owned(),
        offset: None,
        errno: EROFS,
    }
}

impl Disk for ReadOnly {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn DiskFile>, IoFailure> {
        if mode != OpenMode::Read {
            return Err(refused(IoOp::Open, path));
        }
        let opened = self.0.open(path, mode);
        let Err(failure) = opened else {
            return opened;
        };
        let name = path.file_name().and_then(|name| name.to_str());
        let segment = name.and_then(layout::segment_of);
        match segment.filter(|id| layout::segment(*id) == path && failure.is_not_found()) {
            Some(id) => self.0.open(&layout::damaged(id), mode).map_err(|_| failure),
            None => Err(failure),
        }
    }

    fn list(&self, dir: &Path) -> Result<Vec<FileEntry>, IoFailure> {
        self.0.list(dir)
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
        self.0.free_bytes()
    }

    /// Whoever made this has the lock.
    fn lock(&self) -> Result<Box<dyn StoreLock>, LockFailure> {
        Err(LockFailure::Io(refused(
            IoOp::Lock,
            Path::new(layout::LOCK),
        )))
    }

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn buffers(&self) -> &Arc<BufferPool> {
        self.0.buffers()
    }
}
