//! How a store of very many databases opens, and what they cost while nobody uses them.
//!
//! `cargo run --release -p bop-storage --example many_databases -- DIR 100000` makes them, each with
//! one page, when there is no store in DIR; run again, it opens the store and looks.

use bop_storage::{DbKind, Manager, Options, PageNo};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

const THREADS: usize = 64;
const WAIT: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("a directory is needed")?;
    let count: usize = arguments.next().ok_or("a number is needed")?.parse()?;
    match Path::new(&dir).join("store.bop").exists() {
        true => look(&dir, count),
        false => make(&dir, count),
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

fn look(dir: &str, count: usize) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (before, begun) = (rss_bytes()?, Instant::now());
    let store = Manager::open(dir, Options::new())?;
    let (took, bytes) = (begun.elapsed(), rss_bytes()?.saturating_sub(before));
    println!("opened in {took:?}, {} bytes a database", bytes / count);
    let begun = Instant::now();
    let listed = store.databases().len();
    println!("{listed} listed in {:?}", begun.elapsed());
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
