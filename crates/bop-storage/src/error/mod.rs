//! What can go wrong, one enum per boundary, with the data in fields.
//!
//! Invariants
//! - nothing decides by the text of an error: variants and [`ErrorCode`]s are matched;
//! - every error that concerns damage names the object and the place ([`Damage`]).
//!
//! Never: holds a value that the caller needs back.

mod boundary;
mod code;
mod damage;

pub use boundary::{
    BeginError, CatalogueError, CheckpointError, CloseError, CommitError, CommitOutcome,
    LogFailure, ManifestError, NameError, OpenError, ReadError, Rejection, SegmentError,
};
pub use code::ErrorCode;
pub use damage::{Damage, Place, Reject};
