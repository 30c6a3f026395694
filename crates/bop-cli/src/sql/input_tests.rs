//! The splitter: scenarios, then a comparison with `sqlite3_complete` on random input.

use super::*;
use bop_libsql::statement::is_complete;
use proptest::prelude::*;

/// The statements of `input`, pushed in pieces of `size` bytes, and what is left at its end.
fn split(input: &[u8], size: usize) -> (Vec<String>, Option<String>) {
    let text = |statement: Statement| String::from_utf8_lossy(&statement.text).into_owned();
    let mut splitter = Splitter::new();
    let mut statements = Vec::new();
    for piece in input.chunks(size) {
        splitter.push(piece);
        while let Some(statement) = splitter.next_statement() {
            statements.push(text(statement));
        }
    }
    (statements, splitter.rest().map(text))
}

#[track_caller]
fn assert_split(input: &str, statements: &[&str], rest: Option<&str>) {
    for size in [1, 2, 3, input.len().max(1)] {
        let found = split(input.as_bytes(), size);
        assert_eq!(found.0, statements, "pieces of {size}");
        assert_eq!(found.1.as_deref(), rest, "pieces of {size}");
    }
}

#[test]
fn a_statement_ends_at_its_semicolon() {
    assert_split("select 1;select 2 ;", &["select 1;", "select 2 ;"], None);
    assert_split("select 1", &[], Some("select 1"));
    assert_split(";;", &[";", ";"], None);
}

#[test]
fn semicolons_in_quotes_and_comments_end_nothing() {
    let input = "select ';', \"a;\", `b;`, [c;], 'it''s;' /* ; */ -- ;\n;";
    assert_split(input, &[input], None);
}

#[test]
fn blanks_and_comments_at_the_end_are_nothing() {
    assert_split("select 1; -- done\n /* ; */ ", &["select 1;"], None);
    assert_split("select 1; -- done", &["select 1;"], None);
    assert_split("select 1; /* open", &["select 1;"], None);
}

#[test]
fn an_operator_alone_is_something() {
    assert_split("-", &[], Some("-"));
    assert_split("'open", &[], Some("'open"));
}

#[test]
fn a_trigger_ends_at_its_end() {
    let body = "create temp trigger t after insert on a begin select 1; select 2; end;";
    assert_split(body, &[body], None);
    let explained = format!("explain {body}");
    assert_split(&explained, &[&explained], None);
    // A column of this name is no trigger.
    assert_split(
        "create table trigger(a);",
        &["create table trigger(a);"],
        None,
    );
}

#[test]
fn a_piece_knows_where_it_starts() {
    let mut splitter = Splitter::new();
    splitter.push(b"select 1;\n select 2;");
    assert_eq!(splitter.next_statement().unwrap().start, Position::START);
    let second = splitter.next_statement().unwrap();
    assert_eq!(
        second.start,
        Position {
            line: 1,
            column: 10
        }
    );
    assert_eq!(second.text, b"\n select 2;");
}

#[test]
fn a_line_that_begins_with_a_dot_is_a_command_unless_a_statement_is_open() {
    let input = "select 1;\n.tables a;b\n-- about\n.mode csv\nselect\n.5; .x;\n.quit";
    let mut splitter = Splitter::new();
    splitter.push(input.as_bytes());
    let mut pieces: Vec<Statement> = std::iter::from_fn(|| splitter.next_statement()).collect();
    pieces.extend(splitter.rest());
    let shown: Vec<(bool, String)> = pieces
        .into_iter()
        .map(|piece| {
            let from = piece.dot.unwrap_or(0);
            let text = String::from_utf8_lossy(&piece.text[from..])
                .trim()
                .to_owned();
            (piece.dot.is_some(), text)
        })
        .collect();
    let expected = [
        (false, "select 1;"),
        (true, ".tables a;b"),
        (true, ".mode csv"),
        (false, "select\n.5;"),
        (false, ".x;"),
        (true, ".quit"),
    ];
    assert_eq!(shown, expected.map(|(dot, text)| (dot, text.to_owned())));
}

#[test]
fn the_prompt_knows_what_continues() {
    let continues = |text: &str| {
        let mut splitter = Splitter::new();
        splitter.push(text.as_bytes());
        while splitter.next_statement().is_some() {}
        splitter.continues()
    };
    assert!(continues("select 1\n"));
    assert!(continues("/* a\n"));
    assert!(continues("'a\n"));
    assert!(!continues("select 1;\n"));
    assert!(!continues("-- a\n"));
    assert!(!continues(" \n"));
}

proptest! {
    /// At each semicolon of random input, both agree on whether the text so far is complete.
    #[test]
    fn agrees_with_sqlite(pieces in prop::collection::vec(prop::sample::select(vec![
        "select ", "create ", "temp ", "temporary ", "trigger ", "begin ", "end", "explain ",
        ";", ";", ";", " ", "\n", "'", "\"", "`", "[", "]", "-", "--", "/", "*", "/*", "*/",
        "x", "1", "$", "\u{e9}", "(", "query plan ", "END ", "Create ", "\r", "\x0c", "\x0b",
    ]), 0..40)) {
        let input = pieces.concat();
        let mut splitter = Splitter::new();
        let mut begin = 0;
        for (at, byte) in input.bytes().enumerate() {
            splitter.push(&[byte]);
            let ours = splitter.next_statement().is_some();
            if byte == b';' {
                let text = &input[begin..=at];
                prop_assert_eq!(ours, is_complete(text.as_bytes()), "{:?}", text);
            } else {
                prop_assert!(!ours);
            }
            if ours {
                begin = at + 1;
            }
        }
    }
}
