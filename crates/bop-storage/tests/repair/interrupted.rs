//! A repair that ends anywhere is done by repairing again.

use crate::world::{REPAIR, WAIT, facts, files, make, open, options, repair, shown, works};
use bop_storage::error::RepairError;
use bop_storage::io::IoFailure;
use bop_storage::manifest::MemoryManifest;
use bop_storage::testing::{Fault, SimDisk};
use bop_storage::{DbKind, Housekeeping, Limits, Manager, Options, PageNo, RepairMode};
use std::path::Path;
use std::sync::Arc;

/// What it is called, and what makes it.
type Left = (&'static str, fn(&Path));

/// What a kill leaves behind each change of a name.
const STATES: [Left; 6] = [
    ("nothing of the new one", |_| {}),
    ("a part of the new one", |store| {
        std::fs::create_dir_all(store.join("scratch/manifest.new")).unwrap();
        std::fs::write(store.join("scratch/manifest.new/data.mdb"), [7; 300]).unwrap();
    }),
    ("the new one", |store| copy(store, "scratch/manifest.new")),
    ("the new one, and a place for the old one", |store| {
        copy(store, "scratch/manifest.new");
        std::fs::create_dir(store.join("damaged")).unwrap();
    }),
    ("the old one set aside", |store| {
        copy(store, "scratch/manifest.new");
        std::fs::create_dir(store.join("damaged")).unwrap();
        std::fs::rename(store.join("manifest"), store.join("damaged/manifest-1")).unwrap();
    }),
    ("the old one set aside, and the new one lost", |store| {
        std::fs::create_dir(store.join("damaged")).unwrap();
        std::fs::rename(store.join("manifest"), store.join("damaged/manifest-1")).unwrap();
    }),
];

fn copy(store: &Path, to: &str) {
    std::fs::create_dir_all(store.join(to)).unwrap();
    for file in ["data.mdb", "lock.mdb"] {
        std::fs::copy(store.join("good").join(file), store.join(to).join(file)).unwrap();
    }
}

#[test]
fn a_repair_that_was_killed_is_done_again() {
    for (state, leave) in STATES {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        let (rows, bytes) = (facts(dir.path()), files(dir.path()));
        // What the repair makes, from a repair that ended.
        let good = tempfile::tempdir().unwrap();
        std::fs::rename(dir.path().join("manifest"), good.path().join("old")).unwrap();
        repair(dir.path());
        std::fs::rename(dir.path().join("manifest"), dir.path().join("good")).unwrap();
        std::fs::create_dir(dir.path().join("manifest")).unwrap();
        std::fs::write(dir.path().join("manifest/data.mdb"), b"garbage").unwrap();
        leave(dir.path());
        std::fs::remove_dir_all(dir.path().join("good")).unwrap();

        Manager::open(dir.path(), options()).unwrap_err();
        let report = repair(dir.path());
        assert!(report.is_whole(), "{state}: {report:?}");
        let kept = std::fs::read(dir.path().join("damaged/manifest-1/data.mdb")).unwrap();
        assert_eq!(kept, b"garbage", "{state}");
        assert_eq!(facts(dir.path()), rows, "{state}");
        assert_eq!(files(dir.path()), bytes, "{state}");
        let refused = Manager::repair(dir.path(), &options(), REPAIR).unwrap_err();
        assert!(matches!(refused, RepairError::Sound), "{state}: {refused}");
        works(dir.path());
    }
}

/// Something has a name that the repair needs.
#[test]
fn a_step_that_fails_leaves_the_old_manifest_and_no_other() {
    for obstacle in ["scratch", "damaged"] {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        let rows = facts(dir.path());
        std::fs::write(dir.path().join("manifest/data.mdb"), b"garbage").unwrap();
        let at = dir.path().join(obstacle);
        let _ = std::fs::remove_dir_all(&at);
        std::fs::write(&at, b"in the way").unwrap();
        let failed = Manager::repair(dir.path(), &options(), REPAIR).unwrap_err();
        assert!(failed.to_string().contains(obstacle), "{failed}");
        let there = std::fs::read(dir.path().join("manifest/data.mdb")).unwrap();
        assert_eq!(there, b"garbage", "{obstacle}");
        std::fs::remove_file(&at).unwrap();
        assert!(repair(dir.path()).is_whole());
        assert_eq!(facts(dir.path()), rows, "{obstacle}");
    }
}

fn simulated(disk: &SimDisk, manifest: &MemoryManifest) -> Options {
    Options::new()
        .limits(Limits::tiny())
        .housekeeping(Housekeeping::Manual)
        .disk(Arc::new(disk.clone()), Arc::new(manifest.clone()))
}

fn on_a_simulated_disk() -> SimDisk {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let store = Manager::open("sim", simulated(&disk, &manifest)).unwrap();
    for (name, pages) in [("a", 3), ("b", 20), ("c", 1)] {
        let db = store.create_database(name, DbKind::Raw).unwrap();
        let mut write = db.begin_write(WAIT).unwrap();
        for page in (1..=pages).filter_map(PageNo::new) {
            write.write_page(page, &[pages as u8; 4096]).unwrap();
        }
        write.commit().unwrap();
        store.checkpoint().unwrap();
    }
    store.rename_database("a", "d").unwrap();
    store.close(WAIT).unwrap();
    disk
}

#[test]
fn a_read_that_fails_fails_the_repair_or_is_done_again() {
    let disk = on_a_simulated_disk();
    let expected = {
        let manifest = MemoryManifest::new();
        Manager::repair("sim", &simulated(&disk.snapshot(), &manifest), REPAIR).unwrap();
        shown(&Manager::open("sim", simulated(&disk.snapshot(), &manifest)).unwrap())
    };
    assert_eq!(expected.len(), 3);
    for read in 0.. {
        let (disk, manifest) = (disk.snapshot(), MemoryManifest::new());
        let before = disk.read_count();
        disk.fail_read_at(before + read, Fault::Error(5));
        let first = Manager::repair("sim", &simulated(&disk, &manifest), REPAIR);
        let reads = disk.read_count() - before;
        disk.heal();
        if let Ok(report) = &first {
            assert!(report.is_whole(), "read {read}: {report:?}");
        } else {
            assert!(manifest.is_empty(), "read {read}: nothing was written");
            Manager::repair("sim", &simulated(&disk, &manifest), REPAIR).unwrap();
        }
        let store = Manager::open("sim", simulated(&disk, &manifest)).unwrap();
        assert_eq!(shown(&store), expected, "read {read}");
        drop(store);
        if reads <= read {
            assert!(10 < read, "only {read} reads");
            return;
        }
    }
}

#[test]
fn a_manifest_that_is_not_committed_is_committed_by_the_next_repair() {
    let disk = on_a_simulated_disk();
    for applied in [false, true] {
        let (disk, manifest) = (disk.snapshot(), MemoryManifest::new());
        let fail = || {
            Err(IoFailure {
                op: bop_storage::io::IoOp::ManifestCommit,
                path: "manifest".into(),
                offset: None,
                errno: 5,
            })
        };
        if applied {
            manifest.set_gate_after(Some(Arc::new(fail)));
        } else {
            manifest.set_gate(Some(Arc::new(fail)));
        }
        Manager::repair("sim", &simulated(&disk, &manifest), REPAIR).unwrap_err();
        assert_eq!(manifest.is_empty(), !applied);
        manifest.set_gate(None);
        manifest.set_gate_after(None);
        let again = Manager::repair("sim", &simulated(&disk, &manifest), REPAIR);
        assert_eq!(again.is_err(), applied, "{again:?}");
        let mode = RepairMode {
            force: true,
            dry_run: false,
        };
        Manager::repair("sim", &simulated(&disk, &manifest), mode).unwrap();
        let store = Manager::open("sim", simulated(&disk, &manifest)).unwrap();
        assert_eq!(store.databases().len(), 3);
        assert_eq!(store.verify().findings, []);
    }
}

#[test]
fn a_store_that_was_opened_after_the_repair_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    std::fs::remove_dir_all(dir.path().join("manifest")).unwrap();
    repair(dir.path());
    open(dir.path()).close(WAIT).unwrap();
    let refused = Manager::repair(dir.path(), &options(), REPAIR).unwrap_err();
    assert!(matches!(refused, RepairError::Sound), "{refused}");
}
