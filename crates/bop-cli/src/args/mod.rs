//! The command line.
//!
//! Invariant: what is wrong with a command line is found here, before anything is opened; it is a
//! usage error, exit status 2.

mod backup;
mod environment;
mod exporter;
mod past;
mod sql;

pub(crate) use backup::{BackupArgs, BackupCommand};
pub(crate) use environment::ControlMode;
pub(crate) use exporter::ExporterArgs;
pub(crate) use past::{
    ForkArgs, PastCommand, RestoreArgs, RestorePointsArgs, RetentionArgs, SnapshotCommand, Source,
};
pub(crate) use sql::SqlArgs;

use bop_storage::Compression;
use bop_storage::io::IoBackend;
use bytesize::ByteSize;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Many SQLite databases in one store, on one durable log.
#[derive(Parser, Debug)]
#[command(name = "bop", version, about, disable_help_subcommand = true)]
#[command(after_help = "Exit status: 0 ok, 1 error, 2 wrong usage, 3 the store is unhealthy.")]
pub(crate) struct Args {
    /// The store's directory; sql, create and import make it when it is missing [default:
    /// $BOP_STORE, or ./bop-data where that is unset or empty]
    #[arg(long, global = true, value_name = "DIR")]
    store: Option<PathBuf>,

    /// How files are read and written: auto, std (page cache), direct or uring; one that is not to
    /// be had is an error [default: $BOP_IO, or auto]
    #[arg(long, global = true, value_name = "BACKEND")]
    io: Option<IoBackend>,

    /// How checkpoints compress pages: off, lz4, zstd, or zstd:1 to zstd:19 [default:
    /// $BOP_COMPRESSION, or lz4]
    #[arg(long, global = true, value_name = "HOW")]
    compression: Option<Compression>,

    /// What other processes of yours may ask while this one has the store open [default: $BOP_CONTROL,
    /// or write]
    #[arg(long, global = true, value_enum, value_name = "WHAT")]
    control: Option<ControlMode>,

    /// Write answers and errors as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Log to standard error: error, warn, info, debug, trace, or a filter such as
    /// bop_storage=debug
    #[arg(long, global = true, value_name = "LEVEL", value_parser = log_filter)]
    pub(crate) log: Option<EnvFilter>,

    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Args {
    /// The store's directory.
    pub(crate) fn store(&self) -> PathBuf {
        // By hand, since for clap an empty variable is a value, and no good one.
        self.store_with(std::env::var_os("BOP_STORE"))
    }

    fn store_with(&self, variable: Option<OsString>) -> PathBuf {
        let named = self.store.clone();
        let set = variable.filter(|value| !value.is_empty());
        named
            .or(set.map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from("./bop-data"))
    }
}

/// What `bop` can do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run SQL from the argument, a file, standard input or a prompt
    Sql(SqlArgs),
    /// List the databases
    List {
        /// Those that were dropped and can be brought back
        #[arg(long)]
        dropped: bool,
    },
    /// Show what is known of one database
    Info {
        /// The database
        #[arg(value_name = "DB")]
        database: String,
    },
    /// Create an empty database
    Create {
        /// Its name
        #[arg(value_name = "DB")]
        database: String,
        /// Plain pages instead of a SQLite database
        #[arg(long)]
        raw: bool,
    },
    /// Give a database another name
    Rename {
        /// Its name now
        #[arg(value_name = "DB")]
        from: String,
        /// Its name from now on
        #[arg(value_name = "NEW")]
        to: String,
    },
    /// Delete a database; asks first. For a while bop undrop brings it back
    Drop {
        /// The database
        #[arg(value_name = "DB")]
        database: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Without a way back
        #[arg(long)]
        now: bool,
    },
    /// Bring back the newest dropped database of a name
    Undrop {
        /// Its name when it was dropped
        #[arg(value_name = "DB")]
        database: String,
        /// The dropped database with this id, as bop list --dropped shows it
        #[arg(long, value_name = "N")]
        id: Option<u64>,
        /// Its name from now on
        #[arg(long = "as", value_name = "NEW")]
        new_name: Option<String>,
    },
    /// Give up the newest dropped database of a name for good; asks first
    Purge {
        /// Its name when it was dropped
        #[arg(value_name = "DB")]
        database: String,
        /// The dropped database with this id, as bop list --dropped shows it
        #[arg(long, value_name = "N")]
        id: Option<u64>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// What a database was
    #[command(flatten)]
    Past(PastCommand),
    /// Show or set how large a database may grow
    Quota {
        /// The database
        #[arg(value_name = "DB")]
        database: String,
        /// In bytes, or with a unit: 512MiB
        size: Option<ByteSize>,
        /// As large as it likes
        #[arg(long, conflicts_with = "size")]
        none: bool,
    },
    /// Show the state of the store and what it measures
    Stats {
        /// The metrics alone, as the text that Prometheus reads
        #[arg(long)]
        prometheus: bool,
    },
    /// Serve metrics, health and a page for people over HTTP, asking whichever process has the store open
    Exporter(ExporterArgs),
    /// Whether the store is well, how far chunks are behind commits, and who holds what; exit status 3 if it
    /// is not
    Status {
        /// Go on, on a terminal in place of what was shown before
        #[arg(long)]
        watch: bool,
        /// The time between two looks
        #[arg(long, value_name = "TIME", default_value = "2s", requires = "watch")]
        every: humantime::Duration,
    },
    /// What is wrong with the store, and what to do about it; exit status 3 if anything is
    Doctor,
    /// Show where the bytes of the store are: newest states, the past, snapshots, what is dead
    Space {
        /// Only this database; the totals are the store's
        #[arg(value_name = "DB")]
        database: Option<String>,
    },
    /// What the log is kept for
    #[command(subcommand)]
    Log(LogCommand),
    /// Write what the log holds into chunk files and release the log
    Checkpoint,
    /// What the manifest did: databases made, renamed and dropped, generations and chunks published
    #[command(subcommand)]
    Changes(ChangesCommand),
    /// What was committed, as the log has it
    #[command(subcommand)]
    Commits(CommitsCommand),
    /// Who subscribes to changes and commits
    #[command(subcommand)]
    Cursor(CursorCommand),
    /// List what is to be done in the background, and what became of it
    Jobs {
        /// End this job instead, if it is not over
        #[arg(long, value_name = "JOB")]
        cancel: Option<u64>,
    },
    /// Read what is in chunks and check every byte, now; bop verify reads the log and the manifest, too
    Scrub {
        /// Only this database
        #[arg(value_name = "DB")]
        database: Option<String>,
    },
    /// Look at the manifest of a store, also of one that cannot be opened
    #[command(subcommand)]
    Manifest(ManifestCommand),
    /// Make a lost or damaged manifest anew, from what chunks and log say; the old one is kept
    Repair {
        /// Also when it is sound, or when nobody can tell; chunks that cannot be read count as damaged
        #[arg(long)]
        force: bool,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Bring each database of a damaged store to its last provable commit, in a new store
    Salvage {
        /// The damaged store, which is only read
        #[arg(value_name = "STORE")]
        from: PathBuf,
        /// The new store: a directory that is not there, or is empty
        #[arg(value_name = "NEW")]
        to: PathBuf,
        /// Only this database
        #[arg(long, value_name = "DB")]
        db: Option<String>,
    },
    /// Back up the store into a directory: what is there from earlier backups is not copied again
    Backup(BackupArgs),
    /// Check every checksum of the store
    Verify {
        /// Run PRAGMA integrity_check as well, on this database or on all
        #[arg(long)]
        deep: bool,
        /// Only this database (the log and the manifest, which all share, are checked anyway)
        #[arg(value_name = "DB")]
        database: Option<String>,
    },
    /// Copy a SQLite file into a new database
    Import(ImportArgs),
    /// Copy a database into a SQLite file
    Export {
        /// The database, or DB@STATE for what it was: now, snapshot:NAME, lsn:N or time:RFC3339
        #[arg(value_name = "DB")]
        source: Source,
        /// The SQLite file
        file: PathBuf,
        /// Replace the file if it exists
        #[arg(long)]
        force: bool,
    },
}

/// `bop changes`.
#[derive(Subcommand, Debug)]
pub(crate) enum ChangesCommand {
    /// Show the newest changes, oldest first
    Tail {
        /// From this change on, instead of the last ten
        #[arg(long, value_name = "N")]
        from: Option<u64>,
        /// What the cursor of this name has not seen yet, which counts as seen once it is shown; a new
        /// one begins at --from, or at the oldest change
        #[arg(long, value_name = "NAME")]
        cursor: Option<String>,
        /// Go on with what happens from now on
        #[arg(long)]
        follow: bool,
    },
}

/// `bop commits`.
#[derive(Subcommand, Debug)]
pub(crate) enum CommitsCommand {
    /// Show the newest commits, oldest first
    Tail {
        /// Of this database alone
        #[arg(long, value_name = "DB")]
        db: Option<String>,
        /// From this position of the log on, instead of the last ten
        #[arg(long, value_name = "LSN")]
        from: Option<u64>,
        /// What the cursor of this name has not seen yet, which counts as seen once it is shown; a new
        /// one begins at --from, or where the log does
        #[arg(long, value_name = "NAME")]
        cursor: Option<String>,
        /// Go on with what is committed from now on
        #[arg(long)]
        follow: bool,
    },
}

/// `bop cursor`.
#[derive(Subcommand, Debug)]
pub(crate) enum CursorCommand {
    /// List the cursors, and how far each has come
    List,
    /// Forget a cursor, of either feed: it holds back nothing any more
    Drop {
        /// Its name
        #[arg(value_name = "NAME")]
        cursor: String,
    },
}

/// `bop log`.
#[derive(Subcommand, Debug)]
pub(crate) enum LogCommand {
    /// Show what needs the log from where, oldest first, and what a checkpoint would release
    Why,
}

/// `bop manifest`.
#[derive(Subcommand, Debug)]
pub(crate) enum ManifestCommand {
    /// Write every row, a line each
    Dump,
    /// Show how many rows there are, and who opened the store last
    Stat,
    /// Check every row
    Verify,
}

/// A level, or directives as `tracing` knows them. A bare word that is no level would be taken for
/// the name of a crate and log nothing.
fn log_filter(text: &str) -> Result<EnvFilter, String> {
    let is_level = !text.is_empty() && text.parse::<LevelFilter>().is_ok();
    if !text.contains('=') && !is_level {
        return Err("expected error, warn, info, debug, trace or CRATE=LEVEL".to_owned());
    }
    EnvFilter::try_new(text).map_err(|error| error.to_string())
}

/// What to import.
#[derive(clap::Args, Debug)]
pub(crate) struct ImportArgs {
    /// The new database; or, alone, a directory: each SQLite file in it becomes a database that is
    /// called as the file is, without .sqlite, .sqlite3, .db or .db3. What is there already and equal
    /// is left as it is, so an import that was interrupted can be begun again
    #[arg(value_name = "DB|DIR")]
    pub(crate) target: String,
    /// The SQLite file
    pub(crate) file: Option<PathBuf>,
    /// Fail when the store is missing instead of creating it
    #[arg(long)]
    pub(crate) no_create: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn global_options_may_follow_the_command() {
        let args = Args::try_parse_from(["bop", "list", "--store", "x", "--json"]).unwrap();
        assert_eq!(args.store(), PathBuf::from("x"));
        assert!(args.json);
    }

    #[test]
    fn an_empty_variable_is_as_good_as_none() {
        let store = |arguments: &[&str], variable: Option<&str>| {
            let args = Args::try_parse_from(arguments).unwrap();
            args.store_with(variable.map(OsString::from))
        };
        assert_eq!(store(&["bop", "list"], None), PathBuf::from("./bop-data"));
        assert_eq!(
            store(&["bop", "list"], Some("")),
            PathBuf::from("./bop-data")
        );
        assert_eq!(store(&["bop", "list"], Some("v")), PathBuf::from("v"));
        let named = &["bop", "list", "--store", "n"];
        assert_eq!(store(named, Some("v")), PathBuf::from("n"));
    }

    #[test]
    fn sql_comes_from_one_place() {
        assert!(Args::try_parse_from(["bop", "sql", "d", "select 1", "--file", "f"]).is_err());
    }

    #[test]
    fn a_log_level_is_one() {
        let parse = |level| Args::try_parse_from(["bop", "list", "--log", level]);
        for level in ["debug", "WARN", "bop_storage=trace,info"] {
            assert!(parse(level).is_ok(), "{level}");
        }
        for level in ["loud", "bop_storage=loud", "a=b=c", ""] {
            assert!(parse(level).is_err(), "{level}");
        }
    }
}
