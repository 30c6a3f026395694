//! One commit much larger than any buffer, beside 63 databases that commit small ones: all of them
//! end well, and the memory that it takes is what is configured, and what it keeps of each page.
//!
//! 128 MiB by default; `BOP_LARGE_COMMIT_MIB` makes it larger. The only test of this
//! binary: it looks at the memory of the process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bop_storage::testing::SplitMix64;
use bop_storage::{Db, DbKind, Limits, Manager, Options, PageNo};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const MIB: u64 = 1 << 20;
const PAGE_BYTES: u64 = 4096;
const WRITERS: u64 = 63;
/// Commits that each small writer makes at least.
const COMMITS_MIN: u64 = 20;
const WAIT: Duration = Duration::from_secs(600);
/// Bytes kept in memory for a page of a large commit, beside its content: where it lies in the
/// transaction's temporary file, then in the log, and its entry of the index.
const BYTES_FOR_A_PAGE: u64 = 320;

/// The buffers of one store: 64 MiB in all.
fn limits(commit_bytes: u64) -> Limits {
    let mut limits = Limits::default();
    limits.transaction_memory_bytes_max = 16 * MIB;
    limits.cache_bytes_max = 16 * MIB;
    limits.buffer_pool_bytes_max = 8 * MIB;
    limits.queue_bytes_max = 8 * MIB;
    // The rest: a part that is made, one that waits and one that is written.
    limits.fragment_bytes_max = 4 * MIB;
    limits.batch_bytes_max = 4 * MIB;
    // The commit holds its part of the log until it is visible, and the others need room beside it.
    limits.log_bytes_max = limits.log_bytes_max.max(2 * commit_bytes);
    limits.index_entries_max = limits.index_entries_max.max(2 * commit_bytes / PAGE_BYTES);
    limits
}

/// The most memory that the process had so far, in bytes.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse::<u64>().unwrap() * 1024
}

/// What page `number` of the large database holds: nothing that could be compressed.
fn content(number: u32) -> Vec<u8> {
    let mut random = SplitMix64::new(number.into());
    let words = (0..PAGE_BYTES / 8).map(|_| random.next_u64().to_le_bytes());
    words.flatten().collect()
}

/// Counts a small database up until the large commit has ended; returns how far.
fn count_up(db: &Db, ended: &AtomicBool) -> u64 {
    let mut count = 0_u64;
    while count < COMMITS_MIN || !ended.load(Ordering::Acquire) {
        let mut write = db.begin_write(WAIT).unwrap();
        let mut page = [0; PAGE_BYTES as usize];
        page[..8].copy_from_slice(&(count + 1).to_le_bytes());
        write.write_page(PageNo::FIRST, &page).unwrap();
        write.commit().unwrap();
        count += 1;
    }
    count
}

#[test]
fn a_commit_larger_than_all_buffers_ends_beside_many_small_ones() {
    let mib = std::env::var("BOP_LARGE_COMMIT_MIB");
    let bytes = mib.map_or(128, |mib| mib.parse::<u64>().unwrap()) * MIB;
    let pages = u32::try_from(bytes / PAGE_BYTES).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let open = || Manager::open(dir.path(), Options::new().limits(limits(bytes))).unwrap();
    let store = open();
    let large = store.create_database("large", DbKind::Raw).unwrap();
    let small: Vec<Db> = (0..WRITERS)
        .map(|number| {
            let name = format!("small-{number}");
            store.create_database(&name, DbKind::Raw).unwrap()
        })
        .collect();

    let before = peak_bytes();
    let (ended, ready) = (AtomicBool::new(false), Barrier::new(small.len() + 1));
    let counts: Vec<u64> = std::thread::scope(|scope| {
        let writers: Vec<_> = small
            .iter()
            .map(|db| {
                scope.spawn(|| {
                    ready.wait();
                    count_up(db, &ended)
                })
            })
            .collect();
        let mut write = large.begin_write(WAIT).unwrap();
        for number in 1..=pages {
            let page = PageNo::new(number).unwrap();
            write.write_page(page, &content(number)).unwrap();
        }
        ready.wait();
        let committed = write.commit();
        ended.store(true, Ordering::Release);
        committed.unwrap();
        let counts = writers.into_iter().map(|writer| writer.join().unwrap());
        counts.collect()
    });
    let grown = peak_bytes() - before;
    let allowed = 64 * MIB + u64::from(pages) * BYTES_FOR_A_PAGE;
    println!("{bytes} bytes in a commit: {grown} bytes of memory, {allowed} allowed");
    println!("commits beside it: {}", counts.iter().sum::<u64>());
    assert!(grown < allowed, "{grown} bytes of memory, not {allowed}");

    drop((large, small));
    store.close(WAIT).unwrap();
    let store = open();
    let read = store.database("large").unwrap().begin_read().unwrap();
    for number in (1..=pages).step_by(61) {
        let page = read.read_page(PageNo::new(number).unwrap()).unwrap();
        assert!(*page == *content(number), "page {number}");
    }
    for (number, count) in counts.into_iter().enumerate() {
        let name = format!("small-{number}");
        let read = store.database(&name).unwrap().begin_read().unwrap();
        let page = read.read_page(PageNo::FIRST).unwrap();
        assert_eq!(page[..8], count.to_le_bytes(), "{name}");
    }
}
