//! The page API: small commits, large ones, and small ones beside large ones.

use crate::ALLOCATOR;
use bench_work::{Args, Loop, MIB, PAGE_BYTES, Random, Result, Side, share};
use bop_storage::{Db, DbKind, Limits, Manager, Options, PageBytes, PageNo};
use std::thread;
use std::time::Duration;

/// Pages of a database that are written in turn.
const PAGES: u32 = 256;
/// How long a transaction may wait for the database.
const WAIT: Duration = Duration::from_secs(30);
/// Pages of one commit of the work `stream`: 16 MiB.
const STREAM_PAGES: u32 = (16 * MIB / PAGE_BYTES) as u32;
/// Pages that it takes these from: 64 MiB.
const READY_PAGES: usize = 64 * MIB / PAGE_BYTES;
/// Segments that are made before a slice of it: more than half of them are left at its end, so that none is
/// made meanwhile.
const SPARES: u32 = 24;
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
    limits.segments_spare_min = SPARES;
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
        // Whatever the housekeeper has to do is done before the next slice, here or by itself.
        manager.keep_house();
        while manager.status().spare_segments < SPARES as usize {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    };
    rest()?;
    let side = Side::new("bop, page API, 64 MiB segments, 24 spares").rest(rest);
    let rule = Loop {
        at_most: STREAM_COMMITS,
        ..Loop::TIMED
    };
    // Ready pages, as the other side has ready bytes: making 16 MiB of them takes as long as writing them.
    let mut random = Random::new(0);
    let page = || {
        let mut content = [0; PAGE_BYTES];
        random.fill(&mut content);
        PageBytes::copy_of(&content)
    };
    let ready: Vec<PageBytes> = std::iter::repeat_with(page).take(READY_PAGES).collect();
    side.serve(args, |post| {
        post.serve(rule, |random| {
            let mut txn = database.begin_write(WAIT)?;
            let from = random.number() as usize % READY_PAGES;
            let contents = ready.iter().cycle().skip(from);
            for (page, content) in (1..=STREAM_PAGES).filter_map(PageNo::new).zip(contents) {
                txn.write_page_shared(page, content.clone())?;
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
