//! The errors of a salvage.

use super::{
    BeginError, CatalogueError, CloseError, CommitError, ErrorCode, OpenError, RecordLogError,
    Rejection,
};
use std::path::PathBuf;
use std::sync::Arc;

/// A salvage failed. The damaged store is as it was, and no new one is there.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SalvageError {
    /// Something stands where the new store is to be.
    #[error("{} is there already and not an empty directory", path.display())]
    NotEmpty {
        /// Where the new store was to be.
        path: PathBuf,
    },
    /// A salvage was killed before.
    #[error("{} is there already: what a salvage left that did not end", path.display())]
    Leftover {
        /// What it left.
        path: PathBuf,
    },
    /// The new store would be among the damaged one's files.
    #[error("{} is inside the store {}", path.display(), store.display())]
    InsideStore {
        /// Where the new store was to be.
        path: PathBuf,
        /// The damaged store.
        store: PathBuf,
    },
    /// The damaged store has no such database.
    #[error(transparent)]
    Database(CatalogueError),
    /// The damaged store cannot be read.
    #[error("the damaged store: {0}")]
    Source(#[from] OpenError),
    /// The new store cannot be made.
    #[error("the new store: {0}")]
    New(#[source] Box<OpenError>),
    /// A database cannot be made in the new store.
    #[error("the new store: {0}")]
    Catalogue(#[from] CatalogueError),
    /// A database of the new store cannot be written.
    #[error("the new store: {0}")]
    Begin(#[from] BeginError),
    /// The new store has no room, or cannot be written.
    #[error("the new store: {0}")]
    Commit(#[from] CommitError),
    /// The new store does not take the entries of a record log.
    #[error("the new store: {0}")]
    RecordLog(#[from] RecordLogError),
    /// The new store cannot be closed.
    #[error("the new store: {0}")]
    Close(#[from] CloseError),
    /// A directory cannot be looked at, or not be given its name.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The operating system's answer.
        source: Arc<std::io::Error>,
    },
}

impl From<Rejection> for SalvageError {
    fn from(rejection: Rejection) -> Self {
        Self::Commit(rejection.into())
    }
}

impl SalvageError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotEmpty { .. } | Self::Leftover { .. } => ErrorCode::TargetExists,
            Self::InsideStore { .. } => ErrorCode::Usage,
            Self::Database(error) | Self::Catalogue(error) => error.code(),
            Self::Source(error) => error.code(),
            Self::New(error) => error.code(),
            Self::Begin(error) => error.code(),
            Self::Commit(error) => error.code(),
            Self::RecordLog(error) => error.code(),
            Self::Close(error) => error.code(),
            Self::File { .. } => ErrorCode::Io,
        }
    }
}
