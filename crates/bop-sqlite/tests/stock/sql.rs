//! A second process's SQL, run by the SQLite of the program that loaded the extension.

use crate::owner::Owner;
use bop_control::{
    Failure, Mode, Options, Request, Server, SqlClient, SqlPiece, SqlRefused, SqlSpec,
};
use bop_libsql::control::Door;
use bop_storage::error::ErrorCode;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The server gives those inside five seconds; nobody is to need them.
const SOON: Duration = Duration::from_secs(4);

/// More than anybody waits for.
const ENDLESS: &str =
    "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";

fn of(database: &str) -> SqlSpec {
    SqlSpec {
        database: database.to_owned(),
        at: None,
        create: false,
        write: false,
    }
}

fn writing(database: &str) -> SqlSpec {
    SqlSpec {
        write: true,
        ..of(database)
    }
}

fn connect(owner: &Owner, spec: &SqlSpec) -> Result<SqlClient, Failure> {
    owner.client().expect("it has no socket").sql(spec)
}

fn run_in(
    client: &mut SqlClient,
    mode: Mode,
    sql: &str,
) -> Result<(Vec<u8>, Option<SqlRefused>), Failure> {
    let mut out = Vec::new();
    let piece = SqlPiece {
        sql: sql.to_owned(),
        mode,
        header: true,
    };
    let refused = client.run(piece, &mut out)?;
    Ok((out, refused))
}

/// What SQL prints, without names of columns.
fn answer(client: &mut SqlClient, sql: &str) -> String {
    let mut out = Vec::new();
    let piece = SqlPiece {
        sql: sql.to_owned(),
        mode: Mode::List,
        header: false,
    };
    assert_eq!(client.run(piece, &mut out).unwrap(), None, "{sql}");
    String::from_utf8(out).unwrap()
}

fn refused(client: &mut SqlClient, sql: &str) -> SqlRefused {
    let (_, refused) = run_in(client, Mode::List, sql).unwrap();
    refused.unwrap_or_else(|| panic!("{sql} was not refused"))
}

/// A program that has the database `orders` open, with an empty table `t(x)`.
fn begun(environment: &[(&str, &str)]) -> Option<Owner> {
    let mut owner = Owner::start(environment)?;
    assert_eq!(owner.does("begin()"), "open");
    Some(owner)
}

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
    let Some(mut owner) = begun(&[]) else {
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

    let Some(mut owner) = begun(&[("BOP_CONTROL", "read")]) else {
        return;
    };
    let no = connect(&owner, &writing("orders")).unwrap_err();
    assert_eq!(no.code, ErrorCode::NotSupported, "{no}");
    let mut reader = connect(&owner, &of("orders")).unwrap();
    assert_eq!(answer(&mut reader, "select 'read'"), "read\n");
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

#[test]
fn a_query_that_does_not_end_is_ended_by_its_deadline_and_by_its_client() {
    let Some(mut owner) = begun(&[("BOP_SQL_DEADLINE_SECONDS", "1")]) else {
        return;
    };
    let mut client = connect(&owner, &of("orders")).unwrap();
    let no = refused(&mut client, ENDLESS);
    assert_eq!(no.failure.code, ErrorCode::Timeout, "{no:?}");
    assert_eq!(answer(&mut client, "select 'on'"), "on\n");
    drop(client);
    // The one that accepts is left.
    owner.serves(1);
    owner.does("end()");

    let Some(mut owner) = begun(&[]) else {
        return;
    };
    let mut client = connect(&owner, &of("orders")).unwrap();
    // Its first row shows that it runs; nobody takes a second one.
    let mut leaves = Leaves;
    let piece = SqlPiece {
        sql: format!("select hex(zeroblob(200000)); {ENDLESS}"),
        mode: Mode::List,
        header: false,
    };
    assert!(client.run(piece, &mut leaves).unwrap_err().reader_left);
    drop(client);
    owner.serves(1);
    owner.does("end()");
}

/// An output that nobody reads.
struct Leaves;

impl std::io::Write for Leaves {
    fn write(&mut self, _bytes: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_program_closes_its_last_connection_and_no_session_keeps_the_store() {
    let Some(mut owner) = begun(&[]) else {
        return;
    };
    for _ in 0..3 {
        owner.does("connection.execute('DELETE FROM t')");
        let mut idle = connect(&owner, &writing("orders")).unwrap();
        answer(&mut idle, "begin immediate; insert into t values (1)");
        let mut reads = connect(&owner, &of("orders")).unwrap();
        answer(&mut reads, "begin; select count(*) from t");
        let mut runs = connect(&owner, &of("orders")).unwrap();
        let running = std::thread::spawn(move || run_in(&mut runs, Mode::List, ENDLESS));
        // The thread that accepts, and three.
        owner.serves(4);
        let began = Instant::now();
        assert_eq!(owner.does("end()"), "closed");
        let took = began.elapsed();
        assert!(took < SOON, "it took {took:?}");
        assert!(!owner.has_socket());
        assert!(running.join().unwrap().is_err());
        let no = run_in(&mut reads, Mode::List, "select 1").unwrap_err();
        assert_eq!(no.code, ErrorCode::Control, "{no}");
        owner.serves(0);
        // Another process may have it, and nothing was left of the open transaction.
        let store = open_here(&owner.place.store());
        let count = "select count(*) from t";
        let of_orders = store.connect("orders").unwrap();
        let rows: i64 = of_orders.query_row(count, [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0);
        drop(of_orders);
        store.manager().close(SOON).unwrap();
        drop(store);
        assert_eq!(owner.does("begin()"), "open");
    }
    owner.does("end()");
}

fn open_here(store: &Path) -> bop_libsql::Store {
    let options = bop_libsql::Options::new().create(false);
    bop_libsql::Store::open(store, options).unwrap()
}

#[test]
fn the_trees_of_all_databases_are_checked() {
    let Some(mut owner) = begun(&[]) else {
        return;
    };
    let deep = Request::Verify {
        deep: true,
        database: None,
    };
    owner.does("connection.execute('CREATE INDEX i ON t(x)')");
    owner.does("pairs(3)");
    let told = owner.ask(&deep).unwrap();
    assert!(told.contains("\"healthy\":true") && told.contains("\"integrity_checked\":1"));
    // The index is said to be one of something else.
    for sql in [
        "PRAGMA writable_schema = 1",
        "UPDATE sqlite_schema SET sql = replace(sql, ''(x)'', ''(-x)'') WHERE name = ''i''",
    ] {
        owner.does(&format!(
            "connection.execute('{}')",
            sql.replace("''", "\\'")
        ));
    }
    let told = owner.ask(&deep).unwrap();
    assert!(
        told.contains("\"healthy\":false") && told.contains("index i"),
        "{told}"
    );
    owner.does("end()");
}

/// Values of all types and odd texts, several results, names of columns.
const ODD: &[&str] = &[
    "select 1, -9223372036854775808, 1.5, 1e300, -0.0, 0.1 + 0.2, null, 'text', x'00ff41'",
    "select '', 'two\nlines', 'tab\there', char(0) || 'nul', 'it''s', '\"quoted\",', '\u{e9}\u{4e2d}\u{1f600}'",
    "select zeroblob(3) as \"a column's name\", cast(x'ff41' as text) as \u{e9}, 9e999 as inf",
    "create table if not exists k(a integer primary key, b text); insert into k(b) values ('x'), (null); select * from k; select count(*) as n from k",
    "select * from k where a > 100",
    "select typeof(a), a, b from k order by b desc",
];

#[test]
fn both_doors_print_the_same_bytes() {
    let Some(mut owner) = begun(&[]) else {
        return;
    };
    let modes = [Mode::List, Mode::Table, Mode::Csv, Mode::Json];
    let all = |client: &mut SqlClient| {
        let mut printed = Vec::new();
        for (sql, mode) in ODD.iter().flat_map(|sql| modes.map(|mode| (sql, mode))) {
            let (text, no) = run_in(client, mode, sql).unwrap();
            assert_eq!(no, None, "{sql}");
            printed.push(text);
        }
        for sql in [
            "explain query plan select * from k where a = 1",
            "select 1; selec 2",
            "select * from nowhere",
            "insert into k values (1, 2)",
            " -- only a comment",
            "",
        ] {
            let what = run_in(client, Mode::List, sql).unwrap();
            printed.push(format!("{what:?}").into_bytes());
        }
        printed
    };
    let spec = |name: &str| SqlSpec {
        create: true,
        ..writing(name)
    };
    let mut by_extension = connect(&owner, &spec("one")).unwrap();
    let by_extension = all(&mut by_extension);
    owner.does("end()");
    let store = open_here(&owner.place.store());
    let options = Options::new()
        .sql(Arc::new(Door::new(&store)))
        .allow_writes(true);
    let server = Server::start(store.manager(), options).unwrap();
    let mut by_libsql = connect(&owner, &spec("two")).unwrap();
    let by_libsql = all(&mut by_libsql);
    server.stop();
    assert_eq!(by_extension.len(), by_libsql.len());
    for (one, two) in by_extension.iter().zip(&by_libsql) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(one == two, "{}\nis not\n{}", text(one), text(two));
    }
}

#[test]
fn a_sqlite_for_a_single_thread_runs_nothing_for_others() {
    let Some(mut owner) = begun(&[("BOP_TEST_SINGLE_THREAD", "1")]) else {
        return;
    };
    let no = connect(&owner, &of("orders")).unwrap_err();
    assert_eq!(no.code, ErrorCode::NotSupported, "{no}");
    assert!(no.message.contains("single thread"), "{no}");
    // All else is answered.
    assert!(owner.ask(&Request::List).unwrap().contains("\"orders\""));
    owner.does("end()");
}
