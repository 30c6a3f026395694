//! What a reader sees of a database: which version of each page is the newest for it.
//!
//! Owns: the page index over the log.
//!
//! Never: reads a page, writes a file.

pub mod extent;
pub mod index;

pub use extent::{Extent, PageVersion};
pub use index::{CommitPages, CommittedPage, IndexLayer, Lookup};
