//! What can be asked of a store, by the command that has it open and over its socket alike.
//!
//! Invariant: a request is data: whoever runs it needs nothing of the process that made it, no path, no
//! terminal and no environment.
//!
//! Never: runs anything; that is [`crate::commands`].

use crate::failure::Failure;
use bop_storage::At;
use bop_storage::error::{CatalogueError, ErrorCode};
use bop_storage::name::DbName;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;
use std::path::Path;

/// A request, with its parameters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// The databases.
    List,
    /// Those that were dropped and can be brought back.
    Dropped,
    /// What is known of one database.
    Info {
        /// Its name.
        database: String,
    },
    /// An empty database.
    Create {
        /// Its name.
        database: String,
        /// Plain pages instead of a SQLite database.
        raw: bool,
    },
    /// Another name.
    Rename {
        /// Its name now.
        from: String,
        /// Its name from now on.
        to: String,
    },
    /// A database goes.
    Drop {
        /// Its name.
        database: String,
        /// Without asking.
        yes: bool,
        /// Without a way back.
        now: bool,
    },
    /// A dropped database comes back.
    Undrop {
        /// Its name when it was dropped.
        database: String,
        /// Its id, where the newest of the name is not meant.
        id: Option<u64>,
        /// Its name from now on.
        new_name: Option<String>,
    },
    /// A dropped database is given up.
    Purge {
        /// Its name when it was dropped.
        database: String,
        /// Its id, where the newest of the name is not meant.
        id: Option<u64>,
        /// Without asking.
        yes: bool,
    },
    /// A name for a state.
    Snapshot {
        /// The database.
        database: String,
        /// The snapshot's name.
        name: String,
        /// The state.
        #[serde(with = "at_as_text")]
        at: At,
    },
    /// The snapshots of a database.
    Snapshots {
        /// The database.
        database: String,
    },
    /// A snapshot goes.
    DropSnapshot {
        /// The database.
        database: String,
        /// The snapshot's name.
        name: String,
    },
    /// A database that begins as a state of another one.
    Fork {
        /// The other one.
        database: String,
        /// The name of the new one.
        new_name: String,
        /// The state.
        #[serde(with = "at_as_text")]
        at: At,
    },
    /// A database becomes again what it was.
    Restore {
        /// The database.
        database: String,
        /// What it was.
        #[serde(with = "at_as_text")]
        at: At,
    },
    /// The states that can be had.
    RestorePoints {
        /// The database.
        database: String,
        /// At most so many, the newest.
        limit: Option<usize>,
    },
    /// How much of its past a database keeps.
    Retention {
        /// The database.
        database: String,
        /// What is changed about that.
        change: RetentionChange,
    },
    /// How large a database may grow.
    Quota {
        /// The database.
        database: String,
        /// From now on, in bytes.
        bytes: Option<u64>,
        /// As large as it likes, from now on.
        none: bool,
    },
    /// The store as it is now goes into a directory.
    Backup {
        /// The directory: an absolute path, since the owner stands elsewhere.
        dir: String,
        /// So many finished backups stay.
        keep: NonZeroUsize,
        /// Chunks are copied, also where a link would do.
        copy: bool,
    },
    /// A SQLite file becomes a new database.
    Import {
        /// Its name.
        database: String,
        /// The file, by an absolute path.
        file: String,
    },
    /// A state of a database becomes a SQLite file.
    Export {
        /// Its name.
        database: String,
        /// The state, as people write it; none: whatever is newest.
        at: Option<String>,
        /// The file, by an absolute path.
        file: String,
        /// One that is there is replaced.
        force: bool,
    },
    /// Where the bytes are.
    Space {
        /// Of this database alone.
        database: Option<String>,
    },
    /// What the log is kept for.
    LogWhy,
    /// The state of the store and its metrics.
    Stats,
    /// The metrics alone, as the text that Prometheus reads.
    Metrics,
    /// Whether the store is well, and what is to be known of it at a glance.
    Status {
        /// Again and again, with a pause of so many milliseconds between.
        every_ms: Option<u64>,
        /// Each time in place of the last, on a terminal.
        redraw: bool,
    },
    /// What is wrong with the store, and what to do about it.
    Doctor,
    /// The log goes into chunks.
    Checkpoint,
    /// What the manifest did.
    Changes(Feed),
    /// What was committed.
    Commits {
        /// Of this database alone.
        database: Option<String>,
        /// From where.
        feed: Feed,
    },
    /// Who subscribes.
    Cursors,
    /// A cursor goes.
    DropCursor {
        /// Its name.
        name: String,
    },
    /// What is done in the background.
    Jobs,
    /// A job ends.
    CancelJob {
        /// Its number.
        job: u64,
    },
    /// What is in chunks is read, and every byte checked.
    Scrub {
        /// Of this database alone.
        database: Option<String>,
    },
    /// Every checksum is checked.
    Verify {
        /// Every b-tree too.
        deep: bool,
        /// Of this database alone.
        database: Option<String>,
    },
}

/// From where a feed is read, and whether for ever.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Feed {
    /// From this change or position of the log on, instead of the last ten.
    pub from: Option<u64>,
    /// What the cursor of this name has not seen.
    pub cursor: Option<String>,
    /// And what comes from now on.
    pub follow: bool,
}

/// What is changed about a retention; what is not named stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RetentionChange {
    /// States of so long, in microseconds.
    pub window_us: Option<u64>,
    /// But no more bytes than these.
    pub bytes: Option<u64>,
    /// First, what the store does by default.
    pub default: bool,
}

impl Request {
    /// Refuses a name for something new that cannot be one, before a store is opened or made for it.
    ///
    /// # Errors
    /// Which rule the name breaks.
    pub fn check(&self) -> Result<(), Failure> {
        match self {
            Self::Create { database, .. } => check_name(database),
            Self::Fork { new_name, .. } => check_name(new_name),
            Self::Backup { dir, .. } => check_absolute(dir),
            Self::Export { file, .. } => check_absolute(file),
            Self::Import { database, file } => {
                check_name(database)?;
                check_absolute(file)
            }
            _ => Ok(()),
        }
    }
}

fn check_absolute(path: &str) -> Result<(), Failure> {
    if Path::new(path).is_absolute() {
        return Ok(());
    }
    Err(Failure::new(
        ErrorCode::Usage,
        format_args!(
            "{path:?} is no absolute path: whoever has the store open may stand elsewhere"
        ),
    ))
}

/// Refuses what cannot be a name of a database.
///
/// # Errors
/// Which rule the name breaks.
pub fn check_name(name: &str) -> Result<(), Failure> {
    match DbName::given(name) {
        Ok(_) => Ok(()),
        Err(reason) => Err(Failure::from(CatalogueError::InvalidName {
            name: name.to_owned(),
            reason,
        })),
    }
}

/// A state goes by the text that people write for it.
mod at_as_text {
    use bop_storage::At;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(at: &At, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(at)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<At, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_back_from_its_json_as_it_was() {
        let fork = Request::Fork {
            database: "orders".to_owned(),
            new_name: "orders 2".to_owned(),
            at: "snapshot:before".parse().unwrap(),
        };
        let text = serde_json::to_string(&fork).unwrap();
        assert_eq!(
            text,
            r#"{"fork":{"database":"orders","new_name":"orders 2","at":"snapshot:before"}}"#
        );
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), fork);
    }

    #[test]
    fn what_is_a_path_is_one_that_the_owner_finds() {
        let backup = |dir: &str| Request::Backup {
            dir: dir.to_owned(),
            keep: NonZeroUsize::MIN,
            copy: false,
        };
        assert!(backup("/var/backups/orders").check().is_ok());
        let refused = backup("backups").check().unwrap_err();
        assert!(refused.to_string().contains("backups"), "{refused}");
        let import = Request::Import {
            database: "orders".to_owned(),
            file: "orders.sqlite".to_owned(),
        };
        let refused = import.check().unwrap_err();
        assert!(refused.to_string().contains("orders.sqlite"), "{refused}");
    }

    #[test]
    fn a_state_that_is_none_is_refused_with_what_one_looks_like() {
        let text = r#"{"restore":{"database":"orders","at":"yesterday"}}"#;
        let error = serde_json::from_str::<Request>(text).unwrap_err();
        assert!(error.to_string().contains("snapshot:NAME"), "{error}");
    }
}
