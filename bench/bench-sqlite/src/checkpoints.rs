//! Checkpoints: of one large WAL, of many small ones.

use crate::{connect, file, made, set, table, truncate};
use bench_work::{Args, DIRTY_BYTES, DIRTY_PAGES, PAGE_BYTES, Result, Side};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use std::time::Duration;

fn side(what: &str) -> Side<'static> {
    let version = rusqlite::version();
    Side::new(format!("SQLite {version}, wal_checkpoint(TRUNCATE) {what}"))
}

/// One WAL with all pages of its database.
pub(crate) fn large(args: &Args) -> Result<()> {
    side("of 1 GiB").serve(args, |post| {
        let connection = made(&file(&args.dir, 0), "FULL")?;
        set(&connection, "PRAGMA wal_autocheckpoint = 0")?;
        post.serve_told(|random| {
            table::dirty(&connection, DIRTY_BYTES / PAGE_BYTES as u64, random)?;
            table::timed(|| truncate(&connection))
        })
    })
}

/// A WAL of a few pages in each of many files. They are too many to be open all at once: each is
/// opened and read before its checkpoint, and only that counts.
pub(crate) fn many(args: &Args) -> Result<()> {
    side("of each").serve(args, |post| {
        post.serve_told(|random| {
            for number in 0..args.databases {
                let connection = kept(made(&file(&args.dir, number), "OFF")?)?;
                table::dirty(&connection, DIRTY_PAGES, random)?;
            }
            // All WALs become durable at once, which is not what is measured.
            rustix::fs::sync();
            (0..args.databases).try_fold(Duration::ZERO, |sum, number| {
                let connection = kept(connect(&file(&args.dir, number))?)?;
                set(&connection, "PRAGMA synchronous = FULL")?;
                let _rows: i64 =
                    connection.query_row("SELECT count(*) FROM entry", [], |row| row.get(0))?;
                Ok(sum + table::timed(|| truncate(&connection))?)
            })
        })
    })
}

/// A connection whose WAL stays when it is closed.
fn kept(connection: Connection) -> Result<Connection> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}
