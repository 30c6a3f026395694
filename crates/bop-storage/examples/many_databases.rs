//! How a store of very many databases opens, and what they cost while nobody uses them.
//!
//! `cargo run --release -p bop-storage --example many_databases -- DIR 100000` makes them, each with
//! one page, when there is no store in DIR; run again, it opens the store and looks. With `--assert` behind
//! that it fails when the store takes a second to open, a database a KiB, or the list more memory than its pieces.

use bop_storage::{DbId, DbKind, Manager, Options, PageNo};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

const THREADS: usize = 64;
const WAIT: Duration = Duration::from_secs(60);

/// What `--assert` asks for.
const OPEN_MAX: Duration = Duration::from_secs(1);
const IDLE_BYTES_MAX: usize = 1024;
const LIST_BYTES_MAX: usize = 4 << 20;

/// Databases that are listed at once.
const PIECE: usize = 1_000;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("a directory is needed")?;
    let count: usize = arguments.next().ok_or("a number is needed")?.parse()?;
    let asserted = match arguments.next().as_deref() {
        None => false,
        Some("--assert") => true,
        Some(other) => return Err(format!("unknown argument {other:?}").into()),
    };
    match Path::new(&dir).join("store.bop").exists() {
        true => look(&dir, count, asserted),
        false => make(&dir, count),
    }
}

/// Fails where a figure is not what it must be and that is asked for.
fn check(asserted: bool, holds: bool, what: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    match asserted && !holds {
        true => Err(what.into()),
        false => Ok(()),
    }
}

fn name(number: usize) -> String {
    format!("db-{number}")
}

fn make(dir: &str, count: usize) -> Result<(), Box<dyn Error + Send + Sync>> {
    let store = Manager::open(dir, Options::new())?;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let store = &store;
                scope.spawn(move || {
                    (thread..count).step_by(THREADS).try_for_each(|number| {
                        let database = store.create_database(&name(number), DbKind::Raw)?;
                        let mut write = database.begin_write(WAIT)?;
                        write.write_page(PageNo::FIRST, &[1; 4096])?;
                        write.commit()?;
                        Ok::<_, Box<dyn Error + Send + Sync>>(())
                    })
                })
            })
            .collect();
        let mut ended = threads.into_iter().map(|thread| thread.join());
        ended.try_for_each(|ended| ended.unwrap_or_else(|_| Err("a thread panicked".into())))
    })?;
    println!("{count} databases made in {:?}", begun.elapsed());
    let begun = Instant::now();
    store.checkpoint()?;
    println!("checkpoint in {:?}", begun.elapsed());
    Ok(store.close(WAIT)?)
}

fn look(dir: &str, count: usize, asserted: bool) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (before, begun) = (rss_bytes()?, Instant::now());
    let store = Manager::open(dir, Options::new())?;
    let (took, bytes) = (begun.elapsed(), rss_bytes()?.saturating_sub(before));
    println!("opened in {took:?}, {} bytes a database", bytes / count);
    check(asserted, took < OPEN_MAX, "it took too long to open")?;
    check(
        asserted,
        bytes / count < IDLE_BYTES_MAX,
        "a database takes too much memory",
    )?;
    let (before_list, begun) = (rss_bytes()?, Instant::now());
    let (mut from, mut listed, mut most) = (Some(DbId::default()), 0, 0);
    while let Some(first) = from {
        let piece = store.databases_from(first, PIECE);
        from = piece.last().and_then(|last| last.id.next());
        listed += piece.len();
        most = most.max(rss_bytes()?.saturating_sub(before_list));
    }
    println!(
        "{listed} listed in {:?}, with {most} bytes",
        begun.elapsed()
    );
    check(asserted, listed == count, "the list has not all of them")?;
    check(
        asserted,
        most < LIST_BYTES_MAX,
        "the list takes too much memory",
    )?;
    let begun = Instant::now();
    for number in 0..count {
        let read = store.database(&name(number))?.begin_read()?;
        if read.page_count() != 1 {
            return Err(format!("{} has {} pages", name(number), read.page_count()).into());
        }
    }
    let bytes = rss_bytes()?.saturating_sub(before);
    let took = begun.elapsed();
    println!(
        "all looked at in {took:?}, {} bytes a database",
        bytes / count
    );
    Ok(store.close(WAIT)?)
}

/// Memory of this process that is in use, of pages of 4 KiB. Pages of files, the manifest's map among
/// them, are the kernel's cache: it takes them back when it likes.
fn rss_bytes() -> Result<usize, Box<dyn Error + Send + Sync>> {
    let status = std::fs::read_to_string("/proc/self/statm")?;
    let mut pages = status.split(' ').skip(1).map(str::parse::<usize>);
    let mut next = || pages.next().ok_or("no such field");
    let (resident, of_files) = (next()??, next()??);
    Ok((resident - of_files) * 4096)
}
