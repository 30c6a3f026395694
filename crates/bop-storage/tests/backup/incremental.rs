//! The next backup: what is there is not copied again, and what nobody needs goes.

use crate::ground::{Ground, fill, open, options, sums, verify, write};
use bop_storage::{BackupError, BackupOptions, BackupStage, ErrorCode, Housekeeping, Manager};
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn files(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for part in ["backups", "chunks", "log", "scratch"] {
        for entry in std::fs::read_dir(dir.join(part)).unwrap() {
            found.insert(entry.unwrap().path());
        }
    }
    found
}

#[test]
fn chunks_are_linked_and_each_is_taken_once() {
    let ground = Ground::new();
    let store = open(&ground.store());
    fill(&store);
    let first = ground.backup(&store).unwrap();
    assert_eq!(first.linked_chunks, first.chunks);
    for chunk in std::fs::read_dir(ground.backups().join("chunks")).unwrap() {
        assert!(chunk.unwrap().metadata().unwrap().nlink() >= 2);
    }
    let again = ground.backup(&store).unwrap();
    assert_eq!((again.linked_chunks, again.copied_chunks), (0, 0));
    write(&store, "two", 4, 77);
    store.checkpoint().unwrap();
    let third = ground.backup(&store).unwrap();
    assert!(
        (1..third.chunks).contains(&third.linked_chunks),
        "{third:?}"
    );
    assert_eq!(ground.restored_sums("new"), sums(&store));
}

#[test]
fn copies_are_no_links_and_go_on_with_links() {
    let ground = Ground::new();
    let store = open(&ground.store());
    fill(&store);
    let options = BackupOptions::new().copy(true);
    let made = store
        .backup(ground.backups(), &options, &mut |_| ())
        .unwrap();
    assert_eq!((made.copied_chunks, made.linked_chunks), (made.chunks, 0));
    assert!(made.copied_bytes >= made.bytes);
    for chunk in std::fs::read_dir(ground.backups().join("chunks")).unwrap() {
        assert_eq!(chunk.unwrap().metadata().unwrap().nlink(), 1);
    }
    let again = ground.backup(&store).unwrap();
    assert_eq!((again.copied_chunks, again.linked_chunks), (0, 0));
    assert_eq!(ground.restored_sums("new"), sums(&store));
}

#[test]
fn so_many_backups_stay_and_each_restores_its_own_moment() {
    let ground = Ground::new();
    let store = open(&ground.store());
    fill(&store);
    let keep = BackupOptions::new().keep(NonZeroUsize::new(3).unwrap());
    let mut moments = Vec::new();
    for round in 0..6 {
        for number in 0..30 {
            write(
                &store,
                "one",
                1 + number % 12,
                u64::from(round * 100 + number),
            );
        }
        store.checkpoint().unwrap();
        write(&store, "two", 1, u64::from(round));
        moments.push(sums(&store));
        store.backup(ground.backups(), &keep, &mut |_| ()).unwrap();
    }
    let all = Manager::backups(ground.backups(), &keep).unwrap();
    let numbers: Vec<u64> = all.iter().map(|info| info.number).collect();
    assert_eq!(numbers, [4, 5, 6]);
    for number in numbers {
        let keep = BackupOptions::new().number(number);
        verify(&ground.backups(), &keep).unwrap();
        let name = ground.path(&format!("new-{number}"));
        Manager::restore_backup(ground.backups(), &name, &options(), &keep, &mut |_| ()).unwrap();
        let restored = sums(&open(&name));
        assert_eq!(
            restored,
            moments[usize::try_from(number).unwrap() - 1],
            "{number}"
        );
    }
    // With one alone, there is nothing but what it needs.
    let one = BackupOptions::new().keep(NonZeroUsize::MIN);
    let made = store.backup(ground.backups(), &one, &mut |_| ()).unwrap();
    let left = files(&ground.backups());
    let chunks = left
        .iter()
        .filter(|path| path.to_string_lossy().ends_with(".chunk"));
    assert_eq!(chunks.count(), made.chunks, "{left:?}");
    let rest = left
        .iter()
        .filter(|path| path.parent() == Some(&ground.backups().join("backups")));
    assert_eq!(rest.count(), 2, "{left:?}");
    ground.verify().unwrap();
}

fn bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).unwrap();
    files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

#[test]
fn a_backup_that_was_broken_off_is_gone_on_with() {
    let ground = Ground::new();
    // Nothing changes in between.
    let options = options().housekeeping(Housekeeping::Manual);
    let store = Manager::open(ground.store(), options).unwrap();
    fill(&store);
    for round in 0..4 {
        for page in 0..20 {
            let page = 20 * (round + 1) + page;
            write(&store, "two", page, page.into());
        }
        store.checkpoint().unwrap();
    }
    // The same, had it not been broken off.
    let copy = BackupOptions::new().copy(true);
    let whole = store
        .backup(ground.path("whole"), &copy, &mut |_| ())
        .unwrap();
    assert!(5 <= whole.chunks, "{whole:?}");

    let cancelled = Arc::new(AtomicBool::new(false));
    let (options, mut chunks) = (copy.clone().cancelled_by(Arc::clone(&cancelled)), 0);
    let broken_off = store.backup(ground.backups(), &options, &mut |progress| {
        // A chunk of this store is one piece.
        chunks += usize::from(progress.stage == BackupStage::Chunks);
        cancelled.store(chunks == 2, Ordering::Release);
    });
    let error = broken_off.unwrap_err();
    assert!(matches!(error, BackupError::Cancelled), "{error}");
    assert_eq!(error.code(), ErrorCode::Cancelled);
    let dir = ground.backups();
    let there = [dir.join("log"), dir.join("chunks")].map(|part| bytes(&part));
    assert_eq!(std::fs::read_dir(dir.join("chunks")).unwrap().count(), 2);
    assert_eq!(std::fs::read_dir(dir.join("backups")).unwrap().count(), 0);
    ground.verify().unwrap_err();

    let rest = store.backup(&dir, &copy, &mut |_| ()).unwrap();
    assert_eq!((rest.number, rest.chunks), (1, whole.chunks));
    assert_eq!(rest.copied_chunks, whole.copied_chunks - 2);
    assert_eq!(
        rest.copied_bytes,
        whole.copied_bytes - there[0] - there[1],
        "{whole:?}, {there:?}, {rest:?}"
    );
    ground.verify().unwrap();
    assert_eq!(ground.restored_sums("new"), sums(&store));
}

#[test]
fn what_an_interrupted_backup_left_is_used_or_goes() {
    let ground = Ground::new();
    let store = open(&ground.store());
    fill(&store);
    ground.backup(&store).unwrap();
    let dir = ground.backups();
    let strange = [
        "backups/0000000000000002.rows",
        "chunks/0000000000000fff-00000000000000000000000000000000.chunk",
        "log/0000000000000fff-0000000000000000-0000000000000000.seg",
        "scratch/file",
    ];
    for name in strange {
        std::fs::write(dir.join(name), vec![7; 5000]).unwrap();
    }
    // One that is too short counts for nothing, whoever cut it.
    let chunk = files(&dir).into_iter().find(|path| {
        path.ends_with("chunks") || {
            let name = path.to_string_lossy();
            name.ends_with(".chunk") && !name.contains("fff-")
        }
    });
    let chunk = chunk.unwrap();
    std::fs::remove_file(&chunk).unwrap();
    std::fs::write(&chunk, b"short").unwrap();
    let made = ground.backup(&store).unwrap();
    assert_eq!(made.linked_chunks, 1);
    for name in &strange[1..] {
        assert!(!dir.join(name).exists(), "{name}");
    }
    ground.verify().unwrap();
    assert_eq!(ground.restored_sums("new"), sums(&store));
}
