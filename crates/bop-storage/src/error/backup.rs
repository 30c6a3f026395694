//! The errors of backups: of making one, of proving one, of making a store of one.

use super::{
    CloseError, CommitError, Damage, ErrorCode, ManifestError, OpenError, ReadError, Reject,
};
use crate::ids::Lsn;
use crate::io::{IoFailure, LockFailure};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A backup was not made, or is not good, or no store could be made of it. The store that was to be backed
/// up is as it was, and so are the backups that were finished before.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The directory has no finished backup, or none of that number.
    #[error("{} has no finished backup{}", dir.display(), number.map_or(String::new(), |number| format!(" {number}")))]
    NotFound {
        /// The directory.
        dir: PathBuf,
        /// The number that was asked for.
        number: Option<u64>,
    },
    /// The directory holds something else than backups.
    #[error("{} holds {found:?}, which is no backup's", dir.display())]
    NotBackups {
        /// The directory.
        dir: PathBuf,
        /// What was found in it.
        found: String,
    },
    /// The directory's backups are of another store.
    #[error("{} holds backups of another store, {found}", dir.display())]
    OtherStore {
        /// The directory.
        dir: PathBuf,
        /// The store that they are of.
        found: String,
    },
    /// The directory's newest backup is of a later state than the store has reached.
    #[error("{} holds a backup of a later state, lsn {newest}, than this store has, lsn {lsn}", dir.display())]
    Behind {
        /// The directory.
        dir: PathBuf,
        /// Where the newest backup ends.
        newest: Lsn,
        /// Where the store's log ends.
        lsn: Lsn,
    },
    /// The backup, or the new store, would be among the store's own files.
    #[error("{} is inside the store {}", path.display(), store.display())]
    InsideStore {
        /// Where it was to be.
        path: PathBuf,
        /// The store.
        store: PathBuf,
    },
    /// Another backup of this store is being made, or somebody else works in the directory.
    #[error("{what}")]
    Busy {
        /// Who does what.
        what: String,
    },
    /// It is not known what the directory of a store's backups has.
    #[error("the directory of the backups could not be looked at: {why}")]
    NotLookedAt {
        /// Why.
        why: String,
    },
    /// The store is damaged: what is lost would be lost in the backup, too.
    #[error("the store is damaged: {0}")]
    StoreDamaged(#[source] Damage),
    /// The backup is not what was written.
    #[error("the backup is damaged: {}{}", findings.first().map_or(String::new(), ToString::to_string), more(findings.len()))]
    Damaged {
        /// Each with the file, relative to the directory of the backups.
        findings: Vec<Damage>,
    },
    /// A store that was made of the backup is not the one that was backed up.
    #[error("what the backup restores is not what was backed up: {what}")]
    Different {
        /// The first difference.
        what: String,
    },
    /// The log was released while it was copied: too much of it had to be kept for the backup.
    #[error(
        "the log was released before it was copied: the target is too slow, or the device full"
    )]
    LogReleased,
    /// Something stands where the new store is to be.
    #[error("{} is there already and not an empty directory", path.display())]
    NotEmpty {
        /// Where the new store was to be.
        path: PathBuf,
    },
    /// An earlier attempt was killed.
    #[error("{} is there already: what was left by an attempt that did not end", path.display())]
    Leftover {
        /// What it left.
        path: PathBuf,
    },
    /// The backup's directory refuses.
    #[error("{}: {failure}", dir.display())]
    Target {
        /// The directory.
        dir: PathBuf,
        /// What it answered.
        #[source]
        failure: IoFailure,
    },
    /// The store's own files refuse.
    #[error("the store: {0}")]
    Store(#[from] IoFailure),
    /// The state that is backed up could not be made durable.
    #[error("the store: {0}")]
    Log(#[from] CommitError),
    /// The store's rows cannot be copied, or not be written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A chunk of the store cannot be read.
    #[error("the store: {0}")]
    Read(#[from] ReadError),
    /// The log that was copied cannot be replayed, or the store that was made of the backup not be opened.
    #[error("the backup: {0}")]
    Open(#[source] Box<OpenError>),
    /// The store that was made of the backup cannot be closed.
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
    /// It was broken off: [`BackupOptions::cancelled_by`](crate::BackupOptions::cancelled_by).
    #[error("the backup was broken off; the next one goes on with what was copied")]
    Cancelled,
    /// The store is closed, or closing.
    #[error("the store is closed")]
    Closed,
}

fn more(findings: usize) -> String {
    match findings {
        0 | 1 => String::new(),
        many => format!(" (and {} more)", many - 1),
    }
}

impl BackupError {
    /// What the directory of backups, or that of a new store, answered.
    pub(crate) fn target(dir: &Path) -> impl Fn(IoFailure) -> Self + '_ {
        |failure| Self::Target {
            dir: dir.to_owned(),
            failure,
        }
    }

    /// The directory is somebody else's at the moment, or cannot be locked.
    pub(crate) fn locked(dir: &Path, failure: LockFailure) -> Self {
        match failure {
            LockFailure::Io(failure) => Self::target(dir)(failure),
            LockFailure::Held { holder_pid } => {
                let whose =
                    holder_pid.map_or("another process".to_owned(), |pid| format!("process {pid}"));
                let what = format!("{} is in use by {whose}", dir.display());
                Self::Busy { what }
            }
        }
    }

    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound { .. } => ErrorCode::BackupNotFound,
            Self::NotBackups { .. }
            | Self::OtherStore { .. }
            | Self::Behind { .. }
            | Self::NotEmpty { .. }
            | Self::Leftover { .. } => ErrorCode::TargetExists,
            Self::InsideStore { .. } => ErrorCode::Usage,
            Self::Busy { .. } | Self::NotLookedAt { .. } => ErrorCode::Busy,
            Self::StoreDamaged(_) => ErrorCode::Corrupt,
            Self::Damaged { findings }
                if findings
                    .iter()
                    .any(|one| matches!(one.reason, Reject::Version { .. })) =>
            {
                ErrorCode::UnsupportedFormat
            }
            Self::Damaged { .. } | Self::Different { .. } => ErrorCode::BackupDamaged,
            Self::LogReleased => ErrorCode::LimitReached,
            Self::Target { failure, .. } | Self::Store(failure) => failure.code(),
            Self::Log(error) => error.code(),
            Self::Manifest(error) => error.code(),
            Self::Read(error) => error.code(),
            Self::Open(error) => error.code(),
            Self::Close(error) => error.code(),
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                ErrorCode::OutOfSpace
            }
            Self::File { .. } => ErrorCode::Io,
            Self::Cancelled => ErrorCode::Cancelled,
            Self::Closed => ErrorCode::Closed,
        }
    }
}
