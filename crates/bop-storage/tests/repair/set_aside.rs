//! A lost manifest that knew of closed databases: who they were stands nowhere else, and none of them
//! comes back as it was in its chunks.

use crate::world::{WAIT, content, files, open, pages, put, repair};
use bop_storage::{DbKind, ErrorCode};
use std::path::Path;

/// Flips a byte of a page in the log.
fn damage(dir: &Path, page: u32, byte: u8) {
    let wanted = &content(page, byte)[200..264];
    for (path, mut bytes) in files(dir) {
        let found = bytes.windows(64).position(|window| window == wanted);
        if let Some(at) = found.filter(|_| path.starts_with(dir.join("log"))) {
            bytes[at] ^= 1;
            std::fs::write(path, bytes).unwrap();
            return;
        }
    }
    panic!("the page is not in the log");
}

#[test]
fn a_database_that_was_closed_for_damage_of_the_log_stays_closed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.create_database("victim", DbKind::Raw).unwrap();
    put(&store, "victim", &[1, 2], 1, None);
    store.checkpoint().unwrap();
    put(&store, "victim", &[2], 50, None);
    store.close(WAIT).unwrap();
    damage(dir.path(), 2, 50);

    let store = open(dir.path());
    let refused = store.database("victim").unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Corrupt, "{refused}");
    store.create_database("other", DbKind::Raw).unwrap();
    for round in 0..30 {
        put(&store, "other", &pages(1, 8), round, None);
        store.checkpoint().unwrap();
    }
    store.create_database("newest", DbKind::Raw).unwrap();
    put(&store, "newest", &[1], 3, None);
    store.checkpoint().unwrap();
    assert!(0 < store.status().damaged_bytes, "its log is set aside");
    store.close(WAIT).unwrap();

    std::fs::remove_dir_all(dir.path().join("manifest")).unwrap();
    let report = repair(dir.path());
    assert!(0 < report.segments_aside, "{report:?}");
    assert_eq!(
        report.catalogue_damage, None,
        "it is newer than what is set aside"
    );
    for _ in 0..2 {
        let store = open(dir.path());
        let refused = store.database("victim").unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Corrupt, "{refused}");
        put(&store, "other", &[1, 2], 60, None);
        put(&store, "newest", &[1, 2], 61, None);
        store.checkpoint().unwrap();
        assert!(0 < store.status().damaged_bytes, "it is kept for a salvage");
        store.close(WAIT).unwrap();
    }
    // Until it is dropped.
    let store = open(dir.path());
    store.drop_database("victim").unwrap();
    store.close(WAIT).unwrap();
    let store = open(dir.path());
    assert_eq!(store.status().damaged_bytes, 0);
    assert!(store.verify().is_healthy(), "{:?}", store.verify());
    store.close(WAIT).unwrap();
}
