//! What a client may do: it reads, writes where it is let, and reaches out of the store nowhere.

use super::{answer, begun, connect, of, refused, run_in, writing};
use bop_control::{Mode, Request, SqlRefused, SqlSpec};
use bop_storage::error::ErrorCode;

#[test]
fn a_client_reads_while_the_program_writes_and_sees_whole_commits() {
    let Some(mut owner) = begun(&[]) else {
        return;
    };
    let mut client = connect(&owner, &of("orders")).unwrap();
    assert_eq!(answer(&mut client, "select count(*) from t"), "0\n");
    owner.begins("pairs(200)");
    let whole = "select count(*) % 2, coalesce(sum(x), 0) from t";
    let mut seen = String::new();
    while seen != "400\n" {
        assert_eq!(answer(&mut client, whole), "0|0\n");
        seen = answer(&mut client, "select count(*) from t");
    }
    assert_eq!(owner.has_done(), "written");
    // A transaction of the client's keeps its state, and holds nobody up.
    answer(&mut client, "begin; select 1 from t");
    assert!(client.is_in_transaction());
    owner.does("connection.execute('DELETE FROM t')");
    assert_eq!(answer(&mut client, "select count(*) from t"), "400\n");
    assert_eq!(answer(&mut client, "commit; select count(*) from t"), "0\n");
    owner.does("end()");
}

#[test]
fn a_client_writes_where_it_asks_to_and_is_let() {
    // A name in its SQL is one of the store also where names mean files to the program.
    for environment in [&[][..], &[("BOP_DEFAULT_VFS", "1")]] {
        writes(environment);
    }
    let Some(mut owner) = begun(&[("BOP_CONTROL", "read")]) else {
        return;
    };
    let no = connect(&owner, &writing("orders")).unwrap_err();
    assert_eq!(no.code, ErrorCode::NotSupported, "{no}");
    let mut reader = connect(&owner, &of("orders")).unwrap();
    assert_eq!(answer(&mut reader, "select 'read'"), "read\n");
    owner.does("end()");
}

fn writes(environment: &[(&str, &str)]) {
    let Some(mut owner) = begun(environment) else {
        return;
    };
    let mut reader = connect(&owner, &of("orders")).unwrap();
    let no = refused(&mut reader, "insert into t values (1)");
    assert!(no.failure.hint.unwrap().contains("--write"));
    let mut writer = connect(&owner, &writing("orders")).unwrap();
    answer(&mut writer, "insert into t values (1), (2)");
    assert_eq!(owner.does("one(connection, 'SELECT sum(x) FROM t')"), "3");
    // Others wait for its transaction, which is rolled back with it.
    answer(&mut writer, "begin immediate; delete from t");
    let busy = "fails_now('DELETE FROM t')";
    assert_eq!(owner.does(busy), "database is locked");
    drop(writer);
    owner.does("connection.execute('INSERT INTO t VALUES (3)')");
    assert_eq!(answer(&mut reader, "select sum(x) from t"), "6\n");
    // It has the other databases of the store, by their names.
    let created = SqlSpec {
        create: true,
        ..writing("made by it")
    };
    let mut maker = connect(&owner, &created).unwrap();
    answer(
        &mut maker,
        "create table u as select 7 as x; attach 'orders' as o; \
         begin; insert into o.t select x from u; delete from u; commit; vacuum",
    );
    assert_eq!(answer(&mut reader, "select sum(x) from t"), "13\n");
    drop(maker);
    let of_other = connect(&owner, &of("absent")).unwrap_err();
    assert_eq!(of_other.code, ErrorCode::DatabaseNotFound, "{of_other}");
    owner.does("end()");
}

/// By the rules, not by anything that happens to be in the way.
fn is_denied(no: &SqlRefused) -> bool {
    let message = &no.failure.message;
    message.contains("not authorized") || message.contains("authorization denied")
}

#[test]
fn what_could_reach_out_of_the_database_is_refused() {
    let Some(mut owner) = begun(&[]) else {
        return;
    };
    owner.does("connection.execute('CREATE INDEX i ON t(x)')");
    let file = owner.place.files().join("out");
    let path = file.display();
    let of_files = [
        format!("attach '{path}' as f"),
        format!("attach 'file:{path}?vfs=unix' as f"),
        format!("vacuum into '{path}'"),
        "select load_extension('x')".to_owned(),
        "pragma writable_schema = on".to_owned(),
    ];
    let of_changes = [
        "insert into t values (1)",
        "delete from t",
        "drop table t",
        "create temp table u(x)",
        "attach ':memory:' as m",
        "vacuum",
        "reindex",
        "analyze",
        "pragma journal_mode = off",
        "pragma query_only = 0",
        "pragma user_version = 1",
        "pragma bop_snapshot('s')",
        "pragma bop_fork('f')",
    ];
    let mut reader = connect(&owner, &of("orders")).unwrap();
    let of_reader = of_files.iter().map(String::as_str).chain(of_changes);
    for sql in of_reader {
        let no = refused(&mut reader, sql);
        assert!(is_denied(&no), "{sql}: {no:?}");
    }
    let mut writer = connect(&owner, &writing("orders")).unwrap();
    for sql in &of_files {
        let no = refused(&mut writer, sql);
        assert!(is_denied(&no), "{sql}: {no:?}");
    }
    assert!(!file.exists());
    // SQLite keeps its own tables from everybody.
    for sql in [
        "update sqlite_master set sql = null",
        "delete from sqlite_master",
    ] {
        refused(&mut reader, sql);
        refused(&mut writer, sql);
    }
    // Virtual tables that only read are for everybody.
    let each = "select sum(value) from json_each('[3, 4]')";
    assert_eq!(answer(&mut reader, each), "7\n");
    let tables = "select name from pragma_table_list where name not like 'sqlite%'";
    assert_eq!(answer(&mut reader, tables), "t\n");
    // What tells is answered, also by what only a database of a store knows.
    assert_eq!(answer(&mut reader, "pragma user_version"), "0\n");
    assert_eq!(answer(&mut reader, "pragma integrity_check"), "ok\n");
    assert!(answer(&mut reader, "pragma bop_status").contains("database: orders"));
    assert_eq!(owner.does("one(connection, 'SELECT count(*) FROM t')"), "0");
    owner.does("end()");
}

#[test]
fn an_error_has_the_place_that_it_means() {
    let Some(mut owner) = begun(&[]) else {
        return;
    };
    let mut client = connect(&owner, &writing("orders")).unwrap();
    let sql = "select 'first';\n  select 'a', wrong from t; select 'never'";
    let (printed, no) = run_in(&mut client, Mode::List, sql).unwrap();
    let no = no.unwrap();
    assert_eq!(printed, b"'first'\nfirst\n");
    assert_eq!(no.offset, sql.find("wrong").unwrap());
    assert_eq!(no.failure.code, ErrorCode::Sql);
    assert!(no.failure.message.contains("no such column: wrong"));
    // Where SQLite knows no byte it is the statement; the engine's own reason is told.
    let sql = "select 1; -- next\n attach 'absent@snapshot:s' as a";
    let no = refused(&mut client, sql);
    assert_eq!(no.offset, sql.find("attach").unwrap());
    assert_eq!(no.failure.code, ErrorCode::DatabaseNotFound, "{no:?}");
    // The session goes on.
    assert_eq!(answer(&mut client, "select 'on'"), "on\n");
    owner.does("end()");
}

#[test]
fn every_name_and_every_state_of_it_is_found() {
    let Some(mut owner) = begun(&[]) else {
        return;
    };
    for name in ["a b?c#d%25e&f=g", "file:x", ":memory:", "\u{e9}\u{4e2d}'\""] {
        let created = SqlSpec {
            create: true,
            ..writing(name)
        };
        let mut writer = connect(&owner, &created).unwrap();
        answer(&mut writer, "create table t(x); insert into t values (1)");
        let snapshot = Request::Snapshot {
            database: name.to_owned(),
            name: "a b?#%".to_owned(),
            at: "now".parse().unwrap(),
        };
        owner.ask(&snapshot).unwrap();
        answer(&mut writer, "insert into t values (2)");
        let past = SqlSpec {
            at: Some("snapshot:a b?#%".to_owned()),
            ..writing(name)
        };
        let mut past = connect(&owner, &past).unwrap();
        assert_eq!(answer(&mut past, "select sum(x) from t"), "1\n", "{name}");
        let no = refused(&mut past, "insert into t values (3)");
        assert!(no.failure.message.contains("stays as it is"), "{no:?}");
        let mut reader = connect(&owner, &of(name)).unwrap();
        assert_eq!(answer(&mut reader, "select sum(x) from t"), "3\n", "{name}");
    }
    let absent = SqlSpec {
        at: Some("snapshot:none".to_owned()),
        ..of("orders")
    };
    let no = connect(&owner, &absent).unwrap_err();
    assert_eq!(no.code, ErrorCode::SnapshotNotFound, "{no}");
    owner.does("end()");
}
