//! What `bop sql` is given.

use super::Source;
use bop_control::Mode;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use std::path::PathBuf;

/// `bop sql`.
#[derive(clap::Args, Debug)]
pub(crate) struct SqlArgs {
    /// The database, created when it is missing; or DB@STATE to read what it was: now, snapshot:NAME,
    /// lsn:N or time:RFC3339
    #[arg(value_name = "DB")]
    pub(crate) source: Source,
    /// The SQL; without it and --file, standard input or a prompt
    #[arg(conflicts_with = "file")]
    pub(crate) sql: Option<String>,
    /// Read the SQL from this file; - is standard input
    #[arg(long, short)]
    pub(crate) file: Option<PathBuf>,
    /// How to write rows [default: list, at a prompt: table, with --json: json]
    #[arg(long, short, value_parser = mode_parser())]
    pub(crate) mode: Option<Mode>,
    /// Write column names in modes list and csv
    #[arg(long)]
    pub(crate) header: bool,
    /// Fail when the store or the database is missing instead of creating it
    #[arg(long)]
    pub(crate) no_create: bool,
    /// Where another process has the store open: ask it for a session that may write, and not only read
    #[arg(long)]
    pub(crate) write: bool,
}

/// The modes, with what each is.
fn mode_parser() -> impl TypedValueParser<Value = Mode> {
    let modes = Mode::ALL.map(|mode| {
        let (name, help) = mode.explained();
        PossibleValue::new(name).help(help)
    });
    PossibleValuesParser::new(modes)
        .try_map(|name| Mode::named(&name).ok_or_else(|| format!("no mode {name:?}")))
}
