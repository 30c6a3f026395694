//! After a repair the past is what it was: snapshots, forks, and every state that can be restored.

use crate::world::{REPAIR, WAIT, content, options, pages, put};
use bop_storage::{
    At, DatabaseInfo, DbId, DbKind, Limits, Lsn, Manager, Options, PageNo, ReadTxn, RepairReport,
    Retention,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// An hour is longer than a test.
const ALL: Retention = Retention {
    window_us: 3_600_000_000,
    bytes: 1 << 30,
};

fn with(range_bytes: u64) -> Options {
    let mut limits = Limits::tiny();
    limits.log_bytes_max = 8 << 20;
    limits.range_bytes = range_bytes;
    options().limits(limits)
}

/// A new store in a directory of its own.
fn begin(range_bytes: u64) -> (TempDir, Options, Manager) {
    let (dir, options) = (tempfile::tempdir().unwrap(), with(range_bytes));
    let store = Manager::open(dir.path(), options.clone()).unwrap();
    (dir, options, store)
}

/// The same with a database of which only the newest state is kept.
fn begin_with(name: &str) -> (TempDir, Options, Manager) {
    let begun = begin(64 << 10);
    create(&begun.2, name, Retention::NOTHING);
    begun
}

/// A state, without the time of its commit.
#[derive(Clone, PartialEq, Debug)]
struct State {
    lsn: Lsn,
    rolling: u64,
    pages: Vec<Vec<u8>>,
}

/// All that a database shows of itself and of its past.
#[derive(Clone, PartialEq, Debug)]
struct Past {
    head: State,
    snapshots: BTreeMap<String, State>,
    /// Each with its time.
    points: Vec<(u64, State)>,
}

fn state(read: &ReadTxn, lsn: Lsn, rolling: u64) -> State {
    let numbers = (1..=read.page_count()).filter_map(PageNo::new);
    let pages = numbers.map(|page| read.read_page(page).unwrap().to_vec());
    State {
        lsn,
        rolling,
        pages: pages.collect(),
    }
}

fn past_of(store: &Manager, name: &str) -> Past {
    let db = store.database(name).unwrap();
    let info = store.info(name).unwrap();
    let rolling = info.rolling_checksum.get();
    let head = state(&db.begin_read().unwrap(), info.head, rolling);
    let snapshots = store.snapshots(name).unwrap().into_iter().map(|snapshot| {
        let read = db.begin_read_at(&At::Snapshot(snapshot.name.clone()));
        (snapshot.name, state(&read.unwrap(), snapshot.lsn, 0))
    });
    let points = store
        .restore_points(name)
        .unwrap()
        .into_iter()
        .map(|point| {
            let read = db.begin_read_at(&At::Lsn(point.lsn)).unwrap();
            let state = state(&read, point.lsn, point.rolling_checksum.get());
            (point.time_us, state)
        });
    Past {
        snapshots: snapshots.collect(),
        points: points.collect(),
        head,
    }
}

/// Of all live databases, by id and name.
fn pasts(store: &Manager) -> BTreeMap<(DbId, String), Past> {
    let infos = store.databases().into_iter();
    let open = infos.filter(|info| info.damage.is_none());
    open.map(|info| ((info.id, info.name.clone()), past_of(store, &info.name)))
        .collect()
}

/// Without the time of a head, which a chunk alone does not have.
fn infos(store: &Manager) -> Vec<DatabaseInfo> {
    let mut infos = store.databases();
    infos.iter_mut().for_each(|info| info.head_us = 0);
    infos
}

fn create(store: &Manager, name: &str, retention: Retention) {
    store.create_database(name, DbKind::Raw).unwrap();
    store.set_retention(name, retention).unwrap();
}

fn fork(store: &Manager, of: &str, name: &str, at: &At) {
    store.fork_database(of, name, at).unwrap();
}

fn snapshot(store: &Manager, of: &str, name: &str, at: &At) {
    store.snapshot_database(of, name, at).unwrap();
}

fn named(name: &str) -> At {
    At::Snapshot(name.to_owned())
}

fn head(store: &Manager, name: &str) -> At {
    At::Lsn(store.info(name).unwrap().head)
}

/// Databases with windows and without, forks of all kinds, a restored one, and parents that are gone.
fn make(store: &Manager) {
    for (name, retention) in [
        ("main", ALL),
        ("plain", Retention::NOTHING),
        ("other", Retention::NOTHING),
    ] {
        create(store, name, retention);
        put(store, name, &pages(1, 50), 1, None);
    }
    put(store, "main", &[2], 2, None);
    store.checkpoint().unwrap();
    snapshot(store, "main", "first", &At::Now);
    put(store, "main", &[3, 20], 3, None);
    fork(store, "main", "of now", &At::Now);
    fork(store, "main", "of first", &named("first"));
    put(store, "main", &[3, 4], 4, Some(30));
    let middle = head(store, "main");
    put(store, "main", &[5, 45], 5, None);
    store.checkpoint().unwrap();
    fork(store, "main", "of the past", &middle);
    fork(store, "main", "never written", &middle);
    snapshot(store, "main", "middle", &middle);
    put(store, "of now", &[7], 6, None);
    put(store, "of first", &[1, 2], 7, Some(40));
    put(store, "of the past", &[29], 8, None);
    store.checkpoint().unwrap();
    fork(store, "of now", "of a fork", &At::Now);
    put(store, "of a fork", &[8], 9, Some(33));
    snapshot(store, "of a fork", "kept", &At::Now);
    put(store, "of a fork", &[40], 10, None);
    fork(store, "other", "orphan", &At::Now);
    put(store, "orphan", &[1, 2], 11, None);
    put(store, "other", &[1], 12, None);
    snapshot(store, "plain", "good", &At::Now);
    put(store, "plain", &[1, 2], 13, None);
    put(store, "plain", &[3], 14, Some(20));
    store.checkpoint().unwrap();
    store.restore_database("plain", &named("good")).unwrap();
    put(store, "plain", &[9], 15, None);
    store.drop_database("of now").unwrap();
    store.drop_database_now("other").unwrap();
    store.checkpoint().unwrap();
}

/// Packs that are half dead, until they are rewritten; and the log forgets what was before.
fn rewrite(store: &Manager) {
    let name = |nth: u32| format!("packed {nth}");
    for nth in 0..24 {
        create(store, &name(nth), ALL);
    }
    for byte in 0..3 {
        for nth in 0..24 {
            put(store, &name(nth), &[1 + u32::from(byte), 2], byte, None);
        }
        put(store, "main", &[6 + u32::from(byte)], 20 + byte, None);
        put(store, "of first", &[11], 20 + byte, None);
        store.checkpoint().unwrap();
    }
    for nth in 3..24 {
        store.drop_database_now(&name(nth)).unwrap();
    }
    let mut rewritten = 0;
    create(store, "busy", Retention::NOTHING);
    for round in 0..30 {
        put(store, "busy", &pages(1, 8), round, None);
        rewritten += store.checkpoint().unwrap().chunks_rewritten;
    }
    assert!(rewritten > 0);
}

/// What no checkpoint covers.
fn tail(store: &Manager) {
    put(store, "main", &[1], 30, None);
    snapshot(store, "main", "late", &At::Now);
    fork(store, "main", "late", &At::Now);
    fork(store, "main", "late of the past", &named("middle"));
    put(store, "late", &[2], 31, None);
    put(store, "late of the past", &[2], 31, None);
    put(store, "main", &[2], 32, None);
    store.restore_database("of first", &At::Now).unwrap();
    put(store, "of first", &[3], 33, None);
}

fn lose_and_repair(dir: &Path, options: &Options) -> RepairReport {
    std::fs::remove_dir_all(dir.join("manifest")).unwrap();
    Manager::repair(dir, options, REPAIR).unwrap()
}

fn same(before: &BTreeMap<(DbId, String), Past>, after: &BTreeMap<(DbId, String), Past>) {
    let names =
        |pasts: &BTreeMap<(DbId, String), Past>| -> Vec<_> { pasts.keys().cloned().collect() };
    assert_eq!(names(after), names(before));
    for (name, past) in before {
        let found = &after[name];
        assert!(found.head == past.head, "{name:?}: the head");
        let lsns = |past: &Past| -> Vec<Lsn> { past.points.iter().map(|(_, s)| s.lsn).collect() };
        assert_eq!(lsns(found), lsns(past), "{name:?}");
        for ((time_us, found), (known_us, known)) in found.points.iter().zip(&past.points) {
            assert!(found == known, "{name:?} at {}", known.lsn);
            // What a chunk alone has may have no time.
            assert!(time_us == known_us || *time_us == 0, "{name:?}");
        }
        let kept: Vec<&String> = past.snapshots.keys().collect();
        assert_eq!(found.snapshots.keys().collect::<Vec<_>>(), kept);
        for (snapshot, state) in &past.snapshots {
            assert!(found.snapshots[snapshot] == *state, "{name:?} {snapshot}");
        }
    }
}

#[test]
fn snapshots_forks_and_windows_are_as_before() {
    for range_bytes in [64 << 10, 1 << 20] {
        for late in [false, true] {
            let (dir, options, store) = begin(range_bytes);
            make(&store);
            rewrite(&store);
            if late {
                tail(&store);
            }
            let before = pasts(&store);
            let main = before.iter().find(|((_, name), _)| name == "main");
            let points = &main.unwrap().1.points;
            assert!(points.len() > 6, "{}", points.len());
            let catalogue = (infos(&store), store.dropped_databases());
            store.close(WAIT).unwrap();

            let report = lose_and_repair(dir.path(), &options);
            assert!(report.is_whole(), "{range_bytes}, {late}: {report:#?}");
            let store = Manager::open(dir.path(), options.clone()).unwrap();
            same(&before, &pasts(&store));
            assert_eq!((infos(&store), store.dropped_databases()), catalogue);
            assert_eq!(store.verify().findings, []);
            // What the next checkpoints take away is nothing of it.
            for byte in 40..43 {
                put(&store, "busy", &[1], byte, None);
                store.checkpoint().unwrap();
            }
            let mut after = pasts(&store);
            let busy = |pasts: &mut BTreeMap<(DbId, String), Past>| {
                pasts.retain(|(_, name), _| name != "busy");
            };
            busy(&mut after);
            let mut before = before;
            busy(&mut before);
            same(&before, &after);
            store.undrop_database("of now", None).unwrap();
            let back = past_of(&store, "of now");
            assert_eq!(back.head.pages[6], content(7, 6));
            assert_eq!(store.verify().findings, []);
            store.close(WAIT).unwrap();
        }
    }
}

/// The chunks that have pages or histories of a database, by the manifest.
fn chunks_of(dir: &Path, options: &Options, id: DbId) -> BTreeSet<PathBuf> {
    let inspection = Manager::inspect_manifest(dir, options).unwrap();
    let state = inspection.state();
    let chunks = state.chunks_named(id);
    chunks
        .map(|chunk| dir.join(format!("chunks/{:016x}.chunk", chunk.get())))
        .collect()
}

/// A source whose pages are gone: what is made of it is told and not read, and nothing else is touched.
#[test]
fn what_is_made_of_pages_that_are_gone_is_told() {
    let (dir, options, store) = begin_with("source");
    put(&store, "source", &pages(1, 40), 1, None);
    store.checkpoint().unwrap();
    let source = store.info("source").unwrap().id;
    fork(&store, "source", "written", &At::Now);
    fork(&store, "source", "fresh", &At::Now);
    fork(&store, "source", "covered", &At::Now);
    put(&store, "written", &[3], 2, None);
    put(&store, "covered", &pages(1, 40), 3, None);
    store.checkpoint().unwrap();
    // The state that the forks have: the source goes on without it.
    put(&store, "source", &pages(1, 40), 4, None);
    snapshot(&store, "source", "sound", &At::Now);
    store.checkpoint().unwrap();
    fork(&store, "source", "sound", &At::Now);
    put(&store, "sound", &[9], 5, None);
    store.checkpoint().unwrap();
    let newest = past_of(&store, "source");
    let before = pasts(&store);
    forget(&store);
    store.close(WAIT).unwrap();
    let all = chunks_of(dir.path(), &options, source);
    let inspection = Manager::inspect_manifest(dir.path(), &options).unwrap();
    let newest_chunks: BTreeSet<PathBuf> = inspection
        .state()
        .newest_ranges(source)
        .flat_map(|(_, row)| row.links().to_vec())
        .map(|link| {
            dir.path()
                .join(format!("chunks/{:016x}.chunk", link.chunk.get()))
        })
        .collect();
    drop(inspection);
    let old: Vec<&PathBuf> = all.difference(&newest_chunks).collect();
    assert!(!old.is_empty());
    for chunk in old {
        std::fs::remove_file(chunk).unwrap();
    }

    let report = lose_and_repair(dir.path(), &options);
    assert!(!report.is_whole());
    let damaged = report.databases.iter().filter(|one| one.damage.is_some());
    let damaged: Vec<&str> = damaged.map(|one| one.name.as_str()).collect();
    assert_eq!(damaged, ["written", "fresh"], "{report:#?}");
    let store = Manager::open(dir.path(), options.clone()).unwrap();
    for name in ["written", "fresh"] {
        assert!(store.database(name).is_err(), "{name} is served");
    }
    let after = pasts(&store);
    let find = |pasts: &BTreeMap<(DbId, String), Past>, name: &str| {
        let found = pasts.iter().find(|((_, one), _)| one == name);
        found.unwrap().1.head.clone()
    };
    for name in ["sound", "covered"] {
        assert!(find(&after, name) == find(&before, name), "{name}");
    }
    assert!(past_of(&store, "source") == newest);
    store.close(WAIT).unwrap();
}

/// A snapshot whose state is gone is told, and reading it is an error; the others read as before.
#[test]
fn a_snapshot_whose_pages_are_gone_is_told() {
    let (dir, options, store) = begin_with("db");
    for byte in 1..=3 {
        put(&store, "db", &pages(1, 20), byte, None);
        snapshot(&store, "db", &format!("of {byte}"), &At::Now);
        put(&store, "db", &[1], byte + 10, None);
        store.checkpoint().unwrap();
    }
    put(&store, "db", &pages(1, 20), 9, None);
    store.checkpoint().unwrap();
    forget(&store);
    let before = past_of(&store, "db");
    let id = store.info("db").unwrap().id;
    store.close(WAIT).unwrap();
    // The second generation has all of the second snapshot but what its history has.
    let inspection = Manager::inspect_manifest(dir.path(), &options).unwrap();
    let state = inspection.state();
    let second = state.generations(id).nth(1).unwrap().1;
    let lost = second.history.unwrap().chunk;
    drop(inspection);
    std::fs::remove_file(dir.path().join(format!("chunks/{:016x}.chunk", lost.get()))).unwrap();

    let report = lose_and_repair(dir.path(), &options);
    let lost: Vec<&str> = report
        .snapshots_lost
        .iter()
        .map(|lost| lost.snapshot.as_str())
        .collect();
    assert!(lost.contains(&"of 2"), "{report:#?}");
    assert!(lost.len() < 3, "{report:#?}");
    assert!(!report.is_whole());
    let store = Manager::open(dir.path(), options).unwrap();
    let db = store.database("db").unwrap();
    for (name, known) in &before.snapshots {
        let read = db.begin_read_at(&named(name));
        let read = read.and_then(|read| Ok(read.read_page(PageNo::new(2).unwrap())?.to_vec()));
        match lost.contains(&name.as_str()) {
            true => assert!(read.is_err(), "{name}"),
            false => assert!(read.unwrap() == known.pages[1], "{name}"),
        }
    }
    assert!(state_of(&store, "db") == before.head);
    store.close(WAIT).unwrap();
}

fn state_of(store: &Manager, name: &str) -> State {
    let info = store.info(name).unwrap();
    let read = store.database(name).unwrap().begin_read().unwrap();
    state(&read, info.head, info.rolling_checksum.get())
}

fn forget(store: &Manager) {
    create(store, "busy", Retention::NOTHING);
    for round in 0..30 {
        put(store, "busy", &pages(1, 8), round, None);
        store.checkpoint().unwrap();
    }
}

/// The old self of a restored database, of which a part is gone: nobody reads what is left of it as if it
/// were all.
#[test]
fn what_is_left_of_a_source_is_not_read_for_the_whole() {
    let (dir, options, store) = begin_with("db");
    put(&store, "db", &pages(1, 50), 1, None);
    snapshot(&store, "db", "good", &At::Now);
    store.checkpoint().unwrap();
    let old = store.info("db").unwrap().id;
    store.close(WAIT).unwrap();
    let lost = chunks_of(dir.path(), &options, old);
    let store = Manager::open(dir.path(), options.clone()).unwrap();
    put(&store, "db", &[1], 2, None);
    store.checkpoint().unwrap();
    store.restore_database("db", &named("good")).unwrap();
    put(&store, "db", &pages(1, 50), 3, None);
    store.checkpoint().unwrap();
    forget(&store);
    let head = state_of(&store, "db");
    store.close(WAIT).unwrap();
    lost.iter()
        .for_each(|chunk| std::fs::remove_file(chunk).unwrap());

    let report = lose_and_repair(dir.path(), &options);
    assert_eq!(report.snapshots_lost.len(), 2, "{report:#?}");
    let store = Manager::open(dir.path(), options).unwrap();
    assert!(state_of(&store, "db") == head);
    let db = store.database("db").unwrap();
    for snapshot in store.snapshots("db").unwrap() {
        for page in [1, 20] {
            let read = db.begin_read_at(&named(&snapshot.name));
            let read =
                read.and_then(|read| Ok(read.read_page(PageNo::new(page).unwrap())?.to_vec()));
            assert!(read.is_err(), "page {page} of {}", snapshot.name);
        }
    }
    store.close(WAIT).unwrap();
}

/// A database whose chunks are all gone is known to have had pages by whoever keeps a state of it.
#[test]
fn a_source_without_any_chunk_is_not_served_empty() {
    let (dir, options, store) = begin_with("db");
    put(&store, "db", &pages(1, 50), 1, None);
    snapshot(&store, "db", "good", &At::Now);
    store.checkpoint().unwrap();
    let id = store.info("db").unwrap().id;
    forget(&store);
    store.close(WAIT).unwrap();
    let lost = chunks_of(dir.path(), &options, id);
    lost.iter()
        .for_each(|chunk| std::fs::remove_file(chunk).unwrap());

    let report = lose_and_repair(dir.path(), &options);
    let damage = report.databases.iter().find(|one| one.id == id).unwrap();
    assert!(damage.damage.is_some(), "{report:#?}");
    let store = Manager::open(dir.path(), options).unwrap();
    assert!(store.database("db").is_err());
    store.close(WAIT).unwrap();
}
