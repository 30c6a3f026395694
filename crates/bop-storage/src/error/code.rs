//! The stable names of errors: for `--json`, for exit codes, for whoever matches on them.

/// What kind of error it is, under a name that never changes. Listed in `docs/errors.md`.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorCode {
    /// A name that no database can have.
    InvalidName,
    /// No database of that name.
    DatabaseNotFound,
    /// A database of that name is there already.
    DatabaseExists,
    /// The database was dropped while it was open.
    DatabaseDropped,
    /// The database has no snapshot of that name.
    SnapshotNotFound,
    /// The database has a snapshot of that name already.
    SnapshotExists,
    /// The operation does not fit the database's kind.
    WrongKind,
    /// Bytes of a database, or that it may need, are damaged.
    Corrupt,
    /// The catalogue's part of the log is damaged: names cannot be given out.
    CatalogueDamaged,
    /// No store there, and none was to be created.
    StoreNotFound,
    /// The directory holds something that is not a store.
    NotAStore,
    /// Another process has the store open.
    StoreLocked,
    /// The store was written by a newer version.
    UnsupportedFormat,
    /// Another writer holds the database.
    Busy,
    /// The snapshot is not the newest state any more.
    BusySnapshot,
    /// Entries of a record log that do not follow, or are not there.
    IndexConflict,
    /// What a cursor would read next is gone.
    CursorLost,
    /// No cursor of that name.
    CursorNotFound,
    /// No job of that number.
    JobNotFound,
    /// A job was cancelled before it was done.
    Cancelled,
    /// A job was begun as often as is allowed and never ended.
    Abandoned,
    /// The deadline passed.
    Timeout,
    /// No space on the device.
    OutOfSpace,
    /// The transaction is larger than the store can hold.
    TooLarge,
    /// A limit of the store is reached.
    LimitReached,
    /// So much of the past is not kept.
    BeforeWindow,
    /// The database has reached its quota.
    OverQuota,
    /// The log is full until a checkpoint has run.
    LogFull,
    /// A write failed earlier: the store takes no more commits until it is opened again.
    Poisoned,
    /// The outcome of a commit is unknown until the store is opened again.
    CommitUnknown,
    /// The kernel refused an I/O call.
    Io,
    /// The I/O backend that was asked for is not to be had.
    BackendUnavailable,
    /// The manifest failed.
    Manifest,
    /// The store is closed or closing.
    Closed,
    /// A write of the log has not returned for long, and nothing is taken meanwhile.
    Stalled,
    /// A worker still waits for the kernel.
    StillStalled,
    /// A worker panicked.
    Panic,
    /// SQL failed.
    Sql,
    /// The command line was wrong.
    Usage,
    /// The process that has the store open could not be asked.
    Control,
    /// What was asked of it, it does not offer.
    NotSupported,
    /// The target is there already.
    TargetExists,
    /// The file is not a sound SQLite database.
    InvalidDatabaseFile,
    /// Checks found the store unhealthy.
    Unhealthy,
    /// No finished backup there.
    BackupNotFound,
    /// A backup is not what was written, or does not restore what was backed up.
    BackupDamaged,
}

impl ErrorCode {
    /// All codes, in the order of `docs/errors.md`.
    pub const ALL: &'static [Self] = &[
        Self::InvalidName,
        Self::DatabaseNotFound,
        Self::DatabaseExists,
        Self::DatabaseDropped,
        Self::SnapshotNotFound,
        Self::SnapshotExists,
        Self::WrongKind,
        Self::Corrupt,
        Self::CatalogueDamaged,
        Self::StoreNotFound,
        Self::NotAStore,
        Self::StoreLocked,
        Self::UnsupportedFormat,
        Self::Busy,
        Self::BusySnapshot,
        Self::IndexConflict,
        Self::CursorLost,
        Self::CursorNotFound,
        Self::JobNotFound,
        Self::Cancelled,
        Self::Abandoned,
        Self::Timeout,
        Self::OutOfSpace,
        Self::TooLarge,
        Self::LimitReached,
        Self::BeforeWindow,
        Self::OverQuota,
        Self::LogFull,
        Self::Poisoned,
        Self::CommitUnknown,
        Self::Io,
        Self::BackendUnavailable,
        Self::Manifest,
        Self::Closed,
        Self::Stalled,
        Self::StillStalled,
        Self::Panic,
        Self::Sql,
        Self::Usage,
        Self::Control,
        Self::NotSupported,
        Self::TargetExists,
        Self::InvalidDatabaseFile,
        Self::Unhealthy,
        Self::BackupNotFound,
        Self::BackupDamaged,
    ];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidName => "invalid_name",
            Self::DatabaseNotFound => "database_not_found",
            Self::DatabaseExists => "database_exists",
            Self::DatabaseDropped => "database_dropped",
            Self::SnapshotNotFound => "snapshot_not_found",
            Self::SnapshotExists => "snapshot_exists",
            Self::WrongKind => "wrong_kind",
            Self::Corrupt => "corrupt",
            Self::CatalogueDamaged => "catalogue_damaged",
            Self::StoreNotFound => "store_not_found",
            Self::NotAStore => "not_a_store",
            Self::StoreLocked => "store_locked",
            Self::UnsupportedFormat => "unsupported_format",
            Self::Busy => "busy",
            Self::BusySnapshot => "busy_snapshot",
            Self::IndexConflict => "index_conflict",
            Self::CursorLost => "cursor_lost",
            Self::CursorNotFound => "cursor_not_found",
            Self::JobNotFound => "job_not_found",
            Self::Cancelled => "cancelled",
            Self::Abandoned => "abandoned",
            Self::Timeout => "timeout",
            Self::OutOfSpace => "out_of_space",
            Self::TooLarge => "too_large",
            Self::LimitReached => "limit_reached",
            Self::BeforeWindow => "before_window",
            Self::OverQuota => "over_quota",
            Self::LogFull => "log_full",
            Self::Poisoned => "poisoned",
            Self::CommitUnknown => "commit_unknown",
            Self::Io => "io",
            Self::BackendUnavailable => "backend_unavailable",
            Self::Manifest => "manifest",
            Self::Closed => "closed",
            Self::Stalled => "stalled",
            Self::StillStalled => "still_stalled",
            Self::Panic => "panic",
            Self::Sql => "sql",
            Self::Usage => "usage",
            Self::Control => "control",
            Self::NotSupported => "not_supported",
            Self::TargetExists => "target_exists",
            Self::InvalidDatabaseFile => "invalid_database_file",
            Self::Unhealthy => "unhealthy",
            Self::BackupNotFound => "backup_not_found",
            Self::BackupDamaged => "backup_damaged",
        }
    }

    /// The exit status of `bop`: 2 for usage, 3 for what makes a store unhealthy, 1 for the rest.
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Corrupt
            | Self::CatalogueDamaged
            | Self::Poisoned
            | Self::Stalled
            | Self::StillStalled
            | Self::Unhealthy
            | Self::BackupDamaged => 3,
            _ => 1,
        }
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code and the exit status of each row of the table in `docs/errors.md`.
    fn documented() -> Vec<(String, u8)> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
        let text = std::fs::read_to_string(path).unwrap();
        let rows = text.lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
            let code = cells.next()?.strip_suffix('`')?.to_owned();
            let exit = cells.next()?.parse().ok()?;
            assert!(
                cells.next().is_some_and(|meaning| meaning.ends_with('.')),
                "{line}"
            );
            Some((code, exit))
        });
        rows.collect()
    }

    #[test]
    fn the_documented_codes_are_all_codes_in_their_order() {
        let codes: Vec<(String, u8)> = ErrorCode::ALL
            .iter()
            .map(|code| (code.as_str().to_owned(), code.exit_status()))
            .collect();
        assert_eq!(documented(), codes);
    }

    #[test]
    fn codes_are_distinct_words() {
        let mut names: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(
            names
                .iter()
                .all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        );
    }
}
