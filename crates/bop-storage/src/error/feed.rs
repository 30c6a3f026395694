//! The errors of the two feeds and of cursors.

use super::{CatalogueError, Damage, ErrorCode, ManifestError, NameError};
use crate::ids::{ChangeNo, DbId, Lsn};

/// A subscriber was refused; its cursor is as it was.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// What the cursor would read next is gone: it was away for longer than its lease, or was too
    /// slow, or the feed began anew. It goes on at the oldest change, or wherever it likes, by
    /// [`ChangesCursor::reset`](crate::ChangesCursor::reset).
    #[error("the cursor has lost its place; the oldest change that is kept is {oldest}")]
    CursorLost {
        /// The oldest change that is kept.
        oldest: ChangeNo,
    },
    /// The log was released up to here: what is older is in chunks. A cursor over commits that is told
    /// so was away for longer than its lease, or was too slow. It goes on where the log begins by
    /// [`CommitsCursor::reset`](crate::CommitsCursor::reset).
    #[error("what would be read next is gone; the log begins at {oldest}")]
    LogReleased {
        /// The oldest position that is there.
        oldest: Lsn,
    },
    /// The log is damaged at a place that the feed comes to.
    #[error("{0}")]
    Damaged(#[source] Damage),
    /// No cursor of that name.
    #[error("no cursor named {name:?}")]
    NotFound {
        /// The name.
        name: String,
    },
    /// The store has as many cursors as it may have.
    #[error("the store has {limit} cursors, its limit")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// Somebody in this process has the cursor open.
    #[error("cursor {name:?} is in use")]
    InUse {
        /// The name.
        name: String,
    },
    /// The cursor was dropped while it was open.
    #[error("the cursor was dropped")]
    Dropped,
    /// Not a name.
    #[error("{name:?} is not a cursor's name: {reason}")]
    InvalidName {
        /// The text.
        name: String,
        /// Why not.
        #[source]
        reason: NameError,
    },
    /// More was acknowledged than there is.
    #[error("change {number} is acknowledged, but the newest one is {newest}")]
    NotYet {
        /// What was acknowledged.
        number: ChangeNo,
        /// The newest change.
        newest: ChangeNo,
    },
    /// More of the log was acknowledged than is durable.
    #[error("everything before {position} is acknowledged, but the log ends at {end}")]
    NotCommitted {
        /// What was acknowledged.
        position: Lsn,
        /// Where what is durable ends.
        end: Lsn,
    },
    /// The cursor of that name is of the other feed.
    #[error("cursor {name:?} is one of the {feed}")]
    OtherFeed {
        /// The name.
        name: String,
        /// The feed that it is of.
        feed: &'static str,
    },
    /// The cursor of that name wants the commits of another database, or those of all.
    #[error("cursor {name:?} is of {}", of(*.database))]
    OtherDatabase {
        /// The name.
        name: String,
        /// Which database it is of; `None`: of all.
        database: Option<DbId>,
    },
    /// There is no such database.
    #[error("{0}")]
    Catalogue(#[from] CatalogueError),
    /// The store has no feed: its manifest could not be brought up to the present schema.
    #[error("the store has no changes feed")]
    NotThere,
    /// The manifest refused.
    #[error("{0}")]
    Manifest(#[from] ManifestError),
    /// The store is closed or closing.
    #[error("the store is closed")]
    Closed,
}

impl FeedError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::CursorLost { .. } | Self::LogReleased { .. } => ErrorCode::CursorLost,
            Self::Damaged(_) => ErrorCode::Corrupt,
            Self::NotFound { .. } | Self::Dropped => ErrorCode::CursorNotFound,
            Self::TooMany { .. } => ErrorCode::LimitReached,
            Self::InUse { .. } => ErrorCode::Busy,
            Self::InvalidName { .. } => ErrorCode::InvalidName,
            Self::NotYet { .. }
            | Self::NotCommitted { .. }
            | Self::OtherFeed { .. }
            | Self::OtherDatabase { .. } => ErrorCode::Usage,
            Self::Catalogue(error) => error.code(),
            Self::NotThere => ErrorCode::Manifest,
            Self::Manifest(error) => error.code(),
            Self::Closed => ErrorCode::Closed,
        }
    }
}

fn of(database: Option<DbId>) -> String {
    match database {
        Some(id) => format!("the database with id {id}"),
        None => "all databases".to_owned(),
    }
}
