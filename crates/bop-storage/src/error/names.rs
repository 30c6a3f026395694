//! The errors of names and databases.

use super::{CommitError, Damage, ErrorCode};
use crate::ids::{DbId, Lsn};

/// Why a text is no database name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It has no characters.
    #[error("it is empty")]
    Empty,
    /// It is longer than 255 bytes.
    #[error("it has {bytes} bytes, at most 255 are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It has a character that no name may have.
    #[error("character {character:?} at byte {at} is not allowed")]
    Character {
        /// The character.
        character: char,
        /// Where it is, in bytes.
        at: usize,
    },
    /// It starts with a dot.
    #[error("it starts with a dot")]
    LeadingDot,
    /// It begins as the names of databases that are being made.
    #[error("names that begin so are the store's own")]
    Reserved,
}

/// An operation on names and databases failed; nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueError {
    /// Not a name.
    #[error("{name:?} is not a database name: {reason}")]
    InvalidName {
        /// The text.
        name: String,
        /// Why not.
        #[source]
        reason: NameError,
    },
    /// No database of that name.
    #[error("no database named {name:?}")]
    NotFound {
        /// The name.
        name: String,
        /// The most similar name that exists.
        nearest: Option<String>,
    },
    /// No database of that name was dropped and can be brought back.
    #[error(
        "no dropped database named {name:?} can be brought back: its pages are gone, or it was never there"
    )]
    NotDropped {
        /// The name.
        name: String,
    },
    /// The name is taken, perhaps in another spelling of the same letters.
    #[error("database {name:?} exists already")]
    Exists {
        /// The existing database's name.
        name: String,
    },
    /// The database has another kind.
    #[error("database {name:?} is of kind {found}, not {wanted}")]
    WrongKind {
        /// The name.
        name: String,
        /// Its kind.
        found: &'static str,
        /// The kind that was asked for.
        wanted: &'static str,
    },
    /// The store holds as many databases as its limits allow.
    #[error("the store holds {limit} databases, its limit")]
    LimitReached {
        /// The limit.
        limit: u32,
    },
    /// Not a name of a snapshot.
    #[error("{name:?} is not a snapshot's name: {reason}")]
    InvalidSnapshotName {
        /// The text.
        name: String,
        /// Why not.
        #[source]
        reason: NameError,
    },
    /// The database has no snapshot of that name.
    #[error("database {database:?} has no snapshot named {name:?}")]
    SnapshotNotFound {
        /// The database's name.
        database: String,
        /// The snapshot's name.
        name: String,
        /// The most similar name of a snapshot of that database.
        nearest: Option<String>,
    },
    /// The database has a snapshot of that name, perhaps in another spelling of the same letters.
    #[error("database {database:?} has a snapshot named {name:?} already")]
    SnapshotExists {
        /// The database's name.
        database: String,
        /// The existing snapshot's name.
        name: String,
    },
    /// The database has as many snapshots as the store's limits allow.
    #[error("database {database:?} has {limit} snapshots, the limit")]
    SnapshotsLimit {
        /// The database's name.
        database: String,
        /// The limit.
        limit: u32,
    },
    /// What a fork was to start from, or a snapshot to keep, is gone.
    #[error("commit {lsn} of database id {database} is gone: that database was dropped")]
    PointGone {
        /// The database whose commit it is.
        database: DbId,
        /// The commit.
        lsn: Lsn,
    },
    /// A writer holds the database.
    #[error("database {name:?} has an open write transaction")]
    Busy {
        /// The name.
        name: String,
    },
    /// The catalogue's part of the log is damaged: a name given out now might be one that is lost.
    #[error(
        "the catalogue is damaged: names may be missing, and no database can be created, renamed \
         or dropped: {0}"
    )]
    Damaged(#[source] Damage),
    /// This database is damaged, or may be.
    #[error("database {name:?} cannot be opened: {damage}")]
    Corrupt {
        /// The name.
        name: String,
        /// The damage.
        #[source]
        damage: Damage,
    },
    /// The record could not be committed.
    #[error("{0}")]
    Commit(#[from] CommitError),
    /// The store is closed or closing.
    #[error("the store is closed")]
    Closed,
}

impl CatalogueError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidName { .. } | Self::InvalidSnapshotName { .. } => ErrorCode::InvalidName,
            Self::NotFound { .. } | Self::NotDropped { .. } => ErrorCode::DatabaseNotFound,
            Self::SnapshotNotFound { .. } => ErrorCode::SnapshotNotFound,
            Self::SnapshotExists { .. } => ErrorCode::SnapshotExists,
            Self::PointGone { .. } => ErrorCode::DatabaseDropped,
            Self::Exists { .. } => ErrorCode::DatabaseExists,
            Self::WrongKind { .. } => ErrorCode::WrongKind,
            Self::LimitReached { .. } | Self::SnapshotsLimit { .. } => ErrorCode::LimitReached,
            Self::Busy { .. } => ErrorCode::Busy,
            Self::Damaged(_) => ErrorCode::CatalogueDamaged,
            Self::Corrupt { .. } => ErrorCode::Corrupt,
            Self::Commit(error) => error.code(),
            Self::Closed => ErrorCode::Closed,
        }
    }
}
