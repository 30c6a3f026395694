//! The write-ahead log: one sequence of records for all databases of a store.
//!
//! ```text
//! append -> [group] queue -> leader -> [writer] batch -> segment -> durable -> published
//!                                         |
//!                       [ring] spare -> active -> sealed -> released    [spares] makes them
//!                                                    ^   [seal] puts an index behind it
//!                                       [holds] who still needs what
//! open   -> [recover] reads all segments through [scan], judged by [tail_rule]
//! ```
//!
//! Invariant: `published <= durable <= appended`; nothing is published before it is durable.
//!
//! Never: knows what a page means.

mod background;
mod batch_buffer;
mod company;
pub mod format;
mod future;
mod gather;
mod group;
mod holds;
mod kept;
mod lead;
mod linger;
mod member;
#[cfg(test)]
pub(crate) mod models;
mod neighbours;
mod pace;
mod parts;
mod queue;
pub mod recover;
mod reserve;
mod rewrite;
#[cfg(test)]
mod rig;
mod ring;
pub mod scan;
mod seal;
mod segment;
mod segment_files;
mod settle;
mod shared;
mod spares;
mod state;
pub mod tail_rule;
mod ticket;
mod unwritten;
mod writer;

pub use future::CommitFuture;
pub use group::{Log, StartError};
pub use holds::{HoldReason, LogHold, LogHolds};
pub use kept::KeptBatches;
pub use member::{OnEnd, Placed, Priority, Publish, Remains, Silent};
pub use parts::{Backlog, LogEvents, LogParts};
pub use recover::{
    Checkpointed, Helpers, LogState, RegisteredSegment, ReplaySink, ReplayedCatalogue,
    ReplayedCommit, ReplayedLog, ReplayedMember, recover,
};
pub use reserve::{LentReserve, Reserve};
pub use ring::Ring;
pub use segment::{LogSegment, SealedSegment, SpareSegment};
pub use segment_files::move_to_damaged;
pub use settle::settle;
pub use spares::{SegmentRegistry, SpareMaker};
pub use unwritten::Unwritten;
pub use writer::{LogEnd, LogStart};
