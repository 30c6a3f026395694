//! What the command line says of states of the past: which one, and what is to be done with it.

use bop_storage::{At, AtError};
use bytesize::ByteSize;
use std::path::PathBuf;
use std::str::FromStr;

/// What is read: a database, or with `DB@STATE` a state of it. No name of a database has an `@`, so the
/// first one ends it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Source {
    /// The database's name.
    pub(crate) database: String,
    /// The state, if not whatever is newest.
    pub(crate) at: Option<At>,
}

impl FromStr for Source {
    type Err = AtError;

    fn from_str(text: &str) -> Result<Self, AtError> {
        let (database, at) = match text.split_once('@') {
            None => (text, None),
            Some((database, at)) => (database, Some(at.parse()?)),
        };
        let database = database.to_owned();
        Ok(Self { database, at })
    }
}

/// What can be done with the past of a database.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum PastCommand {
    /// Make, list and drop names for states of a database, to be read as DB@snapshot:NAME
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Make a database that begins as a state of another one, without a copy
    Fork(ForkArgs),
    /// Make a database again what it was, and what it was until now stays as a snapshot; or, with --from, a
    /// new store of a backup
    Restore(RestoreArgs),
    /// List the states of a database that can be had, the newest first
    RestorePoints(RestorePointsArgs),
    /// Show or set how much of the past of a database is kept: which of its states can be read and
    /// restored, and how long a drop can be taken back
    Retention(RetentionArgs),
}

/// `bop snapshot`.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum SnapshotCommand {
    /// Give a state of a database a name, under which it stays until the snapshot is dropped
    Create {
        /// The database
        #[arg(value_name = "DB")]
        database: String,
        /// The snapshot's name
        #[arg(value_name = "NAME")]
        snapshot: String,
        /// Which state: now, snapshot:NAME, lsn:N or time:RFC3339
        #[arg(long, value_name = "STATE", default_value = "now")]
        at: At,
    },
    /// List the snapshots of a database
    List {
        /// The database
        #[arg(value_name = "DB")]
        database: String,
    },
    /// Forget a snapshot: what it alone has kept goes with the next checkpoint
    Drop {
        /// The database
        #[arg(value_name = "DB")]
        database: String,
        /// The snapshot's name
        #[arg(value_name = "NAME")]
        snapshot: String,
    },
}

/// `bop fork`.
#[derive(clap::Args, Debug)]
pub(crate) struct ForkArgs {
    /// The database
    #[arg(value_name = "DB")]
    pub(crate) database: String,
    /// The name of the new one
    #[arg(value_name = "NEW")]
    pub(crate) new_name: String,
    /// The state to begin with: now, snapshot:NAME, lsn:N or time:RFC3339
    #[arg(long, value_name = "STATE", default_value = "now")]
    pub(crate) at: At,
}

/// `bop restore`.
#[derive(clap::Args, Debug)]
pub(crate) struct RestoreArgs {
    /// The database
    #[arg(value_name = "DB", required_unless_present = "from")]
    pub(crate) database: Option<String>,
    /// What it becomes again: snapshot:NAME, lsn:N or time:RFC3339
    #[arg(long, value_name = "STATE", required_unless_present = "from")]
    pub(crate) at: Option<At>,
    /// Make a new database of that state, and leave this one as it is
    #[arg(long = "as", value_name = "NEW", requires = "database")]
    pub(crate) new_name: Option<String>,
    /// Make the store itself, which is not there yet, of the newest backup in this directory
    #[arg(long, value_name = "DIR", conflicts_with_all = ["database", "at", "new_name"])]
    pub(crate) from: Option<PathBuf>,
    /// This backup instead of the newest, as bop backup list shows it
    #[arg(long, value_name = "N", requires = "from", conflicts_with = "database")]
    pub(crate) number: Option<u64>,
}

/// `bop restore-points`.
#[derive(clap::Args, Debug)]
pub(crate) struct RestorePointsArgs {
    /// The database
    #[arg(value_name = "DB")]
    pub(crate) database: String,
    /// Only so many, the newest [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

/// `bop retention`.
#[derive(clap::Args, Debug)]
pub(crate) struct RetentionArgs {
    /// The database
    #[arg(value_name = "DB")]
    pub(crate) database: String,
    /// Its states of so long, as in 36h or 7days; a drop can be taken back for as long
    #[arg(long, value_name = "TIME")]
    pub(crate) window: Option<humantime::Duration>,
    /// But no more bytes than these beside the newest state, as in 2GiB [default: ten times its size]
    #[arg(long, value_name = "SIZE")]
    pub(crate) bytes: Option<ByteSize>,
    /// What the store does by default
    #[arg(long)]
    pub(crate) default: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use bop_storage::Lsn;

    #[test]
    fn the_first_at_ends_the_name() {
        let parse = |text: &str| text.parse::<Source>();
        let source = |database: &str, at| {
            let database = database.to_owned();
            Ok(Source { database, at })
        };
        assert_eq!(parse("orders"), source("orders", None));
        assert_eq!(parse("orders@now"), source("orders", Some(At::Now)));
        assert_eq!(
            parse("my db@snapshot:a@b"),
            source("my db", Some(At::Snapshot("a@b".to_owned())))
        );
        assert_eq!(parse("o@lsn:7"), source("o", Some(At::Lsn(Lsn::new(7)))));
        for text in ["orders@", "orders@yesterday", "orders@@now"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(
                error.contains("snapshot:NAME, lsn:NUMBER or time:"),
                "{error}"
            );
        }
    }
}
