//! SQLite's own logic tests, over a connection whose cache holds ten pages.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use bop_libsql::{Connection, Options, Store};
use rusqlite::ffi;
use rusqlite::types::ValueRef;
use sqllogictest::{DBOutput, DefaultColumnType, Record};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the shared data has.
const FILES_MIN: usize = 17;
const RECORDS_MIN: usize = 11_195;

/// A connection, and the types that the next query's answer is to be written in: the files were made
/// by a program that asks SQLite for integers, reals or texts as the test says.
struct Engine {
    connection: Connection,
    formatter: rusqlite::Connection,
    types: Arc<Mutex<Vec<DefaultColumnType>>>,
}

impl sqllogictest::DB for Engine {
    type Error = rusqlite::Error;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, rusqlite::Error> {
        let mut last = DBOutput::StatementComplete(0);
        for statement in rusqlite::Batch::new(&self.connection, sql) {
            last = self.run_one(&mut statement?)?;
        }
        Ok(last)
    }

    fn engine_name(&self) -> &str {
        "sqlite"
    }
}

impl Engine {
    fn run_one(
        &self,
        statement: &mut rusqlite::Statement<'_>,
    ) -> Result<DBOutput<DefaultColumnType>, rusqlite::Error> {
        let columns = statement.column_count();
        if columns == 0 {
            return Ok(DBOutput::StatementComplete(statement.execute([])? as u64));
        }
        let types = self.types.lock().unwrap().clone();
        let mut answer = Vec::new();
        let mut rows = statement.query([])?;
        while let Some(row) = next_row(&mut rows)? {
            let of = |column| {
                let wanted = types.get(column).unwrap_or(&DefaultColumnType::Text);
                Ok(self.written(row.get_ref(column)?, wanted))
            };
            answer.push(
                (0..columns)
                    .map(of)
                    .collect::<Result<Vec<_>, rusqlite::Error>>()?,
            );
        }
        let types = vec![DefaultColumnType::Any; columns];
        Ok(DBOutput::Rows {
            types,
            rows: answer,
        })
    }
}

/// The next row. An answer that breaks off (an integer overflow) ends there, as the program that made
/// the files has it; damage and the like do not pass for that.
fn next_row<'a, 's>(
    rows: &'a mut rusqlite::Rows<'s>,
) -> Result<Option<&'a rusqlite::Row<'s>>, rusqlite::Error> {
    match rows.next() {
        Err(error) if error.sqlite_error().map(|e| e.extended_code) == Some(ffi::SQLITE_ERROR) => {
            Ok(None)
        }
        other => other,
    }
}

impl Engine {
    /// A value as the test program writes it.
    fn written(&self, value: ValueRef<'_>, wanted: &DefaultColumnType) -> String {
        match (wanted, value) {
            (_, ValueRef::Null) => "NULL".to_owned(),
            (DefaultColumnType::Integer, value) => integer(value).to_string(),
            (DefaultColumnType::FloatingPoint, value) => self.decimals(real(value)),
            (_, ValueRef::Integer(number)) => number.to_string(),
            (_, ValueRef::Real(number)) => self.decimals(number),
            (_, ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => printable(bytes),
        }
    }

    /// Three decimals, rounded to sixteen digits as SQLite does.
    fn decimals(&self, number: f64) -> String {
        self.formatter
            .query_row("SELECT printf('%.3f', ?1)", [number], |row| row.get(0))
            .unwrap()
    }
}

fn integer(value: ValueRef<'_>) -> i64 {
    match value {
        ValueRef::Integer(number) => number,
        ValueRef::Real(number) => number as i64,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            let digits = text
                .trim_start()
                .find(|c: char| !c.is_ascii_digit() && c != '-');
            text.trim_start()[..digits.unwrap_or(text.trim_start().len())]
                .parse()
                .unwrap_or(0)
        }
        ValueRef::Null => 0,
    }
}

fn real(value: ValueRef<'_>) -> f64 {
    match value {
        ValueRef::Real(number) => number,
        ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).parse().unwrap_or(0.0),
        other => integer(other) as f64,
    }
}

fn printable(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "(empty)".to_owned();
    }
    let printable = |byte: &u8| {
        if (b' '..=b'~').contains(byte) {
            char::from(*byte)
        } else {
            '@'
        }
    };
    bytes.iter().map(printable).collect()
}

fn test_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(test_files(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "test")
        {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The script without the records that are for other engines. Conditions also stand before `halt`
/// and carry remarks, neither of which the parser knows. Lines keep their numbers.
fn for_sqlite(script: &str) -> String {
    let mut kept = String::with_capacity(script.len());
    let mut skipping = false;
    for line in script.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("onlyif"), engine) => skipping |= engine != Some("sqlite"),
            (Some("skipif"), engine) => skipping |= engine == Some("sqlite"),
            (None, _) => skipping = false,
            _ if skipping => {}
            _ => kept.push_str(line),
        }
        kept.push('\n');
    }
    kept
}

/// Runs one file against a database of its own; the number of its records.
fn run_file(store: &Store, name: &str, page_bytes: u32, path: &Path) -> usize {
    let types = Arc::new(Mutex::new(Vec::new()));
    let mut runner = sqllogictest::Runner::new(|| {
        let connection = store.connect(name).expect("connect");
        connection
            .execute_batch(&format!(
                "PRAGMA page_size = {page_bytes}; PRAGMA cache_size = 10"
            ))
            .expect("cache_size");
        let types = Arc::clone(&types);
        async move {
            Ok(Engine {
                connection,
                formatter: rusqlite::Connection::open_in_memory().expect("memory"),
                types,
            })
        }
    });
    runner.with_hash_threshold(8);
    // The files have one value a line, whatever the number of columns.
    runner.with_validator(|normalizer, actual, expected| {
        let actual: Vec<String> = actual.iter().flatten().map(normalizer).collect();
        let expected: Vec<String> = expected.iter().map(normalizer).collect();
        actual == expected
    });
    let script = for_sqlite(&std::fs::read_to_string(path).unwrap());
    let records = sqllogictest::parse::<DefaultColumnType>(&script).unwrap();
    let mut count = 0;
    for record in records {
        if matches!(record, Record::Halt { .. }) {
            break;
        }
        if let Record::Query {
            expected: sqllogictest::QueryExpect::Results { types: wanted, .. },
            ..
        } = &record
        {
            *types.lock().unwrap() = wanted.clone();
        }
        count += usize::from(matches!(
            record,
            Record::Query { .. } | Record::Statement { .. }
        ));
        runner
            .run(record)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    count
}

#[test]
fn sqlites_logic_tests_pass_with_a_store_reopened_between_the_files() {
    run_all(4096);
}

#[test]
fn sqlites_logic_tests_pass_with_the_smallest_pages() {
    run_all(512);
}

#[test]
fn sqlites_logic_tests_pass_with_the_largest_pages() {
    run_all(65_536);
}

fn run_all(page_bytes: u32) {
    let Some(shared) = common::shared_dir() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let files = test_files(&shared.join("data/slt"));
    let mut records = 0;
    for (n, path) in files.iter().enumerate() {
        let store = Store::open(dir.path(), Options::new()).unwrap();
        records += run_file(&store, &format!("slt-{n}"), page_bytes, path);
        let again = if page_bytes == 4096 { 0..n } else { n..n + 1 };
        for m in again {
            let connection = store.connect(&format!("slt-{m}")).unwrap();
            let earlier = files[m].display();
            assert_eq!(common::integrity(&connection), "ok", "{earlier}");
            let found = common::int(&connection, "PRAGMA page_size");
            assert_eq!(found, i64::from(page_bytes), "{earlier}");
        }
        store.manager().close(Duration::from_secs(30)).unwrap();
    }
    println!("{records} records of {} files", files.len());
    // A script of which nothing is understood would pass in silence.
    assert!(files.len() >= FILES_MIN, "{} files", files.len());
    assert!(records >= RECORDS_MIN, "{records} records");
}
