//! Opening stores and connections, and what happens when that is refused.

use crate::common::{code_of, int, new_store, text};
use bop_libsql::{Error, OpenOptions, Options, Store};
use bop_storage::error::{CatalogueError, ErrorCode, OpenError};
use bop_storage::ids::DbKind;
use rusqlite::ffi;
use std::time::Duration;

#[test]
fn a_missing_database_is_created_only_when_it_may_be() {
    let (_dir, store) = new_store();
    store.connect("accounts").unwrap();
    for options in [
        OpenOptions::new().create(false),
        OpenOptions::new().read_only(true),
    ] {
        let error = store.connect_with("acounts", &options).unwrap_err();
        assert_eq!(error.code(), ErrorCode::DatabaseNotFound);
        assert!(error.to_string().contains("acounts"), "{error}");
        let Error::Catalogue(CatalogueError::NotFound { nearest, .. }) = error else {
            panic!("{error:?}");
        };
        assert_eq!(nearest.as_deref(), Some("accounts"));
    }
    assert_eq!(store.manager().databases().len(), 1);
    store
        .connect_with("accounts", &OpenOptions::new().create(false))
        .unwrap();
}

#[test]
fn what_is_no_name_is_refused_before_sqlite_sees_it() {
    let (_dir, store) = new_store();
    let long = "x".repeat(256);
    for name in [
        "", "../x", "/tmp/x", "a/b", "a\0b", "a@b", ".hidden", ":memory:", &long,
    ] {
        let error = store.connect(name).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidName, "{name:?}: {error}");
    }
    assert!(store.manager().databases().is_empty());
}

#[test]
fn names_that_sqlite_would_interpret_are_plain_names() {
    let (_dir, store) = new_store();
    let names = [
        "file:x",
        "a?mode=memory",
        "a#b",
        "100%41",
        "a b",
        "\u{e9}t\u{e9}",
        "x-journal",
        "x",
    ];
    for (n, name) in names.iter().enumerate() {
        let connection = store.connect(name).unwrap();
        connection.execute_batch("CREATE TABLE t(n)").unwrap();
        connection
            .execute("INSERT INTO t VALUES (?1)", [n])
            .unwrap();
    }
    assert_eq!(store.manager().databases().len(), names.len());
    for (n, name) in names.iter().enumerate() {
        let found = int(&store.connect(name).unwrap(), "SELECT n FROM t");
        assert_eq!(usize::try_from(found).unwrap(), n, "{name}");
    }
}

#[test]
fn a_record_log_is_no_sqlite_database() {
    let (_dir, store) = new_store();
    store.manager().create_record_log("group").unwrap();
    let error = store.connect("Group").unwrap_err();
    assert_eq!(error.code(), ErrorCode::WrongKind);
    assert!(
        error.to_string().contains("\"Group\" is of kind log"),
        "{error}"
    );
}

#[test]
fn a_raw_database_is_no_sqlite_database() {
    let (_dir, store) = new_store();
    store
        .manager()
        .create_database("pages", DbKind::Raw)
        .unwrap();
    assert_eq!(
        store.connect("pages").unwrap_err().code(),
        ErrorCode::WrongKind
    );
    let connection = store.connect("main").unwrap();
    assert_eq!(
        code_of(connection.execute_batch("ATTACH 'pages' AS p")),
        ffi::SQLITE_CANTOPEN
    );
    assert_eq!(
        store.last_open_error().unwrap().code(),
        ErrorCode::WrongKind
    );
}

#[test]
fn a_read_only_connection_reads_and_refuses_writes() {
    let (_dir, store) = new_store();
    let writer = store.connect("a").unwrap();
    writer
        .execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (1)")
        .unwrap();
    let reader = store
        .connect_with("a", &OpenOptions::new().read_only(true))
        .unwrap();
    assert_eq!(int(&reader, "SELECT x FROM t"), 1);
    assert_eq!(
        code_of(reader.execute_batch("INSERT INTO t VALUES (2)")),
        ffi::SQLITE_READONLY
    );
    writer.execute_batch("INSERT INTO t VALUES (2)").unwrap();
    assert_eq!(int(&reader, "SELECT sum(x) FROM t"), 3);
}

#[test]
fn an_empty_database_can_be_read_by_a_read_only_connection() {
    let (_dir, store) = new_store();
    store.connect("a").unwrap();
    let reader = store
        .connect_with("a", &OpenOptions::new().read_only(true))
        .unwrap();
    assert_eq!(int(&reader, "SELECT count(*) FROM sqlite_schema"), 0);
}

#[test]
fn a_store_that_is_not_there_is_a_typed_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("missing");
    let error = Store::open(&path, Options::new().create(false)).unwrap_err();
    assert!(
        matches!(error, Error::Open(OpenError::NotFound { .. })),
        "{error:?}"
    );
}

#[test]
fn a_connection_outlives_its_store_handles() {
    let (_dir, store) = new_store();
    let mut connection = store.connect("a").unwrap();
    drop(store);
    connection
        .execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (1); ATTACH 'b' AS b")
        .unwrap();
    // Also one that was taken out of its wrapper.
    let memory = rusqlite::Connection::open_in_memory().unwrap();
    let inner = std::mem::replace(&mut *connection, memory);
    drop(connection);
    inner
        .execute_batch("CREATE TABLE b.t(x); INSERT INTO b.t SELECT x FROM t")
        .unwrap();
    assert_eq!(int(&inner, "SELECT count(*) FROM b.t"), 1);
}

#[test]
fn the_vfs_goes_with_the_last_handle() {
    let (_dir, store) = new_store();
    let name = store.vfs_name().to_owned();
    let open = || {
        rusqlite::Connection::open_with_flags_and_vfs("a", rusqlite::OpenFlags::default(), &name)
    };
    drop(store);
    let error = open().unwrap_err();
    assert!(error.to_string().contains("no such vfs"), "{error}");
}

#[test]
fn a_foreign_connection_on_our_vfs_gets_errors_and_damages_nothing() {
    let (_dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    connection
        .execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (1)")
        .unwrap();
    let foreign = rusqlite::Connection::open_with_flags_and_vfs(
        "a",
        rusqlite::OpenFlags::default(),
        store.vfs_name(),
    )
    .unwrap();
    for sql in ["SELECT * FROM t", "CREATE TABLE u(x)"] {
        let _ = foreign.query_row(sql, [], |_| Ok(())).unwrap_err();
    }
    drop(store);
    drop(foreign);
    assert_eq!(int(&connection, "SELECT count(*) FROM t"), 1);
}

#[test]
fn immutable_and_shared_cache_are_refused() {
    let (_dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    store.connect("b").unwrap();
    for parameter in [
        "immutable=1",
        "cache=shared",
        "cache=private&cache=shared",
        "cache=shared&cache=private",
        "nolock=1",
    ] {
        let sql = format!("ATTACH 'file:b?{parameter}' AS b; SELECT count(*) FROM b.sqlite_schema");
        assert_eq!(
            code_of(connection.execute_batch(&sql)),
            ffi::SQLITE_CANTOPEN,
            "{parameter}"
        );
    }
}

#[test]
fn no_cache_is_shared_outside_of_the_store_either() {
    let (dir, store) = new_store();
    let (one, two) = (store.connect("a").unwrap(), store.connect("b").unwrap());
    let path = dir.path().join("plain.sqlite");
    let plain = format!(
        "ATTACH 'file:{}?cache=private&cache=shared' AS p",
        path.display()
    );
    assert_eq!(code_of(one.execute_batch(&plain)), ffi::SQLITE_CANTOPEN);
    // A database in memory, and one of another VFS, never reach ours: they get caches of their own.
    one.execute_batch("ATTACH 'file:m?mode=memory&cache=shared' AS m; CREATE TABLE m.t(x)")
        .unwrap();
    two.execute_batch("ATTACH 'file:m?mode=memory&cache=shared' AS m; CREATE TABLE m.t(x)")
        .unwrap();
    for connection in [&one, &two] {
        let unix = format!(
            "ATTACH 'file:{}?vfs=unix&cache=shared' AS u",
            path.display()
        );
        connection.execute_batch(&unix).unwrap();
    }
    one.execute_batch("CREATE TABLE u.t(x); BEGIN; INSERT INTO u.t VALUES (1)")
        .unwrap();
    // With a shared cache, this would be SQLITE_LOCKED.
    assert_eq!(int(&two, "SELECT count(*) FROM u.t"), 0);
}

#[test]
fn a_name_that_is_no_text_is_looked_for_nowhere() {
    let (_dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    let attached = connection.execute_batch("ATTACH CAST(x'ff41' AS TEXT) AS x");
    assert_eq!(code_of(attached), ffi::SQLITE_CANTOPEN);
    let vacuumed = connection.execute_batch("VACUUM INTO CAST(x'ff42' AS TEXT)");
    assert_eq!(code_of(vacuumed), ffi::SQLITE_CANTOPEN);
    let strays = std::fs::read_dir(".").unwrap().filter(|entry| {
        use std::os::unix::ffi::OsStrExt;
        entry.as_ref().unwrap().file_name().as_bytes()[0] == 0xff
    });
    assert_eq!(strays.count(), 0);
}

#[test]
fn a_busy_timeout_may_be_as_long_as_one_likes() {
    let (_dir, store) = new_store();
    let options = OpenOptions::new().busy_timeout(Duration::MAX);
    let connection = store.connect_with("a", &options).unwrap();
    assert_eq!(int(&connection, "PRAGMA busy_timeout"), i64::from(i32::MAX));
}

#[test]
fn a_closed_store_answers_errors_that_name_the_reason() {
    let (_dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    connection.execute_batch("CREATE TABLE t(x)").unwrap();
    store.manager().close(Duration::from_secs(5)).unwrap();

    let failed = connection.execute_batch("INSERT INTO t VALUES (1)");
    assert_eq!(code_of(failed), ffi::SQLITE_IOERR_CLOSE);
    assert_eq!(
        connection.last_engine_error().unwrap().code(),
        ErrorCode::Closed
    );
    assert_eq!(store.connect("a").unwrap_err().code(), ErrorCode::Closed);
    connection.close().unwrap();
}

#[test]
fn a_dropped_database_answers_errors_to_those_who_have_it_open() {
    let (_dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    connection.execute_batch("CREATE TABLE t(x)").unwrap();
    store.manager().drop_database("a").unwrap();
    let failed = connection.query_row("SELECT count(*) FROM t", [], |_| Ok(()));
    assert_eq!(code_of(failed), ffi::SQLITE_IOERR_DELETE_NOENT);
    assert_eq!(
        connection.last_engine_error().unwrap().code(),
        ErrorCode::DatabaseDropped
    );
}

#[test]
fn sqlite_is_told_the_name_of_the_vfs() {
    let (_dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    let path = text(
        &connection,
        "SELECT file FROM pragma_database_list WHERE name = 'main'",
    );
    assert_eq!(path, "a");
    assert!(store.vfs_name().starts_with("bop-"));
}
