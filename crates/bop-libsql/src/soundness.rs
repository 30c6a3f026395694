//! Soundness: whether SQLite finds a database damaged.
//!
//! ```text
//! integrity_check --answers--> its findings
//!        '--cannot be compiled--> integrity_check of each table that it can be compiled for
//!                                 + dbstat: the pages of every b-tree
//! ```
//! A schema may name collations, functions and tokenizers that only the application has. SQLite then
//! refuses to check the database at all; that is no damage, and the rest can still be judged. Rows
//! that break a `CHECK` are no damage either: it may have been added, or turned off, later.
//!
//! Never: changes the database, calls an error of the device a finding.

use rusqlite::{Connection, Error, Result};

/// What SQLite finds wrong with the main database of `connection`, at most `max` findings. Turns the
/// connection's `ignore_check_constraints` on.
///
/// # Errors
/// SQLite's, when it cannot read the database. `SQLITE_CORRUPT` and `SQLITE_NOTADB` are damage, too.
pub fn damage_found(connection: &Connection, max: usize) -> Result<Vec<String>> {
    connection.pragma_update(None, "ignore_check_constraints", true)?;
    match integrity_check(connection, None, max) {
        Err(error) if is_of_the_schema(&error) => {
            tracing::debug!(%error, "the database is checked table by table");
            check_piecewise(connection, max)
        }
        answer => answer,
    }
}

/// The statement cannot be compiled: what its schema names is not there.
fn is_of_the_schema(error: &Error) -> bool {
    // The source: with some of its features, rusqlite has another variant for such errors.
    let code = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<rusqlite::ffi::Error>())
        .map(|error| error.extended_code & 0xff);
    code == Some(rusqlite::ffi::SQLITE_ERROR)
}

fn check_piecewise(connection: &Connection, max: usize) -> Result<Vec<String>> {
    let mut findings = check_pages(connection, max)?;
    let tables = strings(
        connection,
        "SELECT 'sqlite_schema' UNION ALL SELECT name FROM sqlite_schema WHERE type = 'table'",
        usize::MAX,
    )?;
    for table in tables {
        let room = max - findings.len().min(max);
        match integrity_check(connection, Some(&table), room) {
            Ok(found) => findings.extend(found),
            Err(error) if is_of_the_schema(&error) => {
                tracing::info!(table, %error, "the table's pages were checked, its order was not");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(findings)
}

/// Walks every b-tree, whatever its keys mean.
fn check_pages(connection: &Connection, max: usize) -> Result<Vec<String>> {
    strings(
        connection,
        "SELECT 'page ' || pageno || ' of ' || name || ' is damaged'
             FROM dbstat WHERE pagetype = 'corrupted'
         UNION ALL
         SELECT 'page ' || pageno || ' is used twice, by ' || group_concat(name, ' and ')
             FROM dbstat GROUP BY pageno HAVING count(*) > 1",
        max,
    )
}

fn integrity_check(
    connection: &Connection,
    table: Option<&str>,
    max: usize,
) -> Result<Vec<String>> {
    let of_table = table.map(|name| format!("(\"{}\")", name.replace('"', "\"\"")));
    let sql = format!("PRAGMA integrity_check{}", of_table.unwrap_or_default());
    let findings = strings(connection, &sql, max)?;
    Ok(if findings == ["ok"] {
        Vec::new()
    } else {
        findings
    })
}

fn strings(connection: &Connection, sql: &str, max: usize) -> Result<Vec<String>> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.take(max).collect()
}
