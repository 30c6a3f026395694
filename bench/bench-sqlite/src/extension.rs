//! Stock SQLite on a store of bop, by the loadable extension.

#![allow(unsafe_code, reason = "loading an extension runs its code")]

use crate::{bank_sql as bank, set};
use bench_work::{Args, Result, Side, share};
// Built with this program, so that the extension is there to be loaded.
use bop_sqlite as _;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};

/// The extension, which cargo puts beside the libraries of this program.
fn extension() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let dir = program.parent().ok_or("a program in no directory")?;
    Ok(dir.join("deps/libbop_sqlite.so"))
}

/// Loads it; it stays loaded.
fn load() -> Result<()> {
    let loader = Connection::open_in_memory()?;
    // SAFETY: the extension is the one that was built with this program, and no SQL runs meanwhile.
    unsafe {
        loader.load_extension_enable()?;
        loader.load_extension(extension()?, None::<&str>)?;
    }
    Ok(())
}

fn connect(dir: &Path, number: usize) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let store = dir.join("store");
    let uri = format!("file:db-{number}?vfs=bop&store={}", store.display());
    let connection = Connection::open_with_flags(uri, flags)?;
    set(&connection, "PRAGMA synchronous = FULL")?;
    Ok(connection)
}

/// Small transactions, a thread a share of the databases.
pub(crate) fn transactions(args: &Args) -> Result<()> {
    load()?;
    let version = rusqlite::version();
    let side = Side::new(format!(
        "bop under SQLite {version}, by the extension, defaults"
    ));
    side.serve(args, |post| {
        let numbers = share(post.thread(), args.threads, args.databases);
        let connections = numbers.map(|number| connect(&args.dir, number));
        let connections = connections.collect::<Result<Vec<_>>>()?;
        let connections: Vec<_> = connections.iter().collect();
        bank::transactions(post, &connections, || Ok(()))
    })
}
