//! A lost manifest, and damaged chunks beside it: what is not proved is closed, the rest is served.

use crate::world::{Shown, WAIT, files, open, pages, put, repair, shown};
use bop_storage::{DbId, DbKind, ErrorCode, Manager};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

type Picture = BTreeMap<(DbId, String), Shown>;

/// Chunk 1 has `old` and `both`, chunk 2 a range of `both`, and `new`; then the log forgets them, with chunks of `busy`.
fn make(dir: &Path) -> Picture {
    let store = open(dir);
    store.create_database("old", DbKind::Raw).unwrap();
    store.create_database("both", DbKind::Raw).unwrap();
    put(&store, "old", &[1, 2, 3], 1, None);
    put(&store, "both", &pages(1, 40), 1, None);
    store.checkpoint().unwrap();
    store.create_database("new", DbKind::Raw).unwrap();
    put(&store, "both", &[20], 2, None);
    put(&store, "new", &[1, 2], 2, None);
    store.checkpoint().unwrap();
    store.create_database("busy", DbKind::Raw).unwrap();
    forget(&store);
    let before = shown(&store);
    store.close(WAIT).unwrap();
    before
}

fn forget(store: &Manager) {
    for round in 0..30 {
        put(store, "busy", &pages(1, 8), round, None);
        store.checkpoint().unwrap();
    }
}

/// Which chunk has the newest sections of a database, by the manifest.
fn chunks_of(dir: &Path, name: &str) -> Vec<PathBuf> {
    let inspection = Manager::inspect_manifest(dir, &crate::world::options()).unwrap();
    let state = inspection.state();
    let named = state.databases().find(|(_, row)| row.name.as_str() == name);
    let rows = state.newest_ranges(named.unwrap().0);
    let mut chunks: Vec<PathBuf> = rows
        .map(|(_, row)| dir.join(format!("chunks/{:016x}.chunk", row.links()[0].chunk.get())))
        .collect();
    chunks.sort();
    chunks.dedup();
    chunks
}

fn is_chunk(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "chunk")
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = at.min(bytes.len() - 1);
    bytes[at] ^= 0x40;
    std::fs::write(path, bytes).unwrap();
}

/// What is served is as before; the names of what is closed.
fn closed(dir: &Path, before: &Picture) -> Vec<String> {
    let store = open(dir);
    let mut closed = Vec::new();
    let infos = store.databases();
    assert_eq!(infos.len(), before.len());
    for info in infos {
        match store.database(&info.name) {
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::Corrupt, "{error}");
                assert!(info.damage.is_some());
                closed.push(info.name);
            }
            Ok(_) => {
                assert_eq!(info.damage, None);
                let was = &before[&(info.id, info.name.clone())];
                assert_eq!(was.facts(), (info.head, info.rolling_checksum.get()));
            }
        }
    }
    store.close(WAIT).unwrap();
    closed
}

#[test]
fn a_chunk_without_a_header_closes_the_databases_that_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let before = make(dir.path());
    let first = chunks_of(dir.path(), "old");
    flip(&first[0], 3);
    std::fs::remove_dir_all(dir.path().join("manifest")).unwrap();
    let report = repair(dir.path());
    assert!(!report.is_whole());
    assert_eq!(report.chunks_damaged.len(), 1);
    assert_eq!(report.catalogue_damage, None);
    let bytes = files(dir.path());
    // Ranges of `both` that its newest generation did not write are in that chunk too.
    assert_eq!(closed(dir.path(), &before), ["both", "old"]);
    for chunk in bytes.keys().filter(|path| is_chunk(path)) {
        assert!(chunk.exists(), "{} may be needed", chunk.display());
    }
    // Again and again, and the others go on; names are given out.
    let store = open(dir.path());
    put(&store, "new", &[2, 3], 9, None);
    store.create_database("another", DbKind::Raw).unwrap();
    store.checkpoint().unwrap();
    store.drop_database("old").unwrap();
    store.close(WAIT).unwrap();
    assert!(first[0].exists());
    let store = open(dir.path());
    assert!(store.database("new").is_ok() && store.database("busy").is_ok());
    assert_eq!(
        store.database("both").unwrap_err().code(),
        ErrorCode::Corrupt
    );
    store.close(WAIT).unwrap();
}

#[test]
fn a_chunk_that_tells_nothing_closes_what_may_have_been_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let before = make(dir.path());
    let second = chunks_of(dir.path(), "new");
    std::fs::write(&second[0], b"nothing of a chunk").unwrap();
    std::fs::remove_dir_all(dir.path().join("manifest")).unwrap();
    let report = repair(dir.path());
    assert_eq!(report.chunks_damaged.len(), 1);
    // `old` is older than the lost chunk, so it may have had a newer state there; `busy` is not.
    assert_eq!(closed(dir.path(), &before), ["both", "new", "old"]);
    assert!(second[0].exists());
}

#[test]
fn a_lost_catalogue_gives_out_no_names() {
    let dir = tempfile::tempdir().unwrap();
    let before = make(dir.path());
    let store = open(dir.path());
    store.create_database("newest", DbKind::Raw).unwrap();
    store.checkpoint().unwrap();
    forget(&store);
    store.close(WAIT).unwrap();
    let catalogue = {
        let inspection = Manager::inspect_manifest(dir.path(), &crate::world::options()).unwrap();
        let state = inspection.state();
        let (_, row) = state.newest_ranges(DbId::CATALOGUE).next().unwrap();
        dir.path()
            .join(format!("chunks/{:016x}.chunk", row.links()[0].chunk.get()))
    };
    flip(&catalogue, 2);
    std::fs::remove_dir_all(dir.path().join("manifest")).unwrap();
    let report = repair(dir.path());
    assert!(report.catalogue_damage.is_some(), "{report:?}");
    let bytes = files(dir.path());
    let store = open(dir.path());
    for name in ["newest", "any"] {
        let refused = store.create_database(name, DbKind::Raw).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::CatalogueDamaged, "{refused}");
    }
    // The older catalogue, where one is left, still says what was there then.
    for info in store.databases() {
        assert!(before.contains_key(&(info.id, info.name)));
    }
    store.close(WAIT).unwrap();
    for path in bytes.keys().filter(|path| is_chunk(path)) {
        assert!(path.exists(), "{} may be needed", path.display());
    }
}

#[test]
fn without_a_log_everything_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let before = make(dir.path());
    std::fs::remove_dir_all(dir.path().join("manifest")).unwrap();
    for (path, _) in files(dir.path()) {
        if path.extension().is_some_and(|extension| extension == "seg") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let chunks = files(dir.path());
    let report = repair(dir.path());
    assert!(report.catalogue_damage.is_some());
    assert!(
        report
            .databases
            .iter()
            .all(|database| database.damage.is_some())
    );
    assert_eq!(closed(dir.path(), &before), ["both", "busy", "new", "old"]);
    for path in chunks.keys() {
        assert!(path.exists(), "{} may be needed", path.display());
    }
}

/// Bytes all over every chunk: what is served is right, and what is not is told.
#[test]
fn no_flipped_byte_of_a_chunk_is_served() {
    let made = tempfile::tempdir().unwrap();
    let store = open(made.path());
    for name in ["a", "b", "c"] {
        store.create_database(name, DbKind::Raw).unwrap();
        put(&store, name, &[1, 2], 1, None);
        store.checkpoint().unwrap();
    }
    put(&store, "a", &[1], 2, None);
    store.checkpoint().unwrap();
    let before = shown(&store);
    store.close(WAIT).unwrap();
    std::fs::remove_dir_all(made.path().join("manifest")).unwrap();
    let (mut served, mut closed) = (0, 0);
    for path in files(made.path()).keys() {
        if !is_chunk(path) {
            continue;
        }
        let bytes = std::fs::read(path).unwrap().len();
        for at in (0..bytes).step_by(397).chain(bytes - 200..bytes).step_by(3) {
            let dir = tempfile::tempdir().unwrap();
            copy(made.path(), dir.path());
            flip(
                &dir.path().join(path.strip_prefix(made.path()).unwrap()),
                at,
            );
            repair(dir.path());
            let store = open(dir.path());
            for info in store.databases() {
                let Ok(database) = store.database(&info.name) else {
                    closed += 1;
                    continue;
                };
                let read = database.begin_read().unwrap();
                let was = &before[&(info.id, info.name.clone())];
                assert_eq!(was.facts(), (info.head, info.rolling_checksum.get()));
                for number in (1..=read.page_count()).filter_map(bop_storage::PageNo::new) {
                    // A damaged body is met when it is read.
                    if let Ok(page) = read.read_page(number) {
                        assert_eq!(was.page(number), &page[..], "{} at {at}", path.display());
                        served += 1;
                    }
                }
            }
            store.close(WAIT).unwrap();
        }
    }
    assert!(
        100 < served && 0 < closed,
        "{served} pages served, {closed} databases closed"
    );
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
