//! Does what commands of the shell say.
//!
//! Invariants
//! - a command that fails changes neither the database nor how rows are written;
//! - its error has the code of whoever failed, as that of a statement has.

use super::csv_import::{ImportError, import};
use super::dot::{Dot, help};
use super::dump::{DumpError, dump};
use super::input::Statement;
use super::line_ends::LineEnds;
use super::link::{self, Link};
use super::literal::{quoted_text, statement};
use super::runner::{Flow, RunError, Runner};
use bop_control::{Excerpt, Failure, Mode};
use bop_libsql::control::failure_of;
use bop_libsql::{Connection, Store};
use bop_storage::At;
use bop_storage::error::ErrorCode;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

/// Files that read files: more of them is a circle.
const READS_MAX: usize = 16;

/// The database of the store that the shell works on, where it is one.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) store: &'a Store,
    /// Without a state.
    pub(crate) database: &'a str,
    pub(crate) at: &'a At,
}

/// Why a command was not done.
enum Refused {
    Failed(Failure),
    /// A file that it read was.
    Read(RunError),
    Output(io::Error),
}

impl Refused {
    /// What the words of the command are wrong about.
    fn said(message: impl fmt::Display) -> Self {
        Self::Failed(Failure {
            hint: None,
            ..Failure::new(ErrorCode::Sql, message)
        })
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl<'l> Runner<'_, 'l> {
    /// Runs a command, which begins at byte `from` of `piece`.
    pub(super) fn run_dot(&mut self, piece: &Statement, from: usize) -> Result<Flow, RunError> {
        let line = piece.text.get(from..).unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let done = Dot::parse(&line).map_err(Refused::said);
        let done = done.and_then(|command| self.obey(command));
        let flow = done.map_err(|refused| match refused {
            Refused::Failed(failure) => RunError::Refused {
                failure: Box::new(failure),
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
            Dot::Mode(mode) => self.mode = mode,
            Dot::Headers(on) => self.header = on,
            Dot::Tables(pattern) => self.tables(pattern.as_deref().unwrap_or("%"))?,
            Dot::Schema(table) => self.schema(table.as_deref())?,
            Dot::Dump(table) => {
                let (connection, place) = self.here()?;
                let dumped = dump(connection, table.as_deref(), self.out);
                dumped.map_err(|error| match error {
                    DumpError::Sql(error) => {
                        Refused::Failed(failure_of(place.store, connection, &error))
                    }
                    DumpError::Output(error) => Refused::Output(error),
                    DumpError::Missing(said) => Refused::said(said),
                })?;
            }
            Dot::Read(path) => return self.read(&path),
            Dot::Import { file, table } => {
                let rows = self.import(&file, &table)?;
                writeln!(self.out, "{rows} rows into {table}")?;
            }
            Dot::Snapshot(name) => {
                let Place {
                    store,
                    database,
                    at,
                } = self.place()?;
                let made = store.manager().snapshot_database(database, &name, at);
                made.map_err(|error| Refused::Failed(error.into()))?;
                writeln!(
                    self.out,
                    "{database}@snapshot:{name} stays until it is dropped"
                )?;
            }
            Dot::Fork(new) => {
                let Place {
                    store,
                    database,
                    at,
                } = self.place()?;
                let made = store.manager().fork_database(database, &new, at);
                made.map_err(|error| Refused::Failed(error.into()))?;
                writeln!(self.out, "{new} begins as {database} at {at}")?;
            }
        }
        Ok(Flow::GoOn)
    }

    /// The connection, for what only this process can do with one.
    fn here(&self) -> Result<(&'l Connection, Place<'l>), Refused> {
        match &*self.link {
            Link::Here(connection, place) => Ok((*connection, *place)),
            Link::There(_) => Err(Refused::said(
                "not while another process has the store open: .import, .dump, .snapshot and .fork need it here; \
                 bop snapshot and bop fork do not",
            )),
        }
    }

    /// What a snapshot or a fork is made of. What a transaction has changed so far is in neither.
    fn place(&self) -> Result<Place<'l>, Refused> {
        let (connection, place) = self.here()?;
        match connection.is_autocommit() {
            true => Ok(place),
            false => Err(Refused::said(
                "a transaction is open: commit it, or roll it back, first",
            )),
        }
    }

    fn import(&self, file: &Path, table: &str) -> Result<u64, Refused> {
        let (connection, place) = self.here()?;
        let name = file.display();
        import(connection, file, table).map_err(|error| match error {
            ImportError::File(error) => Refused::Failed(Failure::file("read", file, &error)),
            ImportError::Unfit(said) => Refused::said(format_args!("{name}: {said}")),
            ImportError::Sql(line, error) => {
                let failure = failure_of(place.store, connection, &error);
                let line = line.map_or(String::new(), |line| format!("line {line}: "));
                Refused::Failed(Failure {
                    message: format!("{name}: {line}{}", failure.message),
                    ..failure
                })
            }
        })
    }

    fn tables(&mut self, pattern: &str) -> Result<(), Refused> {
        let pattern = quoted_text(pattern);
        let sql = format!(
            "SELECT iif(schema = 'main', name, schema || '.' || name) FROM pragma_table_list \
             WHERE type IN ('table', 'view', 'virtual') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
             AND name LIKE {pattern} ORDER BY 1"
        );
        let lines = self.answer_to(&sql, Mode::List)?;
        Ok(self.out.write_all(&lines)?)
    }

    fn schema(&mut self, table: Option<&str>) -> Result<(), Refused> {
        let of_table = table.map(|table| {
            let table = quoted_text(table);
            format!(" AND tbl_name = {table} COLLATE NOCASE")
        });
        let sql = format!(
            "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL{} ORDER BY rowid",
            of_table.unwrap_or_default()
        );
        let statements = self.texts_of(&sql)?;
        for sql in &statements {
            writeln!(self.out, "{}", statement(sql))?;
        }
        match table {
            Some(table) if statements.is_empty() => {
                Err(Refused::said(format_args!("no table or view {table}")))
            }
            _ => Ok(()),
        }
    }

    /// The texts of a statement of one column. Any of them may have many lines.
    fn texts_of(&mut self, sql: &str) -> Result<Vec<String>, Refused> {
        let json = self.answer_to(sql, Mode::Json)?;
        if json.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<BTreeMap<String, String>> =
            serde_json::from_slice(&json).map_err(io::Error::from)?;
        Ok(rows.into_iter().flat_map(BTreeMap::into_values).collect())
    }

    /// What is written of the rows of a statement.
    fn answer_to(&mut self, sql: &str, mode: Mode) -> Result<Vec<u8>, Refused> {
        let mut rows = Vec::new();
        let ran = self
            .link
            .run(&mut sql.as_bytes().to_vec(), mode, false, &mut rows);
        ran.map_err(|refused| match refused {
            link::Refused::Sql(refused) => Refused::Failed(refused.failure),
            link::Refused::Ended(failure) => Refused::Read(RunError::Ended(failure)),
            link::Refused::Output(error) => Refused::Output(error),
        })?;
        Ok(rows)
    }

    fn read(&mut self, path: &Path) -> Result<Flow, Refused> {
        if self.reads == READS_MAX {
            let name = path.display();
            let message = format_args!("{name}: files read each other in a circle");
            return Err(Refused::said(message));
        }
        let refused = |error| Refused::Failed(Failure::file("read", path, &error));
        let mut file = LineEnds::open(path).map_err(refused)?;
        self.reads += 1;
        let done = self.run(&mut file);
        self.reads -= 1;
        done.map_err(|error| Refused::Read(error.in_file(path)))
    }
}
