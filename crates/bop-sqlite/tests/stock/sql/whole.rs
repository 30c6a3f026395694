//! Whole databases: checked, exported; and whole answers, the same at both doors.

use super::{begun, connect, of, open_here, run_in, writing};
use bop_control::{Mode, Options, Request, Server, SqlClient, SqlSpec};
use bop_libsql::control::Door;
use bop_storage::error::ErrorCode;
use std::sync::Arc;

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

#[test]
fn a_file_goes_out_and_none_comes_in() {
    let Some(mut owner) = begun(&[]) else {
        return;
    };
    owner.does("pairs(3)");
    let file = owner.place.files().join("out.sqlite");
    let export = Request::Export {
        database: "orders".to_owned(),
        at: None,
        file: file.to_str().unwrap().to_owned(),
        force: false,
    };
    owner.ask(&export).unwrap();
    let out = bop_libsql::rusqlite::Connection::open(&file).unwrap();
    let sums = "select count(*) || ' ' || sum(x) from t";
    let sums: String = out.query_row(sums, [], |row| row.get(0)).unwrap();
    assert_eq!(sums, "6 0");
    let again = owner.ask(&export).unwrap_err();
    assert_eq!(again.code, ErrorCode::TargetExists, "{again}");
    let import = Request::Import {
        database: "new".to_owned(),
        file: file.to_str().unwrap().to_owned(),
    };
    let no = owner.ask(&import).unwrap_err();
    assert_eq!(no.code, ErrorCode::NotSupported, "{no}");
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
