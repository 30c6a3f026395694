//! Rows of a CSV file into a table.
//!
//! Invariants
//! - all rows or none;
//! - what is told is the first error: what follows from it is not.

use super::csv_rows::{Row, Rows};
use super::literal::quoted_name;
use rusqlite::{Connection, params_from_iter};
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

/// Why nothing was imported.
#[derive(Debug)]
pub(super) enum ImportError {
    /// The file cannot be read.
    File(io::Error),
    /// SQLite refused a row, if a line is named, or something else.
    Sql(Option<u64>, rusqlite::Error),
    /// The rows do not fit, in words.
    Unfit(String),
}

impl From<io::Error> for ImportError {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

impl From<rusqlite::Error> for ImportError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(None, error)
    }
}

/// Inserts the rows of `file` and returns how many there are. Where there is no `table`, it is made with the
/// first row as the names of its columns. An empty line is a row of one empty value where the table has one
/// column, and else it is nothing.
///
/// # Errors
/// What is wrong, with the line of the file where it is that.
pub(super) fn import(
    connection: &Connection,
    file: &Path,
    table: &str,
) -> Result<u64, ImportError> {
    let mut rows = Rows::new(BufReader::new(File::open(file)?))?;
    connection.execute_batch("SAVEPOINT bop_import")?;
    let inserted = insert_all(connection, &mut rows, table).and_then(|inserted| {
        // Where no transaction is around it this is the commit, which can fail as well.
        connection.execute_batch("RELEASE bop_import")?;
        Ok(inserted)
    });
    if inserted.is_err() {
        // Fails where SQLite has rolled everything back by itself.
        let _ = connection.execute_batch("ROLLBACK TO bop_import; RELEASE bop_import");
    }
    inserted
}

fn insert_all(
    connection: &Connection,
    rows: &mut Rows<BufReader<File>>,
    table: &str,
) -> Result<u64, ImportError> {
    let columns = match columns(connection, table)? {
        0 => make_table(connection, rows, table)?,
        columns => columns,
    };
    let marks = vec!["?"; columns].join(",");
    let insert = format!("INSERT INTO {} VALUES({marks})", quoted_name(table));
    let mut insert = connection.prepare(&insert)?;
    let mut inserted = 0;
    while let Some(Row {
        values,
        line,
        is_empty_line,
    }) = rows.next_row()?
    {
        if is_empty_line && columns != 1 {
            continue;
        }
        if values.len() != columns {
            let found = values.len();
            return Err(ImportError::Unfit(format!(
                "line {line} has {found} values, {table} has {columns} columns"
            )));
        }
        insert
            .execute(params_from_iter(values))
            .map_err(|error| ImportError::Sql(Some(line), error))?;
        inserted += 1;
    }
    Ok(inserted)
}

/// Makes the table of the first row that is no empty line; returns how many columns it has.
fn make_table(
    connection: &Connection,
    rows: &mut Rows<BufReader<File>>,
    table: &str,
) -> Result<usize, ImportError> {
    let names = loop {
        match rows.next_row()? {
            Some(row) if row.is_empty_line => {}
            Some(row) => break row.values,
            None => {
                let said = "it is empty, and there is no table: who names its columns?";
                return Err(ImportError::Unfit(said.to_owned()));
            }
        }
    };
    let columns: Vec<String> = names
        .iter()
        .map(|name| quoted_name(name) + " TEXT")
        .collect();
    let create = format!("CREATE TABLE {}({})", quoted_name(table), columns.join(","));
    connection.execute_batch(&create)?;
    Ok(names.len())
}

/// How many columns of a table take a value; 0 when there is no such table.
fn columns(connection: &Connection, table: &str) -> rusqlite::Result<usize> {
    let sql = "SELECT count(*) FROM pragma_table_info(?1)";
    connection.query_row(sql, [table], |row| row.get(0))
}
