//! The page API: small commits, large ones, and small ones beside large ones.

use crate::ALLOCATOR;
use bench_work::{Args, Loop, MIB, PAGE_BYTES, Random, Result, Side, share};
use bop_storage::{Db, DbKind, Limits, Manager, Options, PageNo};
use std::time::Duration;

/// Pages of a database that are written in turn.
const PAGES: u32 = 256;
/// How long a transaction may wait for the database.
const WAIT: Duration = Duration::from_secs(30);
/// Pages of one commit of the work `stream`: 16 MiB.
const STREAM_PAGES: u32 = (16 * MIB / PAGE_BYTES) as u32;
/// Commits of one slice of it: they fit the segments that were made before.
const STREAM_COMMITS: u64 = 32;

/// One thread a database, one fresh page a commit.
pub(crate) fn commits(args: &Args) -> Result<()> {
    let manager = Manager::open(args.dir.join("store"), Options::new())?;
    let side = Side::new(format!("bop, page API, defaults, {ALLOCATOR}"));
    let side = side.log_bytes(|| Ok(manager.status().published.get()));
    side.serve(args, |post| {
        let databases = share(post.thread(), args.threads, args.databases)
            .map(|number| database(&manager, number))
            .collect::<Result<Vec<Db>>>()?;
        let mut turn = 0;
        post.serve(Loop::TIMED, |random| {
            let database = &databases[turn % databases.len()];
            commit(database, (turn / databases.len()) as u32 % PAGES, 1, random)?;
            turn += 1;
            Ok(())
        })
    })
}

/// Commits of 16 MiB into segments that were made before the slice; the housekeeper makes others meanwhile.
pub(crate) fn stream(args: &Args) -> Result<()> {
    let largest = Limits::default().segment_bytes_max;
    let mut limits = Limits::default();
    limits.segment_bytes_min = largest;
    limits.segments_spare_min = 16;
    limits.log_bytes_max = 64 * largest;
    limits.checkpoint_log_bytes_min = 64 * largest;
    limits.log_sealed_segments_max = 64;
    // With the threads that a store has: without them nobody writes a fragment while the next one is made.
    let options = Options::new().limits(limits);
    let manager = Manager::open(args.dir.join("store"), options)?;
    let database = database(&manager, 0)?;
    // Between slices the log goes into chunks, and its segments become spares again.
    let rest = || {
        manager.checkpoint()?;
        // Whatever the housekeeper has to do is done before the next slice.
        manager.keep_house();
        Ok(())
    };
    rest()?;
    let side = Side::new("bop, page API, 64 MiB segments, 16 spares").rest(rest);
    let rule = Loop {
        at_most: STREAM_COMMITS,
        ..Loop::TIMED
    };
    // Ready bytes: making 16 MiB of them takes as long as writing them.
    let mut bytes = vec![0; 64 * MIB];
    Random::new(0).fill(&mut bytes);
    let windows = bytes.len() - PAGE_BYTES;
    side.serve(args, |post| {
        post.serve(rule, |random| {
            let mut txn = database.begin_write(WAIT)?;
            for page in (1..=STREAM_PAGES).filter_map(PageNo::new) {
                let from = random.number() as usize % windows;
                txn.write_page(page, &bytes[from..from + PAGE_BYTES])?;
            }
            txn.commit()?;
            Ok(())
        })
    })
}

/// Small commits of all threads but one, which commits 1 MiB flat out, or rests.
pub(crate) fn fair(args: &Args, beside: bool) -> Result<()> {
    let manager = Manager::open(args.dir.join("store"), Options::new())?;
    let side = Side::new(match beside {
        true => "bop, page API, beside a database that commits 1 MiB flat out",
        false => "bop, page API, alone",
    });
    let writers = args.threads;
    let crew = Args {
        threads: writers + usize::from(beside),
        ..args.clone()
    };
    side.serve(&crew, |post| {
        let database = database(&manager, post.thread())?;
        let mut turn = 0;
        let (pages, rule) = match post.thread() < writers {
            true => (1, Loop::TIMED),
            false => ((MIB / PAGE_BYTES) as u32, Loop::COMPANY),
        };
        post.serve(rule, |random| {
            commit(&database, turn % PAGES, pages, random)?;
            turn += pages;
            Ok(())
        })
    })
}

/// The database `number`, new or as an earlier process left it.
pub(crate) fn database(manager: &Manager, number: usize) -> Result<Db> {
    let name = format!("db-{number}");
    match manager.database(&name) {
        Ok(database) => Ok(database),
        Err(_) => Ok(manager.create_database(&name, DbKind::Raw)?),
    }
}

/// Commits `count` pages of random bytes, from the page with index `first` on.
pub(crate) fn commit(database: &Db, first: u32, count: u32, random: &mut Random) -> Result<()> {
    let mut content = [0; PAGE_BYTES];
    let mut txn = database.begin_write(WAIT)?;
    for page in (first + 1..=first + count).filter_map(PageNo::new) {
        random.fill(&mut content);
        txn.write_page(page, &content)?;
    }
    txn.commit()?;
    Ok(())
}
