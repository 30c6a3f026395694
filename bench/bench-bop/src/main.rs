//! The benchmark's work on a database of a bop store, with its defaults.

use bench_work::{CREATE, INSERT, Result};
use bop_libsql::{Options, Store};

fn main() -> Result<()> {
    let store = Store::open(bench_work::directory()?.join("store"), Options::new())?;
    let connection = store.connect("bench")?;
    connection.execute_batch(CREATE)?;
    let mut insert = connection.prepare(INSERT)?;
    let version = format!(
        "bop over libSQL with SQLite {}",
        bop_libsql::rusqlite::version()
    );
    bench_work::serve(&version, |content| {
        insert.execute([content])?;
        Ok(())
    })
}
