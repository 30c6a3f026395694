//! What `.dump` writes, read again in each of the ways that a script is read.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::store::Store;
use std::fs;

/// A store with the database `one`, made by one argument: of that, every byte is SQLite's.
fn made_by(sql: &str) -> Store {
    let store = Store::new();
    store.ok(&["sql", "one", sql]);
    store
}

/// Reads the dump of `one` into new databases; answers with their names and with the dump.
fn read_back(store: &Store) -> ([&'static str; 3], String) {
    let dump = store.ok(&["sql", "one", ".dump"]);
    fs::write(store.path().join("dump.sql"), &dump).unwrap();
    let stdin = fs::File::open(store.path().join("dump.sql")).unwrap();
    let piped = store.command(&["sql", "stdin"]).stdin(stdin).status();
    assert!(piped.unwrap().success());
    store.ok(&["sql", "file", "--file", "dump.sql"]);
    store.ok(&["sql", "read", ".read dump.sql"]);
    (["stdin", "file", "read"], dump)
}

/// The dump of `one` makes databases that answer `query` as it does, and are dumped as it is.
#[track_caller]
fn assert_comes_back(store: &Store, query: &str) {
    let expected = store.ok(&["sql", "one", query]);
    let (copies, dump) = read_back(store);
    for copy in copies {
        assert_eq!(store.ok(&["sql", copy, query]), expected, "{copy}: {dump}");
        assert_eq!(store.ok(&["sql", copy, ".dump"]), dump, "{copy}");
    }
}

/// A script's CR LF is read as LF.
#[test]
fn line_ends_of_texts_come_back() {
    let store = made_by(
        "create table t(a);
         insert into t values ('two' || char(13, 10) || 'lines'), (char(13)), (char(10, 13, 13, 10)),
             ('a \\r that is one, ' || char(13, 10) || ' and \\r0; too'), ('\\' || char(13)), (char(13) || '''');",
    );
    assert_comes_back(&store, "select hex(a), typeof(a) from t");
}

#[test]
fn line_ends_in_names_and_in_views_come_back() {
    let store = made_by(
        "create table \"odd\r\ntable\"(\"odd\r\ncolumn\", b as (1));\r\n
         insert into \"odd\r\ntable\" values ('x');
         create view v as select 'two\r\nlines' as l;
         create virtual table words using fts5(\"odd\r\ncolumn\");",
    );
    assert_comes_back(
        &store,
        "select hex(l) from v; select hex(name), hex(sql) from sqlite_schema order by name;
         select hex(name) from pragma_table_xinfo((select name from sqlite_schema where name like 'odd%'));",
    );
}

#[test]
fn texts_that_sql_cannot_spell_come_back() {
    let store = made_by(
        "create table t(a);
         insert into t values ('before'), (cast(x'80ff00' as text)), ('a' || char(0) || 'b'), (x'80ff00'),
             (9e999), (-9e999), (0.1), (-9223372036854775808), (null), ('after');",
    );
    assert_comes_back(&store, "select hex(a), typeof(a), a < 0 from t");
}

/// SQLite takes an expression of a thousand operators, and a table of two thousand columns.
#[test]
fn a_table_of_two_thousand_columns_comes_back() {
    let columns: Vec<String> = (0..2000).map(|column| format!("c{column}")).collect();
    let values: Vec<String> = (0..2000).map(|value| value.to_string()).collect();
    let (columns, values) = (columns.join(","), values.join(","));
    let store = made_by(&format!(
        "create table wide({columns}); insert into wide values ({values});"
    ));
    assert_comes_back(&store, "select * from wide");
}

/// A semicolon in a comment ends nothing.
#[test]
fn statements_that_end_in_a_comment_come_back() {
    let store = made_by("create table t(a) -- of numbers");
    for made in [
        "create view v as select a from t -- all of them\n;",
        "create view w as select '--' as a -- again",
        "create view x as select 1 /* left open",
        "create index i on t(a) -- by number",
        "create trigger r after insert on t begin select 1; -- nothing\n end -- of it\n;",
    ] {
        store.ok(&["sql", "one", made]);
    }
    assert_comes_back(&store, "select count(*) from v; select a from w;");
    let schema = store.ok(&["sql", "one", ".schema"]);
    assert!(schema.contains("-- all of them\n;\n"), "{schema}");
    store.ok(&["sql", "again", &schema]);
    assert_eq!(store.ok(&["sql", "again", ".schema"]), schema);
}
