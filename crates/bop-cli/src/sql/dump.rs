//! The SQL that makes a database anew, in one transaction, as `.dump` of `sqlite3` writes it.
//!
//! ```text
//! tables, each with its rows --> AUTOINCREMENT's counters --> indexes, triggers, views
//! ```
//! Invariant: what is written is one state of the database: that of the transaction it is read in.

use super::literal::{in_script, quoted_name, statement, text, value};
use rusqlite::{Connection, Row};
use std::io::{self, Write};

/// A row of `sqlite_schema`.
struct Object {
    kind: String,
    name: String,
    sql: String,
}

/// Why nothing more was written.
pub(super) enum DumpError {
    Sql(rusqlite::Error),
    Output(io::Error),
    Missing(String),
}

impl From<rusqlite::Error> for DumpError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<io::Error> for DumpError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Writes the whole database, or one table and what belongs to it.
pub(super) fn dump(
    connection: &Connection,
    table: Option<&str>,
    out: &mut dyn Write,
) -> Result<(), DumpError> {
    connection.execute_batch("SAVEPOINT bop_dump")?;
    let written = write_all(connection, table, out);
    let released = connection.execute_batch("RELEASE bop_dump");
    // Where SQLite gave the savepoint up by itself, it was for what came first.
    written?;
    Ok(released?)
}

fn write_all(
    connection: &Connection,
    table: Option<&str>,
    out: &mut dyn Write,
) -> Result<(), DumpError> {
    let objects = objects(connection, table)?;
    if let (Some(table), true) = (table, objects.is_empty()) {
        return Err(DumpError::Missing(format!("no table or view {table}")));
    }
    writeln!(out, "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;")?;
    let (tables, others): (Vec<_>, Vec<_>) =
        objects.iter().partition(|object| object.kind == "table");
    let (sequences, tables): (Vec<_>, Vec<_>) = tables
        .into_iter()
        .partition(|object| object.name == "sqlite_sequence");
    let mut by_hand = false;
    for object in tables {
        if is_virtual(object) {
            // Its own tables hold what it has: made by SQL it would make them, too.
            if !by_hand {
                writeln!(out, "PRAGMA writable_schema=ON;")?;
            }
            by_hand = true;
            let (name, sql) = (text(object.name.as_bytes()), text(object.sql.as_bytes()));
            writeln!(
                out,
                "INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES('table',{name},{name},0,{sql});"
            )?;
        } else if !object.name.starts_with("sqlite_") {
            writeln!(out, "{}", statement(&object.sql))?;
            write_rows(connection, &object.name, out)?;
        }
    }
    if !sequences.is_empty() {
        writeln!(out, "DELETE FROM sqlite_sequence;")?;
        write_rows(connection, "sqlite_sequence", out)?;
    }
    for object in others {
        writeln!(out, "{}", statement(&object.sql))?;
    }
    if by_hand {
        writeln!(out, "PRAGMA writable_schema=OFF;")?;
    }
    writeln!(out, "COMMIT;")?;
    Ok(())
}

fn is_virtual(object: &Object) -> bool {
    let start = object.sql.get(.."create virtual table".len());
    start.is_some_and(|start| start.eq_ignore_ascii_case("create virtual table"))
}

fn objects(connection: &Connection, table: Option<&str>) -> rusqlite::Result<Vec<Object>> {
    let sql = "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL \
               AND (?1 IS NULL OR tbl_name = ?1 COLLATE NOCASE) ORDER BY rowid";
    let object = |row: &Row<'_>| {
        Ok(Object {
            kind: row.get(0)?,
            name: row.get(1)?,
            sql: row.get(2)?,
        })
    };
    let mut statement = connection.prepare(sql)?;
    let objects = statement.query_map([table], object)?;
    objects.collect()
}

/// Writes a statement for each row of a table.
fn write_rows(connection: &Connection, table: &str, out: &mut dyn Write) -> Result<(), DumpError> {
    let sql = "SELECT name, hidden FROM pragma_table_xinfo(?1) ORDER BY cid";
    let mut statement = connection.prepare(sql)?;
    let columns = statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let columns: Vec<(String, i64)> = columns.collect::<Result<_, _>>()?;
    let stored: Vec<String> = columns
        .iter()
        .filter(|(_, hidden)| *hidden == 0)
        .map(|(name, _)| quoted_name(name))
        .collect();
    let into = match stored.len() == columns.len() {
        true => quoted_name(table),
        // Nobody gives values to the columns that are computed.
        false => format!("{}({})", quoted_name(table), stored.join(",")),
    };
    let into = in_script(&into);
    let sql = format!("SELECT {} FROM {}", stored.join(","), quoted_name(table));
    let mut statement = connection.prepare(&sql)?;
    let mut quote = connection.prepare("SELECT quote(?1)")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let values = (0..stored.len()).map(|column| value(row.get_ref(column)?, &mut quote));
        let values = values.collect::<rusqlite::Result<Vec<_>>>()?.join(",");
        writeln!(out, "INSERT INTO {into} VALUES({values});")?;
    }
    Ok(())
}
