//! Life with damage for longer: it uses up nothing that the others need, and it can be ended.

use crate::damage_sample::{WAIT, open, simulated};
use bop_storage::{BeginError, CatalogueError, DbKind, Manager, PageNo, ReadError};
use std::path::Path;

/// A byte of the batch in which alpha wrote its pages 2 and 3.
const COMMIT: (&str, u64) = ("log/0000000000000002.seg", 3 * 4096 + 700);
const CHUNK: &str = "chunks/0000000000000001.chunk";

/// Commits more than the log may hold, with a checkpoint now and then.
fn commit_more_than_the_log_holds(store: &Manager, name: &str) {
    let db = match store.database(name) {
        Err(CatalogueError::NotFound { .. }) => store.create_database(name, DbKind::Raw).unwrap(),
        found => found.unwrap(),
    };
    for round in 0..160_u8 {
        let mut write = db.begin_write(WAIT).unwrap();
        for page in (1..=3).filter_map(PageNo::new) {
            write.write_page(page, &[round; 4096]).unwrap();
        }
        write.commit().unwrap();
        if round % 16 == 15 {
            store.checkpoint().unwrap();
        }
    }
}

#[test]
fn what_is_kept_for_a_closed_database_does_not_stop_the_others() {
    let sim = simulated(true);
    sim.disk.flip(Path::new(COMMIT.0), COMMIT.1, 1);
    let store = open(&sim.disk, &sim.manifest).unwrap();
    let closed = store.database("alpha").unwrap_err();
    assert!(matches!(closed, CatalogueError::Corrupt { .. }), "{closed}");
    commit_more_than_the_log_holds(&store, "other");
    let (truncated, kept) = (store.status().truncated, store.status().damaged_bytes);
    assert!(0 < kept);
    drop(store);
    let store = open(&sim.disk, &sim.manifest).unwrap();
    let again = store.database("alpha").unwrap_err();
    assert_eq!(again.to_string(), closed.to_string());
    store.checkpoint().unwrap();
    commit_more_than_the_log_holds(&store, "other");
    assert!(truncated < store.status().truncated);
    assert_eq!(store.status().damaged_bytes, kept);
}

#[test]
fn dropping_a_closed_database_gives_what_was_kept_for_it_back() {
    let sim = simulated(true);
    sim.disk.flip(Path::new(COMMIT.0), COMMIT.1, 1);
    let store = open(&sim.disk, &sim.manifest).unwrap();
    commit_more_than_the_log_holds(&store, "other");
    store.drop_database("alpha").unwrap();
    assert!(0 < store.status().damaged_bytes);
    drop(store);
    let store = open(&sim.disk, &sim.manifest).unwrap();
    assert_eq!(store.status().damaged_bytes, 0);
    let kept = Path::new(bop_storage::io::layout::DAMAGED_DIR);
    let files = sim.disk.files();
    assert!(files.iter().all(|(path, _)| !path.starts_with(kept)));
    drop(store);
    let store = open(&sim.disk, &sim.manifest).unwrap();
    assert!(store.verify().is_healthy(), "{:?}", store.verify());
}

#[test]
fn a_database_with_a_damaged_page_takes_no_commits_once_a_checkpoint_met_it() {
    let sim = simulated(true);
    // A page that beta did not write again; what cannot be compressed stands there as it is.
    let page = sim.sample.contents.databases["beta"].page(1);
    let chunk = sim.disk.read_raw(Path::new(CHUNK));
    let at = chunk
        .windows(64)
        .position(|bytes| *bytes == page[..64])
        .unwrap();
    sim.disk.flip(Path::new(CHUNK), at as u64, 1);
    let store = open(&sim.disk, &sim.manifest).unwrap();
    let report = store.checkpoint().unwrap();
    assert_eq!(report.databases_skipped, 1, "{report:?}");
    let told = store
        .databases()
        .into_iter()
        .filter(|info| info.damage.is_some());
    let told: Vec<_> = told.map(|info| info.name).collect();
    assert_eq!(told, ["beta"]);
    let db = store.database("beta").unwrap();
    let refused = db.begin_write(WAIT).unwrap_err();
    assert!(matches!(refused, BeginError::Damaged(_)), "{refused}");
    // What can be read, can be read.
    let read = db.begin_read().unwrap();
    let pages = (1..=read.page_count()).filter_map(PageNo::new);
    let bad = pages
        .map(|page| read.read_page(page))
        .filter(Result::is_err);
    let bad: Vec<_> = bad.collect();
    assert!(
        matches!(bad.as_slice(), [Err(ReadError::Damaged(_))]),
        "{bad:?}"
    );
    drop((read, db));
    commit_more_than_the_log_holds(&store, "other");

    store.drop_database("beta").unwrap();
    let report = store.checkpoint().unwrap();
    assert_eq!(report.databases_skipped, 0, "{report:?}");
    assert!(0 < report.segments_released);
}
