//! A large table: point selects, scans warm and cold.

use crate::table;
use bench_work::{
    Args, CACHE_BYTES, Loop, Result, Side, TABLE_BYTES, forget_pages, wait_to_be_killed,
};
use bop_libsql::{Options, Store};
use bop_storage::Limits;
use std::sync::Mutex;

/// The name of the database.
const NAME: &str = "table";
/// What SQLite keeps for itself in each connection, at its default.
const PAGER_BYTES: u64 = 2_000 * 1024;

/// The caches of all connections and that of the store have `CACHE_BYTES` together.
pub(crate) fn options(connections: usize) -> Options {
    let mut limits = Limits::default();
    limits.cache_bytes_max = CACHE_BYTES - connections as u64 * PAGER_BYTES;
    Options::new().limits(limits)
}

/// What the settings allow: pages in the caches, a transaction's pages, the buffers of chunks.
pub(crate) fn budget_bytes() -> u64 {
    let limits = Limits::default();
    CACHE_BYTES + limits.transaction_memory_bytes_max + limits.buffer_pool_bytes_max
}

fn open(args: &Args) -> Result<Store> {
    let path = args.dir.join("store");
    Ok(Store::open(path, options(args.threads))?)
}

fn side(how: &str) -> Side<'static> {
    let version = bop_libsql::rusqlite::version();
    let mib = CACHE_BYTES >> 20;
    let told = format!("bop over libSQL with SQLite {version}, {mib} MiB of caches, {how}");
    Side::new(told).budget_bytes(budget_bytes())
}

/// A store with the table, all of it in chunks.
fn filled(args: &Args) -> Result<Store> {
    let store = open(args)?;
    table::fill(&*store.connect(NAME)?, TABLE_BYTES)?;
    store.manager().checkpoint()?;
    Ok(store)
}

/// Makes the table and waits to be killed.
pub(crate) fn load(args: &Args) -> Result<()> {
    let _store = filled(args)?;
    wait_to_be_killed("bop, a table in chunks")
}

/// Selects of rows by random keys, a connection a thread.
pub(crate) fn selects(args: &Args) -> Result<()> {
    let store = filled(args)?;
    side("warm").serve(args, |post| {
        let connection = store.connect(NAME)?;
        table::selects(post, &connection)
    })
}

/// Scans of a table that the cache has.
pub(crate) fn scans(args: &Args) -> Result<()> {
    let store = filled(args)?;
    side("warm").serve(args, |post| {
        let connection = store.connect(NAME)?;
        table::scans(post, &connection)
    })
}

/// One scan, from opening the store on.
pub(crate) fn scan_cold(args: &Args) -> Result<()> {
    let how = forget_pages(&args.dir)?;
    let opened = Mutex::new(Vec::new());
    side(how).serve(&args.alone(), |post| {
        post.serve(Loop::ONCE, |_| {
            let store = open(args)?;
            table::scan(&*store.connect(NAME)?)?;
            // Closing it is not measured.
            let mut opened = opened.lock().map_err(|_| "a thread panicked")?;
            opened.push(store);
            Ok(())
        })
    })
}
