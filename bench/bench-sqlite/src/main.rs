//! The benchmarks' work through stock SQLite, at its best documented settings for the promise that
//! is compared: WAL, one connection a database that is kept open, prepared statements.

mod applications;
#[path = "../../sql/bank.rs"]
mod bank_sql;
mod checkpoints;
mod extension;
mod hot;
mod selects;
#[path = "../../sql/table.rs"]
mod table;

use bench_work::{Args, CREATE, CREATIONS, INSERT, Loop, ROW_BYTES, Result, Side, share};
use rusqlite::{Connection, OpenFlags};
use std::fs;
use std::path::{Path, PathBuf};

// The library that `table` measures.
pub(crate) use ::rusqlite;

fn main() -> Result<()> {
    let args = Args::parse()?;
    match args.work.as_str() {
        "sql" => inserts(&args, Checkpoints::BySqlite, "FULL"),
        "sql-busy" => inserts(&args.beside_others()?, Checkpoints::BySqlite, "FULL"),
        "sql-relaxed" => inserts(&args, Checkpoints::BySqlite, "NORMAL"),
        "bytes" => inserts(&args, Checkpoints::WhileResting, "FULL"),
        "create" => creations(&args),
        "fill" => hot::fill(&args),
        "open" => hot::open(&args),
        "load" => selects::load(&args),
        "select" => selects::selects(&args),
        "scan" => selects::scans(&args),
        "scan-cold" => selects::scan_cold(&args),
        "tpcb" => applications::transactions(&args),
        "tpcb-ext" => extension::transactions(&args),
        "bulk" => applications::bulk(&args),
        "ranges" => applications::ranges(&args),
        "mixed" => applications::mixed(&args),
        "open-one" => applications::open_one(&args),
        "one-db" => applications::one_database(&args),
        "space" => selects::space(&args),
        "checkpoint" => checkpoints::large(&args),
        "checkpoint-many" => checkpoints::many(&args),
        _ => args.unknown(),
    }
}

/// Who moves the WAL into the database, and when.
#[derive(Clone, Copy, PartialEq)]
enum Checkpoints {
    /// SQLite, at its default of 1,000 pages.
    BySqlite,
    /// Between slices, so that the growth of the WAL files in a slice is what was appended.
    WhileResting,
}

/// One thread a share of the databases; each commit is one row, synced as `synchronous` says.
fn inserts(args: &Args, checkpoints: Checkpoints, synchronous: &str) -> Result<()> {
    let version = rusqlite::version();
    let name = format!("SQLite {version}, WAL, synchronous={synchronous}");
    let wals: Vec<PathBuf> = (0..args.databases)
        .map(|number| file(&args.dir, number).with_extension("db-wal"))
        .collect();
    let mut side = Side::new(name);
    if checkpoints == Checkpoints::WhileResting {
        side = side
            .log_bytes(|| wals.iter().map(|wal| Ok(fs::metadata(wal)?.len())).sum())
            .rest(|| {
                (0..args.databases).try_for_each(|number| {
                    let connection = connect(&file(&args.dir, number))?;
                    truncate(&connection)
                })
            });
    }
    side.serve(args, |post| {
        let connections: Vec<Connection> = share(post.thread(), args.threads, args.databases)
            .map(|number| {
                let connection = made(&file(&args.dir, number), synchronous)?;
                if checkpoints == Checkpoints::WhileResting {
                    set(&connection, "PRAGMA wal_autocheckpoint = 0")?;
                }
                Ok(connection)
            })
            .collect::<Result<_>>()?;
        let mut inserts = connections
            .iter()
            .map(|connection| Ok(connection.prepare(INSERT)?))
            .collect::<Result<Vec<_>>>()?;
        let (mut row, mut next) = ([0; ROW_BYTES], 0);
        post.serve(Loop::TIMED, |random| {
            random.fill(&mut row);
            inserts[next].execute([row.as_slice()])?;
            next = (next + 1) % inserts.len();
            Ok(())
        })
    })
}

/// New databases, each with a table and a row, durable before the next one.
fn creations(args: &Args) -> Result<()> {
    let name = format!("SQLite {}, WAL, synchronous=FULL", rusqlite::version());
    Side::new(name).serve(args, |post| {
        let (thread, mut made) = (post.thread(), 0);
        let mut row = [0; ROW_BYTES];
        post.serve(Loop::of(CREATIONS / args.threads), |random| {
            random.fill(&mut row);
            let connection = connect(&args.dir.join(format!("db-{thread}-{made}.db")))?;
            set(&connection, "PRAGMA journal_mode = WAL")?;
            set(&connection, "PRAGMA synchronous = FULL")?;
            connection.execute_batch(CREATE)?;
            connection.execute(INSERT, [row.as_slice()])?;
            made += 1;
            Ok(())
        })
    })
}

fn file(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("db-{number}.db"))
}

/// A connection of one thread's own: no mutex of SQLite's in the way.
fn connect(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Ok(Connection::open_with_flags(path, flags)?)
}

/// The table is made without syncs, which are not what is measured; what follows is as durable
/// as `synchronous` says.
fn made(path: &Path, synchronous: &str) -> Result<Connection> {
    let connection = connect(path)?;
    set(&connection, "PRAGMA synchronous = OFF")?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(format!("the journal mode is {mode}").into());
    }
    connection.execute_batch(CREATE)?;
    set(&connection, &format!("PRAGMA synchronous = {synchronous}"))?;
    Ok(connection)
}

/// Moves all of the WAL into the database.
fn truncate(connection: &Connection) -> Result<()> {
    let busy: i64 =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    match busy {
        0 => Ok(()),
        _ => Err("a WAL could not be truncated".into()),
    }
}

/// Runs a pragma, whatever it answers.
fn set(connection: &Connection, pragma: &str) -> Result<()> {
    let mut statement = connection.prepare(pragma)?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}
