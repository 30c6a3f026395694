//! What of the log stays, byte for byte: for cursors at the ends of segments, beside a backup that copies
//! the log, and on a device that is nearly full.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use crate::commit_cursors::{info, lost, rest};
use crate::feed_rig::{LONG, Rig, write};
use bop_storage::io::{Disk, layout};
use bop_storage::testing::SimDisk;
use bop_storage::{
    BackupError, BackupOptions, BackupReport, BackupStage, CommitsCursor, CommitsFrom, DbKind,
    Limits, LogNeed, Lsn, Manager, NewEntry,
};
use std::sync::Arc;

const SEGMENT: u64 = 64 << 10;

/// So many segments may be kept for cursors, and no checkpoint is due before the log has eight.
fn limits(for_cursors: u64) -> Limits {
    let mut limits = Limits::tiny();
    limits.cursor_log_bytes_max = for_cursors * SEGMENT;
    limits.checkpoint_log_bytes_min = limits.log_bytes_max / 2;
    limits.log_sealed_segments_max = 100;
    limits
}

fn store(rig: &Rig, limits: Limits) -> Manager {
    let store = rig.open_with(limits);
    store.create_database("a", DbKind::Raw).unwrap();
    store
}

/// Commits until a segment is full, and the first commit of the next one. Where the full one ends.
fn seal(store: &Manager) -> Lsn {
    let segments = store.status().log_segments;
    loop {
        let end = store.status().published;
        write(store, "a", 1);
        if segments < store.status().log_segments {
            return end;
        }
    }
}

fn seal_all<const COUNT: usize>(store: &Manager) -> [Lsn; COUNT] {
    std::array::from_fn(|_| seal(store))
}

fn subscribe(store: &Manager, name: &str, from: CommitsFrom) -> CommitsCursor {
    store.subscribe_commits(name, from, None).unwrap()
}

/// Whoever keeps the log for something that a checkpoint does not end, with the oldest position.
fn keepers(store: &Manager) -> Vec<(LogNeed, Lsn)> {
    let needs = store.log_needs().needs.into_iter();
    let needs = needs.filter(|need| !need.until_checkpoint);
    needs.map(|need| (need.by, need.from)).collect()
}

/// Backs up to a simulated disk; `copied` is called with the number of each segment when it was read.
fn back_up(
    store: &Manager,
    mut copied: impl FnMut(usize),
) -> (Result<BackupReport, BackupError>, usize) {
    let mut count = 0;
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(2));
    let options = BackupOptions::new().disk(disk);
    let made = store.backup("/backups", &options, &mut |progress| {
        if progress.stage == BackupStage::Log {
            count += 1;
            copied(count);
        }
    });
    (made, count)
}

#[test]
fn a_segment_that_ends_where_a_cursor_begins_is_not_kept_for_it() {
    let rig = Rig::new();
    let store = store(&rig, limits(2));
    let end = seal(&store);
    let cursor = subscribe(&store, "c", CommitsFrom::At(end));
    assert_eq!(cursor.position(), end);
    let [second, _] = seal_all(&store);
    store.checkpoint().unwrap();
    // The two behind it are as much as may be kept.
    let status = store.status();
    assert_eq!(status.cursor_log_bytes, 2 * SEGMENT);
    assert_eq!(status.truncated, end);
    assert!(!info(&store, "c").lost);
    assert!(!rest(&cursor).is_empty());
    seal(&store);
    store.checkpoint().unwrap();
    assert!(second < lost(&cursor));
    assert_eq!(store.status().cursor_log_bytes, 0);
}

#[test]
fn who_has_read_everything_keeps_nothing_and_is_not_named() {
    let rig = Rig::new();
    let store = store(&rig, limits(2));
    seal(&store);
    let cursor = subscribe(&store, "c", CommitsFrom::Newest);
    store.checkpoint().unwrap();
    let status = store.status();
    assert_eq!(cursor.position(), status.checkpointed);
    assert_eq!((status.cursor_log_bytes, status.slowest_cursor), (0, None));
    assert_eq!(keepers(&store), []);
    // A segment more, which nobody else needs.
    let lsn = write(&store, "a", 2);
    seal(&store);
    store.checkpoint().unwrap();
    let status = store.status();
    assert_eq!(status.slowest_cursor.as_deref(), Some("c"));
    assert_eq!(rest(&cursor)[0], lsn);
}

/// Each segment is kept until it is copied, so that a backup of as many as may be kept keeps pace with a
/// store that seals and checkpoints one with each. Once all are, nothing is.
#[test]
fn a_backup_keeps_what_it_has_not_copied_yet() {
    let rig = Rig::new();
    let store = store(&rig, limits(4));
    let begin = seal(&store);
    store.checkpoint().unwrap();
    assert_eq!(store.status().truncated, begin);
    let ends: [Lsn; 3] = seal_all(&store);
    let (mut kept, mut newest) = (Vec::new(), begin);
    let (made, copied) = back_up(&store, |_| {
        newest = seal(&store);
        store.checkpoint().unwrap();
        let status = store.status();
        assert_eq!(status.cursor_log_bytes, 4 * SEGMENT);
        kept.push((status.truncated, keepers(&store)));
    });
    made.unwrap();
    assert_eq!(copied, 4);
    let wanted = [begin, ends[0], ends[1], ends[2]].map(|at| (at, vec![(LogNeed::Backup, at)]));
    assert_eq!(kept, wanted);
    // No checkpoint was made since.
    let status = store.status();
    assert_eq!((status.truncated, status.log_bytes), (newest, SEGMENT));
}

#[test]
fn beside_a_backup_the_slower_one_decides() {
    let rig = Rig::new();
    let store = store(&rig, limits(6));
    let slow = subscribe(&store, "slow", CommitsFrom::Oldest);
    let begin = slow.position();
    let _ends: [Lsn; 2] = seal_all(&store);
    let fast = subscribe(&store, "fast", CommitsFrom::Newest);
    let end = seal(&store);
    let mut seen = Vec::new();
    let (made, copied) = back_up(&store, |nth| {
        if nth == 3 {
            let lsns = rest(&slow);
            assert!(lsns[0] < end, "all of it is there");
            store.drop_cursor("slow").unwrap();
        }
        store.checkpoint().unwrap();
        let status = store.status();
        let segments = status.cursor_log_bytes / SEGMENT;
        seen.push((segments, status.slowest_cursor, status.truncated == begin));
    });
    made.unwrap();
    assert_eq!(copied, 4);
    let slow = || Some("slow".to_owned());
    let wanted = [
        // From the same position on: the backup is told of, which is no cursor.
        (3, None, true),
        (3, slow(), true),
        // Without the slow one the backup, which has two behind it, is slower than the fast one.
        (1, None, false),
        (1, Some("fast".to_owned()), false),
    ];
    assert_eq!(seen, wanted);
    assert!(!rest(&fast).is_empty());
}

/// An entry of a record log is in the log until it is moved; a backup that is farther releases nothing of it.
#[test]
fn a_backup_that_is_ahead_of_a_record_log_takes_nothing_from_it() {
    let rig = Rig::new();
    let store = store(&rig, limits(4));
    let log = store.create_record_log("log").unwrap();
    let entry = NewEntry {
        index: 1,
        term: 1,
        payload: b"needed",
    };
    log.append(&[entry]).unwrap();
    let _ends: [Lsn; 3] = seal_all(&store);
    let begin = store.status().truncated;
    let (made, copied) = back_up(&store, |nth| {
        if nth == 3 {
            store.checkpoint().unwrap();
            assert_eq!(store.status().truncated, begin);
            assert_eq!(store.status().cursor_log_bytes, 0);
        }
    });
    made.unwrap();
    assert_eq!(copied, 4);
    let rig = rig.killed();
    drop((log, store));
    let store = rig.open();
    assert_eq!(store.status().truncated, begin);
    let read = store.record_log("log").unwrap().read(1..2, u64::MAX);
    assert_eq!(&*read.unwrap()[0].payload, b"needed");
}

/// While it copies a segment more is written than may be kept: from then on it keeps nothing, and what it
/// reads counts for nothing. It begins anew, twice.
#[test]
fn a_backup_that_has_lost_the_log_copies_no_further() {
    let rig = Rig::new();
    let store = store(&rig, limits(4));
    let _ends: [Lsn; 2] = seal_all(&store);
    let (made, copied) = back_up(&store, |_| {
        let [.., last]: [Lsn; 5] = seal_all(&store);
        store.checkpoint().unwrap();
        assert_eq!(store.status().truncated, last);
        let _more: [Lsn; 2] = seal_all(&store);
        assert_eq!(keepers(&store), []);
    });
    let error = made.unwrap_err();
    assert!(matches!(error, BackupError::LogReleased), "{error}");
    assert_eq!(copied, 3);
    write(&store, "a", 1);
}

/// Two segments are kept for a cursor, two more were sealed since, and a spare is missing. Answers whether
/// the cursor has its place when house was kept with `free` bytes on the device, and how many of them the
/// spare and the reserve took: indexes behind segments come later.
fn kept_with(free: Option<u64>) -> (bool, u64) {
    let rig = Rig::new();
    let store = store(&rig, limits(6));
    let _cursor = subscribe(&store, "c", CommitsFrom::Oldest);
    store.keep_house();
    let _kept: [Lsn; 2] = seal_all(&store);
    store.checkpoint().unwrap();
    store.keep_house();
    let _more: [Lsn; 2] = seal_all(&store);
    assert_eq!(store.status().spare_segments, 1);
    assert_eq!(store.status().cursor_log_bytes, 2 * SEGMENT);
    let spares_and_reserve = || -> u64 {
        let files = rig.disk.files().into_iter();
        let sizes = files.map(|(path, bytes)| match path.starts_with(layout::LOG_DIR) {
            true => SEGMENT,
            false => bytes,
        });
        sizes.sum()
    };
    let (before, used) = (spares_and_reserve(), used(&rig));
    rig.disk.set_capacity(free.map(|free| used + free));
    store.keep_house();
    (!info(&store, "c").lost, spares_and_reserve() - before)
}

fn used(rig: &Rig) -> u64 {
    rig.disk.files().iter().map(|(_, bytes)| bytes).sum()
}

/// Spares, and the room that a checkpoint needs once they are filled, come before what is kept for cursors.
#[test]
fn while_the_device_has_no_room_for_spares_nothing_is_kept_for_cursors() {
    let (kept, needed) = kept_with(None);
    assert!(kept && SEGMENT < needed, "{needed}");
    assert_eq!(kept_with(Some(needed)), (true, needed));
    let (kept, _) = kept_with(Some(needed - 1));
    assert!(!kept);
}

/// A full device takes nothing from cursors while there are spares, though the checkpoint's reserve is gone.
#[test]
fn on_a_full_device_with_spares_the_log_stays_for_cursors() {
    let rig = Rig::new();
    let mut many = limits(6);
    many.segments_spare_min = 4;
    let opened = store(&rig, many);
    drop(subscribe(&opened, "c", CommitsFrom::Oldest));
    let _kept: [Lsn; 2] = seal_all(&opened);
    opened.checkpoint().unwrap();
    opened.keep_house();
    let rig = rig.killed();
    drop(opened);
    let files = rig.disk.files();
    let reserve = files
        .iter()
        .find(|(path, _)| path.ends_with(layout::RESERVE));
    if let Some((path, _)) = reserve {
        rig.disk.remove_raw(path);
    }
    // Room for what the checkpoint writes, and not for its reserve.
    rig.disk.set_capacity(Some(used(&rig) + SEGMENT));
    let store = rig.open_with(limits(6));
    assert!(2 <= store.status().spare_segments);
    store.checkpoint().unwrap();
    assert!(!info(&store, "c").lost);
    assert!(2 * SEGMENT <= store.status().cursor_log_bytes);
    store.close(LONG).unwrap();
}
