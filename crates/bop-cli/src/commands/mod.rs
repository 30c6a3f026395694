//! One file for each command: what it asks of the engine and how it shows the answer.
//!
//! Invariant: a command that prints can print JSON, one value on one line.

mod backup;
mod changes;
mod checkpoint;
mod commits;
mod create;
mod cursor;
mod drop;
mod info;
mod jobs;
mod list;
mod manifest;
mod past;
mod progress;
mod rename;
mod repair;
mod salvage;
mod settings;
mod snapshot;
mod space;
mod sql;
mod stats;
mod transfer;
mod undrop;
mod verify;

use crate::args::{
    Args, ChangesCommand, Command, CommitsCommand, CursorCommand, LogCommand, ManifestCommand,
};
use crate::errors::{Failure, code_of};
use crate::session::Target;
use bop_storage::error::CatalogueError;
use bop_storage::name::DbName;
use serde_json::Value;
use std::fmt;
use std::io::{self, Write};

/// What every command knows.
pub(crate) struct Context {
    /// The store.
    pub(crate) store: Target,
    /// Whether answers are JSON.
    pub(crate) json: bool,
}

/// Runs the command; answers the exit status.
///
/// # Errors
/// What the command answers.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    let context = Context {
        store: Target {
            path: args.store(),
            io: args.io()?,
        },
        json: args.json,
    };
    match args.command {
        Command::Sql(arguments) => sql::run(&context, arguments),
        Command::List { dropped: false } => list::run(&context),
        Command::List { dropped: true } => undrop::list(&context),
        Command::Info { database } => info::run(&context, &database),
        Command::Create { database, raw } => create::run(&context, &database, raw),
        Command::Rename { from, to } => rename::run(&context, &from, &to),
        Command::Drop { database, yes, now } => drop::run(&context, &database, yes, now),
        Command::Undrop {
            database,
            id,
            new_name,
        } => undrop::run(&context, &database, id, new_name.as_deref()),
        Command::Purge { database, id, yes } => drop::purge(&context, &database, id, yes),
        Command::Past(command) => past::run(&context, &command),
        Command::Quota {
            database,
            size,
            none,
        } => settings::quota(&context, &database, size, none),
        Command::Space { database } => space::run(&context, database.as_deref()),
        Command::Log(LogCommand::Why) => space::why(&context),
        Command::Stats => stats::run(&context),
        Command::Checkpoint => checkpoint::run(&context),
        Command::Changes(ChangesCommand::Tail {
            from,
            cursor,
            follow,
        }) => match cursor {
            Some(name) => changes::tail_cursor(&context, &name, from, follow),
            None => changes::tail(&context, from, follow),
        },
        Command::Commits(CommitsCommand::Tail {
            db,
            from,
            cursor,
            follow,
        }) => match cursor {
            Some(name) => commits::tail_cursor(&context, &name, db.as_deref(), from, follow),
            None => commits::tail(&context, db.as_deref(), from, follow),
        },
        Command::Cursor(CursorCommand::List) => cursor::list(&context),
        Command::Cursor(CursorCommand::Drop { cursor }) => cursor::drop(&context, &cursor),
        Command::Jobs { cancel: None } => jobs::list(&context),
        Command::Jobs { cancel: Some(job) } => jobs::cancel(&context, job),
        Command::Scrub { database } => jobs::scrub(&context, database.as_deref()),
        Command::Manifest(command) => run_manifest(&context, &command),
        Command::Repair { force, dry_run } => repair::run(&context, force, dry_run),
        Command::Salvage { from, to, db } => salvage::run(&context, &from, &to, db.as_deref()),
        Command::Backup(args) => backup::run(&context, &args),
        Command::Verify { deep, database } => verify::run(&context, deep, database.as_deref()),
        Command::Import(args) => transfer::import(&context, &args),
        Command::Export {
            source,
            file,
            force,
        } => transfer::export(&context, &source, &file, force),
    }
}

fn run_manifest(context: &Context, command: &ManifestCommand) -> Result<u8, Failure> {
    match command {
        ManifestCommand::Dump => manifest::dump(context),
        ManifestCommand::Stat => manifest::stat(context),
        ManifestCommand::Verify => manifest::verify(context),
    }
}

impl Context {
    /// Writes the answer: `json` with `--json`, else `text`.
    ///
    /// # Errors
    /// Standard output cannot be written.
    fn answer(&self, text: impl fmt::Display, json: Value) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let written = if self.json {
            writeln!(out, "{json}")
        } else {
            writeln!(out, "{text}")
        };
        written
            .and_then(|()| out.flush())
            .map_err(|error| output_failure(&error))
    }
}

/// Refuses what cannot be a name before a store is made for it.
///
/// # Errors
/// Which rule the name breaks.
fn check_name(name: &str) -> Result<(), Failure> {
    match DbName::given(name) {
        Ok(_) => Ok(()),
        Err(reason) => Err(Failure::from(CatalogueError::InvalidName {
            name: name.to_owned(),
            reason,
        })),
    }
}

/// The error of a standard output that takes no more.
fn output_failure(error: &io::Error) -> Failure {
    Failure {
        reader_left: error.kind() == io::ErrorKind::BrokenPipe,
        ..Failure::new(code_of(error), format_args!("write the answer: {error}"))
    }
}
