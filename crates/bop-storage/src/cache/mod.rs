//! The page cache: verified pages of all databases, in bounded memory.
//!
//! Owns: which pages stay in memory, and that a page asked for by many is loaded once.
//!
//! Invariants
//! - a key names bytes that never change (a version in the log, or a slot of a chunk), so a cached
//!   page is never stale and nothing is ever invalidated; who puts in what is not visible yet sees to that
//!   himself (`db/cached_commit.rs`);
//! - the pages it holds have at most the bytes it was made with; those that were read ahead and wait
//!   for a scan, or are being read, have 8 MiB beside them;
//! - a failed load leaves nothing behind;
//! - observers are called outside every lock of the cache.
//!
//! Never: reads a file, verifies a page.

mod ahead;
mod flight;
mod hash;
mod observers;
mod page_cache;

pub use ahead::ChunkPlace;
pub(crate) use flight::value_or_guard;
pub use observers::CacheObserver;
pub use page_cache::{CacheStats, PageCache, PageKey};
