//! What can go wrong, one enum per boundary, with the data in fields.
//!
//! Invariants
//! - nothing decides by the text of an error: variants and [`ErrorCode`]s are matched;
//! - every error that concerns damage names the object and the place ([`Damage`]);
//! - the chain of sources of an error that a call to the kernel caused ends at that call's
//!   [`IoFailure`](crate::io::IoFailure), and that of damage at its [`Reject`];
//! - a message has its source's in it: a chain is walked for what is in its fields.
//!
//! Never: holds a value that the caller needs back.

mod backup;
mod code;
mod commit;
mod damage;
mod feed;
mod job;
mod names;
mod past;
mod record_log;
mod repair;
mod salvage;
mod store;

pub use backup::BackupError;
pub use code::ErrorCode;
pub use commit::{
    BeginError, CommitError, CommitOutcome, LogFailure, ReadError, Rejection, SegmentError,
};
pub use damage::{Damage, Place, Reject};
pub use feed::FeedError;
pub use job::JobError;
pub use names::{CatalogueError, NameError};
pub use past::PastError;
pub use record_log::RecordLogError;
pub use repair::RepairError;
pub use salvage::SalvageError;
pub use store::{CheckpointError, CloseError, ManifestError, OpenError};

#[cfg(test)]
mod tests;
