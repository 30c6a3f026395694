//! Pragmas that only a database of a store has, and those of SQLite that must not reach it.
//!
//! | pragma | answer |
//! |---|---|
//! | `bop_snapshot('NAME')` | gives the newest state, or the one that is shown, a name |
//! | `bop_fork('NEW')` | makes a database that begins as it; `bop_fork('NEW@snapshot:before')` as another state |
//! | `bop_restore_points`, `bop_restore_points(N)` | the states that can be had, the newest first, a line each |
//! | `bop_status` | a line for each thing that is known: place, state, store, the newest error |
//! | `journal_mode=WAL` | the mode in force: there is no WAL |
//! | `locking_mode=EXCLUSIVE` where an old state is read | an error: it could never write |
//! | `page_size=N`, once there are pages | the size in force: it does not change |
//!
//! Never: answers with more than one text, which is all that SQLite takes.

use crate::handle::{Handle, Level};
use bop_sqlite_common::engine_error::EngineError;
use bop_sqlite_common::shown;
use bop_storage::at::Moment;
use bop_storage::{At, Lsn, ReadTxn};
use std::fmt::Write;

/// What SQLite is told about a pragma.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// It is SQLite's business.
    NotOurs,
    /// One row with one text.
    Text(String),
    /// An error with this message.
    Failed(String),
}

/// So many restore points are told unless the pragma says how many.
const POINTS: usize = 100;

/// Answers a pragma on a database of ours.
pub(crate) fn answer(handle: &Handle, name: &str, argument: Option<&str>) -> Answer {
    let name = name.to_ascii_lowercase();
    let done = match (name.as_str(), argument) {
        ("bop_status", None) => status(handle),
        ("bop_restore_points", limit) => restore_points(handle, limit),
        ("bop_snapshot", Some(name)) => snapshot(handle, name),
        ("bop_fork", Some(name)) => fork(handle, name),
        ("bop_snapshot" | "bop_fork", None) => {
            return Answer::Failed(format!("{name} needs a name: PRAGMA {name} = 'NAME'"));
        }
        ("bop_status", Some(_)) => return Answer::Failed("bop_status takes no argument".into()),
        ("journal_mode", Some(mode)) if mode.eq_ignore_ascii_case("wal") => {
            return Answer::Text(handle.journal_mode());
        }
        ("journal_mode", Some(mode)) => {
            handle.set_journal_mode(mode);
            return Answer::NotOurs;
        }
        ("locking_mode", Some(mode)) => {
            let is = |name| mode.eq_ignore_ascii_case(name);
            let done = match (is("exclusive"), is("normal")) {
                (false, false) => Ok(()),
                (exclusive, _) => handle.set_exclusive(exclusive),
            };
            return done.map_or_else(|e| Answer::Failed(e.to_string()), |()| Answer::NotOurs);
        }
        ("page_size", Some(_)) => {
            let state = handle
                .snapshot()
                .ok()
                .filter(|state| state.page_count() > 0);
            let size = state.and_then(|state| state.page_size());
            return size.map_or(Answer::NotOurs, |size| Answer::Text(size.get().to_string()));
        }
        _ => return Answer::NotOurs,
    };
    done.map_or_else(|error| Answer::Failed(error.to_string()), Answer::Text)
}

/// The name of the database, and the state of it that is shown.
fn database_and_state(handle: &Handle) -> Result<(String, At), EngineError> {
    handle.hub().check_process("pragma")?;
    if handle.level() == Level::Writer {
        return Err(EngineError::Refused(
            "this connection writes to the database: commit first".into(),
        ));
    }
    match handle.database() {
        Some(db) => Ok((db.name(), At::Now)),
        None => {
            let name = handle.file_name();
            let (name, _) = shown::parse_file_name(name)?;
            Ok((name.to_owned(), At::Lsn(handle.snapshot()?.lsn())))
        }
    }
}

fn snapshot(handle: &Handle, name: &str) -> Result<String, EngineError> {
    let (database, at) = database_and_state(handle)?;
    let manager = handle.hub().manager();
    let made = manager.snapshot_database(&database, name, &at)?;
    Ok(format!("{database}@snapshot:{}", made.name))
}

fn fork(handle: &Handle, argument: &str) -> Result<String, EngineError> {
    let (database, shown) = database_and_state(handle)?;
    let (name, at) = shown::parse_file_name(argument)?;
    let at = at.unwrap_or(shown);
    let fork = handle.hub().manager().fork_database(&database, name, &at)?;
    Ok(fork.name())
}

fn restore_points(handle: &Handle, limit: Option<&str>) -> Result<String, EngineError> {
    handle.hub().check_process("pragma")?;
    let limit = match limit.map(str::parse) {
        None => POINTS,
        Some(Ok(limit)) => limit,
        Some(Err(_)) => {
            return Err(EngineError::Refused(
                "bop_restore_points takes a number".into(),
            ));
        }
    };
    let (name, _) = shown::parse_file_name(handle.file_name())?;
    let points = handle.hub().manager().restore_points(name)?;
    let lines = points.iter().rev().take(limit).map(|point| {
        let (lsn, time, pages) = (point.lsn, Moment(point.time_us), point.page_count);
        format!("lsn:{lsn} time:{time} pages:{pages}")
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn status(handle: &Handle) -> Result<String, EngineError> {
    handle.hub().check_process("pragma")?;
    let manager = handle.hub().manager();
    let state: ReadTxn = handle.snapshot()?;
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // A text takes whatever is written to it.
        let _ = writeln!(text, "{name}: {value}");
    };
    line("store", &manager.path().display());
    line("database", &handle.file_name());
    line("state", &format!("lsn:{}", state.lsn()));
    if state.lsn() > Lsn::ZERO {
        line("committed", &Moment(state.time_us()));
    }
    line("pages", &state.page_count());
    if let Some(size) = state.page_size() {
        line("page size", &size.get());
    }
    if let Some(db) = handle.database() {
        line("snapshots", &manager.snapshots(&db.name())?.len());
        line("readers", &db.readers());
    }
    line("health", &format!("{:?}", manager.status().health));
    if let Some(error) = handle.hub().errors.latest() {
        line("newest error", &error);
    }
    text.truncate(text.trim_end().len());
    Ok(text)
}
