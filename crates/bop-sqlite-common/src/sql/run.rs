//! All statements of a text, one after the other, on a connection: of this process, or of a client's session.
//!
//! Never: knows where the rows go.

use super::SqlConnection;
use super::handle::SqlFailure;
use super::refused::failure_of;
use bop_control::{Cells, Explain, Failure, SqlRefused, SqlRows};

/// Where the rows go.
pub trait TakeRows {
    /// Why no more are taken.
    type Error;

    /// A row; `is_first` says that a result starts.
    ///
    /// # Errors
    /// Nobody takes more rows.
    fn row(
        &mut self,
        cells: &mut dyn Cells,
        explain: Explain,
        is_first: bool,
    ) -> Result<(), Self::Error>;

    /// The end of a result that had rows.
    ///
    /// # Errors
    /// Nobody takes more rows.
    fn end(&mut self) -> Result<(), Self::Error>;
}

impl TakeRows for dyn SqlRows + '_ {
    type Error = Failure;

    fn row(
        &mut self,
        cells: &mut dyn Cells,
        explain: Explain,
        is_first: bool,
    ) -> Result<(), Failure> {
        SqlRows::row(self, cells, explain, is_first)
    }

    fn end(&mut self) -> Result<(), Failure> {
        SqlRows::end(self)
    }
}

/// Why a run ended early.
#[derive(Debug)]
pub enum Stopped<E> {
    /// SQLite refused a statement; its place is one of the whole text.
    Refused(SqlRefused),
    /// The rows were not taken.
    Rows(E),
}

/// Runs all of `sql`, and hands its rows to `rows`. A NUL at its end is no part of it: with one there SQLite need
/// not copy the text.
///
/// # Errors
/// The first statement that fails, after the rows that it had; or what `rows` answers.
pub fn run<C: SqlConnection + ?Sized, R: TakeRows + ?Sized>(
    connection: &C,
    sql: &[u8],
    rows: &mut R,
) -> Result<(), Stopped<R::Error>> {
    let mut at = 0;
    while let Some(rest) = sql.get(at..).filter(|rest| !matches!(rest, [] | [0])) {
        let used = run_first(connection, rest, rows).map_err(|stopped| match stopped {
            First::Rows(error) => Stopped::Rows(error),
            First::Sql(failure) => Stopped::Refused(SqlRefused {
                offset: at + failure.offset.unwrap_or_else(|| first_word(rest)),
                failure: failure_of(connection, &failure),
            }),
        })?;
        if used == 0 {
            break;
        }
        at += used;
    }
    Ok(())
}

/// Why the first statement ended early.
enum First<E> {
    Sql(SqlFailure),
    Rows(E),
}

/// Runs the first statement of `sql`; answers its length, 0 at the end.
fn run_first<C: SqlConnection + ?Sized, R: TakeRows + ?Sized>(
    connection: &C,
    sql: &[u8],
    rows: &mut R,
) -> Result<usize, First<R::Error>> {
    let (prepared, used) = connection.handle().prepare(sql).map_err(First::Sql)?;
    let Some(mut prepared) = prepared else {
        return Ok(used);
    };
    let explain = prepared.explain();
    let mut is_first = true;
    let end = loop {
        match prepared.step() {
            Ok(true) => {}
            end => break end,
        }
        let taken = rows.row(&mut prepared, explain, is_first);
        taken.map_err(First::Rows)?;
        is_first = false;
    };
    if !is_first {
        rows.end().map_err(First::Rows)?;
    }
    end.map_err(First::Sql)?;
    Ok(used)
}

/// The byte after the blanks and comments that `text` starts with: what an error of the statement means where
/// SQLite names no byte.
fn first_word(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        at += match rest {
            [byte, ..] if byte.is_ascii_whitespace() => 1,
            [b'-', b'-', ..] => rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
            [b'/', b'*', after @ ..] => {
                let end = after.windows(2).position(|pair| pair == b"*/");
                end.map_or(rest.len(), |end| end + 4)
            }
            _ => break,
        };
    }
    at
}
