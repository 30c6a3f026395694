//! Databases that are dropped while a checkpoint freezes one after the other.

use super::*;
use crate::db::{Manager, simulated};
use crate::ids::DbKind;
use crate::limits::Limits;
use crate::testing::SimDisk;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(10);

/// A store with a database of three pages, and its state as a checkpoint lists it.
fn listed() -> (Manager, Arc<Engine>, Arc<DbState>) {
    let store = simulated::new(&SimDisk::new(1), Limits::tiny());
    let db = store.create_database("a", DbKind::Raw).unwrap();
    let mut write = db.begin_write(WAIT).unwrap();
    for page in (1..=3).filter_map(PageNo::new) {
        write.write_page(page, &[7; 4096]).unwrap();
    }
    write.commit().unwrap();
    let engine = Arc::clone(db.engine().engine());
    let state = engine.state_of(db.id()).unwrap();
    (store, engine, state)
}

#[test]
fn one_whose_pages_are_kept_is_written_as_whoever_has_them() {
    let (store, engine, state) = listed();
    let last = state.view();
    store.drop_database("a").unwrap();
    let (found, view) = engine.freeze_in_use(Arc::clone(&state)).unwrap();
    assert!(!Arc::ptr_eq(&found, &state));
    assert_eq!((view.head(), view.layer_count()), (last.head(), 1));
    assert!(store.checkpoint().is_ok());
    store.undrop_database("a", None).unwrap();
    let read = store.database("a").unwrap().begin_read().unwrap();
    for page in (1..=3).filter_map(PageNo::new) {
        assert_eq!(read.read_page(page).unwrap()[..], [7; 4096]);
    }
}

#[test]
fn one_that_is_gone_for_good_is_not_written() {
    let (store, engine, state) = listed();
    store.drop_database_now("a").unwrap();
    assert!(engine.freeze_in_use(state).is_none());
}
