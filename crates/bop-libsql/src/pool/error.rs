//! What a pool can answer.

use crate::Error;
use bop_storage::error::ErrorCode;
use std::sync::Arc;
use std::time::Duration;

/// A pool gave no connection, or no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// A connection could not be opened.
    #[error(transparent)]
    Open(Arc<Error>),
    /// All connections were in use.
    #[error("no connection to {database:?} came free within {waited:?}")]
    Timeout {
        /// The database.
        database: String,
        /// How long that was waited for.
        waited: Duration,
    },
    /// The work panicked. What it had not committed is rolled back.
    #[error("work on a connection panicked: {message}")]
    Panic {
        /// What the panic said.
        message: String,
    },
    /// There is no thread to do the work.
    #[error("no thread for work on a connection: {0}")]
    Thread(Arc<std::io::Error>),
    /// The pool was closed before the work was begun.
    #[error("the pool of connections is closed")]
    Closed,
}

impl PoolError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Open(error) => error.code(),
            Self::Timeout { .. } => ErrorCode::Busy,
            Self::Panic { .. } => ErrorCode::Panic,
            Self::Thread(_) => ErrorCode::Io,
            Self::Closed => ErrorCode::Closed,
        }
    }
}

impl From<Error> for PoolError {
    fn from(error: Error) -> Self {
        Self::Open(Arc::new(error))
    }
}
