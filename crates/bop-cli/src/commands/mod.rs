//! One file for each command that this process does itself. The others are requests, which [`bop_control`] answers:
//! here, or in the process that has the store open.
//!
//! Invariant: a command that prints can print JSON, one value on one line.

mod backup;
mod exporter;
mod manifest;
mod progress;
mod repair;
mod requests;
mod salvage;
mod sql;
mod transfer;

use crate::args::{Args, Command, ManifestCommand, PastCommand, RestoreArgs};
use crate::session::{Target, ask};
use bop_control::Failure;
use bop_storage::error::ErrorCode;
use serde_json::Value;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;

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
            compression: args.compression()?,
            control: args.control()?,
        },
        json: args.json,
    };
    match requests::request_of(args.command) {
        Ok(request) => ask(&context, requests::when_missing(&request), &request),
        Err(command) => run_here(&context, command),
    }
}

/// Runs a command that no other process does for this one.
fn run_here(context: &Context, command: Command) -> Result<u8, Failure> {
    match command {
        Command::Sql(arguments) => sql::run(context, arguments),
        Command::Exporter(args) => exporter::run(context, &args),
        Command::Manifest(command) => run_manifest(context, &command),
        Command::Repair { force, dry_run } => repair::run(context, force, dry_run),
        Command::Salvage { from, to, db } => salvage::run(context, &from, &to, db.as_deref()),
        Command::Backup(args) => backup::run(context, &args),
        Command::Past(PastCommand::Restore(RestoreArgs {
            from: Some(dir),
            number,
            ..
        })) => backup::restore(context, &dir, number),
        Command::Import(args) => transfer::import(context, &args),
        Command::Export {
            source,
            file,
            force,
        } => transfer::export(context, &source, &file, force),
        other => Err(Failure::new(
            ErrorCode::NotSupported,
            format_args!("{other:?} is for the owner of the store"),
        )),
    }
}

fn run_manifest(context: &Context, command: &ManifestCommand) -> Result<u8, Failure> {
    match command {
        ManifestCommand::Dump => manifest::dump(context),
        ManifestCommand::Stat => manifest::stat(context),
        ManifestCommand::Verify => manifest::verify(context),
    }
}

/// Tells of an error.
pub(crate) fn report(failure: &Failure, json: bool) {
    if json {
        tell(failure.to_json());
    } else {
        tell(failure);
    }
}

/// Writes a line to standard error. Where that is closed, the exit status has to do.
fn tell(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A path as another process understands it, which may stand elsewhere.
///
/// # Errors
/// It is no text, or there is no working directory.
fn absolute(path: &Path) -> Result<String, Failure> {
    let usage = |message: String| Failure::new(ErrorCode::Usage, message);
    let absolute = std::path::absolute(path)
        .map_err(|error| usage(format!("{}: {error}", path.display())))?
        .into_os_string();
    let text = absolute.into_string();
    text.map_err(|path| usage(format!("{} is not UTF-8", path.display())))
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
            .map_err(|error| Failure::of_output(&error))
    }
}
