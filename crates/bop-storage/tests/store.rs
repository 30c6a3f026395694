//! A store in a real directory: what a user does in the first ten minutes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bop_storage::{
    BeginError, CatalogueError, Compression, DbKind, ErrorCode, Housekeeping, Limits, Lsn, Manager,
    Options, PageNo,
};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(5);

fn page(number: u32) -> PageNo {
    PageNo::new(number).unwrap()
}

fn fill(byte: u8) -> Vec<u8> {
    vec![byte; 4096]
}

fn put(store: &Manager, name: &str, pages: &[(u32, u8)]) -> Lsn {
    let db = store.database(name).unwrap();
    let mut write = db.begin_write(WAIT).unwrap();
    for (number, byte) in pages {
        write.write_page(page(*number), &fill(*byte)).unwrap();
    }
    write.commit().unwrap().lsn()
}

fn get(store: &Manager, name: &str, number: u32) -> u8 {
    let read = store.database(name).unwrap().begin_read().unwrap();
    let bytes = read.read_page(page(number)).unwrap();
    assert!(bytes.iter().all(|byte| *byte == bytes[0]));
    bytes[0]
}

#[test]
fn commits_are_there_after_a_clean_close_and_after_a_drop_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = Manager::open(dir.path(), Options::new()).unwrap();
    store.create_database("a", DbKind::Raw).unwrap();
    put(&store, "a", &[(1, 1), (2, 2)]);
    store.close(WAIT).unwrap();
    store.close(WAIT).unwrap();
    assert_eq!(store.database("a").unwrap_err().code(), ErrorCode::Closed);

    let store = Manager::open(dir.path(), Options::new()).unwrap();
    assert_eq!((get(&store, "a", 1), get(&store, "a", 2)), (1, 2));
    put(&store, "a", &[(2, 9)]);
    drop(store);

    let store = Manager::open(dir.path(), Options::new()).unwrap();
    assert_eq!(
        (
            get(&store, "a", 1),
            get(&store, "a", 2),
            get(&store, "a", 3)
        ),
        (1, 9, 0)
    );
    assert!(store.verify().is_healthy(), "{:?}", store.verify());
}

#[test]
fn a_checkpoint_moves_pages_into_chunks_and_releases_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = Manager::open(dir.path(), Options::new().limits(Limits::tiny())).unwrap();
    for name in ["a", "b"] {
        store.create_database(name, DbKind::Raw).unwrap();
    }
    for round in 1..=40 {
        put(
            &store,
            "a",
            &[(round, 1), (1, u8::try_from(round).unwrap())],
        );
        put(&store, "b", &[(1, u8::try_from(round).unwrap())]);
    }
    let report = store.checkpoint().unwrap();
    assert!(report.checkpointed <= store.status().published);
    assert_eq!(
        (
            get(&store, "a", 1),
            get(&store, "a", 40),
            get(&store, "b", 1)
        ),
        (40, 1, 40)
    );
    put(&store, "a", &[(2, 77)]);
    assert!(store.verify().is_healthy(), "{:?}", store.verify());
    drop(store);
    let store = Manager::open(dir.path(), Options::new().limits(Limits::tiny())).unwrap();
    assert_eq!(
        (
            get(&store, "a", 1),
            get(&store, "a", 2),
            get(&store, "b", 1)
        ),
        (40, 77, 40)
    );
    assert!(store.verify().is_healthy(), "{:?}", store.verify());
    let status = store.status();
    assert!(status.log_segments <= 3, "{status:?}");
}

#[test]
fn few_chunks_are_open_however_many_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut limits = Limits::tiny();
    limits.chunks_open_max = 4;
    limits.cache_bytes_max = 0;
    let store = Manager::open(dir.path(), Options::new().limits(limits)).unwrap();
    let names: Vec<_> = (0..40).map(|n| format!("db-{n}")).collect();
    for name in &names {
        store.create_database(name, DbKind::Raw).unwrap();
        put(&store, name, &[(1, 7)]);
        store.checkpoint().unwrap();
    }
    assert!(40 <= store.status().chunks);
    for name in names.iter().chain(&names) {
        assert_eq!(get(&store, name, 1), 7);
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let open = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        let chunks = open.filter(|path| path.starts_with(dir.path().join("chunks")));
        assert!(chunks.count() <= 4);
    }
}

#[test]
fn a_store_keeps_the_ranges_that_it_was_made_with() {
    let dir = tempfile::tempdir().unwrap();
    let open = |range_bytes| {
        let mut limits = Limits::tiny();
        limits.range_bytes = range_bytes;
        Manager::open(dir.path(), Options::new().limits(limits)).unwrap()
    };
    let store = open(128 << 10);
    store.create_database("a", DbKind::Raw).unwrap();
    let pages: Vec<_> = (1..=200).map(|n| (n, u8::try_from(n).unwrap())).collect();
    put(&store, "a", &pages);
    store.checkpoint().unwrap();
    store.close(WAIT).unwrap();
    // Larger and smaller ones; each time a checkpoint rewrites some.
    for (round, range_bytes) in (201..).zip([1 << 20, 64 << 10, 128 << 10]) {
        let store = open(range_bytes);
        for (n, byte) in &pages {
            assert_eq!(get(&store, "a", *n), *byte, "page {n}");
        }
        put(&store, "a", &[(round, 1)]);
        store.checkpoint().unwrap();
        assert!(store.verify().is_healthy(), "{:?}", store.verify());
        store.close(WAIT).unwrap();
    }
}

#[test]
fn a_snapshot_does_not_move_and_a_stale_one_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = Manager::open(dir.path(), Options::new()).unwrap();
    let db = store.create_database("a", DbKind::Raw).unwrap();
    put(&store, "a", &[(1, 1), (2, 1)]);
    let old = db.begin_read().unwrap();
    put(&store, "a", &[(1, 2)]);
    store.checkpoint().unwrap();
    put(&store, "a", &[(2, 3)]);
    store.checkpoint().unwrap();
    assert_eq!(
        (
            old.read_page(page(1)).unwrap()[0],
            old.read_page(page(2)).unwrap()[0]
        ),
        (1, 1)
    );
    let stale = db.begin_write_at(&old, WAIT).unwrap_err();
    assert!(matches!(stale, BeginError::BusySnapshot { .. }), "{stale}");
    assert_eq!((get(&store, "a", 1), get(&store, "a", 2)), (2, 3));
}

#[test]
fn a_transaction_larger_than_a_fragment_is_whole_or_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options::new().limits(Limits::tiny());
    let store = Manager::open(dir.path(), options()).unwrap();
    let db = store.create_database("big", DbKind::Raw).unwrap();
    let mut write = db.begin_write(WAIT).unwrap();
    for number in 1..=200 {
        write
            .write_page(page(number), &fill(u8::try_from(number).unwrap()))
            .unwrap();
    }
    let after = write.commit().unwrap();
    assert_eq!(after.read_page(page(200)).unwrap()[0], 200);
    drop((after, db, store));
    let store = Manager::open(dir.path(), options()).unwrap();
    assert_eq!((get(&store, "big", 1), get(&store, "big", 199)), (1, 199));
    assert!(store.verify().is_healthy(), "{:?}", store.verify());
}

#[test]
fn pages_shrink_and_grow_back_as_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let store = Manager::open(dir.path(), Options::new().limits(Limits::tiny())).unwrap();
    let db = store.create_database("a", DbKind::Raw).unwrap();
    put(&store, "a", &(1..=40).map(|n| (n, 1)).collect::<Vec<_>>());
    store.checkpoint().unwrap();
    let mut write = db.begin_write(WAIT).unwrap();
    write.truncate(5);
    let after = write.commit().unwrap();
    assert_eq!(after.page_count(), 5);
    put(&store, "a", &[(40, 2)]);
    for checkpointed in [false, true] {
        assert_eq!(
            (
                get(&store, "a", 5),
                get(&store, "a", 6),
                get(&store, "a", 40)
            ),
            (1, 0, 2)
        );
        assert_eq!(
            get(&store, "a", 20),
            0,
            "after a checkpoint: {checkpointed}"
        );
        assert!(store.verify().is_healthy(), "{:?}", store.verify());
        store.checkpoint().unwrap();
    }
}

#[test]
fn savepoints_give_back_exactly_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = Manager::open(dir.path(), Options::new()).unwrap();
    let db = store.create_database("a", DbKind::Raw).unwrap();
    let mut write = db.begin_write(WAIT).unwrap();
    let start = write.savepoint();
    write.write_page(page(1), &fill(1)).unwrap();
    let one = write.savepoint();
    write.write_page(page(1), &fill(2)).unwrap();
    write.write_page(page(7), &fill(2)).unwrap();
    write.truncate(3);
    write.rollback_to(one);
    assert_eq!(
        (write.page_count(), write.read_page(page(1)).unwrap()[0]),
        (1, 1)
    );
    write.write_page(page(2), &fill(3)).unwrap();
    write.rollback_to(one);
    assert_eq!(write.touched_pages(), [page(1)]);
    write.rollback_to(start);
    assert_eq!((write.page_count(), write.touched_pages().len()), (0, 0));
}

#[test]
fn names_are_unique_and_databases_can_be_renamed_and_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let store = Manager::open(dir.path(), Options::new()).unwrap();
    store.create_database("my-db", DbKind::Raw).unwrap();
    store.create_database("my_db", DbKind::Raw).unwrap();
    let twin = store.create_database("MY-DB", DbKind::Raw).unwrap_err();
    assert!(matches!(twin, CatalogueError::Exists { .. }), "{twin}");
    let db = store.database("my-db").unwrap();
    store.rename_database("my-db", "other").unwrap();
    assert_eq!(db.name(), "other");
    put(&store, "other", &[(1, 1)]);
    store.drop_database("other").unwrap();
    assert!(matches!(db.begin_read(), Err(BeginError::Dropped)));
    assert!(matches!(db.begin_write(WAIT), Err(BeginError::Dropped)));
    drop((db, store));
    let store = Manager::open(dir.path(), Options::new()).unwrap();
    let names: Vec<_> = store
        .databases()
        .into_iter()
        .map(|info| info.name)
        .collect();
    assert_eq!(names, ["my_db"]);
    store.checkpoint().unwrap();
    let missing = store.database("my-db").unwrap_err();
    assert!(
        matches!(&missing, CatalogueError::NotFound { nearest: Some(n), .. } if n == "my_db"),
        "{missing}"
    );
}

/// What a kill would leave of an idle store: its files, as they are.
fn killed(dir: &std::path::Path) -> tempfile::TempDir {
    fn copy(from: &std::path::Path, to: &std::path::Path) {
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
    let image = tempfile::tempdir().unwrap();
    copy(dir, image.path());
    image
}

#[test]
fn a_process_that_is_killed_again_and_again_does_not_fill_the_disk() {
    let mut dir = tempfile::tempdir().unwrap();
    let mut limits = Limits::tiny();
    limits.log_sealed_segments_max = 4;
    let options = Options::new().limits(limits);
    let killers = options.clone().housekeeping(Housekeeping::Manual);
    for round in 0..12 {
        let store = Manager::open(dir.path(), killers.clone()).unwrap();
        if round == 0 {
            store.create_database("a", DbKind::Raw).unwrap();
        }
        put(&store, "a", &[(1, round)]);
        let image = killed(dir.path());
        drop(store);
        dir = image;
    }
    let store = Manager::open(dir.path(), killers).unwrap();
    assert!(store.status().log_segments > 12, "one for each opening");
    drop(store);

    let store = Manager::open(dir.path(), options).unwrap();
    assert_eq!(get(&store, "a", 1), 11);
    let status = store.status();
    assert!(status.log_segments <= 2, "{status:?}");
}

/// A page of a table: numbers that ascend, and words.
fn rows(page: u32) -> Vec<u8> {
    let row = |nth: u32| format!("{:08} order of {} pieces;", 1000 * page + nth, nth % 7);
    let mut content: Vec<u8> = (0..200).flat_map(|nth| row(nth).into_bytes()).collect();
    content.truncate(4096);
    content
}

/// The choice is an opening's own: chunks of others are read, and pages go from one to the next.
#[test]
fn what_was_compressed_one_way_is_read_by_a_store_that_compresses_another() {
    let dir = tempfile::tempdir().unwrap();
    let mut chunk_bytes = Vec::new();
    for (nth, compression) in [
        Compression::Off,
        Compression::Lz4,
        Compression::Zstd { level: 3 },
    ]
    .into_iter()
    .enumerate()
    {
        let options = Options::new()
            .compression(compression)
            .housekeeping(Housekeeping::Manual);
        let store = Manager::open(dir.path(), options).unwrap();
        let name = compression.to_string().replace(':', "-");
        let db = store.create_database(&name, DbKind::Raw).unwrap();
        let mut write = db.begin_write(WAIT).unwrap();
        for number in 1..=256 {
            write.write_page(page(number), &rows(number)).unwrap();
        }
        write.commit().unwrap();
        chunk_bytes.push(store.checkpoint().unwrap().chunk_bytes);
        assert_eq!(store.databases().len(), nth + 1);
        for database in store.databases() {
            let read = store
                .database(&database.name)
                .unwrap()
                .begin_read()
                .unwrap();
            for number in 1..=256 {
                assert_eq!(*read.read_page(page(number)).unwrap(), *rows(number));
            }
        }
        assert!(store.verify().is_healthy());
        store.close(WAIT).unwrap();
    }
    let [off, lz4, zstd] = chunk_bytes[..] else {
        panic!("{chunk_bytes:?}");
    };
    assert!(zstd < lz4 && lz4 < off, "{chunk_bytes:?}");
}
