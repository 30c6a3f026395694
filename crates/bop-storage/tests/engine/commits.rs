//! The commits of the log, read back: all of them, once, in their order, whatever the page.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use bop_storage::error::FeedError;
use bop_storage::manifest::MemoryManifest;
use bop_storage::testing::SimDisk;
use bop_storage::{
    Db, DbId, DbKind, Durability, ErrorCode, Housekeeping, Limits, LoggedCommit, Lsn, Manager,
    Options, PageNo, WriteTxn,
};
use std::sync::Arc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

fn open(disk: &SimDisk, manifest: &MemoryManifest) -> Manager {
    // Small segments, and room for many of them before a checkpoint is due.
    let mut limits = Limits::tiny();
    limits.log_bytes_max = 64 << 20;
    limits.checkpoint_log_bytes_min = 16 << 20;
    limits.log_sealed_segments_max = 500;
    let options = Options::new()
        .limits(limits)
        .housekeeping(Housekeeping::Manual)
        .disk(Arc::new(disk.clone()), Arc::new(manifest.clone()));
    Manager::open("simulated", options).unwrap()
}

/// A transaction that writes the pages `first` to `last`.
fn begin(db: &Db, first: u32, last: u32, byte: u8) -> WriteTxn {
    let mut txn = db.begin_write(LONG).unwrap();
    for page in (first..=last).filter_map(PageNo::new) {
        txn.write_page(page, &[byte; 512]).unwrap();
    }
    txn
}

/// What a commit says, without its position.
fn says(commit: &LoggedCommit) -> (u64, usize, Option<(u32, u32)>, u32) {
    let pages = commit.pages.as_ref();
    let span = pages.map(|pages| (pages[0].get(), pages[pages.len() - 1].get()));
    (commit.database.get(), commit.group, span, commit.page_count)
}

/// All commits from `from` on, read by pages of `limit`.
fn all(store: &Manager, from: Option<Lsn>, limit: usize, of: Option<DbId>) -> Vec<LoggedCommit> {
    let (mut commits, mut next) = (Vec::new(), from);
    loop {
        let page = store.commits(next, limit, of).unwrap();
        if Some(page.next) == next {
            assert_eq!(page.commits, []);
            return commits;
        }
        commits.extend(page.commits);
        next = Some(page.next);
    }
}

#[test]
fn each_commit_is_there_once_in_its_order_with_what_it_wrote() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let store = open(&disk, &manifest);
    let [a, b] = ["a", "b"].map(|name| store.create_database(name, DbKind::Raw).unwrap());
    let first = begin(&a, 1, 2, 1).commit().unwrap();
    let group = vec![begin(&a, 2, 2, 2), begin(&b, 1, 3, 2)];
    store.group_commit(group).unwrap();
    // In several parts: a fragment has 8 KiB.
    let mut large = begin(&b, 1, 40, 3);
    for page in (1..=40).filter_map(PageNo::new) {
        let byte = u8::try_from(page.get() % 250).unwrap();
        let mut content = [byte; 512];
        // What cannot be compressed takes its room.
        let mut state = u64::from(page.get());
        for cell in &mut content {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *cell = (state >> 33) as u8;
        }
        large.write_page(page, &content).unwrap();
    }
    large.commit().unwrap();
    let relaxed = begin(&a, 3, 3, 4).commit_with(Durability::RELAXED).unwrap();
    store.sync().unwrap();

    let (one, two) = (a.id().get(), b.id().get());
    let wanted = [
        (one, 1, Some((1, 2)), 2),
        (one, 2, Some((2, 2)), 2),
        (two, 2, Some((1, 3)), 3),
        (two, 1, Some((1, 40)), 40),
        (one, 1, Some((3, 3)), 3),
    ];
    let whole = all(&store, None, usize::MAX, None);
    assert_eq!(whole.iter().map(says).collect::<Vec<_>>(), wanted);
    assert_eq!((whole[0].lsn, whole[4].lsn), (first.lsn(), relaxed.lsn()));
    assert_eq!(whole[1].lsn, whole[2].lsn, "one record");
    assert_eq!(whole[0].page_size.get(), 512);
    assert_eq!(whole[4].parent, whole[1].lsn);
    assert!(whole.is_sorted_by(|x, y| x.lsn <= y.lsn && x.time_us <= y.time_us));
    assert_eq!(
        whole[4].rolling_checksum,
        store.info("a").unwrap().rolling_checksum
    );

    // By small pages too, but for what a chain whose beginning was on an earlier page wrote.
    let by_one = all(&store, None, 1, None);
    let place = |commit: &LoggedCommit| (commit.lsn, commit.database, commit.rolling_checksum);
    assert!(by_one.iter().map(place).eq(whole.iter().map(place)));
    // From a commit's own position, and of one database.
    let of_b = all(&store, Some(whole[1].lsn), usize::MAX, Some(b.id()));
    assert_eq!(of_b, [whole[2].clone(), whole[3].clone()]);
}

#[test]
fn across_segments_and_openings_nothing_is_lost_and_what_was_released_is_told() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let store = open(&disk, &manifest);
    let db = store.create_database("a", DbKind::Raw).unwrap();
    let mut lsns = Vec::new();
    for turn in 0..300_u32 {
        lsns.push(
            begin(&db, turn % 50 + 1, turn % 50 + 3, turn as u8)
                .commit()
                .unwrap()
                .lsn(),
        );
        store.keep_house();
    }
    assert!(store.status().log_segments > 2, "it rolled");
    let found = all(&store, None, 7, None);
    assert!(
        found
            .iter()
            .map(|commit| commit.lsn)
            .eq(lsns.iter().copied())
    );

    // Killed: the log goes on elsewhere, with a gap between.
    let (disk, manifest) = (disk.crash_image_keeping_nothing(), manifest.snapshot());
    let store = open(&disk, &manifest);
    let db = store.database("a").unwrap();
    lsns.push(begin(&db, 1, 1, 9).commit().unwrap().lsn());
    let found = all(&store, None, 7, None);
    assert!(
        found
            .iter()
            .map(|commit| commit.lsn)
            .eq(lsns.iter().copied())
    );
    // From the position of any commit, which is inside a batch: it, and none before it.
    for lsn in &lsns {
        let page = store.commits(Some(*lsn), 1, None).unwrap();
        assert_eq!(page.commits[0].lsn, *lsn);
        assert!(*lsn < page.next);
    }
    let resumed = all(&store, Some(lsns[250]), 7, None);
    assert!(
        resumed
            .iter()
            .map(|commit| commit.lsn)
            .eq(lsns[250..].iter().copied())
    );

    store.checkpoint().unwrap();
    let released = store.commits(Some(lsns[0]), 1, None).unwrap_err();
    let FeedError::LogReleased { oldest } = released else {
        panic!("{released}");
    };
    assert!(lsns[0] < oldest);
    let left = all(&store, Some(oldest), 7, None);
    let kept = lsns.iter().copied().filter(|lsn| oldest <= *lsn);
    assert!(left.iter().map(|commit| commit.lsn).eq(kept));
    store.close(LONG).unwrap();
    let closed = store.commits(None, 1, None).unwrap_err();
    assert_eq!(closed.code(), ErrorCode::Closed);
}
