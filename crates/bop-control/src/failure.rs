//! An error as the user sees it: code, message, what to do about it.
//!
//! Invariants
//! - the exit status follows from the [`ErrorCode`] alone;
//! - a hint says what to do; what happened stands in the message.
//!
//! Never: looks at the text of an error to decide anything.

use crate::position::Excerpt;
use bop_storage::error::{
    BackupError, CatalogueError, CheckpointError, CloseError, ErrorCode, FeedError, JobError,
    ManifestError, OpenError, PastError, RepairError, SalvageError,
};
use bop_storage::io::{IoFailure, LockFailure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::Path;
use std::{fmt, io};

/// A command that did not succeed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of error.
    #[serde(with = "code_as_text")]
    pub code: ErrorCode,
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// Where in the user's SQL.
    pub excerpt: Option<Excerpt>,
    /// SQLite's extended result code.
    pub sqlite_code: Option<i32>,
    /// Whether it is only that nobody reads the answer any more, which needs no words.
    pub reader_left: bool,
}

impl Failure {
    /// An error with the hint that its code always has.
    pub fn new(code: ErrorCode, message: impl fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
            hint: hint_for(code).map(str::to_owned),
            excerpt: None,
            sqlite_code: None,
            reader_left: false,
        }
    }

    /// The error with this hint instead.
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// An error of the operating system about a file that the user named.
    pub fn file(operation: &str, path: &Path, error: &io::Error) -> Self {
        let path = path.display();
        match error.kind() {
            io::ErrorKind::NotFound => Self::new(
                ErrorCode::Io,
                format_args!("{operation} {path}: it does not exist"),
            )
            .with_hint("check the path; it starts at the working directory"),
            io::ErrorKind::PermissionDenied => {
                Self::new(ErrorCode::Io, format_args!("{operation} {path}: {error}"))
                    .with_hint("the file must be yours to read")
            }
            _ => Self::new(code_of(error), format_args!("{operation} {path}: {error}")),
        }
    }

    /// The exit status.
    pub fn exit_status(&self) -> u8 {
        self.code.exit_status()
    }

    /// The error as an object for `--json`.
    pub fn to_json(&self) -> Value {
        let mut error = json!({
            "code": self.code.as_str(),
            "message": self.message,
            "hint": self.hint,
        });
        if let Some(excerpt) = &self.excerpt {
            error["line"] = excerpt.position.line.into();
            error["column"] = excerpt.position.column.into();
        }
        if let Some(code) = self.sqlite_code {
            error["sqlite_code"] = code.into();
        }
        json!({ "error": error })
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if let Some(excerpt) = &self.excerpt {
            write!(f, "\n  at {}\n{excerpt}", excerpt.position)?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// A code goes by its name, which never changes.
mod code_as_text {
    use bop_storage::error::ErrorCode;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(code: &ErrorCode, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(code.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ErrorCode, D::Error> {
        let name = String::deserialize(from)?;
        let mut all = ErrorCode::ALL.iter();
        let code = all.find(|code| code.as_str() == name).copied();
        code.ok_or_else(|| D::Error::custom(format_args!("no error has the code {name:?}")))
    }
}

/// What to do about an error of this kind, where that does not depend on the case.
fn hint_for(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::InvalidName => {
            "a name is any text of up to 255 bytes without control characters, / and @, \
             and does not start with a dot"
        }
        ErrorCode::DatabaseNotFound => "bop list shows the databases of the store",
        ErrorCode::SnapshotNotFound => "bop snapshot list DB shows the snapshots of a database",
        ErrorCode::SnapshotExists => "choose another name, or drop the existing snapshot",
        ErrorCode::DatabaseExists => "choose another name, or rename or drop the existing database",
        ErrorCode::Corrupt | ErrorCode::CatalogueDamaged | ErrorCode::Unhealthy => {
            "bop verify lists all damage; what is not named there can be exported"
        }
        ErrorCode::StoreNotFound => {
            "--store DIR or BOP_STORE says where the store is; bop create makes a new one"
        }
        ErrorCode::NotAStore => {
            "choose an empty or a new directory; nothing was changed in this one"
        }
        ErrorCode::StoreLocked => {
            "one process at a time has a store open, and this one cannot be asked: stop it, or wait for it"
        }
        ErrorCode::UnsupportedFormat => {
            "use the version of bop that wrote the store, or a newer one"
        }
        ErrorCode::Busy | ErrorCode::BusySnapshot | ErrorCode::Timeout => "try again",
        ErrorCode::OutOfSpace => "free some space on the device; nothing was lost",
        ErrorCode::LogFull => "run bop checkpoint",
        ErrorCode::BeforeWindow => {
            "bop restore-points DB lists what there is; bop retention sets how much is kept"
        }
        ErrorCode::OverQuota => "delete rows and VACUUM, or raise the quota with bop quota",
        ErrorCode::Poisoned | ErrorCode::CommitUnknown => {
            "see to the device, then open the store again: it recovers what is durable"
        }
        ErrorCode::WrongKind => {
            "bop info DB shows the kind: SQL, import and export are for sqlite databases"
        }
        ErrorCode::CursorNotFound => "bop cursor list shows the cursors of the store",
        ErrorCode::JobNotFound => "bop jobs shows the jobs of the store",
        ErrorCode::Cancelled | ErrorCode::Abandoned => {
            "ask for it again; bop jobs shows what became of the others"
        }
        ErrorCode::CursorLost => {
            "read on from the oldest that is kept; bop cursor drop lets a cursor begin anew there"
        }
        ErrorCode::TooLarge => "make several transactions of it",
        ErrorCode::LimitReached => "drop what is not needed: the store's limits are fixed",
        ErrorCode::Io | ErrorCode::Manifest | ErrorCode::StillStalled => {
            "see to the file or the device that the message names, then try again"
        }
        ErrorCode::Panic => "this is a defect of bop: please report it, with this message",
        ErrorCode::Usage => "bop --help lists the commands, bop COMMAND --help its arguments",
        ErrorCode::Control => {
            "the process that has the store open may be beginning or ending: try again"
        }
        ErrorCode::BackupDamaged | ErrorCode::BackupNotFound => {
            "bop backup list DIR shows the finished backups, bop backup verify DIR proves one"
        }
        ErrorCode::TargetExists => "--force replaces it",
        ErrorCode::InvalidDatabaseFile => {
            "PRAGMA integrity_check in the sqlite3 shell tells more; .recover saves what it can"
        }
        _ => return None,
    })
}

/// The code of an error of the operating system.
pub fn code_of(error: &io::Error) -> ErrorCode {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorCode::OutOfSpace,
        _ => ErrorCode::Io,
    }
}

impl Failure {
    /// The error of an output that takes no more.
    pub fn of_output(error: &io::Error) -> Self {
        Self {
            reader_left: error.kind() == io::ErrorKind::BrokenPipe,
            ..Self::new(code_of(error), format_args!("write the answer: {error}"))
        }
    }

    /// That a command which goes on for long is ended: its caller left, who does not read this, or the owner of
    /// the store ends.
    pub fn ended() -> Self {
        Self::new(
            ErrorCode::Closed,
            "the process that has the store open is closing it",
        )
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let failure = Self::new(error.code(), &error);
        match refused_call(&error) {
            Some(call) if is_forbidden(call) => failure.with_hint(
                "the store's directory and the files in it must be yours to read and to write",
            ),
            _ if is_lost_manifest(&error) => failure
                .with_hint("bop repair makes the manifest anew, from what chunks and log say"),
            _ => failure,
        }
    }
}

/// Whether it is the manifest as a whole that is damaged, and not a newer program's.
fn is_lost_manifest(error: &OpenError) -> bool {
    matches!(error, OpenError::Manifest(ManifestError::Damaged(_)))
        && error.code() == ErrorCode::Corrupt
}

impl From<RepairError> for Failure {
    fn from(error: RepairError) -> Self {
        match error {
            RepairError::Store(error) => error.into(),
            RepairError::Sound => Self::new(error.code(), &error)
                .with_hint("there is nothing to repair; --force makes it anew all the same"),
            other => Self::new(other.code(), &other).with_hint(
                "see to the file that the message names; --force makes the manifest anew",
            ),
        }
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        let failure = Self::new(error.code(), &error);
        match error {
            BackupError::NotFound { .. } => {
                failure.with_hint("bop backup list DIR shows the finished backups; one that was interrupted is none")
            }
            BackupError::NotBackups { .. } => failure
                .with_hint("choose a new or an empty directory, or one of backups; nothing was changed"),
            BackupError::OtherStore { .. } => {
                failure.with_hint("choose another directory: each store has one of its own")
            }
            BackupError::Behind { .. } => failure.with_hint(
                "this store is an older copy, or another was restored and backed up since: choose another directory",
            ),
            BackupError::InsideStore { .. } => failure.with_hint("choose a directory outside of it"),
            BackupError::Busy { .. } => failure.with_hint("wait for it"),
            BackupError::StoreDamaged(_) => failure.with_hint(
                "bop verify lists all damage: drop what is lost, or bop salvage what is left, then back up",
            ),
            BackupError::Damaged { .. } => failure.with_hint(
                "restore another one (--number N); remove the files that are named, and the next backup makes them anew",
            ),
            BackupError::LogReleased => {
                failure.with_hint("try again; a faster target, or a longer cursor_log_bytes_max, gives it time")
            }
            BackupError::NotEmpty { .. } => {
                failure.with_hint("choose a directory that is not there yet, or is empty")
            }
            BackupError::Leftover { .. } => failure.with_hint("remove it, then restore again"),
            BackupError::Open(error) => (*error).into(),
            _ => failure,
        }
    }
}

impl From<SalvageError> for Failure {
    fn from(error: SalvageError) -> Self {
        match error {
            SalvageError::Source(error) => error.into(),
            SalvageError::Database(error) => error.into(),
            SalvageError::NotEmpty { .. } => Self::new(error.code(), &error)
                .with_hint("choose a directory that is not there yet, or is empty"),
            SalvageError::InsideStore { .. } => Self::new(error.code(), &error)
                .with_hint("choose a directory outside the damaged store"),
            SalvageError::Leftover { .. } => Self::new(error.code(), &error)
                .with_hint("remove it, then salvage again: the damaged store is as it was"),
            other => Self::new(other.code(), &other),
        }
    }
}

/// The call to the kernel that kept a store from being opened.
fn refused_call(error: &OpenError) -> Option<&IoFailure> {
    match error {
        OpenError::Io(call)
        | OpenError::Manifest(ManifestError::Io(call))
        | OpenError::Locked {
            failure: LockFailure::Io(call),
            ..
        } => Some(call),
        _ => None,
    }
}

fn is_forbidden(call: &IoFailure) -> bool {
    matches!(
        io::Error::from_raw_os_error(call.errno).kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

impl From<CatalogueError> for Failure {
    fn from(error: CatalogueError) -> Self {
        let failure = Self::new(error.code(), &error);
        match error {
            CatalogueError::NotFound {
                nearest: Some(nearest),
                ..
            }
            | CatalogueError::SnapshotNotFound {
                nearest: Some(nearest),
                ..
            } => failure.with_hint(format!("did you mean {nearest:?}?")),
            _ => failure,
        }
    }
}

impl From<PastError> for Failure {
    fn from(error: PastError) -> Self {
        match error {
            PastError::Catalogue(error) => error.into(),
            other => Self::new(other.code(), &other),
        }
    }
}

impl From<FeedError> for Failure {
    fn from(error: FeedError) -> Self {
        let failure = Self::new(error.code(), &error);
        match error {
            FeedError::OtherFeed { .. } | FeedError::OtherDatabase { .. } => {
                failure.with_hint("bop cursor list shows what each cursor is of")
            }
            _ => failure,
        }
    }
}

impl From<JobError> for Failure {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Database(error) => error.into(),
            other => Self::new(other.code(), &other),
        }
    }
}

impl From<ManifestError> for Failure {
    fn from(error: ManifestError) -> Self {
        Self::new(error.code(), &error)
    }
}

impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Self {
        Self::new(error.code(), &error)
    }
}

impl From<CloseError> for Failure {
    fn from(error: CloseError) -> Self {
        Self::new(error.code(), &error)
    }
}
