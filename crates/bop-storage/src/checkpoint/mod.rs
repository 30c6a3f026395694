//! From the log into chunks: what to write ([`plan()`], pure), and the writing ([`write_chunk`], dumb).
//!
//! Never: decides when a checkpoint is due, or publishes one.

mod execute;
mod plan;

pub use execute::{CheckpointReport, ChunkFailure, SectionSource, write_chunk};
pub use plan::{DirtyDatabase, PlannedChunk, PlannedSection, RangeNo, Ranges, plan};
