//! What is no backup, no place for one, or not to be backed up.

use crate::ground::{Ground, LONG, fill, open, options, write};
use bop_storage::{BackupError, BackupOptions, ErrorCode, Manager};
use std::sync::mpsc::channel;

fn backup(store: &Manager, dir: &std::path::Path) -> BackupError {
    store
        .backup(dir, &BackupOptions::new(), &mut |_| ())
        .unwrap_err()
}

#[test]
fn directories_of_something_else_are_left_alone() {
    let ground = Ground::new();
    let store = open(&ground.store());
    fill(&store);
    let other = open(&ground.path("other"));
    other.close(LONG).unwrap();
    let error = backup(&store, &ground.path("other"));
    assert!(matches!(error, BackupError::NotBackups { .. }), "{error}");
    let mine = ground.path("mine");
    std::fs::create_dir(&mine).unwrap();
    std::fs::write(mine.join("letter"), b"dear").unwrap();
    let error = backup(&store, &mine);
    assert!(error.to_string().contains("\"letter\""), "{error}");
    assert_eq!(std::fs::read_dir(&mine).unwrap().count(), 1);
    for inside in ["backups", "log", "a/b"] {
        let error = backup(&store, &ground.store().join(inside));
        assert_eq!(error.code(), ErrorCode::Usage, "{error}");
    }
    let error = backup(&store, &mine.join("letter"));
    assert_eq!(error.code(), ErrorCode::Io, "{error}");
}

#[test]
fn backups_of_two_stores_are_not_mixed() {
    let ground = Ground::new();
    let store = open(&ground.store());
    ground.backup(&store).unwrap();
    let other = open(&ground.path("other"));
    write_one(&other);
    let error = backup(&other, &ground.backups());
    assert!(matches!(error, BackupError::OtherStore { .. }), "{error}");
    assert_eq!(error.code(), ErrorCode::TargetExists);
}

fn write_one(store: &Manager) {
    store
        .create_database("one", bop_storage::DbKind::Raw)
        .unwrap();
    write(store, "one", 1, 1);
}

#[test]
fn what_was_never_finished_is_no_backup() {
    let ground = Ground::new();
    let missing = ground.verify().unwrap_err();
    assert_eq!(missing.code(), ErrorCode::BackupNotFound, "{missing}");
    let store = open(&ground.store());
    fill(&store);
    ground.backup(&store).unwrap();
    std::fs::remove_file(ground.backups().join("backups/0000000000000001.backup")).unwrap();
    for error in [
        ground.verify().unwrap_err(),
        ground.restore("new").unwrap_err(),
    ] {
        assert_eq!(error.code(), ErrorCode::BackupNotFound, "{error}");
    }
    assert!(
        Manager::backups(ground.backups(), &BackupOptions::new())
            .unwrap()
            .is_empty()
    );
    let seventh = BackupOptions::new().number(7);
    let error = crate::ground::verify(&ground.backups(), &seventh).unwrap_err();
    assert!(
        error.to_string().ends_with("has no finished backup 7"),
        "{error}"
    );
}

#[test]
fn nothing_is_restored_over_anything() {
    let ground = Ground::new();
    let store = open(&ground.store());
    fill(&store);
    ground.backup(&store).unwrap();
    let error = ground.restore("store").unwrap_err();
    assert!(matches!(error, BackupError::NotEmpty { .. }), "{error}");
    std::fs::create_dir(ground.path("new.unfinished")).unwrap();
    let error = ground.restore("new").unwrap_err();
    assert!(matches!(error, BackupError::Leftover { .. }), "{error}");
    std::fs::remove_dir(ground.path("new.unfinished")).unwrap();
    std::fs::create_dir(ground.path("new")).unwrap();
    ground.restore("new").unwrap();
    let (inside, backup) = (ground.backups().join("new"), BackupOptions::new());
    let inside =
        Manager::restore_backup(ground.backups(), inside, &options(), &backup, &mut |_| ());
    assert_eq!(inside.unwrap_err().code(), ErrorCode::Usage);
}

#[test]
fn one_at_a_time_works_in_a_directory_and_a_closing_store_ends_its_backup() {
    let ground = Ground::new();
    let store = open(&ground.store());
    fill(&store);
    ground.backup(&store).unwrap();
    let (inside, wait_inside) = channel();
    let (go_on, wait) = channel::<()>();
    std::thread::scope(|threads| {
        let (here, dir) = (store.clone(), ground.backups());
        let running = threads.spawn(move || {
            here.backup(dir, &BackupOptions::new(), &mut |_| {
                // The second time nobody listens any more.
                let _ = inside.send(());
                let _ = wait.recv();
            })
        });
        wait_inside.recv().unwrap();
        let error = backup(&store, &ground.path("elsewhere"));
        assert!(matches!(error, BackupError::Busy { .. }), "{error}");
        let error = ground.verify().unwrap_err();
        assert!(
            error.to_string().contains("is in use by process"),
            "{error}"
        );
        let closing = threads.spawn(|| store.close(LONG));
        while store.begin_probe() {
            std::thread::yield_now();
        }
        drop(go_on);
        let ended = running.join().unwrap();
        assert_eq!(ended.unwrap_err().code(), ErrorCode::Closed);
        closing.join().unwrap().unwrap();
    });
    // The one before is as it was.
    assert_eq!(ground.verify().unwrap().number, 1);
}

#[test]
fn a_damaged_store_is_not_backed_up() {
    let ground = Ground::new();
    let store = open(&ground.store());
    fill(&store);
    store.checkpoint().unwrap();
    ground.backup(&store).unwrap();
    store.close(LONG).unwrap();
    let log = std::fs::read_dir(ground.store().join("log")).unwrap();
    let mut segments: Vec<_> = log.map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    // All of the log but what the manifest does not know of: what it had is lost.
    for segment in segments {
        std::fs::remove_file(segment).unwrap();
    }
    if let Ok(store) = Manager::open(ground.store(), options()) {
        let error = backup(&store, &ground.backups());
        assert!(matches!(error, BackupError::StoreDamaged(_)), "{error}");
        assert_eq!(error.code(), ErrorCode::Corrupt);
        store.close(LONG).unwrap();
    }
    assert_eq!(ground.verify().unwrap().number, 1);
}

/// Whether the store still takes work.
trait Probe {
    fn begin_probe(&self) -> bool;
}

impl Probe for Manager {
    fn begin_probe(&self) -> bool {
        self.database("one").is_ok_and(|db| db.begin_read().is_ok())
    }
}
