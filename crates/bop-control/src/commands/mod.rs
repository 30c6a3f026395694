//! One file for each command: what it asks of the engine and how it shows the answer.
//!
//! A command runs in the process that has the store open, whoever asked: the same process, or another one
//! over the socket. It knows neither; it has a [`Call`].
//!
//! Invariant: a command that prints can print JSON, one value on one line.

mod backup;
mod changes;
mod checkpoint;
mod commits;
mod create;
mod cursor;
mod drop;
mod health;
mod info;
mod jobs;
mod list;
mod past;
mod rename;
mod settings;
mod snapshot;
mod space;
mod stats;
mod status;
mod transfer;
mod undrop;
mod verify;

use crate::failure::Failure;
use crate::request::{Feed, Request};
use crate::sql::SqlDoor;
use bop_storage::Manager;
use bop_storage::error::ErrorCode;
use serde_json::Value;
use std::fmt;
use std::io::Write;
use std::time::Duration;

/// Whoever asked, seen from the process that answers.
pub trait Caller {
    /// Where the answer goes. What is written may be held back until it is flushed.
    fn out(&mut self) -> &mut dyn Write;

    /// Asks a person whether something is to go that is called `name`.
    ///
    /// # Errors
    /// It was not confirmed, or there is nobody to ask.
    fn confirm(&mut self, name: &str, question: &str) -> Result<(), Failure>;

    /// Whether the caller still waits. May be asked often.
    fn is_waiting(&mut self) -> bool;

    /// Whether anybody sees how far a long piece of work is.
    fn shows_progress(&self) -> bool {
        false
    }

    /// So much of a long piece of work is done, in bytes or in pages: for whoever shows that. Told after each piece;
    /// nothing is waited for.
    fn progress(&mut self, _done: u64, _total: u64) {}

    /// Lets time pass, or less of it if the caller leaves meanwhile.
    fn pause(&mut self, time: Duration);
}

/// A request that is being answered.
pub struct Call<'a> {
    manager: &'a Manager,
    sql: Option<&'a dyn SqlDoor>,
    json: bool,
    caller: &'a mut dyn Caller,
}

impl<'a> Call<'a> {
    /// A call of `caller`, who wants JSON or text. Without `sql` what needs SQLite is refused.
    pub fn new(
        manager: &'a Manager,
        sql: Option<&'a dyn SqlDoor>,
        json: bool,
        caller: &'a mut dyn Caller,
    ) -> Self {
        Self {
            manager,
            sql,
            json,
            caller,
        }
    }

    /// Writes the answer: `json` with `--json`, else `text`.
    fn answer(&mut self, text: impl fmt::Display, json: Value) -> Result<(), Failure> {
        if self.json {
            self.line(json)
        } else {
            self.line(text)
        }
    }

    fn line(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        let written = writeln!(self.caller.out(), "{line}");
        written.map_err(|error| Failure::of_output(&error))
    }

    /// What was written so far is to be seen now.
    fn flush(&mut self) -> Result<(), Failure> {
        let flushed = self.caller.out().flush();
        flushed.map_err(|error| Failure::of_output(&error))
    }

    fn confirm(&mut self, name: &str, question: &str) -> Result<(), Failure> {
        self.caller.confirm(name, question)
    }

    /// Ends a command that goes on for long when nobody waits for it.
    fn check_wanted(&mut self) -> Result<(), Failure> {
        match self.caller.is_waiting() {
            true => Ok(()),
            false => Err(Failure::ended()),
        }
    }

    fn sql(&self) -> Result<&'a dyn SqlDoor, Failure> {
        self.sql.ok_or_else(no_sql)
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("store", &self.manager.path())
            .field("json", &self.json)
            .finish_non_exhaustive()
    }
}

/// That the owner of the store has no SQLite.
pub(crate) fn no_sql() -> Failure {
    let message = "the process that has the store open offers no SQL";
    Failure::new(ErrorCode::NotSupported, message)
        .with_hint("stop it, or have it start its control socket with SQL")
}

/// Answers a request, and tells the exit status that goes with it.
///
/// # Errors
/// What the command answers.
pub fn run(mut call: Call<'_>, request: &Request) -> Result<u8, Failure> {
    request.check()?;
    let call = &mut call;
    match request {
        Request::List => list::run(call),
        Request::Dropped => undrop::list(call),
        Request::Info { database } => info::run(call, database),
        Request::Create { database, raw } => create::run(call, database, *raw),
        Request::Rename { from, to } => rename::run(call, from, to),
        Request::Drop { database, yes, now } => drop::run(call, database, *yes, *now),
        Request::Undrop {
            database,
            id,
            new_name,
        } => undrop::run(call, database, *id, new_name.as_deref()),
        Request::Purge { database, id, yes } => drop::purge(call, database, *id, *yes),
        Request::Retention { database, change } => settings::retention(call, database, *change),
        Request::Quota {
            database,
            bytes,
            none,
        } => settings::quota(call, database, *bytes, *none),
        Request::Checkpoint => checkpoint::run(call),
        Request::Backup { dir, keep, copy } => backup::run(call, dir, *keep, *copy),
        Request::Import { database, file } => transfer::import(call, database, file),
        Request::Export {
            database,
            at,
            file,
            force,
        } => transfer::export(call, database, at.as_deref(), file, *force),
        Request::Jobs => jobs::list(call),
        Request::CancelJob { job } => jobs::cancel(call, *job),
        Request::Scrub { database } => jobs::scrub(call, database.as_deref()),
        Request::Verify { deep, database } => verify::run(call, *deep, database.as_deref()),
        Request::Space { database } => space::run(call, database.as_deref()),
        Request::LogWhy => space::why(call),
        Request::Stats => stats::run(call),
        Request::Metrics => stats::metrics(call),
        Request::Status { every_ms, redraw } => status::run(call, *every_ms, *redraw),
        Request::Doctor => status::doctor(call),
        Request::Snapshot { database, name, at } => snapshot::create(call, database, name, at),
        Request::Snapshots { database } => snapshot::list(call, database),
        Request::DropSnapshot { database, name } => snapshot::drop(call, database, name),
        Request::Fork {
            database,
            new_name,
            at,
        } => past::fork(call, database, new_name, at),
        Request::Restore { database, at } => past::restore(call, database, at),
        Request::RestorePoints { database, limit } => past::points(call, database, *limit),
        Request::Changes(feed) => run_changes(call, feed),
        Request::Commits { database, feed } => run_commits(call, database.as_deref(), feed),
        Request::Cursors => cursor::list(call),
        Request::DropCursor { name } => cursor::drop(call, name),
    }
}

fn run_changes(call: &mut Call<'_>, feed: &Feed) -> Result<u8, Failure> {
    match &feed.cursor {
        Some(name) => changes::tail_cursor(call, name, feed.from, feed.follow),
        None => changes::tail(call, feed.from, feed.follow),
    }
}

fn run_commits(call: &mut Call<'_>, database: Option<&str>, feed: &Feed) -> Result<u8, Failure> {
    match &feed.cursor {
        Some(name) => commits::tail_cursor(call, name, database, feed.from, feed.follow),
        None => commits::tail(call, database, feed.from, feed.follow),
    }
}
