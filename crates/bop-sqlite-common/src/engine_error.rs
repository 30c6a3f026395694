//! What the engine said, and the SQLite result code that stands for it.
//!
//! SQLite knows an error as a number; the text that a connection then shows ("disk I/O error") is
//! SQLite's own. So the error itself, which names the object and the place, is kept beside the
//! connection for whoever asks ([`ErrorSlot`]).
//!
//! Invariants
//! - a commit or a spill never answers `BUSY`: SQLite would keep the transaction open and repeat
//!   the commit, but the engine has ended it;
//! - a page that cannot be read is of the `IOERR` family: SQLite then drops its cache, which other
//!   codes leave as it is.
//!
//! Never: decides by an error's text.

use crate::codes;
use bop_storage::AtError;
use bop_storage::error::{
    BeginError, CatalogueError, CheckpointError, CommitError, ErrorCode, OpenError, PastError,
    ReadError, Rejection,
};
use bop_storage::io::IoFailure;
use parking_lot::Mutex;
use std::borrow::Cow;
use std::cell::RefCell;
use std::io::ErrorKind;
use std::os::raw::c_int;
use std::sync::Arc;

/// An error of the engine, as it came up through a callback of SQLite.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A page could not be read.
    #[error("read: {0}")]
    Read(#[from] ReadError),
    /// A transaction could not begin.
    #[error("begin: {0}")]
    Begin(#[from] BeginError),
    /// A page could not be put into the transaction.
    #[error("write: {0}")]
    Write(#[from] Rejection),
    /// The commit failed.
    #[error("{0}")]
    Commit(#[from] CommitError),
    /// The store could not be opened.
    #[error("open: {0}")]
    Open(#[from] OpenError),
    /// The database could not be opened or created.
    #[error("open: {0}")]
    Catalogue(#[from] CatalogueError),
    /// A state of the database could not be opened.
    #[error("open: {0}")]
    Past(#[from] PastError),
    /// What stands behind the `@` of a name means no state of a database.
    #[error("open {name:?}: {source}")]
    At {
        /// The whole name.
        name: String,
        /// What is wrong with it.
        source: AtError,
    },
    /// A write to a state of a database.
    #[error("a state of a database is only read")]
    State,
    /// A checkpoint that was asked for failed.
    #[error("{0}")]
    Checkpoint(#[from] CheckpointError),
    /// SQLite handed over pages of a size that the database does not have.
    #[error("pages of {found} bytes for a database with pages of {expected} bytes")]
    PageSize {
        /// The size that came.
        found: i64,
        /// The size that the database has, if it has any pages.
        expected: u32,
    },
    /// A page was written or read outside a transaction that allows it.
    #[error("{operation} outside a transaction")]
    NoTransaction {
        /// What was attempted.
        operation: &'static str,
    },
    /// What was asked for cannot be done, and why.
    #[error("refused: {0}")]
    Refused(Cow<'static, str>),
    /// Two connections each wait for what the other one has.
    #[error("deadlock: whoever writes to {name:?} waits for a database that this transaction has")]
    Deadlock {
        /// The database that was to be written.
        name: String,
    },
    /// The process was forked since the store was opened.
    #[error("{operation} in a forked child: a store belongs to the process that opened it")]
    Forked {
        /// What was attempted.
        operation: &'static str,
    },
    /// The temporary file of a rollback journal failed.
    #[error("temporary file of a journal: {0}")]
    Journal(Arc<std::io::Error>),
    /// A callback panicked; the transaction was rolled back.
    #[error("callback {callback} panicked: {message}")]
    Panic {
        /// The callback.
        callback: &'static str,
        /// What the panic said.
        message: String,
    },
}

impl EngineError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Read(error) => error.code(),
            Self::Begin(error) => error.code(),
            Self::Write(error) => error.code(),
            Self::Commit(error) => error.code(),
            Self::Open(error) => error.code(),
            Self::Catalogue(error) => error.code(),
            Self::Past(error) => error.code(),
            Self::At { .. } => ErrorCode::Usage,
            Self::Checkpoint(error) => error.code(),
            Self::PageSize { .. }
            | Self::NoTransaction { .. }
            | Self::State
            | Self::Refused(_)
            | Self::Forked { .. } => ErrorCode::Sql,
            Self::Deadlock { .. } => ErrorCode::Busy,
            Self::Journal(_) => ErrorCode::Io,
            Self::Panic { .. } => ErrorCode::Panic,
        }
    }

    /// The extended result code that SQLite gets.
    pub fn sqlite_code(&self) -> c_int {
        match self {
            Self::Read(error) => read_code(error),
            Self::Begin(error) => begin_code(error),
            Self::Write(error) => rejection_code(error),
            Self::Commit(CommitError::Rejected(error)) => rejection_code(error),
            Self::Open(_) | Self::Catalogue(_) | Self::Past(_) | Self::At { .. } => {
                codes::SQLITE_CANTOPEN
            }
            Self::State => codes::SQLITE_READONLY,
            Self::Refused(_) => codes::SQLITE_PERM,
            // For BUSY, SQLite would wait for the other one.
            Self::Deadlock { .. } => codes::SQLITE_LOCKED,
            Self::Forked { .. } => codes::SQLITE_IOERR,
            Self::Journal(error) if is_no_room(error) => codes::SQLITE_FULL,
            Self::Checkpoint(error) => checkpoint_code(error),
            Self::NoTransaction { operation: "read" } => codes::SQLITE_IOERR_READ,
            // Whatever else was about to be written, or was written with an unknown outcome.
            _ => codes::SQLITE_IOERR_WRITE,
        }
    }
}

fn read_code(error: &ReadError) -> c_int {
    match error {
        ReadError::Damaged(_) => codes::SQLITE_IOERR_DATA,
        ReadError::Dropped => codes::SQLITE_IOERR_DELETE_NOENT,
        ReadError::Closed => codes::SQLITE_IOERR_CLOSE,
        _ => codes::SQLITE_IOERR_READ,
    }
}

fn begin_code(error: &BeginError) -> c_int {
    match error {
        BeginError::Busy => codes::SQLITE_BUSY,
        BeginError::BusySnapshot { .. } => codes::SQLITE_BUSY_SNAPSHOT,
        BeginError::Damaged(_) => codes::SQLITE_CORRUPT,
        BeginError::Dropped => codes::SQLITE_IOERR_DELETE_NOENT,
        BeginError::Poisoned(_) => codes::SQLITE_IOERR_WRITE,
        BeginError::Closed => codes::SQLITE_IOERR_CLOSE,
        _ => codes::SQLITE_IOERR,
    }
}

fn rejection_code(error: &Rejection) -> c_int {
    match error {
        // A transaction that found no room in time is one for which there was no room.
        Rejection::Timeout { .. }
        | Rejection::OutOfSpace { .. }
        | Rejection::LogFull { .. }
        | Rejection::OverQuota { .. }
        | Rejection::TooLarge { .. } => codes::SQLITE_FULL,
        Rejection::Spill(failure) if is_full(failure) => codes::SQLITE_FULL,
        Rejection::Read(error) => read_code(error),
        Rejection::Dropped => codes::SQLITE_IOERR_DELETE_NOENT,
        Rejection::Closed => codes::SQLITE_IOERR_CLOSE,
        _ => codes::SQLITE_IOERR_WRITE,
    }
}

/// `true` when the device, or this user's share of it, has no room.
fn is_full(failure: &IoFailure) -> bool {
    is_no_room(&std::io::Error::from_raw_os_error(failure.errno))
}

fn is_no_room(error: &std::io::Error) -> bool {
    let kind = error.kind();
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn checkpoint_code(error: &CheckpointError) -> c_int {
    match error {
        CheckpointError::Read(error) => read_code(error),
        CheckpointError::Commit(CommitError::Rejected(error)) => rejection_code(error),
        CheckpointError::Limit(_) => codes::SQLITE_FULL,
        CheckpointError::Closed => codes::SQLITE_IOERR_CLOSE,
        _ => codes::SQLITE_IOERR_WRITE,
    }
}

thread_local! {
    static OF_THIS_THREAD: RefCell<Option<EngineError>> = const { RefCell::new(None) };
}

/// The newest engine error of one connection, or of a store's VFS, which knows no connection.
#[derive(Debug, Default)]
pub struct ErrorSlot(Mutex<Option<EngineError>>);

impl ErrorSlot {
    /// Keeps `error` for whoever asks, logs it, and gives the code that SQLite gets.
    pub fn record(&self, error: EngineError) -> c_int {
        let code = error.sqlite_code();
        if code & 0xff == codes::SQLITE_BUSY {
            tracing::debug!(sqlite_code = code, %error, "engine is busy");
        } else {
            tracing::warn!(sqlite_code = code, code = %error.code(), %error, "engine error");
        }
        OF_THIS_THREAD.set(Some(error.clone()));
        *self.0.lock() = Some(error);
        code
    }

    /// The newest error, if there was any.
    pub fn latest(&self) -> Option<EngineError> {
        self.0.lock().clone()
    }

    /// The newest error that this thread recorded, wherever, which is then forgotten. Opening a
    /// connection is told here why it failed: others may fail at the same time in the same VFS.
    pub fn take_of_this_thread() -> Option<EngineError> {
        OF_THIS_THREAD.take()
    }
}

#[cfg(test)]
#[path = "engine_error_tests.rs"]
mod tests;
