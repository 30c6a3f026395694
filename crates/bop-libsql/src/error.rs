//! What opening a store or a connection can answer.

use crate::EngineError;
use bop_storage::error::{CatalogueError, ErrorCode, OpenError, PastError};

/// Opening a store, or a database of it, failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database could not be found, created or opened.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The state of the database cannot be had.
    #[error(transparent)]
    Past(PastError),
    /// SQLite refused.
    #[error("database {name:?}: {source}{}", detail(engine.as_deref()))]
    Sqlite {
        /// The database.
        name: String,
        /// SQLite's answer.
        source: rusqlite::Error,
        /// What the engine said, where the error comes from it.
        engine: Option<Box<EngineError>>,
    },
    /// The SQLite in this process is not the one that this crate was built and tested with.
    #[error("SQLite {found} is linked, this crate needs {needed}")]
    SqliteVersion {
        /// The version that is linked.
        found: i32,
        /// The version that is needed.
        needed: u32,
    },
    /// The store could not be made known to SQLite.
    #[error("SQLite took no further VFS: result code {code}")]
    Register {
        /// SQLite's result code.
        code: i32,
    },
}

impl Error {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Open(error) => error.code(),
            Self::Catalogue(error) => error.code(),
            Self::Past(error) => error.code(),
            Self::Sqlite { engine, .. } => {
                engine.as_ref().map_or(ErrorCode::Sql, |error| error.code())
            }
            Self::SqliteVersion { .. } | Self::Register { .. } => ErrorCode::Sql,
        }
    }
}

impl From<PastError> for Error {
    /// What has nothing to do with the past is what it is elsewhere.
    fn from(error: PastError) -> Self {
        match error {
            PastError::Catalogue(error) => Self::Catalogue(error),
            other => Self::Past(other),
        }
    }
}

fn detail(engine: Option<&EngineError>) -> String {
    engine.map_or_else(String::new, |error| format!(" ({error})"))
}
