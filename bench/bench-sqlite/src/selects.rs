//! A large table: point selects, scans warm and cold; what text occupies.

use crate::{connect, file, made, set, table, truncate};
use bench_work::{
    Args, CACHE_BYTES, COPIES, Loop, Result, Side, TABLE_BYTES, forget_pages, occupied_bytes,
    wait_to_be_killed,
};
use rusqlite::Connection;
use std::sync::Mutex;

/// A connection of one thread: the connections' caches have `CACHE_BYTES` together. What the kernel
/// keeps of the files comes on top of that.
fn reader(args: &Args) -> Result<Connection> {
    let connection = connect(&file(&args.dir, 0))?;
    let kib = CACHE_BYTES / 1024 / args.threads as u64;
    set(&connection, &format!("PRAGMA cache_size = -{kib}"))?;
    Ok(connection)
}

fn side(how: &str) -> Side<'static> {
    let (version, mib) = (rusqlite::version(), CACHE_BYTES >> 20);
    Side::new(format!("SQLite {version}, {mib} MiB of caches, {how}"))
}

/// A file with the table, and nothing in the WAL.
fn fill(args: &Args) -> Result<Connection> {
    let connection = made(&file(&args.dir, 0), "NORMAL")?;
    table::fill(&connection, TABLE_BYTES)?;
    truncate(&connection)?;
    Ok(connection)
}

/// Makes the table and waits to be killed.
pub(crate) fn load(args: &Args) -> Result<()> {
    let _connection = fill(args)?;
    wait_to_be_killed("SQLite, a table")
}

/// Selects of rows by random keys, a connection a thread.
pub(crate) fn selects(args: &Args) -> Result<()> {
    fill(args)?;
    side("warm").serve(args, |post| table::selects(post, &reader(args)?))
}

/// Scans of a table that the cache has.
pub(crate) fn scans(args: &Args) -> Result<()> {
    fill(args)?;
    side("warm").serve(args, |post| table::scans(post, &reader(args)?))
}

/// One scan, from opening the file on.
pub(crate) fn scan_cold(args: &Args) -> Result<()> {
    let how = forget_pages(&args.dir)?;
    let opened = Mutex::new(Vec::new());
    side(how).serve(&args.alone(), |post| {
        post.serve(Loop::ONCE, |_| {
            let connection = reader(args)?;
            table::scan(&connection)?;
            // Closing it is not measured.
            let mut opened = opened.lock().map_err(|_| "a thread panicked")?;
            opened.push(connection);
            Ok(())
        })
    })
}

/// The database file after a checkpoint, and the files beside it.
pub(crate) fn space(args: &Args) -> Result<()> {
    let dir = args.dir.join("file");
    std::fs::create_dir_all(&dir)?;
    let connection = connect(&file(&dir, 0))?;
    set(&connection, "PRAGMA journal_mode = WAL")?;
    table::scale_up(&connection, &table::source(&args.dir)?, COPIES)?;
    truncate(&connection)?;
    connection.close().map_err(|(_, error)| error)?;
    let side = Side::new(format!("SQLite {}", rusqlite::version()));
    let side = side.stored_bytes(occupied_bytes(&dir)?);
    side.serve(args, |post| post.serve(Loop::ONCE, |_| Ok(())))
}
