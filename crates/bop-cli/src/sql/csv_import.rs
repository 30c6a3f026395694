//! Rows of a CSV file into a table.
//!
//! Invariant: all rows or none.

use super::literal::quoted_name;
use csv::{Reader, ReaderBuilder, StringRecord};
use rusqlite::{Connection, params_from_iter};
use std::fs::File;
use std::path::Path;

/// Inserts the rows of `file` and returns how many there are. Where there is no `table`, it is made with the
/// first row as the names of its columns.
///
/// # Errors
/// What is wrong, in words, with the line of the file where it is that.
pub(super) fn import(connection: &Connection, file: &Path, table: &str) -> Result<u64, String> {
    let name = |what: &dyn std::fmt::Display| format!("{}: {what}", file.display());
    let reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_path(file);
    let mut reader = reader.map_err(|error| name(&error))?;
    let sql = |sql: &str| connection.execute_batch(sql).map_err(|error| name(&error));
    sql("SAVEPOINT bop_import")?;
    let rows = insert_all(connection, &mut reader, table).map_err(|said| name(&said));
    if rows.is_err() {
        sql("ROLLBACK TO bop_import")?;
    }
    sql("RELEASE bop_import")?;
    rows
}

fn insert_all(
    connection: &Connection,
    reader: &mut Reader<File>,
    table: &str,
) -> Result<u64, String> {
    let mut record = StringRecord::new();
    let mut columns = columns(connection, table).map_err(|error| error.to_string())?;
    if columns == 0 {
        if !next(reader, &mut record)? {
            return Err("it is empty, and there is no table: who names its columns?".to_owned());
        }
        let names: Vec<String> = record
            .iter()
            .map(|name| quoted_name(name) + " TEXT")
            .collect();
        let create = format!("CREATE TABLE {}({})", quoted_name(table), names.join(","));
        connection
            .execute_batch(&create)
            .map_err(|error| error.to_string())?;
        columns = names.len();
    }
    let marks = vec!["?"; columns].join(",");
    let insert = format!("INSERT INTO {} VALUES({marks})", quoted_name(table));
    let mut insert = connection
        .prepare(&insert)
        .map_err(|error| error.to_string())?;
    let mut rows = 0;
    while next(reader, &mut record)? {
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != columns {
            let found = record.len();
            return Err(format!(
                "line {line} has {found} values, {table} has {columns} columns"
            ));
        }
        let inserted = insert.execute(params_from_iter(record.iter()));
        inserted.map_err(|error| format!("line {line}: {error}"))?;
        rows += 1;
    }
    Ok(rows)
}

fn next(reader: &mut Reader<File>, record: &mut StringRecord) -> Result<bool, String> {
    reader
        .read_record(record)
        .map_err(|error| error.to_string())
}

/// How many columns of a table take a value; 0 when there is no such table.
fn columns(connection: &Connection, table: &str) -> rusqlite::Result<usize> {
    let sql = "SELECT count(*) FROM pragma_table_info(?1)";
    connection.query_row(sql, [table], |row| row.get(0))
}
