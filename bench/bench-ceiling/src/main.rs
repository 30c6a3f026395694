//! The benchmarks' work by an engine that does nothing: SQLite on databases in memory, whose commits wait for a log that
//! keeps nothing. What a statement costs is in it, and what durable commits cost; what an engine does is not.
//!
//! Never: keeps anything.

#[path = "../../sql/bank.rs"]
#[expect(dead_code, reason = "most works have no durable commits")]
mod bank_sql;
mod bare_log;
#[path = "../../sql/table.rs"]
#[expect(dead_code, reason = "the bank's works ask it for the time alone")]
mod table;

use bare_log::BareLog;
use bench_work::{Args, CREATE, INSERT, Loop, PAGE_BYTES, Post, ROW_BYTES, Result, Side, share};
use rusqlite::{Connection, OpenFlags};
use std::hint::black_box;

// The library that `bank_sql` and `table` measure.
pub(crate) use ::rusqlite;

/// Bytes of the log that a commit of one row takes in bop: `bytes-64`. One of `tpcb` takes more there.
const COMMIT_BYTES: usize = 865;

fn main() -> Result<()> {
    let args = Args::parse()?;
    match args.work.as_str() {
        "sql" => inserts(&args),
        "tpcb" => transactions(&args),
        "page" => pages(&args),
        _ => args.unknown(),
    }
}

fn log(args: &Args, commit_bytes: usize) -> Result<BareLog> {
    BareLog::new(&args.dir.join("log"), args.threads, commit_bytes)
}

fn side() -> Side<'static> {
    let version = rusqlite::version();
    Side::new(format!("SQLite {version} in memory, a bare log"))
}

/// A database in memory that cannot even roll back.
fn connect() -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_MEMORY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(":memory:", flags)?;
    let off = "PRAGMA journal_mode = OFF";
    let mode: String = connection.query_row(off, [], |row| row.get(0))?;
    match mode == "off" {
        true => Ok(connection),
        false => Err(format!("the journal mode is {mode}").into()),
    }
}

/// A database for each of a thread's share.
fn connections(args: &Args, post: &Post) -> Result<Vec<Connection>> {
    let share = share(post.thread(), args.threads, args.databases);
    share.map(|_| connect()).collect()
}

/// Single-row inserts, a thread a share of the databases.
fn inserts(args: &Args) -> Result<()> {
    let log = log(args, COMMIT_BYTES)?;
    side().serve(args, |post| {
        let connections = connections(args, post)?;
        let inserts = connections.iter().map(|connection| {
            connection.execute_batch(CREATE)?;
            Ok(connection.prepare(INSERT)?)
        });
        let mut inserts = inserts.collect::<Result<Vec<_>>>()?;
        let (mut row, mut next) = ([0; ROW_BYTES], 0);
        post.serve(Loop::TIMED, |random| {
            random.fill(&mut row);
            inserts[next].execute([row.as_slice()])?;
            next = (next + 1) % inserts.len();
            log.commit()
        })
    })
}

/// Small transactions, a thread a share of the databases.
fn transactions(args: &Args) -> Result<()> {
    let log = log(args, COMMIT_BYTES)?;
    side().serve(args, |post| {
        let connections = connections(args, post)?;
        let connections: Vec<&Connection> = connections.iter().collect();
        bank_sql::transactions(post, &connections, || log.commit())
    })
}

/// A page a commit.
fn pages(args: &Args) -> Result<()> {
    let log = log(args, PAGE_BYTES)?;
    let side = Side::new("a bare log");
    side.serve(args, |post| {
        let mut page = [0; PAGE_BYTES];
        post.serve(Loop::TIMED, |random| {
            random.fill(&mut page);
            black_box(&page);
            log.commit()
        })
    })
}
