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

use std::fmt::Display;

/// A connection that can be asked.
pub trait Asked {
    /// What SQLite says to a statement that fails.
    type Error: Display;

    /// The texts of a statement's first column, at most `max` of them.
    ///
    /// # Errors
    /// What SQLite says.
    fn texts(&self, sql: &str, max: usize) -> Result<Vec<String>, Self::Error>;

    /// Whether the statement cannot be compiled: what its schema names is not there.
    fn is_of_the_schema(error: &Self::Error) -> bool;
}

/// What SQLite finds wrong with the main database of a connection, at most `max` findings. Turns the
/// connection's `ignore_check_constraints` on.
///
/// # Errors
/// SQLite's, when it cannot read the database, or was built without `dbstat` where that is needed.
/// `SQLITE_CORRUPT` and `SQLITE_NOTADB` are damage, too.
pub fn damage_found<A: Asked>(connection: &A, max: usize) -> Result<Vec<String>, A::Error> {
    connection.texts("PRAGMA ignore_check_constraints = 1", 1)?;
    match integrity_check(connection, None, max) {
        Err(error) if A::is_of_the_schema(&error) => {
            tracing::debug!(%error, "the database is checked table by table");
            check_piecewise(connection, max)
        }
        answer => answer,
    }
}

fn check_piecewise<A: Asked>(connection: &A, max: usize) -> Result<Vec<String>, A::Error> {
    let mut findings = check_pages(connection, max)?;
    let tables = connection.texts(
        "SELECT 'sqlite_schema' UNION ALL SELECT name FROM sqlite_master WHERE type = 'table'",
        usize::MAX,
    )?;
    for table in tables {
        let room = max - findings.len().min(max);
        match integrity_check(connection, Some(&table), room) {
            Ok(found) => findings.extend(found),
            Err(error) if A::is_of_the_schema(&error) => {
                tracing::info!(table, %error, "the table's pages were checked, its order was not");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(findings)
}

/// Walks every b-tree, whatever its keys mean.
fn check_pages<A: Asked>(connection: &A, max: usize) -> Result<Vec<String>, A::Error> {
    connection.texts(
        "SELECT 'page ' || pageno || ' of ' || name || ' is damaged'
             FROM dbstat WHERE pagetype = 'corrupted'
         UNION ALL
         SELECT 'page ' || pageno || ' is used twice, by ' || group_concat(name, ' and ')
             FROM dbstat GROUP BY pageno HAVING count(*) > 1",
        max,
    )
}

fn integrity_check<A: Asked>(
    connection: &A,
    table: Option<&str>,
    max: usize,
) -> Result<Vec<String>, A::Error> {
    let of_table = table.map(|name| format!("(\"{}\")", name.replace('"', "\"\"")));
    let sql = format!("PRAGMA integrity_check{}", of_table.unwrap_or_default());
    let findings = connection.texts(&sql, max)?;
    Ok(if findings == ["ok"] {
        Vec::new()
    } else {
        findings
    })
}
