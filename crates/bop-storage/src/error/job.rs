//! The errors of jobs.

use super::{CatalogueError, ErrorCode, ManifestError};
use crate::ids::JobId;
use std::time::Duration;

/// A job was not taken on, or is not over yet. How a job itself failed stands with the job.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The database that it is about cannot be had.
    #[error("{0}")]
    Database(#[from] CatalogueError),
    /// No job of that number: there never was, or it was over so long ago that it was forgotten.
    #[error("no job {job}")]
    NotFound {
        /// The number.
        job: JobId,
    },
    /// As many jobs wait as may.
    #[error("{limit} jobs wait already, the limit")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The store has no queue: its manifest could not be brought up to the present schema.
    #[error("the store has no queue of jobs")]
    NotThere,
    /// No random bytes could be had to name the job by.
    #[error("no name could be drawn for the job: {0}")]
    Entropy(String),
    /// It is not over yet.
    #[error("job {job} is not over after {waited:?}")]
    Timeout {
        /// The job.
        job: JobId,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The manifest refused.
    #[error("{0}")]
    Manifest(#[from] ManifestError),
    /// The store is closed or closing. What was taken on is done when it is open again.
    #[error("the store is closed")]
    Closed,
}

impl JobError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Database(error) => error.code(),
            Self::NotFound { .. } => ErrorCode::JobNotFound,
            Self::TooMany { .. } => ErrorCode::LimitReached,
            Self::NotThere => ErrorCode::Manifest,
            Self::Entropy(_) => ErrorCode::Io,
            Self::Timeout { .. } => ErrorCode::Timeout,
            Self::Manifest(error) => error.code(),
            Self::Closed => ErrorCode::Closed,
        }
    }
}
