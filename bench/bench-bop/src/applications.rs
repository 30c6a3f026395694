//! What applications do over SQL: small transactions, one large, selects beside a writer, many databases.

use crate::selects::{budget_bytes, options};
use crate::{bank_sql as bank, table};
use bench_work::{Args, Loop, Result, Side, TABLE_BYTES, share};
use bop_libsql::{Connection, Store};
use std::time::Duration;

/// How long 64 writers of one database wait for their turn.
const PATIENCE: Duration = Duration::from_secs(60);

fn open(args: &Args) -> Result<Store> {
    Ok(Store::open(args.dir.join("store"), options(args.threads))?)
}

fn side(how: &str) -> Side<'static> {
    let version = bop_libsql::rusqlite::version();
    let told = format!("bop over libSQL with SQLite {version}, {how}");
    Side::new(told).budget_bytes(budget_bytes())
}

fn connect(store: &Store, number: usize) -> Result<Connection> {
    Ok(store.connect(&format!("db-{number}"))?)
}

/// Small transactions, a thread a share of the databases.
pub(crate) fn transactions(args: &Args) -> Result<()> {
    let store = open(args)?;
    side("defaults").serve(args, |post| {
        let numbers = share(post.thread(), args.threads, args.databases);
        let connections = numbers.map(|number| connect(&store, number));
        let connections = connections.collect::<Result<Vec<_>>>()?;
        let connections: Vec<_> = connections.iter().map(|one| &**one).collect();
        bank::transactions(post, &connections, || Ok(()))
    })
}

/// A million rows in one transaction.
pub(crate) fn bulk(args: &Args) -> Result<()> {
    let store = open(args)?;
    side("defaults").serve(args, |post| {
        let connection = connect(&store, 0)?;
        post.serve_told(|random| {
            let took = bank::bulk(&connection, random)?;
            store.manager().checkpoint()?;
            Ok(took)
        })
    })
}

/// Selects by key and ranges of a table that the cache has.
pub(crate) fn ranges(args: &Args) -> Result<()> {
    let store = open(args)?;
    let filled = connect(&store, 0)?;
    table::fill(&filled, TABLE_BYTES)?;
    store.manager().checkpoint()?;
    side("warm").serve(args, |post| {
        let connection = connect(&store, 0)?;
        table::scan(&connection)?;
        bank::ranges(post, &connection)
    })
}

/// Readers beside a writer.
pub(crate) fn mixed(args: &Args) -> Result<()> {
    let store = open(args)?;
    bank::open_bank(&*connect(&store, 0)?)?;
    side("defaults").serve(args, |post| bank::mixed(post, &*connect(&store, 0)?))
}

/// Connecting to one of many databases, a select, closing.
pub(crate) fn open_one(args: &Args) -> Result<()> {
    let store = open(args)?;
    for number in 0..args.databases {
        table::dirty(
            &*connect(&store, number)?,
            1,
            &mut bench_work::Random::new(0),
        )?;
    }
    store.manager().checkpoint()?;
    side("defaults").serve(args, |post| {
        post.serve(Loop::TIMED, |random| {
            let number = random.below(args.databases as u64) as usize;
            let connection = connect(&store, number)?;
            let first = "SELECT id FROM entry ORDER BY id LIMIT 1";
            let _id: i64 = connection.query_row(first, [], |row| row.get(0))?;
            Ok(())
        })
    })
}

/// Many writers of one database.
pub(crate) fn one_database(args: &Args) -> Result<()> {
    let store = open(args)?;
    connect(&store, 0)?.execute_batch(bench_work::CREATE)?;
    side("defaults").serve(args, |post| {
        let connection = connect(&store, 0)?;
        connection.busy_timeout(PATIENCE)?;
        bank::inserts(post, &connection)
    })
}
