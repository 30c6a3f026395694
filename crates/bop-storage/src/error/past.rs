//! The errors of reading and restoring states of the past.

use super::{BeginError, CatalogueError, ErrorCode, ReadError};
use crate::at::{At, Moment};
use crate::ids::Lsn;

/// A state of a database cannot be had; nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PastError {
    /// So much of the past is not kept.
    #[error(
        "database {database:?} has no state at {asked}: its oldest is at lsn:{oldest}, of {}",
        Moment(*.oldest_us)
    )]
    BeforeWindow {
        /// The database.
        database: String,
        /// What was asked for.
        asked: At,
        /// Its oldest state that can be had.
        oldest: Lsn,
        /// When that was committed, in microseconds since the Unix epoch.
        oldest_us: u64,
    },
    /// There is no such database, or snapshot of it; or the catalogue did not take the change.
    #[error("{0}")]
    Catalogue(#[from] CatalogueError),
    /// No transaction can begin.
    #[error("{0}")]
    Begin(#[from] BeginError),
    /// What is kept of the past cannot be read.
    #[error("{0}")]
    Read(#[from] ReadError),
}

impl PastError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::BeforeWindow { .. } => ErrorCode::BeforeWindow,
            Self::Catalogue(error) => error.code(),
            Self::Begin(error) => error.code(),
            Self::Read(error) => error.code(),
        }
    }
}
