//! The benchmark's work on a SQLite file with the same promise: every commit is durable.

use bench_work::{CREATE, INSERT, Result};
use rusqlite::Connection;

fn main() -> Result<()> {
    let connection = Connection::open(bench_work::directory()?.join("bench.sqlite"))?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(format!("the journal mode is {mode}").into());
    }
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    connection.execute_batch(CREATE)?;
    let mut insert = connection.prepare(INSERT)?;
    let version = format!("SQLite {}, WAL, synchronous=FULL", rusqlite::version());
    bench_work::serve(&version, |content| {
        insert.execute([content])?;
        Ok(())
    })
}
