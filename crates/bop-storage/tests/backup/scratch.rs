//! Where verifications make their stores: each has a place of its own, and none is left behind.

use crate::ground::{Ground, LONG, fill, open, options, verify};
use bop_storage::{BackupError, BackupOptions, BackupStage, Manager, VerifiedBackup};
use std::path::Path;

/// A directory of backups of a store of its own; each is called `backups`.
fn backups(ground: &Ground, of: &str) -> std::path::PathBuf {
    let store = open(&ground.path(&format!("store-{of}")));
    fill(&store);
    let dir = ground.path(of).join("backups");
    std::fs::create_dir(ground.path(of)).unwrap();
    store
        .backup(&dir, &BackupOptions::new(), &mut |_| ())
        .unwrap();
    store.close(LONG).unwrap();
    dir
}

fn verify_in(
    scratch: &Path,
    dir: &Path,
    progress: &mut dyn FnMut(BackupStage),
) -> Result<VerifiedBackup, BackupError> {
    let backup = BackupOptions::new();
    Manager::verify_backup(dir, Some(scratch), &options(), &backup, &mut |told| {
        progress(told.stage);
    })
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).unwrap().next().is_none()
}

#[test]
fn two_directories_of_one_name_are_verified_at_once_in_one_scratch() {
    let ground = Ground::new();
    let (one, other) = (backups(&ground, "one"), backups(&ground, "other"));
    let scratch = ground.path("scratch");
    std::fs::create_dir(&scratch).unwrap();
    let (mut begun, mut seen) = (Vec::new(), Vec::new());
    let verified = verify_in(&scratch, &one, &mut |stage| {
        // Once in each stage of the first.
        if !seen.contains(&stage) {
            seen.push(stage);
            begun.push(verify_in(&scratch, &other, &mut |_| ()));
        }
    });
    verified.unwrap();
    assert_eq!(begun.len(), 3, "{seen:?}");
    for second in begun {
        second.unwrap();
    }
    assert!(is_empty(&scratch));
}

#[test]
fn what_a_killed_verification_left_is_removed_by_the_next() {
    let ground = Ground::new();
    let dir = backups(&ground, "one");
    let scratch = ground.path("scratch");
    // As it is when nobody gets as far as to remove it: a copy of one that runs.
    let left = ground.path("left");
    let mut copied = false;
    verify_in(&scratch, &dir, &mut |stage| {
        if stage == BackupStage::Compare && !copied {
            copy(&scratch, &left);
            copied = true;
        }
    })
    .unwrap();
    assert!(copied && !is_empty(&left) && is_empty(&scratch));
    verify_in(&left, &dir, &mut |_| ()).unwrap();
    assert!(is_empty(&left));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy(&entry.path(), &to),
            kind if kind.is_file() => drop(std::fs::copy(entry.path(), to).unwrap()),
            // The socket of nobody.
            _ => {}
        }
    }
}

/// Nobody's files go because they lie where a verification would make its store.
#[test]
fn a_link_in_the_scratch_is_passed_over() {
    let ground = Ground::new();
    let dir = backups(&ground, "one");
    let mine = ground.path("mine");
    std::fs::create_dir(&mine).unwrap();
    std::fs::write(mine.join("letter"), b"dear").unwrap();
    std::os::unix::fs::symlink(&mine, ground.path("one/backups.verifying")).unwrap();
    verify(&dir, &BackupOptions::new()).unwrap();
    let there = std::fs::read_dir(&mine).unwrap();
    assert_eq!(there.count(), 1);
    assert_eq!(std::fs::read_dir(ground.path("one")).unwrap().count(), 2);
}
