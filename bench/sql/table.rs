//! The works over SQL that both sides do with the same statements: each includes this file and
//! names, as `crate::rusqlite`, the library that it measures.

use crate::rusqlite::Connection;
use bench_work::{CREATE, INSERT, Loop, PAGE_BYTES, Post, ROW_BYTES, Random, Result, SELECTS};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Rows of one transaction while a table is filled.
const ROWS_A_TRANSACTION: u64 = 1000;
/// Bytes of a row that leaves no room for a second one on its page.
const WIDE_ROW_BYTES: usize = PAGE_BYTES * 3 / 4;

/// Fills the table until its rows' content has so many bytes.
pub(crate) fn fill(connection: &Connection, bytes: u64) -> Result<()> {
    connection.execute_batch(CREATE)?;
    let mut random = Random::new(0);
    let mut row = [0; ROW_BYTES];
    in_transactions(connection, bytes / ROW_BYTES as u64, |_| {
        random.fill(&mut row);
        connection
            .prepare_cached(INSERT)?
            .execute([row.as_slice()])?;
        Ok(())
    })
}

/// Writes so many pages anew: rows of a page each, which are the same every time but for their
/// content.
pub(crate) fn dirty(connection: &Connection, pages: u64, random: &mut Random) -> Result<()> {
    connection.execute_batch(CREATE)?;
    let mut row = [0; WIDE_ROW_BYTES];
    in_transactions(connection, pages, |id| {
        random.fill(&mut row);
        let id = i64::try_from(id)?;
        let replace = "INSERT OR REPLACE INTO entry(id, content) VALUES (?, ?)";
        connection
            .prepare_cached(replace)?
            .execute((id, row.as_slice()))?;
        Ok(())
    })
}

fn in_transactions(
    connection: &Connection,
    rows: u64,
    mut write: impl FnMut(u64) -> Result<()>,
) -> Result<()> {
    for id in 0..rows {
        if id % ROWS_A_TRANSACTION == 0 {
            connection.execute_batch("BEGIN IMMEDIATE")?;
        }
        write(id)?;
        if (id + 1) % ROWS_A_TRANSACTION == 0 || id + 1 == rows {
            connection.execute_batch("COMMIT")?;
        }
    }
    Ok(())
}

/// Reads every row of the table once.
pub(crate) fn scan(connection: &Connection) -> Result<()> {
    let mut statement = connection.prepare_cached("SELECT id, content FROM entry")?;
    let mut rows = statement.query([])?;
    let (mut count, mut bytes) = (0u64, 0);
    while let Some(row) = rows.next()? {
        count += 1;
        bytes += row.get_ref(1)?.as_blob()?.len();
    }
    match count > 0 && bytes > 0 {
        true => Ok(()),
        false => Err("the table is empty".into()),
    }
}

/// Selects rows by random keys.
pub(crate) fn selects(post: &Post, connection: &Connection) -> Result<()> {
    scan(connection)?;
    let largest: i64 = connection.query_row("SELECT max(id) FROM entry", [], |row| row.get(0))?;
    let mut select = connection.prepare("SELECT content FROM entry WHERE id = ?")?;
    post.serve(Loop::TIMED, |random| {
        for _ in 0..SELECTS {
            let id = (random.number() >> 1) as i64;
            let bytes = select.query_row([1 + id % largest], |row| {
                Ok(row.get_ref(0)?.as_blob()?.len())
            })?;
            if bytes != ROW_BYTES {
                return Err(format!("a row of {bytes} bytes").into());
            }
        }
        Ok(())
    })
}

/// Scans the table again and again.
pub(crate) fn scans(post: &Post, connection: &Connection) -> Result<()> {
    scan(connection)?;
    post.serve(Loop::TIMED, |_| scan(connection))
}

/// The time of `work`.
pub(crate) fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed())
}

/// Makes a plain file of the script that the driver put into `dir`, without its pictures, which no
/// engine makes smaller; its path.
pub(crate) fn source(dir: &Path) -> Result<PathBuf> {
    let (script, file) = (dir.join("source.sql"), dir.join("source.db"));
    let connection = Connection::open(&file)?;
    connection.execute_batch("PRAGMA synchronous = OFF")?;
    connection.execute_batch(&fs::read_to_string(script)?)?;
    let pictures = "UPDATE Categories SET Picture = NULL; UPDATE Employees SET Photo = NULL";
    connection.execute_batch(pictures)?;
    Ok(file)
}

/// Makes a database of all tables of the file `source`, with each row so many times, told apart by a
/// column that comes first.
pub(crate) fn scale_up(connection: &Connection, source: &Path, copies: u32) -> Result<()> {
    let uri = format!("file:{}?vfs=unix", source.display());
    connection.execute("ATTACH ? AS source", [uri])?;
    let names: Vec<String> = connection
        .prepare("SELECT name FROM source.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")?
        .query_map([], |row| row.get(0))?
        .collect::<std::result::Result<_, _>>()?;
    for name in names {
        let name = name.replace('"', "\"\"");
        connection.execute_batch(&format!(
            "CREATE TABLE main.\"{name}\" AS
             WITH RECURSIVE copies(copy) AS
                 (SELECT 1 UNION ALL SELECT copy + 1 FROM copies WHERE copy < {copies})
             SELECT copies.copy AS copy, original.* FROM copies, source.\"{name}\" AS original"
        ))?;
    }
    Ok(())
}
