//! What a repair leaves alone.

use crate::world::{REPAIR, WAIT, facts, files, make, open, options, repair, works};
use bop_storage::error::RepairError;
use bop_storage::{ErrorCode, Manager, OpenError, Options, RepairMode};

#[test]
fn a_sound_manifest_is_left_alone_unless_it_is_forced() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let (rows, bytes) = (facts(dir.path()), files(dir.path()));
    let refused = Manager::repair(dir.path(), &options(), REPAIR).unwrap_err();
    assert!(matches!(refused, RepairError::Sound), "{refused}");
    assert!(!dir.path().join("damaged").exists());
    let mode = RepairMode {
        force: true,
        dry_run: false,
    };
    for round in 1..4 {
        let report = Manager::repair(dir.path(), &options(), mode).unwrap();
        assert_eq!(report.reason, None);
        let kept = report.kept.unwrap();
        assert_eq!(
            kept,
            std::path::Path::new("damaged").join(format!("manifest-{round}"))
        );
        assert!(dir.path().join(kept).join("data.mdb").is_file());
        assert_eq!(facts(dir.path()), rows);
        assert_eq!(files(dir.path()), bytes);
    }
    works(dir.path());
    for round in 1..4 {
        let kept = dir
            .path()
            .join(format!("damaged/manifest-{round}/data.mdb"));
        assert!(kept.is_file(), "an opening leaves it");
    }
}

#[test]
fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let data = dir.path().join("manifest/data.mdb");
    std::fs::write(&data, b"not a manifest").unwrap();
    let bytes = files(dir.path());
    let mode = RepairMode {
        force: false,
        dry_run: true,
    };
    let said = Manager::repair(dir.path(), &options(), mode).unwrap();
    assert!(!said.done && said.kept.is_none() && said.is_whole());
    assert_eq!(std::fs::read(&data).unwrap(), b"not a manifest");
    assert_eq!(files(dir.path()), bytes);
    assert!(!dir.path().join("damaged").exists());
    let done = repair(dir.path());
    let heads = |report: &bop_storage::RepairReport| {
        let of = |database: &bop_storage::RepairedDatabase| {
            (database.name.clone(), database.head, database.dropped)
        };
        report.databases.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(heads(&said), heads(&done));
    works(dir.path());
}

#[test]
fn what_is_no_store_or_is_open_or_has_no_superblock_is_not_touched() {
    let empty = tempfile::tempdir().unwrap();
    let refused = Manager::repair(empty.path(), &options(), REPAIR).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::StoreNotFound);
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);

    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let store = open(dir.path());
    let refused = Manager::repair(dir.path(), &options(), REPAIR).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::StoreLocked);
    store.close(WAIT).unwrap();

    std::fs::remove_dir_all(dir.path().join("manifest")).unwrap();
    std::fs::remove_file(dir.path().join("store.bop")).unwrap();
    let refused = Manager::repair(dir.path(), &options(), REPAIR).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Corrupt);
    assert!(!dir.path().join("manifest").exists());
}

/// One of an older backup is sound by itself, and does not know the log.
#[test]
fn a_manifest_that_is_too_old_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.close(WAIT).unwrap();
    let old = std::fs::read(dir.path().join("manifest/data.mdb")).unwrap();
    make_more(&dir);
    let rows = facts(dir.path());
    std::fs::write(dir.path().join("manifest/data.mdb"), old).unwrap();
    let refused = Manager::open(dir.path(), options()).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged(_)), "{refused}");
    let report = repair(dir.path());
    assert!(report.is_whole() && report.reason.is_some(), "{report:?}");
    assert_eq!(facts(dir.path()).databases, rows.databases);
    works(dir.path());
}

fn make_more(dir: &tempfile::TempDir) {
    make(dir.path());
    let store = open(dir.path());
    for round in 0..30 {
        crate::world::put(&store, "large", &crate::world::pages(1, 16), round, None);
        store.checkpoint().unwrap();
    }
    store.close(WAIT).unwrap();
}

/// The limits of whoever repairs are not those of the store.
#[test]
fn the_ranges_are_those_that_the_store_was_made_with() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let rows = facts(dir.path());
    std::fs::remove_dir_all(dir.path().join("manifest")).unwrap();
    let report = Manager::repair(dir.path(), &Options::new(), REPAIR).unwrap();
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(facts(dir.path()), rows);
}
