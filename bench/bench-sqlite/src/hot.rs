//! A hot WAL of 1 GiB: made and left behind by a kill, opened.

use crate::{connect, file, made, set};
use bench_work::{Args, Loop, PAGE_BYTES, Random, Result, Side, forget_pages, wait_to_be_killed};
use std::fs;
use std::sync::Mutex;

/// Bytes of the WAL.
const LOG_BYTES: u64 = 1 << 30;

/// Writes rows of about a page, one a commit, until the WAL is so long, and waits to be killed.
/// What is in the WAL is the same with syncs and without: they are left out.
pub(crate) fn fill(args: &Args) -> Result<()> {
    let path = file(&args.dir, 0);
    let connection = made(&path, "FULL")?;
    set(&connection, "PRAGMA synchronous = OFF")?;
    set(&connection, "PRAGMA wal_autocheckpoint = 0")?;
    let mut insert = connection.prepare(bench_work::INSERT)?;
    // A row that leaves no room for a second one on its page.
    let (mut row, mut random) = ([0; PAGE_BYTES * 3 / 4], Random::new(0));
    let wal = path.with_extension("db-wal");
    loop {
        for _ in 0..64 {
            random.fill(&mut row);
            insert.execute([row.as_slice()])?;
        }
        let bytes = fs::metadata(&wal)?.len();
        if bytes >= LOG_BYTES {
            return wait_to_be_killed(&format!("SQLite, a WAL of {bytes} bytes"));
        }
    }
}

/// Opens what a kill left, and reads a row: the first read is what recovers a WAL.
pub(crate) fn open(args: &Args) -> Result<()> {
    let (path, opened) = (file(&args.dir, 0), Mutex::new(Vec::new()));
    forget_pages(&args.dir)?;
    let version = rusqlite::version();
    let side = Side::new(format!("SQLite {version}, first row read after the open"));
    side.serve(&args.alone(), |post| {
        post.serve(Loop::ONCE, |_| {
            let connection = connect(&path)?;
            let first = "SELECT id FROM entry ORDER BY id LIMIT 1";
            let _id: i64 = connection.query_row(first, [], |row| row.get(0))?;
            // Closing it would checkpoint the WAL.
            let mut opened = opened.lock().map_err(|_| "a thread panicked")?;
            opened.push(connection);
            Ok(())
        })
    })
}
