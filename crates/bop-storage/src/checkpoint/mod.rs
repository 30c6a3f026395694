//! From the log into chunks: what to write ([`plan()`] and [`history()`], pure), and the writing ([`write_chunk`], dumb).
//!
//! Never: decides when a checkpoint is due, or publishes one.

mod execute;
mod history;
mod plan;
mod rewrite;
mod versions_ahead;

pub use execute::{
    CheckpointReport, ChunkFailure, LoadedPages, NewGeneration, SectionSource, write_chunk,
};
pub use history::{History, Kept, Superseded, Window, history};
pub use plan::{
    Chain, Content, DirtyDatabase, Origin, PlannedChunk, PlannedSection, RangeNo, Ranges, Thrift,
    plan,
};
pub use rewrite::{
    ChunkUse, CopiedSection, PlannedRewrite, RewriteLimits, plan_rewrites, written_bytes,
};
pub use versions_ahead::{EXPECTED_BYTES_MAX, VersionsAhead, fitting};
