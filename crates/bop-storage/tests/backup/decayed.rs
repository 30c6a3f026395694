//! A byte of an earlier backup that is not what was written any more: the next backup does not rest on it, and does
//! not blame the store.

use crate::ground::{Ground, fill, options, sums, write};
use bop_storage::io::{Disk, IoOp};
use bop_storage::testing::{Fault, SimDisk};
use bop_storage::{BackupError, BackupOptions, BackupStage, ErrorCode, Housekeeping, Manager};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// In the first batch of a segment, behind its header.
const IN_A_BATCH: usize = 12288 + 100;

/// A store in which nothing happens by itself.
fn idle(ground: &Ground) -> Manager {
    let options = options().housekeeping(Housekeeping::Manual);
    let store = Manager::open(ground.store(), options).unwrap();
    fill(&store);
    store
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let there = std::fs::read_dir(dir.join("log")).unwrap();
    there.map(|entry| entry.unwrap().path()).collect()
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[IN_A_BATCH] ^= 4;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn the_next_backup_copies_a_decayed_segment_of_the_log_anew() {
    let ground = Ground::new();
    let store = idle(&ground);
    let first = ground.backup(&store).unwrap();
    let log = segments(&ground.backups());
    assert!(!log.is_empty());
    for segment in &log {
        flip(segment);
        let error = ground.verify().unwrap_err();
        assert_eq!(error.code(), ErrorCode::BackupDamaged, "{error}");
        // No commit came in between: it is the same part of the log.
        let next = ground.backup(&store).unwrap();
        assert_eq!(next.lsn, first.lsn);
        assert_eq!(ground.verify().unwrap().number, next.number);
    }
    let again = ground.backup(&store).unwrap();
    assert!(again.copied_bytes < again.bytes, "sound: {again:?}");
    assert_eq!(ground.restored_sums("new"), sums(&store));
}

/// No index says then what was written: the store does.
#[test]
fn what_decayed_of_a_backup_that_was_broken_off_is_copied_anew() {
    let ground = Ground::new();
    let store = idle(&ground);
    let cancelled = Arc::new(AtomicBool::new(false));
    let options = BackupOptions::new().cancelled_by(Arc::clone(&cancelled));
    let broken_off = store.backup(ground.backups(), &options, &mut |progress| {
        let is_copied = progress.stage == BackupStage::Chunks;
        cancelled.store(is_copied, Ordering::Release);
    });
    assert_eq!(broken_off.unwrap_err().code(), ErrorCode::Cancelled);
    let log = segments(&ground.backups());
    assert!(!log.is_empty());
    log.iter().for_each(|segment| flip(segment));
    ground.backup(&store).unwrap();
    ground.verify().unwrap();
    assert_eq!(ground.restored_sums("new"), sums(&store));
}

/// The target takes a write of the log and does not do it.
#[test]
fn the_store_is_not_blamed_for_what_the_target_lost() {
    let ground = Ground::new();
    let store = idle(&ground);
    let target = SimDisk::new(9);
    let disk: Arc<dyn Disk> = Arc::new(target.clone());
    let on = BackupOptions::new().disk(disk);
    let backup = || store.backup(ground.backups(), &on, &mut |_| ());
    backup().unwrap();
    write(&store, "two", 5, 1);
    let before = target.files();
    target.fail_next(IoOp::Write, Fault::LostWrite);
    let error = backup().unwrap_err();
    let after = target.files();
    let new = after.iter().find(|file| !before.contains(file)).unwrap();
    let BackupError::Damaged { findings } = &error else {
        panic!("{error}");
    };
    assert!(new.0.starts_with("log") && findings.len() == 1, "{error}");
    let named = findings[0].to_string();
    assert!(named.contains(&new.0.display().to_string()), "{named}");
    // It does not count as what was copied.
    let made = backup().unwrap();
    assert_eq!(made.number, 2);
    let scratch = Some(ground.dir.path());
    let verified = Manager::verify_backup(ground.backups(), scratch, &options(), &on, &mut |_| ());
    assert_eq!(verified.unwrap().number, 2);
}
