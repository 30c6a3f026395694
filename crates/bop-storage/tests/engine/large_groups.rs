//! Groups that are larger than a record: over several databases and many fragments, there as a whole
//! or not at all whatever happens between the fragments and after.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::rig::{Keep, ManifestFault, Rig};
use bop_storage::io::IoOp;
use bop_storage::io::errno::EIO;
use bop_storage::testing::{Fault, SplitMix64};
use bop_storage::{
    CommitError, Db, DbKind, ErrorCode, Housekeeping, Limits, Manager, PageNo, ReadTxn, WriteTxn,
};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(30);
/// Not in the order of their numbers.
const NAMES: [&str; 3] = ["c", "a", "b"];
/// Of each: two fit a fragment, so that some have one database and some have two. All of them need
/// more than one segment.
const PAGES: [u32; 3] = [8, 7, 9];

fn limits() -> Limits {
    let mut limits = Limits::tiny();
    // The calls of the disk are the log's: nothing is spilled.
    limits.transaction_memory_bytes_max = 1 << 20;
    limits.fragment_bytes_max = 12 << 10;
    limits.retry_delay_min = Duration::from_millis(1);
    limits.retry_delay_max = Duration::from_millis(1);
    limits
}

/// What a page holds in a version; nothing that could be compressed.
fn content(name: &str, page: u32, version: u64) -> Vec<u8> {
    let mut content = vec![0; 4096];
    let seed = u64::from(name.as_bytes()[0]) << 32 | u64::from(page) << 8 | version;
    SplitMix64::new(seed).fill(&mut content);
    content
}

fn written(store: &Manager, nth: usize, version: u64) -> WriteTxn {
    let name = NAMES[nth];
    let mut write = store.database(name).unwrap().begin_write(WAIT).unwrap();
    for page in 1..=PAGES[nth] {
        let number = PageNo::new(page).unwrap();
        write
            .write_page(number, &content(name, page, version))
            .unwrap();
    }
    write
}

fn group(store: &Manager, version: u64) -> Result<Vec<ReadTxn>, CommitError> {
    let group = (0..NAMES.len()).map(|nth| written(store, nth, version));
    store.group_commit(group.collect())
}

/// The version that the whole store is in.
fn version(store: &Manager) -> u64 {
    let found: Vec<u64> = NAMES
        .iter()
        .zip(PAGES)
        .map(|(name, pages)| version_of(&store.database(name).unwrap(), name, pages))
        .collect();
    assert!(found.windows(2).all(|two| two[0] == two[1]), "{found:?}");
    found[0]
}

fn version_of(db: &Db, name: &str, pages: u32) -> u64 {
    let read = db.begin_read().unwrap();
    if read.page_count() == 0 {
        return 0;
    }
    assert_eq!(read.page_count(), pages, "{name}");
    let page = |number| read.read_page(PageNo::new(number).unwrap()).unwrap();
    let version = (1..9)
        .find(|version| *page(1) == *content(name, 1, *version))
        .unwrap();
    for number in 2..=pages {
        assert!(
            *page(number) == *content(name, number, version),
            "{name}, page {number}"
        );
    }
    version
}

/// A closed store with the first version.
fn origin(seed: u64) -> Rig {
    let rig = Rig::new(seed, ManifestFault::NotApplied);
    let store = rig.open(&limits()).unwrap();
    for name in NAMES {
        store.create_database(name, DbKind::Raw).unwrap();
    }
    let reads = group(&store, 1).unwrap();
    assert!(reads.windows(2).all(|two| two[0].lsn() == two[1].lsn()));
    drop(reads);
    assert_eq!(version(&store), 1);
    store.close(WAIT).unwrap();
    rig
}

/// Opens what a crash left, and does with it what a store does.
fn outlives(rig: &Rig, wanted: impl Fn(u64) -> bool) -> u64 {
    let store = rig.open(&limits()).unwrap();
    let found = version(&store);
    assert!(wanted(found), "version {found}");
    assert!(store.verify().is_healthy(), "{:?}", store.verify());
    store.checkpoint().unwrap();
    assert_eq!(version(&store), found);
    group(&store, 7).unwrap();
    drop(store);
    let store = rig.open(&limits()).unwrap();
    assert_eq!(version(&store), 7);
    assert!(store.verify().is_healthy(), "{:?}", store.verify());
    found
}

#[test]
fn whenever_the_power_goes_all_of_it_is_there_or_nothing() {
    let origin = origin(1);
    let (mut seen, mut calls) = ([0; 2], 0);
    for call in 0.. {
        let rig = origin.copied(1, ManifestFault::NotApplied);
        let store = rig.open(&limits()).unwrap();
        rig.disk.fail_in(call, Fault::PowerCut);
        let committed = group(&store, 2);
        let keeps = [
            Keep::Nothing,
            Keep::Everything,
            Keep::Some(call),
            Keep::Some(!call),
        ];
        for keep in keeps {
            let acknowledged = committed.is_ok();
            let found = outlives(&rig.crashed(keep, call), |version| {
                version == 2 || version == 1 && !acknowledged
            });
            seen[usize::from(found == 2)] += 1;
        }
        if !rig.disk.is_cut() {
            committed.unwrap();
            calls = call;
            break;
        }
    }
    // 24 pages, of which a fragment has two.
    assert!(calls > 12, "{calls} calls of the disk");
    assert!(seen[0] > 12 && seen[1] > 3, "{seen:?}");
}

#[test]
fn a_crash_in_the_checkpoint_behind_it_takes_nothing_from_it() {
    let origin = origin(2);
    let store = origin.open(&limits()).unwrap();
    group(&store, 2).unwrap();
    // Not closed: the next opening replays it.
    let origin = origin.crashed(Keep::Nothing, 2);
    drop(store);
    for call in 0.. {
        let rig = origin.copied(2, ManifestFault::Either);
        let store = rig.open(&limits()).unwrap();
        rig.disk.fail_in(call, Fault::PowerCut);
        // Gone, with its part of the group; the others need that part until they are in chunks.
        let dropped = store.drop_database(NAMES[1]).is_ok();
        let made = store.checkpoint();
        let cut = rig.disk.is_cut();
        assert!(cut || dropped && made.is_ok(), "{made:?}");
        let after = rig.crashed(Keep::Some(call), call);
        let store = after.open(&limits()).unwrap();
        assert!(store.verify().is_healthy(), "{:?}", store.verify());
        for (name, pages) in NAMES.into_iter().zip(PAGES) {
            match store.database(name) {
                Ok(db) => assert_eq!(version_of(&db, name, pages), 2),
                Err(error) => assert_eq!(
                    (name, error.code()),
                    (NAMES[1], ErrorCode::DatabaseNotFound)
                ),
            }
        }
        if !cut {
            break;
        }
    }
}

#[test]
fn one_that_fails_is_void_and_the_store_goes_on() {
    let origin = origin(3);
    let mut failed = 0;
    for write in 0.. {
        let rig = origin.copied(3, ManifestFault::NotApplied);
        let mut limits = limits();
        // No second try.
        limits.write_retries_max = 0;
        let store = rig.open(&limits).unwrap();
        rig.disk.fail_in(write, Fault::Sticky(EIO));
        let committed = group(&store, 2);
        let is_ok = committed.is_ok();
        if let Err(error) = &committed {
            failed += 1;
            let expected = [ErrorCode::Poisoned, ErrorCode::CommitUnknown, ErrorCode::Io];
            assert!(expected.contains(&error.code()), "{error}");
        }
        drop(committed);
        assert_eq!(
            version(&store),
            if is_ok { 2 } else { 1 },
            "what readers see"
        );
        let crashed = rig.crashed(Keep::Everything, write);
        drop(store);
        outlives(&crashed, |version| version == 2 || version == 1 && !is_ok);
        if is_ok {
            break;
        }
    }
    assert!(failed > 12, "{failed} ways to fail");
}

#[test]
fn without_room_for_all_of_it_nothing_is_written() {
    let rig = origin(4);
    let store = rig.open(&limits()).unwrap();
    rig.disk.set_capacity(Some(0));
    let before = rig.disk.op_count();
    let refused = group(&store, 2).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::OutOfSpace);
    assert_eq!(rig.disk.op_count(), before);
    assert_eq!(version(&store), 1);
    rig.disk.set_capacity(None);
    group(&store, 2).unwrap();
    drop(store);
    outlives(&rig, |version| version == 2);
}

#[test]
fn beside_others_in_a_store_that_keeps_house_it_stays_whole() {
    let mut rig = origin(5);
    rig.housekeeping = Housekeeping::Background;
    let store = rig.open(&limits()).unwrap();
    let other = store.create_database("other", DbKind::Raw).unwrap();
    rig.disk.fail_next(IoOp::WriteDurable, Fault::Error(EIO));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for byte in 1..=60 {
                let mut write = other.begin_write(WAIT).unwrap();
                write.write_page(PageNo::FIRST, &[byte; 4096]).unwrap();
                write.commit().unwrap();
            }
        });
        for round in 0..20 {
            group(&store, 2 + round % 2).unwrap();
            assert_eq!(version(&store), 2 + round % 2);
        }
    });
    drop(other);
    let crashed = rig.crashed(Keep::Nothing, 5);
    drop(store);
    outlives(&crashed, |version| version == 3);
}
