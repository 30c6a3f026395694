//! Import and export: the same bytes come out that went in.

use crate::common::{int, integrity, shared_dir, text};
use bop_libsql::transfer::{
    ExportError, ImportError, ImportReport, Overwrite, export_file, import_file,
};
use bop_libsql::{Options, Store};
use bop_storage::error::ErrorCode;
use std::path::Path;
use tempfile::TempDir;

/// A directory for files, with a new store in it.
pub(crate) fn new_store() -> (TempDir, Store) {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path().join("store"), Options::new()).unwrap();
    (dir, store)
}

pub(crate) fn import(store: &Store, name: &str, path: &Path) -> Result<ImportReport, ImportError> {
    import_file(store, name, path, &mut |_, _| {})
}

pub(crate) fn export(store: &Store, name: &str, path: &Path) -> Result<(), ExportError> {
    export_file(store, name, path, Overwrite::No, &mut |_, _| {}).map(drop)
}

/// A plain file with rows, made by `pragmas` first.
pub(crate) fn plain(dir: &TempDir, name: &str, pragmas: &str) -> std::path::PathBuf {
    let path = dir.path().join(name);
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch(pragmas).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE t(i INTEGER PRIMARY KEY, x TEXT, b BLOB);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
                 INSERT INTO t SELECT i, 'row ' || i, zeroblob(i % 3000) FROM n;
             CREATE INDEX by_x ON t(x); DELETE FROM t WHERE i % 5 = 0;",
        )
        .unwrap();
    path
}

/// Where two files differ, apart from the bytes that may.
fn differences(a: &Path, b: &Path) -> Vec<usize> {
    let (a, b) = (std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
    assert_eq!(a.len(), b.len());
    let may = |at: usize| matches!(at, 18 | 19 | 24..=27 | 92..=99);
    (0..a.len())
        .filter(|at| a[*at] != b[*at] && !may(*at))
        .collect()
}

#[test]
fn what_is_imported_and_exported_is_the_same_file() {
    let (dir, store) = new_store();
    let variants = [
        "PRAGMA page_size = 512",
        "PRAGMA page_size = 4096; PRAGMA auto_vacuum = FULL; PRAGMA user_version = 77",
        "PRAGMA page_size = 1024; PRAGMA encoding = 'UTF-16le'; PRAGMA application_id = 12345",
        "PRAGMA page_size = 65536; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL",
    ];
    for (n, pragmas) in variants.iter().enumerate() {
        let name = format!("db-{n}");
        let path = plain(&dir, &format!("in-{n}.sqlite"), pragmas);
        let before = std::fs::read(&path).unwrap();
        let report = import(&store, &name, &path).unwrap();
        assert!(!report.through_sqlite);
        assert_eq!(
            std::fs::read(&path).unwrap(),
            before,
            "the source is as it was"
        );
        assert!(!dir.path().join(format!("in-{n}.sqlite-wal")).exists());
        assert!(!dir.path().join(format!("in-{n}.sqlite-shm")).exists());

        let out = dir.path().join(format!("out-{n}.sqlite"));
        export(&store, &name, &out).unwrap();
        assert_eq!(differences(&path, &out), [0_usize; 0], "{pragmas}");
        let (source, copy) = (
            rusqlite::Connection::open(&path).unwrap(),
            rusqlite::Connection::open(&out).unwrap(),
        );
        assert_eq!(integrity(&copy), "ok");
        assert_eq!(text(&copy, "PRAGMA journal_mode"), "delete");
        for pragma in [
            "page_size",
            "auto_vacuum",
            "user_version",
            "application_id",
            "page_count",
        ] {
            let sql = format!("PRAGMA {pragma}");
            assert_eq!(int(&source, &sql), int(&copy, &sql), "{pragma}");
            assert_eq!(
                int(&source, &sql),
                int(&store.connect(&name).unwrap(), &sql),
                "{pragma}"
            );
        }
        assert_eq!(
            text(&source, "PRAGMA encoding"),
            text(&copy, "PRAGMA encoding")
        );
        assert_eq!(
            int(&store.connect(&name).unwrap(), "SELECT count(*) FROM t"),
            400
        );
    }
}

#[test]
fn the_sample_database_comes_out_as_it_went_in() {
    let Some(shared) = shared_dir() else {
        return;
    };
    let (dir, store) = new_store();
    let source = shared.join("data/chinook.sqlite");
    let mut last = (0, 0);
    import_file(&store, "chinook", &source, &mut |done, total| {
        last = (done, total)
    })
    .unwrap();
    assert!(
        last.0 > 0 && last.0 == last.1,
        "progress ends at the end: {last:?}"
    );
    let connection = store.connect("chinook").unwrap();
    assert_eq!(integrity(&connection), "ok");
    let out = dir.path().join("out.sqlite");
    export(&store, "chinook", &out).unwrap();
    assert_eq!(differences(&source, &out), [0_usize; 0]);
}

#[test]
fn commits_in_a_hot_wal_are_imported_and_the_source_stays_as_it_is() {
    let (dir, store) = new_store();
    let path = plain(
        &dir,
        "live.sqlite",
        "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0",
    );
    let live = rusqlite::Connection::open(&path).unwrap();
    live.execute_batch(
        "PRAGMA wal_autocheckpoint = 0; INSERT INTO t VALUES (9001, 'in the wal', NULL)",
    )
    .unwrap();
    // As a crash leaves it: the files, and nobody who has them open.
    let crashed = dir.path().join("crashed.sqlite");
    std::fs::copy(&path, &crashed).unwrap();
    std::fs::copy(
        dir.path().join("live.sqlite-wal"),
        dir.path().join("crashed.sqlite-wal"),
    )
    .unwrap();

    for (name, source) in [("live", &path), ("crashed", &crashed)] {
        let wal = source.with_extension("sqlite-wal");
        let before = (std::fs::read(source).unwrap(), std::fs::read(&wal).unwrap());
        let report = import(&store, name, source).unwrap();
        assert!(report.through_sqlite);
        assert!((std::fs::read(source).unwrap(), std::fs::read(&wal).unwrap()) == before);
        let connection = store.connect(name).unwrap();
        assert_eq!(
            text(&connection, "SELECT x FROM t WHERE i = 9001"),
            "in the wal"
        );
        assert_eq!(integrity(&connection), "ok");
    }
    live.execute_batch(
        "INSERT INTO t VALUES (9002, 'goes on', NULL); PRAGMA wal_checkpoint(TRUNCATE)",
    )
    .unwrap();
    let schema = int(&live, "PRAGMA schema_version");
    assert_eq!(
        int(&store.connect("live").unwrap(), "PRAGMA schema_version"),
        schema
    );
    assert_eq!(
        std::fs::read_dir(store.manager().path().join("scratch"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn commits_in_a_wal_are_imported_whatever_the_header_says() {
    let (dir, store) = new_store();
    let path = plain(&dir, "live.sqlite", "PRAGMA journal_mode = WAL");
    let live = rusqlite::Connection::open(&path).unwrap();
    live.execute_batch("INSERT INTO t VALUES (9001, 'in the wal', NULL)")
        .unwrap();
    let crashed = dir.path().join("crashed.sqlite");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[18..20].fill(1);
    std::fs::write(&crashed, bytes).unwrap();
    let wal = |of: &str| dir.path().join(format!("{of}.sqlite-wal"));
    std::fs::copy(wal("live"), wal("crashed")).unwrap();
    let before = std::fs::read(wal("crashed")).unwrap();

    assert!(import(&store, "a", &crashed).unwrap().through_sqlite);
    assert!(std::fs::read(wal("crashed")).unwrap() == before);
    let connection = store.connect("a").unwrap();
    assert_eq!(
        text(&connection, "SELECT x FROM t WHERE i = 9001"),
        "in the wal"
    );
}

#[test]
fn a_hot_journal_is_rolled_back_first() {
    let (dir, store) = new_store();
    let path = plain(&dir, "live.sqlite", "PRAGMA synchronous = OFF");
    let live = rusqlite::Connection::open(&path).unwrap();
    // The cache spills into the file, after the journal has the old pages.
    live.execute_batch(
        "PRAGMA cache_size = 2; BEGIN; UPDATE t SET b = zeroblob(2500), x = 'never'",
    )
    .unwrap();
    let crashed = dir.path().join("crashed.sqlite");
    std::fs::copy(&path, &crashed).unwrap();
    std::fs::copy(
        dir.path().join("live.sqlite-journal"),
        dir.path().join("crashed.sqlite-journal"),
    )
    .unwrap();
    live.execute_batch("ROLLBACK").unwrap();

    import(&store, "crashed", &crashed).unwrap();
    let connection = store.connect("crashed").unwrap();
    assert_eq!(
        int(&connection, "SELECT count(*) FROM t WHERE x = 'never'"),
        0
    );
    assert_eq!(int(&connection, "SELECT count(*) FROM t"), 400);
    assert_eq!(integrity(&connection), "ok");
}

#[test]
fn a_file_that_others_have_open_is_imported_and_their_locks_stay() {
    let (dir, store) = new_store();
    let path = plain(&dir, "open.sqlite", "");
    let mine = rusqlite::Connection::open(&path).unwrap();
    mine.execute_batch("BEGIN; SELECT count(*) FROM t; ")
        .unwrap();
    import(&store, "a", &path).unwrap();
    // Had the import taken the lock away, this commit would succeed under the reader's feet.
    let other = rusqlite::Connection::open(&path).unwrap();
    other.busy_timeout(std::time::Duration::ZERO).unwrap();
    let _ = other
        .execute_batch("INSERT INTO t VALUES (-1, 'x', NULL)")
        .unwrap_err();
    mine.execute_batch("COMMIT").unwrap();
    other
        .execute_batch("INSERT INTO t VALUES (-1, 'x', NULL)")
        .unwrap();
}

#[test]
fn an_empty_file_is_an_empty_database_and_back() {
    let (dir, store) = new_store();
    let path = dir.path().join("empty.sqlite");
    std::fs::write(&path, b"").unwrap();
    assert_eq!(import(&store, "a", &path).unwrap().pages, 0);
    let out = dir.path().join("out.sqlite");
    export(&store, "a", &out).unwrap();
    assert_eq!(std::fs::metadata(&out).unwrap().len(), 0);
    store
        .connect("a")
        .unwrap()
        .execute_batch("CREATE TABLE t(x)")
        .unwrap();
}

#[test]
fn an_import_that_is_cut_short_leaves_nothing_in_the_way_of_the_next() {
    let (dir, store) = new_store();
    let path = plain(&dir, "in.sqlite", "PRAGMA page_size = 512");
    let manager = store.manager().clone();
    // As a kill does: from here on nothing of the import reaches the store, nor does its cleanup.
    let mut cut = |_: u64, _: u64| {
        assert!(manager.databases().is_empty(), "not seen before it is done");
        let _ = manager.close(std::time::Duration::ZERO);
    };
    let error = import_file(&store, "a", &path, &mut cut).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Closed, "{error}");
    drop((store, manager));

    let store = Store::open(dir.path().join("store"), Options::new()).unwrap();
    assert!(store.manager().databases().is_empty());
    import(&store, "a", &path).unwrap();
    assert_eq!(
        int(&store.connect("a").unwrap(), "SELECT count(*) FROM t"),
        400
    );
    assert_eq!(store.manager().databases().len(), 1);
}

#[test]
fn an_export_never_replaces_a_file_unasked() {
    let (dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    connection
        .execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (1)")
        .unwrap();
    let out = dir.path().join("out.sqlite");
    std::fs::write(&out, b"precious").unwrap();
    let error = export(&store, "a", &out).unwrap_err();
    assert_eq!(error.code(), ErrorCode::TargetExists);
    assert_eq!(std::fs::read(&out).unwrap(), b"precious");

    let journal = dir.path().join("out.sqlite-wal");
    std::fs::write(&journal, b"of the old file").unwrap();
    let replace = |store: &Store| export_file(store, "a", &out, Overwrite::Yes, &mut |_, _| {});
    let error = replace(&store).unwrap_err();
    assert!(matches!(error, ExportError::SideFile { .. }), "{error}");
    std::fs::remove_file(&journal).unwrap();
    let report = replace(&store).unwrap();
    assert_eq!(
        report.rolling_checksum,
        store.manager().info("a").unwrap().rolling_checksum
    );
    assert_eq!(
        int(
            &rusqlite::Connection::open(&out).unwrap(),
            "SELECT x FROM t"
        ),
        1
    );

    let nowhere = export(&store, "a", &dir.path().join("no/such/dir.sqlite")).unwrap_err();
    assert_eq!(nowhere.code(), ErrorCode::Io);
    let unknown = export(&store, "b", &dir.path().join("b.sqlite")).unwrap_err();
    assert_eq!(unknown.code(), ErrorCode::DatabaseNotFound);
    let left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("export"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_export_replaces_nothing_but_a_regular_file() {
    let (dir, store) = new_store();
    store.connect("a").unwrap();
    let replace =
        |path: &Path| export_file(&store, "a", path, Overwrite::Yes, &mut |_, _| {}).unwrap_err();
    let precious = dir.path().join("precious");
    std::fs::write(&precious, b"precious").unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&precious, &link).unwrap();
    let dangling = dir.path().join("dangling");
    std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
    for (path, kind) in [
        (&*link, "a symbolic link"),
        (&dangling, "a symbolic link"),
        (dir.path(), "a directory"),
        (Path::new("/dev/null"), "a device"),
    ] {
        let error = replace(path);
        assert_eq!(error.code(), ErrorCode::TargetExists);
        assert!(error.to_string().contains(kind), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()));
    }
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
}

#[test]
fn an_export_does_not_write_among_the_files_of_the_store() {
    let (dir, store) = new_store();
    store.connect("a").unwrap();
    let home = store.manager().path().to_owned();
    let alias = dir.path().join("alias");
    std::os::unix::fs::symlink(&home, &alias).unwrap();
    let superblock = std::fs::read(home.join("store.bop")).unwrap();
    for path in [
        home.join("store.bop"),
        home.join("new.sqlite"),
        home.join("log/../store.bop"),
        home.join("log/x"),
        alias.join("store.bop"),
    ] {
        for overwrite in [Overwrite::Yes, Overwrite::No] {
            let error = export_file(&store, "a", &path, overwrite, &mut |_, _| {}).unwrap_err();
            assert!(matches!(error, ExportError::InsideStore { .. }), "{error}");
            assert_eq!(error.code(), ErrorCode::Usage);
        }
    }
    assert_eq!(std::fs::read(home.join("store.bop")).unwrap(), superblock);
    assert!(!home.join("new.sqlite").exists());
}

#[test]
fn an_export_is_one_snapshot_while_others_commit() {
    let (dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    connection
        .execute_batch(
            "CREATE TABLE t(x); WITH RECURSIVE n(i) AS
             (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) INSERT INTO t SELECT i FROM n",
        )
        .unwrap();
    let out = dir.path().join("out.sqlite");
    let mut commits = 0;
    let mut commit_between = |_: u64, _: u64| {
        connection.execute_batch("UPDATE t SET x = x + 1").unwrap();
        commits += 1;
    };
    export_file(&store, "a", &out, Overwrite::No, &mut commit_between).unwrap();
    assert!(commits > 0);
    let copy = rusqlite::Connection::open(&out).unwrap();
    assert_eq!(int(&copy, "SELECT sum(x) FROM t"), 20_000 * 20_001 / 2);
    assert_eq!(integrity(&copy), "ok");
}

#[test]
fn a_page_count_that_the_header_does_not_vouch_for_is_made_good() {
    let (dir, store) = new_store();
    let path = plain(&dir, "old.sqlite", "PRAGMA page_size = 1024");
    let mut bytes = std::fs::read(&path).unwrap();
    // As a SQLite before 3.7.0 left it: it counted changes, and not pages.
    bytes[28..32].copy_from_slice(&3u32.to_be_bytes());
    bytes[92..96].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    let report = import(&store, "old", &path).unwrap();
    assert_eq!(report.pages as usize, bytes.len() / 1024);
    let connection = store.connect("old").unwrap();
    assert_eq!(
        int(&connection, "PRAGMA page_count"),
        i64::from(report.pages)
    );
    assert_eq!(integrity(&connection), "ok");
    let out = dir.path().join("out.sqlite");
    export(&store, "old", &out).unwrap();
    assert_eq!(integrity(&rusqlite::Connection::open(&out).unwrap()), "ok");
}
