//! What the command line says of backups.

use std::num::NonZeroUsize;
use std::path::PathBuf;

/// `bop backup`.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct BackupArgs {
    /// The directory of the backups, which is made when it is missing; one that is called as a command below
    /// is ./verify or ./list
    #[arg(value_name = "DIR", required = true)]
    pub(crate) dir: Option<PathBuf>,
    /// How many finished backups stay, the new one among them
    #[arg(long, value_name = "N", default_value = "2")]
    pub(crate) keep: NonZeroUsize,
    /// Copy chunks also where a link would do: a link is no second copy of the bytes
    #[arg(long)]
    pub(crate) copy: bool,
    /// What to do with backups that are there
    #[command(subcommand)]
    pub(crate) command: Option<BackupCommand>,
}

/// What is done with backups that are there.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum BackupCommand {
    /// Restore a backup into a scratch store, read every page, compare every checksum, and record that
    Verify {
        /// The directory of the backups
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// This one instead of the newest, as bop backup list shows it
        #[arg(long, value_name = "N")]
        number: Option<u64>,
        /// Where the scratch store is made [default: beside DIR]
        #[arg(long, value_name = "DIR")]
        scratch: Option<PathBuf>,
    },
    /// List the finished backups
    List {
        /// The directory of the backups
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use crate::args::{Args, Command};
    use clap::Parser;

    #[test]
    fn a_directory_or_a_command_and_never_neither() {
        let parse =
            |arguments: &[&str]| Args::try_parse_from([&["bop", "backup"], arguments].concat());
        let dir = |arguments: &[&str]| match parse(arguments).unwrap().command {
            Command::Backup(args) => (args.dir.is_some(), args.command.is_some()),
            _ => (false, false),
        };
        assert_eq!(dir(&["d", "--keep", "3", "--copy"]), (true, false));
        assert_eq!(dir(&["./verify"]), (true, false));
        assert_eq!(dir(&["verify", "d", "--number", "4"]), (false, true));
        assert_eq!(dir(&["list", "d"]), (false, true));
        for wrong in [&[][..], &["verify"], &["d", "--keep", "0"], &["d", "e"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_database_or_a_backup_is_restored() {
        let parse = |arguments: &[&str]| {
            Args::try_parse_from([&["bop", "restore"], arguments].concat()).is_ok()
        };
        assert!(parse(&["db", "--at", "now"]) && parse(&["--from", "d"]));
        assert!(parse(&["--from", "d", "--number", "2", "--store", "s"]));
        for wrong in [
            &[][..],
            &["db"],
            &["--at", "now"],
            &["db", "--at", "now", "--from", "d"],
            &["--from", "d", "--as", "x"],
            &["db", "--at", "now", "--number", "2"],
        ] {
            assert!(!parse(wrong), "{wrong:?}");
        }
    }
}
