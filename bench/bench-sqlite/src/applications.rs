//! What applications do over SQL: small transactions, one large, selects beside a writer, many databases.

use crate::{bank_sql as bank, connect, file, made, set, table, truncate};
use bench_work::{Args, CACHE_BYTES, Loop, Random, Result, Side, TABLE_BYTES, share};
use rusqlite::Connection;
use std::time::Duration;

/// How long 64 writers of one database wait for their turn.
const PATIENCE: Duration = Duration::from_secs(60);

fn side(how: &str) -> Side<'static> {
    let version = rusqlite::version();
    Side::new(format!("SQLite {version}, WAL, synchronous=FULL, {how}"))
}

/// A connection whose cache is its share of what both sides may have.
fn sharing(args: &Args, number: usize, connections: usize) -> Result<Connection> {
    let connection = made(&file(&args.dir, number), "FULL")?;
    let kib = CACHE_BYTES / 1024 / connections.max(1) as u64;
    set(&connection, &format!("PRAGMA cache_size = -{kib}"))?;
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}

/// Small transactions, a thread a share of the databases.
pub(crate) fn transactions(args: &Args) -> Result<()> {
    side("defaults").serve(args, |post| {
        let numbers = share(post.thread(), args.threads, args.databases);
        let connections = numbers.map(|number| sharing(args, number, args.databases));
        let connections = connections.collect::<Result<Vec<_>>>()?;
        let connections: Vec<_> = connections.iter().collect();
        bank::transactions(post, &connections, || Ok(()))
    })
}

/// A million rows in one transaction.
pub(crate) fn bulk(args: &Args) -> Result<()> {
    side("one connection").serve(args, |post| {
        let connection = sharing(args, 0, 1)?;
        post.serve_told(|random| {
            let took = bank::bulk(&connection, random)?;
            truncate(&connection)?;
            Ok(took)
        })
    })
}

/// Selects by key and ranges of a table that the cache has.
pub(crate) fn ranges(args: &Args) -> Result<()> {
    let filled = made(&file(&args.dir, 0), "NORMAL")?;
    table::fill(&filled, TABLE_BYTES)?;
    truncate(&filled)?;
    side("warm").serve(args, |post| {
        let connection = sharing(args, 0, args.threads)?;
        table::scan(&connection)?;
        bank::ranges(post, &connection)
    })
}

/// Readers beside a writer.
pub(crate) fn mixed(args: &Args) -> Result<()> {
    bank::open_bank(&sharing(args, 0, 1)?)?;
    side("defaults").serve(args, |post| {
        bank::mixed(post, &sharing(args, 0, args.threads)?)
    })
}

/// Connecting to one of many databases, a select, closing.
pub(crate) fn open_one(args: &Args) -> Result<()> {
    for number in 0..args.databases {
        let connection = made(&file(&args.dir, number), "OFF")?;
        table::dirty(&connection, 1, &mut Random::new(0))?;
    }
    rustix::fs::sync();
    side("a new connection each time").serve(args, |post| {
        post.serve(Loop::TIMED, |random| {
            let number = random.below(args.databases as u64) as usize;
            let connection = connect(&file(&args.dir, number))?;
            let first = "SELECT id FROM entry ORDER BY id LIMIT 1";
            let _id: i64 = connection.query_row(first, [], |row| row.get(0))?;
            Ok(())
        })
    })
}

/// Many writers of one database.
pub(crate) fn one_database(args: &Args) -> Result<()> {
    let _made = made(&file(&args.dir, 0), "FULL")?;
    side("a busy timeout").serve(args, |post| {
        let connection = connect(&file(&args.dir, 0))?;
        connection.busy_timeout(PATIENCE)?;
        set(&connection, "PRAGMA synchronous = FULL")?;
        bank::inserts(post, &connection)
    })
}
