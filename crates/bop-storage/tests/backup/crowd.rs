//! A store that is backed up while many threads commit, checkpoint, snapshot and fork.

use crate::ground::{Ground, LONG, Sums, open, options, sums, verify};
use bop_storage::testing::SplitMix64;
use bop_storage::{
    At, BackupOptions, BackupStage, DbKind, Housekeeping, Limits, Manager, Options, PageNo,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

const THREADS: u64 = 64;
const DATABASES: u64 = 16;
const BACKUPS: usize = 6;

fn name(nth: u64) -> String {
    format!("db-{nth}")
}

/// Each commit writes its number to pages 1 and 2 of two databases together: a backup that had one without
/// the other, or a part of one, would show.
fn commit_until(store: &Manager, stop: &AtomicBool, seed: u64, commits: &AtomicU64) {
    let mut random = SplitMix64::new(seed);
    while !stop.load(Ordering::Relaxed) {
        let number = random.next_u64();
        let first = number % (DATABASES / 2) * 2;
        let mut group = Vec::new();
        for nth in [first, first + 1] {
            let db = store.database(&name(nth)).unwrap();
            let mut write = db.begin_write(LONG).unwrap();
            for page in [1, 2, 3 + u32::try_from(number % 20).unwrap()] {
                let mut content = vec![0; 4096];
                content[..8].copy_from_slice(&number.to_le_bytes());
                write
                    .write_page(PageNo::new(page).unwrap(), &content)
                    .unwrap();
            }
            group.push(write);
        }
        store.group_commit(group).unwrap();
        commits.fetch_add(1, Ordering::Relaxed);
    }
}

fn number_at(store: &Manager, nth: u64, page: u32) -> u64 {
    let read = store.database(&name(nth)).unwrap().begin_read().unwrap();
    let content = read.read_page(PageNo::new(page).unwrap()).unwrap();
    u64::from_le_bytes(content[..8].try_into().unwrap())
}

#[test]
fn a_backup_beside_64_committing_threads_is_of_one_moment() {
    let ground = Ground::new();
    let mut limits = Limits::tiny();
    // Room for what 64 threads commit while the log is copied on a busy machine.
    (limits.log_bytes_max, limits.cursor_log_bytes_max) = (64 << 20, 32 << 20);
    let store = Manager::open(ground.store(), Options::new().limits(limits)).unwrap();
    for nth in 0..DATABASES {
        store.create_database(&name(nth), DbKind::Raw).unwrap();
    }
    let (stop, commits) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|threads| {
        for seed in 0..THREADS {
            let (store, stop, commits) = (&store, &stop, &commits);
            threads.spawn(move || commit_until(store, stop, seed, commits));
        }
        for round in 0..BACKUPS {
            let fork = format!("fork-{round}");
            store
                .fork_database(&name(round as u64), &fork, &At::Now)
                .unwrap();
            let named = store.snapshot_database(&name(1), &fork, &At::Now);
            named.unwrap();
            let before = commits.load(Ordering::Relaxed);
            let copy = BackupOptions::new().copy(round % 2 == 0);
            let made = store.backup(ground.backups(), &copy, &mut |_| ()).unwrap();
            let verified = verify(&ground.backups(), &BackupOptions::new()).unwrap();
            assert_eq!(verified.lsn, made.lsn);
            // They went on.
            let deadline = Instant::now() + LONG;
            while commits.load(Ordering::Relaxed) == before && Instant::now() < deadline {
                std::thread::yield_now();
            }
            assert!(before < commits.load(Ordering::Relaxed));
        }
        stop.store(true, Ordering::Relaxed);
    });
    ground.restore("new").unwrap();
    let new = open(&ground.path("new"));
    for first in (0..DATABASES).step_by(2) {
        let at = |nth, page| number_at(&new, nth, page);
        let all = [
            at(first, 1),
            at(first, 2),
            at(first + 1, 1),
            at(first + 1, 2),
        ];
        assert!(all.iter().all(|one| *one == all[0]), "{first}: {all:?}");
    }
    let forks: Sums = sums(&new);
    assert_eq!(
        forks.keys().filter(|name| name.starts_with("fork")).count(),
        BACKUPS
    );
    store.close(LONG).unwrap();
}

/// The target takes longer than the log can be kept for it: no commit waits, and the backup says why it failed.
#[test]
fn a_backup_that_is_too_slow_loses_its_log_and_nobody_else_anything() {
    let ground = Ground::new();
    // A checkpoint just before the backup would leave it no log that it can be too slow for.
    let options = options().housekeeping(Housekeeping::Manual);
    let store = Manager::open(ground.store(), options).unwrap();
    store.create_database("one", DbKind::Raw).unwrap();
    crate::ground::write(&store, "one", 1, 1);
    ground.backup(&store).unwrap();
    for number in 0..50 {
        crate::ground::write(&store, "one", 1 + number % 7, number.into());
    }
    let mut begun = 0;
    let slow = store.backup(ground.backups(), &BackupOptions::new(), &mut |progress| {
        assert_eq!(progress.stage, BackupStage::Log);
        begun += 1;
        // Four times what the log may have in all; and then several segments again.
        for number in 0..600 {
            crate::ground::write(&store, "one", 1 + number % 7, number.into());
            store.keep_house();
        }
        store.checkpoint().unwrap();
        for number in 0..60 {
            crate::ground::write(&store, "one", 1 + number % 7, number.into());
            store.keep_house();
        }
    });
    let error = slow.unwrap_err();
    assert!(
        error.to_string().contains("the log was released"),
        "{error}"
    );
    assert_eq!(ground.verify().unwrap().number, 1);
    ground.backup(&store).unwrap();
    assert_eq!(ground.restored_sums("new"), sums(&store));
}
