//! Does what commands of the shell say.
//!
//! Invariant: a command that fails changes neither the database nor how rows are written.

use super::csv_import::import;
use super::dot::{Dot, help};
use super::dump::{DumpError, dump};
use super::input::Statement;
use super::line_ends::LineEnds;
use super::position::Excerpt;
use super::runner::{Flow, RunError, Runner};
use bop_storage::{At, Manager};
use std::io;
use std::path::Path;

/// Files that read files: more of them is a circle.
const READS_MAX: usize = 16;

/// The database of the store that the shell works on, where it is one.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) manager: &'a Manager,
    /// Without a state.
    pub(crate) database: &'a str,
    pub(crate) at: &'a At,
}

/// Why a command was not done.
enum Refused {
    /// In words.
    Said(String),
    /// A file that it read was.
    Read(RunError),
    Output(io::Error),
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Self::Said(error.to_string())
    }
}

impl From<DumpError> for Refused {
    fn from(error: DumpError) -> Self {
        match error {
            DumpError::Sql(error) => error.into(),
            DumpError::Output(error) => error.into(),
            DumpError::Missing(said) => Self::Said(said),
        }
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl<'a> Runner<'a> {
    /// Runs a command, which begins at byte `from` of `piece`.
    pub(super) fn run_dot(&mut self, piece: &Statement, from: usize) -> Result<Flow, RunError> {
        let line = piece.text.get(from..).unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let done = Dot::parse(&line).map_err(Refused::Said);
        let done = done.and_then(|command| self.obey(command));
        let flow = done.map_err(|refused| match refused {
            Refused::Said(message) => RunError::Command {
                message,
                excerpt: Excerpt::new(&piece.text, piece.start, from),
            },
            Refused::Read(error) => error,
            Refused::Output(error) => RunError::Output(error),
        })?;
        self.out.flush().map_err(RunError::Output)?;
        Ok(flow)
    }

    fn obey(&mut self, command: Dot) -> Result<Flow, Refused> {
        match command {
            Dot::Quit => return Ok(Flow::Quit),
            Dot::Help => self.out.write_all(help().as_bytes())?,
            Dot::Timer(on) => self.timer = on,
            Dot::Mode(mode) => self.write_in(mode, self.header),
            Dot::Headers(on) => self.write_in(self.mode, on),
            Dot::Tables(pattern) => self.tables(pattern.as_deref().unwrap_or("%"))?,
            Dot::Schema(table) => self.schema(table.as_deref())?,
            Dot::Dump(table) => dump(self.connection, table.as_deref(), self.out)?,
            Dot::Read(path) => return self.read(&path),
            Dot::Import { file, table } => {
                let rows = import(self.connection, &file, &table).map_err(Refused::Said)?;
                writeln!(self.out, "{rows} rows into {table}")?;
            }
            Dot::Snapshot(name) => {
                let Place {
                    manager,
                    database,
                    at,
                } = self.place()?;
                let made = manager.snapshot_database(database, &name, at);
                made.map_err(|error| Refused::Said(error.to_string()))?;
                writeln!(
                    self.out,
                    "{database}@snapshot:{name} stays until it is dropped"
                )?;
            }
            Dot::Fork(new) => {
                let Place {
                    manager,
                    database,
                    at,
                } = self.place()?;
                let made = manager.fork_database(database, &new, at);
                made.map_err(|error| Refused::Said(error.to_string()))?;
                writeln!(self.out, "{new} begins as {database} at {at}")?;
            }
        }
        Ok(Flow::GoOn)
    }

    /// What a snapshot or a fork is made of. What a transaction has changed so far is in neither.
    fn place(&self) -> Result<Place<'a>, Refused> {
        let place = self.place.ok_or("there is no store here");
        let place = place.and_then(|place| match self.connection.is_autocommit() {
            true => Ok(place),
            false => Err("a transaction is open: commit it, or roll it back, first"),
        });
        place.map_err(|said| Refused::Said(said.to_owned()))
    }

    fn tables(&mut self, pattern: &str) -> Result<(), Refused> {
        let sql = "SELECT iif(schema = 'main', name, schema || '.' || name) FROM pragma_table_list \
                   WHERE type IN ('table', 'view', 'virtual') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
                   AND name LIKE ?1 ORDER BY 1";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([pattern])?;
        while let Some(row) = rows.next()? {
            writeln!(self.out, "{}", row.get::<_, String>(0)?)?;
        }
        Ok(())
    }

    fn schema(&mut self, table: Option<&str>) -> Result<(), Refused> {
        let sql = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL \
                   AND (?1 IS NULL OR tbl_name = ?1 COLLATE NOCASE) ORDER BY rowid";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([table])?;
        let mut is_there = table.is_none();
        while let Some(row) = rows.next()? {
            writeln!(self.out, "{};", row.get::<_, String>(0)?)?;
            is_there = true;
        }
        match (is_there, table) {
            (false, Some(table)) => Err(Refused::Said(format!("no table or view {table}"))),
            _ => Ok(()),
        }
    }

    fn read(&mut self, path: &Path) -> Result<Flow, Refused> {
        let refused = |error: io::Error| Refused::Said(format!("{}: {error}", path.display()));
        if self.reads == READS_MAX {
            let error = io::Error::other("files read each other in a circle");
            return Err(refused(error));
        }
        let mut file = LineEnds::open(path).map_err(refused)?;
        self.reads += 1;
        let done = self.run(&mut file);
        self.reads -= 1;
        done.map_err(|error| Refused::Read(error.in_file(path)))
    }
}
