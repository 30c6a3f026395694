//! Devices that take nothing more: full, or read-only.

use crate::damage_sample::content::Contents;
use crate::damage_sample::files::Files;
use crate::damage_sample::look::{Fate, Reach, look, write};
use crate::damage_sample::{Simulated, WAIT, open, simulated};
use bop_storage::io::errno::{EACCES, EROFS};
use bop_storage::testing::Fault;
use bop_storage::{DbKind, ErrorCode, Manager, PageNo};
use std::path::Path;

fn assert_all_right(store: &Manager, sim: &Simulated) {
    let fates = look(store, &sim.sample, &Reach::default(), Path::new(""));
    assert!(fates.values().all(|fate| *fate == Fate::Right), "{fates:?}");
}

/// Commits until the device is full; the code of the refusal.
fn fill_up(store: &Manager) -> ErrorCode {
    let db = match store.database("filler") {
        Ok(db) => db,
        Err(_) => store.create_database("filler", DbKind::Raw).unwrap(),
    };
    for round in 0..200 {
        let mut write = db.begin_write(WAIT).unwrap();
        write.write_page(PageNo::FIRST, &[round; 4096]).unwrap();
        if let Err(error) = write.commit() {
            return error.code();
        }
    }
    panic!("the device is never full");
}

#[test]
fn a_full_device_refuses_commits_and_heals_when_there_is_room() {
    let sim = simulated(true);
    let store = open(&sim.disk, &sim.manifest).unwrap();
    let used: u64 = sim.disk.files().iter().map(|(_, bytes)| bytes).sum();
    sim.disk.set_capacity(Some(used));
    assert_eq!(fill_up(&store), ErrorCode::OutOfSpace);
    assert_all_right(&store, &sim);
    // Again and again, and without harm.
    assert_eq!(fill_up(&store), ErrorCode::OutOfSpace);

    sim.disk.set_capacity(None);
    let mut contents: Contents = sim.sample.contents.clone();
    write(&store, "alpha", &mut contents);
    store.checkpoint().unwrap();
    assert!(store.verify().is_healthy(), "{:?}", store.verify());
}

#[test]
fn a_checkpoint_on_a_full_device_loses_nothing() {
    let sim = simulated(true);
    let store = open(&sim.disk, &sim.manifest).unwrap();
    let used: u64 = sim.disk.files().iter().map(|(_, bytes)| bytes).sum();
    // Not even what is kept for it is there.
    sim.disk
        .set_capacity(Some(used - store.space().reserve_bytes));
    let error = store.checkpoint().unwrap_err();
    assert!(error.to_string().contains("scratch"), "{error}");
    assert_all_right(&store, &sim);
    sim.disk.set_capacity(Some(used));
    store.checkpoint().unwrap();
    assert_all_right(&store, &sim);
}

#[test]
fn a_store_opens_on_a_full_device() {
    for closed in [true, false] {
        let sim = simulated(closed);
        let used: u64 = sim.disk.files().iter().map(|(_, bytes)| bytes).sum();
        sim.disk.set_capacity(Some(used));
        let store = open(&sim.disk, &sim.manifest).unwrap();
        assert_all_right(&store, &sim);
        store.close(WAIT).unwrap();
        let store = open(&sim.disk, &sim.manifest).unwrap();
        assert_all_right(&store, &sim);
    }
}

#[test]
fn a_read_only_device_is_an_error_that_names_a_file_and_nothing_is_changed() {
    for (errno, closed) in [(EROFS, true), (EROFS, false), (EACCES, true)] {
        let sim = simulated(closed);
        let before = Files::of_disk(&sim.disk);
        sim.disk.fail_in(0, Fault::Sticky(errno));
        let error = open(&sim.disk, &sim.manifest).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Io, "{error}");
        let named = ["lock", "log", "scratch", "store.bop"];
        assert!(
            named.iter().any(|name| error.to_string().contains(name)),
            "{error}"
        );
        assert!(before == Files::of_disk(&sim.disk), "it was written to");
        sim.disk.heal();
        assert_all_right(&open(&sim.disk, &sim.manifest).unwrap(), &sim);
    }
}
