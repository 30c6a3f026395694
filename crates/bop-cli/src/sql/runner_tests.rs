//! The runner on an empty database.

use super::*;
use crate::sql::shell::Place;
use bop_control::Position;
use bop_libsql::Store;
use bop_storage::At;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

fn run_in(mode: Mode, header: bool, sql: &str) -> (String, Result<Flow, RunError>) {
    let mut out = Vec::new();
    let outcome =
        with_link(|link| Runner::new(link, mode, header, &mut out).run(&mut sql.as_bytes()));
    (String::from_utf8_lossy(&out).into_owned(), outcome)
}

/// Runs on an empty database.
fn with_link<T>(run: impl FnOnce(&mut Link<'_>) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), bop_storage::Options::new()).unwrap();
    let connection = store.connect("d").unwrap();
    let place = Place {
        store: &store,
        database: "d",
        at: &At::Now,
    };
    run(&mut Link::Here(&connection, place))
}

#[track_caller]
fn assert_prints(mode: Mode, header: bool, sql: &str, expected: &str) {
    let (out, outcome) = run_in(mode, header, sql);
    outcome.unwrap();
    assert_eq!(out, expected);
}

/// The error of `sql`, as message, line and column.
#[track_caller]
fn error_of(sql: &str) -> (String, u64, u64) {
    match run_in(Mode::List, false, sql).1 {
        Err(RunError::Refused { failure, excerpt }) => {
            let Position { line, column } = excerpt.position;
            (failure.message, line, column)
        }
        other => panic!("no SQL error: {other:?}"),
    }
}

#[test]
fn values_are_written_as_the_shell_writes_them() {
    let sql = "select 1, 2.0, 'a', null, 1e999, 0.1, x'41';";
    assert_prints(Mode::List, false, sql, "1|2.0|a||Inf|0.1|A\n");
    assert_prints(Mode::Csv, false, sql, "1,2.0,a,,Inf,0.1,A\n");
    assert_prints(
        Mode::Json,
        false,
        "select 1 a, 2.5 b, null c, 'x' d, x'ff' e;",
        "[{\"a\":1,\"b\":2.5,\"c\":null,\"d\":\"x\",\"e\":\"\u{ff}\"}]\n",
    );
}

#[test]
fn headers_come_only_before_rows() {
    let sql = "select 1 as a, 2 as \"b c\"; select 1 as x where 0;";
    assert_prints(Mode::List, true, sql, "a|b c\n1|2\n");
    assert_prints(Mode::Csv, true, sql, "a,\"b c\"\n1,2\n");
    assert_prints(Mode::Json, true, "select 1 as x where 0;", "");
    assert_prints(Mode::Table, true, "select 1 as x where 0;", "");
}

#[test]
fn text_ends_at_nul_where_the_shell_ends_it() {
    let sql = "select 'a' || char(0) || 'b';";
    assert_prints(Mode::List, false, sql, "a\n");
    assert_prints(
        Mode::Json,
        false,
        "select 'a' || char(0) as x;",
        "[{\"x\":\"a\\u0000\"}]\n",
    );
}

#[test]
fn a_statement_without_semicolon_runs_at_the_end() {
    assert_prints(Mode::List, false, "select 1; select 2 -- last", "1\n2\n");
    assert_prints(Mode::List, false, "-- nothing\n  /* at all */", "");
    assert_prints(Mode::List, false, ";;\n;", "");
}

#[test]
fn an_error_stops_the_run_and_has_a_place() {
    let (out, outcome) = run_in(Mode::List, false, "select 1;\nselect nope;\nselect 2;");
    assert_eq!(out, "1\n");
    assert!(matches!(outcome, Err(RunError::Refused { .. })));
    assert_eq!(
        error_of("select 1;\n  select nope;"),
        ("no such column: nope".to_owned(), 2, 10)
    );
    assert_eq!(
        error_of("\n\nselec 1;"),
        ("near \"selec\": syntax error".to_owned(), 3, 1)
    );
}

#[test]
fn an_error_at_run_time_is_placed_at_its_statement() {
    let sql =
        "create table t(a unique); insert into t values(1);\n-- again\ninsert into t values(1);";
    assert_eq!(
        error_of(sql),
        ("UNIQUE constraint failed: t.a".to_owned(), 3, 1)
    );
}

#[test]
fn rows_before_an_error_are_written() {
    let sql = "select abs(x) from (select 1 x union all select -9223372036854775808);";
    let (out, outcome) = run_in(Mode::Json, false, sql);
    assert_eq!(out, "[{\"abs(x)\":1}]\n");
    assert!(matches!(outcome, Err(RunError::Refused { .. })));
}

#[test]
fn a_nul_in_the_sql_is_an_error() {
    assert_eq!(error_of("select 1;\nselect \0;").1, 2);
}

#[test]
fn triggers_and_utf16_databases_work() {
    let sql = "pragma encoding='utf-16le'; create table t(a);
        create trigger r after insert on t begin update t set a = a || '!'; select 1; end;
        insert into t values('\u{e9}'); select a from t;";
    assert_prints(Mode::List, false, sql, "\u{e9}!\n");
}

/// An input that gives one piece for each read, and sees what was written before it is asked.
struct Conversation {
    pieces: VecDeque<&'static str>,
    written: Arc<Mutex<Vec<u8>>>,
    seen: Vec<String>,
}

impl Read for Conversation {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let written = self.written.lock().unwrap();
        self.seen
            .push(String::from_utf8_lossy(&written).into_owned());
        let piece = self.pieces.pop_front().unwrap_or_default().as_bytes();
        buffer[..piece.len()].copy_from_slice(piece);
        Ok(piece.len())
    }
}

/// Holds what is written until it is flushed.
struct Flushed {
    held: Vec<u8>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Write for Flushed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.written.lock().unwrap().append(&mut self.held);
        Ok(())
    }
}

#[test]
fn an_answer_is_flushed_before_more_input_is_read() {
    let written = Arc::new(Mutex::new(Vec::new()));
    let mut input = Conversation {
        pieces: VecDeque::from(["select", " 1;sel", "ect 2;"]),
        written: written.clone(),
        seen: Vec::new(),
    };
    let mut out = Flushed {
        held: Vec::new(),
        written,
    };
    with_link(|link| Runner::new(link, Mode::List, false, &mut out).run(&mut input)).unwrap();
    assert_eq!(input.seen, ["", "", "1\n", "1\n2\n"]);
}
