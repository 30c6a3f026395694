//! A salvage that fails, or is killed: no new store is there that looks like one.

use super::history::limits;
use crate::world::WAIT;
use bop_storage::manifest::MemoryManifest;
use bop_storage::testing::{Fault, SimDisk};
use bop_storage::{DbKind, ErrorCode, Housekeeping, Manager, Options, PageNo, SalvageError};
use std::sync::Arc;

fn options(disk: &SimDisk, manifest: &MemoryManifest) -> Options {
    Options::new()
        .limits(limits())
        .housekeeping(Housekeeping::Manual)
        .disk(Arc::new(disk.clone()), Arc::new(manifest.clone()))
}

fn make() -> (SimDisk, MemoryManifest) {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let store = Manager::open("simulated", options(&disk, &manifest)).unwrap();
    for name in ["one", "two"] {
        let db = store.create_database(name, DbKind::Raw).unwrap();
        for round in 1..4 {
            let mut write = db.begin_write(WAIT).unwrap();
            write
                .write_page(PageNo::new(round).unwrap(), &[round as u8; 4096])
                .unwrap();
            write.commit().unwrap();
        }
        store.checkpoint().unwrap();
    }
    store.close(WAIT).unwrap();
    (disk, manifest)
}

/// At each call that reads the damaged store, the device goes away: there is an error, or (where the
/// device said the same of a part of it) a report, and the new store is there with the report alone.
#[test]
fn a_salvage_that_fails_leaves_nothing() {
    let (disk, manifest) = make();
    let (mut failed, mut saved) = (0, 0);
    for cut in 0.. {
        let (disk, manifest) = (disk.snapshot(), manifest.snapshot());
        disk.fail_read_at(disk.read_count() + cut, Fault::Sticky(5));
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join("new");
        let done = Manager::salvage("simulated", &new, &options(&disk, &manifest), None);
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        match done {
            Err(error) => {
                assert!(left.is_empty(), "{error}: {left:?}");
                failed += 1;
            }
            Ok(report) => {
                assert!(left.len() == 1 && new.is_dir(), "{left:?}");
                saved += 1;
                if report.is_whole() {
                    break;
                }
            }
        }
    }
    assert!(
        10 < failed && 0 < saved,
        "{failed} failed, {saved} saved something"
    );
}

#[test]
fn a_place_where_something_is_is_refused() {
    let (disk, manifest) = make();
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("new");
    let salvage = |only| Manager::salvage("simulated", &new, &options(&disk, &manifest), only);
    std::fs::create_dir(dir.path().join("new.unfinished")).unwrap();
    let refused = salvage(None).unwrap_err();
    assert!(
        matches!(refused, SalvageError::Leftover { .. }),
        "{refused}"
    );
    assert_eq!(refused.code(), ErrorCode::TargetExists);
    std::fs::remove_dir(dir.path().join("new.unfinished")).unwrap();

    let inside = Manager::salvage(dir.path(), &new, &Options::new(), None).unwrap_err();
    assert!(
        matches!(inside, SalvageError::InsideStore { .. }),
        "{inside}"
    );
    assert_eq!(inside.code(), ErrorCode::Usage);

    let refused = salvage(Some("three")).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::DatabaseNotFound);
    assert!(!new.exists());

    // An empty directory is none of a store yet; what is there then is refused.
    std::fs::create_dir(&new).unwrap();
    let report = salvage(Some("two")).unwrap();
    assert!(report.is_whole() && report.databases.len() == 1);
    let refused = salvage(None).unwrap_err();
    assert!(
        matches!(refused, SalvageError::NotEmpty { .. }),
        "{refused}"
    );
}
