//! Hostile database names: each is either refused, with the reason, or is a name like any other.
//! Names never become paths, so what is hostile to a file system may well be a name.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends by a panic, its helpers too"
)]

use bop_storage::catalogue::{Catalogue, DbName};
use bop_storage::error::{CatalogueError, NameError};
use bop_storage::ids::{DbKind, Lsn};
use std::collections::HashMap;

/// What a file system, a shell, a terminal or a SQL statement would take badly, and a name may be.
const ALLOWED: &[&str] = &[
    "a",
    "A",
    "0",
    "-",
    "_",
    "--",
    "-rf",
    "--help",
    "~",
    "~root",
    "*",
    "?",
    "[a]",
    "{a,b}",
    "$HOME",
    "$(reboot)",
    "`reboot`",
    "a;b",
    "a|b",
    "a&b",
    "a>b",
    "a<b",
    "!a",
    "#a",
    "%41",
    "%2e%2e%2f",
    "%00",
    "a b",
    " a",
    "a ",
    "  ",
    "a.",
    "a..",
    "a...",
    "a.b",
    "a..b",
    "con",
    "CON",
    "con.txt",
    "nul",
    "NUL",
    "prn",
    "aux",
    "com1",
    "lpt9",
    "CLOCK$",
    "C:",
    "C:\\a",
    "\\",
    "\\\\",
    "\\..\\x",
    "a\\b",
    "a:b",
    "a::$DATA",
    "\"",
    "'",
    "''",
    "a'b",
    "'; DROP TABLE t; --",
    "\\n",
    "\\0",
    "=1+1",
    "+1",
    "a=b",
    "a,b",
    "(a)",
    "^",
    "store.bop",
    "lock",
    "log",
    "chunks",
    "manifest",
    "scratch",
    "damaged",
    "data.mdb",
    "0000000000000001.seg",
    "sqlite_master",
    "main",
    "temp",
    "null",
    "true",
    "NaN",
    "1e308",
    "-0",
    "0x0",
    "my-db",
    "my_db",
    "caf\u{e9}",
    "cafe\u{301}",
    "\u{301}",
    "\u{1f600}",
    "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
    "\u{1f1e9}\u{1f1ea}",
    "\u{4e2d}\u{6587}",
    "\u{ac00}",
    "\u{5d0}\u{5d1}",
    "\u{627}\u{628}",
    "\u{200f}a",
    "a\u{200e}",
    "\u{61c}a",
    "a\u{200d}b",
    "a\u{200c}b",
    "\u{200b}",
    "\u{feff}a",
    "\u{ad}",
    "\u{a0}",
    "\u{3000}",
    "\u{2060}",
    "\u{ff0f}",
    "\u{2215}",
    "\u{2044}",
    "\u{ff20}",
    "\u{fe6b}",
    "\u{2024}",
    "\u{ff0e}",
    "\u{ff0e}\u{ff0e}",
    "\u{fffd}",
    "\u{fffe}",
    "\u{10ffff}",
    "\u{e000}",
    "\u{1d173}",
    "\u{e0001}",
    "\u{130}",
    "\u{131}",
    "\u{df}",
    "\u{1e9e}",
    "\u{3a3}",
    "\u{fb01}",
    "\u{212a}",
    "\u{345}",
    "\u{430}\u{440}\u{440}l\u{435}",
    "Z\u{351}\u{36d}\u{369}a\u{30f}\u{346}l\u{34b}g\u{343}o",
];

fn refused() -> Vec<(String, NameError)> {
    let character = |name: &str, at: usize| {
        let character = name[at..].chars().next().expect("a character stands there");
        (name.to_owned(), NameError::Character { character, at })
    };
    let too_long = |name: String| {
        let bytes = name.len();
        (name, NameError::TooLong { bytes })
    };
    let mut refused = vec![(String::new(), NameError::Empty)];
    for name in [
        ".",
        "..",
        "...",
        ".a",
        ".hidden",
        "..\u{301}",
        ". ",
        ".bop",
        "..\\x",
    ] {
        refused.push((name.to_owned(), NameError::LeadingDot));
    }
    for (name, at) in [
        ("/", 0),
        ("//", 0),
        ("/etc/passwd", 0),
        ("a/b", 1),
        ("a/", 1),
        ("../x", 2),
        ("./x", 1),
        ("../../etc/shadow", 2),
        ("a/../b", 1),
        ("http://x", 5),
        ("a@b", 1),
        ("@", 0),
        ("@a", 0),
        ("a@", 1),
        ("db@12345", 2),
        ("\u{e9}/", 2),
    ] {
        refused.push(character(name, at));
    }
    for control in (0..=0x1f_u8).chain([0x7f]).map(char::from) {
        refused.push(character(&control.to_string(), 0));
        refused.push(character(&format!("a{control}b"), 1));
    }
    let c1 = '\u{80}'..='\u{9f}';
    let reordering = ('\u{2028}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
    for control in c1.chain(reordering) {
        refused.push(character(&format!("x{control}"), 1));
    }
    refused.push(too_long("a".repeat(256)));
    refused.push(too_long("a".repeat(70_000)));
    refused.push(too_long("\u{e9}".repeat(128)));
    refused.push(too_long("\u{1f600}".repeat(64)));
    refused.push(too_long("/".repeat(256)));
    refused
}

#[test]
fn hostile_texts_are_refused_with_the_reason() {
    let refused = refused();
    let hostile = refused.len() + ALLOWED.len();
    assert!(100 < refused.len() && 200 <= hostile, "{hostile} names");
    for (text, reason) in refused {
        assert_eq!(DbName::new(&text), Err(reason), "{text:?}");
        let planned = Catalogue::new().plan_create(&text, DbKind::Raw, 10);
        assert!(
            matches!(&planned, Err(CatalogueError::InvalidName { name, .. }) if *name == text),
            "{planned:?}"
        );
    }
}

#[test]
fn names_that_only_look_dangerous_are_kept_as_they_are() {
    assert!(100 < ALLOWED.len());
    let longest = [
        "a".repeat(255),
        "\u{1f600}".repeat(63),
        "\u{390}".repeat(127),
    ];
    for text in ALLOWED
        .iter()
        .copied()
        .chain(longest.iter().map(String::as_str))
    {
        let name = DbName::new(text).unwrap_or_else(|reason| panic!("{text:?}: {reason}"));
        assert_eq!(name.as_str(), text);
        assert!(!name.folded().is_empty());
    }
}

/// All allowed names live in one catalogue, except that twins in case and composition find the
/// first of them in their place.
#[test]
fn allowed_names_are_told_apart() {
    let mut catalogue = Catalogue::new();
    let mut first_of = HashMap::new();
    for (n, text) in ALLOWED.iter().enumerate() {
        let lsn = Lsn::new(n as u64 + 1);
        match catalogue.plan_create(text, DbKind::Sqlite, u32::MAX) {
            Ok(change) => {
                catalogue.apply(&change, lsn, 0).unwrap();
                first_of.insert(DbName::new(text).unwrap().folded(), *text);
            }
            Err(CatalogueError::Exists { name }) => {
                let folded = DbName::new(text).unwrap().folded();
                assert_eq!(first_of.get(&folded).copied(), Some(name.as_str()));
            }
            Err(error) => panic!("{text:?}: {error}"),
        }
    }
    let twins: Vec<&str> = ALLOWED
        .iter()
        .filter(|text| !first_of.values().any(|first| first == *text))
        .copied()
        .collect();
    assert_eq!(twins, ["A", "CON", "NUL", "cafe\u{301}", "\u{1e9e}"]);
    for text in ALLOWED {
        let id = catalogue.find(text).unwrap();
        let found = catalogue.entry(id).unwrap().name.folded();
        assert_eq!(found, DbName::new(text).unwrap().folded());
    }
}
