//! Single-row inserts, with the store's defaults.

use crate::ALLOCATOR;
use bench_work::{Args, CREATE, CREATIONS, INSERT, Loop, ROW_BYTES, Result, Side, share};
use bop_libsql::{Connection, Options, Store};

/// What a commit promises when it returns.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Promise {
    /// It is durable.
    Full,
    /// It is durable soon.
    Relaxed,
}

/// One thread a share of the databases; each commit is one row.
pub(crate) fn inserts(args: &Args, promise: Promise) -> Result<()> {
    let store = Store::open(args.dir.join("store"), Options::new())?;
    let version = bop_libsql::rusqlite::version();
    let settings = match promise {
        Promise::Full => "defaults",
        Promise::Relaxed => "synchronous=NORMAL",
    };
    let version = format!("bop over libSQL with SQLite {version}, {settings}, {ALLOCATOR}");
    let manager = store.manager().clone();
    // The Lsn counts the bytes of batches: blocks, headers and padding included.
    let side = Side::new(version).log_bytes(|| Ok(manager.status().published.get()));
    side.serve(args, |post| {
        let connections: Vec<Connection> = share(post.thread(), args.threads, args.databases)
            .map(|number| {
                let connection = store.connect(&format!("db-{number}"))?;
                connection.execute_batch(CREATE)?;
                if promise == Promise::Relaxed {
                    connection.execute_batch("PRAGMA synchronous = NORMAL")?;
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
pub(crate) fn creations(args: &Args) -> Result<()> {
    let store = Store::open(args.dir.join("store"), Options::new())?;
    let version = bop_libsql::rusqlite::version();
    let side = Side::new(format!(
        "bop over libSQL with SQLite {version}, defaults, {ALLOCATOR}"
    ));
    side.serve(args, |post| {
        let (thread, mut made) = (post.thread(), 0);
        let mut row = [0; ROW_BYTES];
        post.serve(Loop::of(CREATIONS / args.threads), |random| {
            random.fill(&mut row);
            let connection = store.connect(&format!("db-{thread}-{made}"))?;
            connection.execute_batch(CREATE)?;
            connection.execute(INSERT, [row.as_slice()])?;
            made += 1;
            Ok(())
        })
    })
}
