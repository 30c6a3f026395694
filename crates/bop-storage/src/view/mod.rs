//! What a reader sees of a database: which version of each page is the newest for it.
//!
//! Owns: the page index over the log, the commits that it is made of, and the view that joins it to the
//! chunks below.
//!
//! Never: reads a page, writes a file.

pub mod extent;
pub mod index;
pub mod past;
pub mod pins;
pub mod state;

pub use extent::{Extent, PageVersion};
pub use index::{CommitPages, CommittedPage, IndexLayer, Lookup};
pub use past::PastCommit;
pub use pins::{Pin, Pins, Seat};
pub use state::{BasePage, BasePages, Found, Head, NoBase, Packing, View};
