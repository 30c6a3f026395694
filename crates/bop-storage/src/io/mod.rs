//! Files, in whole 4 KiB blocks, behind one trait.
//!
//! Owns: the [`Disk`] trait and its backends, block buffers and their pool, the lay-out of the
//! store's directory, the `(operation, errno) -> action` table, and the watch over calls that do not
//! come back.
//!
//! Never: knows what a record, a page or a database is; retries a failed write or sync.

mod backend;
pub(crate) mod batch;
mod block;
mod block_memory;
mod disk;
pub mod errno;
mod failure;
pub mod layout;
mod native;
pub mod policy;
mod pool;
mod read_only;
mod watchdog;
mod watched;

pub use backend::{BackendUnavailable, IoBackend, OpenDiskError, UnknownBackend};
pub use batch::{ReadPart, WritePart};
pub use block::{BLOCK_BYTES, Block, READ_GAP_BLOCKS_MAX, blocks_for, zeroed_blocks};
pub(crate) use block_memory::BlockMemory;
pub(crate) use disk::remove_if_there;
pub use disk::{Disk, DiskFile, FileEntry, FileKind, OpenMode, StoreLock};
pub use failure::{IoFailure, IoOp, LockFailure};
pub use native::NativeDisk;
pub use policy::Action;
pub use pool::{BUFFER_BLOCKS, BUFFER_BYTES, BufferPool, PoolBuffer, PoolUsage};
pub use read_only::ReadOnlyDisk;
pub(crate) use read_only::refused;
pub use watchdog::{InFlight, StallSink, WatchThread, Watchdog};
pub use watched::WatchedDisk;
