//! Commands that begin with a dot, in a script and at the prompt.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::store::Store;
use std::fs;

/// A bit of everything that a dump has to bring back.
const EVERYTHING: &str = "
create table \"odd \"\"name\" (id integer primary key autoincrement, text text, bytes blob, real real);
insert into \"odd \"\"name\" values (7, 'it''s
two lines', x'00ff', 0.1), (9, null, zeroblob(3), 1e300), (12, '', x'', -0.0);
create table computed (a, b as (a * 2), c as (a + 1) stored);
insert into computed values (1), (2.5);
create table keyed (k primary key, v) without rowid;
insert into keyed values ('b', 1), ('a', 2);
create index by_text on \"odd \"\"name\" (text);
create view all_keys as select k from keyed;
create trigger counted after insert on keyed begin update computed set a = a + 1; end;
create virtual table words using fts5(body);
insert into words values ('the quick brown fox'), ('jumps');
";

fn script(store: &Store, database: &str, script: &str) -> String {
    let file = store.path().join("script.sql");
    fs::write(&file, script).unwrap();
    store.ok(&["sql", database, "--file", file.to_str().unwrap()])
}

#[track_caller]
fn script_fails(store: &Store, text: &str) -> String {
    let file = store.path().join("script.sql");
    fs::write(&file, text).unwrap();
    store.fails(1, &["sql", "d", "--file", file.to_str().unwrap()])
}

#[test]
fn what_is_dumped_makes_the_same_database_again() {
    let store = Store::new();
    script(&store, "one", EVERYTHING);
    let dump = script(&store, "one", ".dump\n");
    assert!(
        dump.contains("INSERT INTO \"odd \"\"name\" VALUES(7,'it''s\ntwo lines',X'00FF',0.1);")
    );
    script(&store, "two", &dump);
    assert_eq!(script(&store, "two", ".dump\n"), dump);
    let found = "select rowid from words where words match 'quick'; pragma integrity_check;
        insert into \"odd \"\"name\"(text) values ('next') returning id;";
    assert_eq!(store.ok(&["sql", "two", found]), "1\nok\n13\n");
    let part = script(&store, "one", ".dump keyed\n");
    assert!(
        part.contains("CREATE TRIGGER counted") && !part.contains("computed ("),
        "{part}"
    );
}

#[test]
fn tables_and_schemas_are_shown() {
    let store = Store::new();
    script(
        &store,
        "d",
        "create table b(x); create table a(y); create view v as select 1;",
    );
    assert_eq!(script(&store, "d", ".tables\n.tables a%\n"), "a\nb\nv\na\n");
    assert_eq!(script(&store, "d", ".schema A\n"), "CREATE TABLE a(y);\n");
    assert_eq!(
        script(
            &store,
            "d",
            ".headers on\n.mode csv\nselect 1 as n, 'a,b' as t;\n.quit\nnonsense;"
        ),
        "n,t\n1,\"a,b\"\n"
    );
    let failure = script_fails(&store, "select 1;\n.schema nothing\n");
    assert!(
        failure.contains("error: no table or view nothing"),
        "{failure}"
    );
    assert!(
        failure.contains("at line 2, column 1\n  2 | .schema nothing"),
        "{failure}"
    );
    let failure = script_fails(&store, ".tbales\nselect 1;");
    assert!(failure.contains("no command .tbales"), "{failure}");
}

#[test]
fn rows_of_a_csv_file_come_in_all_or_none() {
    let store = Store::new();
    let csv = |text: &str| fs::write(store.path().join("rows.csv"), text).unwrap();
    csv("id,name\n1,\"a, b\"\n2,\"two\nlines\"\n");
    assert_eq!(
        script(&store, "d", ".import rows.csv t\n"),
        "2 rows into t\n"
    );
    assert_eq!(
        store.ok(&["sql", "d", "select id || ':' || name from t"]),
        "1:a, b\n2:two\nlines\n"
    );
    csv("3,c\n4,d,too many\n");
    let failure = script_fails(&store, ".import rows.csv t\n");
    assert!(
        failure.contains("rows.csv: line 2 has 3 values, t has 2 columns"),
        "{failure}"
    );
    script(&store, "d", "create unique index once on t(id)");
    csv("5,e\n1,again\n");
    let failure = script_fails(&store, ".import rows.csv t\n");
    assert!(
        failure.contains("line 2: UNIQUE constraint failed: t.id"),
        "{failure}"
    );
    assert_eq!(store.ok(&["sql", "d", "select count(*) from t"]), "2\n");
    let failure = script_fails(&store, ".import nowhere.csv t\n");
    assert!(failure.contains("nowhere.csv: "), "{failure}");
}

/// As SQLite's shell reads it: what `--mode csv` writes of a NULL is an empty line.
#[test]
fn an_empty_line_is_a_row_where_there_is_one_column() {
    let store = Store::new();
    let csv = |text: &str| fs::write(store.path().join("rows.csv"), text).unwrap();
    let quoted = |table: &str| {
        let sql = format!("select group_concat(quote(a)) from {table}");
        store.ok(&["sql", "d", &sql])
    };
    script(
        &store,
        "d",
        "create table t(a); insert into t values ('x'), (null), (''), (null);",
    );
    let written = store.ok(&["sql", "d", "--mode", "csv", "--header", "select a from t"]);
    csv(&written);
    assert_eq!(script(&store, "d", ".import rows.csv u"), "4 rows into u\n");
    assert_eq!(quoted("u"), "'x','','',''\n");
    script(&store, "d", "create table v(a)");
    csv("\n1\r\n\r\n");
    assert_eq!(script(&store, "d", ".import rows.csv v"), "3 rows into v\n");
    assert_eq!(quoted("v"), "'','1',''\n");
    // Where there are more columns it is nothing.
    csv("\na,b\n\n1,2\n\n");
    assert_eq!(script(&store, "d", ".import rows.csv w"), "1 rows into w\n");
    assert_eq!(quoted("w"), "'1'\n");
}

#[test]
fn an_import_that_sqlite_rolls_back_by_itself_tells_why() {
    let store = Store::new();
    script(
        &store,
        "d",
        "create table t(a); create trigger picky before insert on t when new.a = 'bad'
         begin select raise(rollback, 'not that one'); end;",
    );
    fs::write(store.path().join("rows.csv"), "good\nbad\n").unwrap();
    let failure = script_fails(&store, ".import rows.csv t\n");
    assert!(
        failure.contains("rows.csv: line 2: not that one"),
        "{failure}"
    );
    assert_eq!(store.ok(&["sql", "d", "select count(*) from t"]), "0\n");
}

#[test]
fn a_file_is_read_and_its_errors_name_it() {
    let store = Store::new();
    let write = |name: &str, text: &str| fs::write(store.path().join(name), text).unwrap();
    write("inner.sql", "insert into t values (2);");
    write(
        "outer.sql",
        "create table t(a);\n.read inner.sql\ninsert into t values (3);",
    );
    script(&store, "d", ".read outer.sql\ninsert into t values (4);");
    assert_eq!(
        store.ok(&["sql", "d", "select group_concat(a) from t"]),
        "2,3,4\n"
    );
    write("inner.sql", "select 1;\nselect nope;");
    let failure = script_fails(&store, ".read inner.sql\n");
    assert!(
        failure.contains("inner.sql: no such column: nope"),
        "{failure}"
    );
    assert!(failure.contains("line 2, column 8"), "{failure}");
    write("circle.sql", ".read circle.sql\n");
    let failure = script_fails(&store, ".read circle.sql\n");
    assert!(
        failure.contains("files read each other in a circle"),
        "{failure}"
    );
}

#[test]
fn snapshots_and_forks_are_made_of_what_is_committed() {
    let store = Store::new();
    let made = "create table t(a);\n.snapshot empty\ninsert into t values (1);\n.fork copy\ndelete from t;\n";
    let said = script(&store, "d", made);
    assert_eq!(
        said,
        "d@snapshot:empty stays until it is dropped\ncopy begins as d at now\n"
    );
    let count = |database: &str| store.ok(&["sql", database, "select count(*) from t"]);
    assert_eq!(
        (count("d@snapshot:empty"), count("copy"), count("d")),
        ("0\n".into(), "1\n".into(), "0\n".into())
    );
    let failure = script_fails(&store, "begin; insert into t values (2);\n.snapshot half\n");
    assert!(failure.contains("a transaction is open"), "{failure}");
    let failure = script_fails(&store, ".fork d\n");
    assert!(failure.contains("\"d\""), "{failure}");
}

/// As it is of a statement: whoever runs scripts sees whether the store is damaged, or only the name taken.
#[test]
fn what_fails_below_a_command_is_told_by_its_code() {
    let store = Store::new();
    let noise = "create table t(a); insert into t values (randomblob(100000));";
    script(&store, "d", &format!("{noise}\n.snapshot s\n"));
    let error = |status, text: &str| {
        fs::write(store.path().join("script.sql"), text).unwrap();
        let told = store.fails(status, &["--json", "sql", "d", "--file", "script.sql"]);
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        told["error"].clone()
    };
    let taken = error(1, "select 1;\n.snapshot s\n");
    assert_eq!(
        (&taken["code"], &taken["line"]),
        (&"snapshot_exists".into(), &2.into())
    );
    assert!(taken["hint"].as_str().unwrap().contains("existing"));
    assert_eq!(error(1, ".fork d\n")["code"], "database_exists");
    assert_eq!(error(1, ".read nowhere.sql\n")["code"], "io");
    assert_eq!(error(1, ".schema nothing\n")["code"], "sql");
    fs::write(store.path().join("rows.csv"), "1\n").unwrap();
    let refused = error(
        1,
        "create table u(a check (a > 'a'));\n.import rows.csv u\n",
    );
    assert_eq!(
        (&refused["code"], &refused["sqlite_code"]),
        (&"sql".into(), &275.into())
    );

    store.ok(&["checkpoint"]);
    let chunks = fs::read_dir(store.store().join("chunks")).unwrap();
    let chunks = chunks.map(|chunk| chunk.unwrap().path());
    let largest = chunks.max_by_key(|path| path.metadata().unwrap().len());
    let largest = largest.unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&largest, bytes).unwrap();
    let damaged = error(3, ".dump\n");
    assert_eq!(damaged["code"], "corrupt", "{damaged}");
}

#[test]
fn the_timer_tells_of_statements() {
    let store = Store::new();
    let said = script(&store, "d", ".timer on\nselect 1;\n.timer off\nselect 2;\n");
    let (first, rest) = said.split_once("Run Time: real ").unwrap();
    assert_eq!(first, "1\n");
    assert!(rest.ends_with("\n2\n"), "{rest}");
}
