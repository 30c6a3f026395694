//! The exceptions, in two committed lists.
//!
//! `long-files.txt`: test files of more than 500 lines, each with the length it may not pass.
//! The table in `docs/unsafe.md`: the files that may hold unsafe code, each with its number of blocks.
//!
//! Invariant: an entry is exactly as large as its file needs. A smaller need is a finding too, so
//! that a list never keeps room for what was already mended.

use super::Finding;
use super::source::Source;
use super::unsafety;
use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

/// The most lines of a file.
pub(crate) const FILE_LINES_MAX: usize = 500;
/// The most lines of a test file that the list names.
pub(crate) const TEST_FILE_LINES_MAX: usize = 800;

const LONG_FILES: &str = "xtask/long-files.txt";
const UNSAFE_FILES: &str = "docs/unsafe.md";

/// Both lists: file to number.
#[derive(Default)]
pub(crate) struct Lists {
    /// Test files to the lines they may have.
    pub(crate) long_files: BTreeMap<String, usize>,
    /// Files to the unsafe blocks they have.
    pub(crate) unsafe_files: BTreeMap<String, usize>,
}

impl Lists {
    /// Reads both lists of the workspace at `root`.
    pub(crate) fn read(root: &Path) -> io::Result<Self> {
        Ok(Self {
            long_files: parse(&fs::read_to_string(root.join(LONG_FILES))?)?,
            unsafe_files: parse_table(&fs::read_to_string(root.join(UNSAFE_FILES))?)?,
        })
    }
}

/// `path number` on each line; `#` starts a comment.
pub(crate) fn parse(text: &str) -> io::Result<BTreeMap<String, usize>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            line.rsplit_once(' ')
                .and_then(|(path, number)| Some((path.trim().to_owned(), number.parse().ok()?)))
                .ok_or_else(|| io::Error::other(format!("list entry {line:?} is not: path number")))
        })
        .collect()
}

/// A file in backquotes and a number in the first two columns of each row; other lines are text.
pub(crate) fn parse_table(text: &str) -> io::Result<BTreeMap<String, usize>> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        row.split_once("` |")
            .and_then(|(path, rest)| Some((path, rest.split_once('|')?.0.trim())))
            .and_then(|(path, number)| Some((path.to_owned(), number.parse().ok()?)))
            .ok_or_else(|| io::Error::other(format!("row {row:?} is not: a file, a number")))
    })
    .collect()
}

/// Finds files that are too long, and entries that are not needed.
pub(crate) fn file_lengths(sources: &[Source], lists: &Lists, findings: &mut Vec<Finding>) {
    for source in sources {
        let lines = source.raw.len();
        let what = match lists.long_files.get(&source.path) {
            None if lines > FILE_LINES_MAX => {
                format!("{lines} lines, at most {FILE_LINES_MAX} are allowed: split it")
            }
            Some(_) if lines <= FILE_LINES_MAX => {
                format!("{lines} lines need no entry in {LONG_FILES}: remove it")
            }
            Some(_) if lines > TEST_FILE_LINES_MAX || !is_test(&source.path) => {
                format!("only tests of up to {TEST_FILE_LINES_MAX} lines may be in {LONG_FILES}")
            }
            Some(allowed) if lines > *allowed => {
                format!("{lines} lines, {LONG_FILES} allows {allowed}: the list may only shrink")
            }
            _ => continue,
        };
        findings.push(Finding {
            path: source.path.clone(),
            line: 0,
            what,
        });
    }
    missing(sources, &lists.long_files, LONG_FILES, findings);
}

/// Finds unsafe code in files that are not listed, and entries that are not exact.
pub(crate) fn unsafe_files(sources: &[Source], lists: &Lists, findings: &mut Vec<Finding>) {
    for source in sources {
        let count = unsafety::count(source);
        let what = match lists.unsafe_files.get(&source.path) {
            None if count > 0 => {
                format!("{count} unsafe blocks in a file that is not in {UNSAFE_FILES}")
            }
            Some(listed) if *listed != count => {
                format!("{count} unsafe blocks, {UNSAFE_FILES} says {listed}: count again")
            }
            _ => continue,
        };
        findings.push(Finding {
            path: source.path.clone(),
            line: 0,
            what,
        });
    }
    missing(sources, &lists.unsafe_files, UNSAFE_FILES, findings);
}

fn missing(
    sources: &[Source],
    list: &BTreeMap<String, usize>,
    name: &str,
    findings: &mut Vec<Finding>,
) {
    for path in list.keys() {
        if !sources.iter().any(|source| source.path == *path) {
            findings.push(Finding {
                path: path.clone(),
                line: 0,
                what: format!("is in {name} but not in the tree: remove the entry"),
            });
        }
    }
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("_tests.rs") || path.ends_with("/tests.rs")
}
