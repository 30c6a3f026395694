//! Rules on lines: the module's first word, promises without an issue, tests that test nothing,
//! characters, leftovers.

use super::Finding;
use super::source::{Source, closing, line_of, words};

/// Endings of files that an editor or a merge left behind.
const LEFTOVERS: [&str; 6] = [".bak", ".orig", ".old", ".rej", ".swp", "~"];

/// Marks of work left for later. Allowed with an issue: `MARK(#12)`.
const MARKS: [&str; 3] = ["TODO", "FIXME", "XXX"];

/// Runs the checks of this file on one source.
pub(crate) fn check(source: &Source, findings: &mut Vec<Finding>) {
    module_doc(source, findings);
    marks(source, findings);
    bare_matches(source, findings);
    ascii(source, findings);
    conflicts(source, findings);
}

/// Files that do not belong into the tree.
pub(crate) fn leftovers(files: &[String]) -> Vec<Finding> {
    let left = |path: &&String| LEFTOVERS.iter().any(|ending| path.ends_with(ending));
    let finding = |path: &String| Finding {
        path: path.clone(),
        line: 0,
        what: "is a leftover of an editor or a merge: delete it".to_owned(),
    };
    files.iter().filter(left).map(finding).collect()
}

fn module_doc(source: &Source, findings: &mut Vec<Finding>) {
    let first = source.raw.iter().position(|line| !line.trim().is_empty());
    let documented = first
        .and_then(|at| source.raw.get(at))
        .is_some_and(|l| l.starts_with("//!"));
    if !documented {
        findings.push(Finding {
            path: source.path.clone(),
            line: first.unwrap_or(0) + 1,
            what: "a module starts with //!: what it owns, its invariants, what it must never do"
                .to_owned(),
        });
    }
}

fn marks(source: &Source, findings: &mut Vec<Finding>) {
    for (index, comment) in source.comments.iter().enumerate() {
        for mark in MARKS {
            for at in words(comment, mark) {
                let after = comment.get(at + mark.len()..).unwrap_or_default();
                if !names_issue(after) {
                    findings.push(Finding {
                        path: source.path.clone(),
                        line: index + 1,
                        what: format!("{mark} without an issue: write {mark}(#number) or do it"),
                    });
                }
            }
        }
    }
}

/// Whether `after` starts with `(#` digits `)`.
fn names_issue(after: &str) -> bool {
    let number = after
        .strip_prefix("(#")
        .and_then(|rest| rest.split_once(')'));
    number.is_some_and(|(number, _)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// `matches!(..);` as a statement throws its answer away: an assertion was meant.
fn bare_matches(source: &Source, findings: &mut Vec<Finding>) {
    let code = source.joined_code();
    for at in words(&code, "matches") {
        let before = code.get(..at).unwrap_or_default().trim_end();
        let starts_statement = before.is_empty() || before.ends_with([';', '{', '}']);
        let after = code.get(at + "matches".len()..).unwrap_or_default();
        let Some(open) = after.strip_prefix('!').and_then(|rest| rest.find('(')) else {
            continue;
        };
        let end = closing(&code, at + "matches!".len() + open);
        let ends = end.and_then(|end| code.get(end + 1..)).unwrap_or_default();
        if starts_statement && ends.trim_start().starts_with(';') {
            findings.push(Finding {
                path: source.path.clone(),
                line: line_of(&code, at),
                what: "matches! as a statement checks nothing: use assert!(matches!(..))"
                    .to_owned(),
            });
        }
    }
}

fn ascii(source: &Source, findings: &mut Vec<Finding>) {
    for (index, line) in source.raw.iter().enumerate() {
        if let Some(character) = line.chars().find(|c| !c.is_ascii()) {
            findings.push(Finding {
                path: source.path.clone(),
                line: index + 1,
                what: format!(
                    "character U+{:04X} in a source: write it as an escape",
                    u32::from(character)
                ),
            });
        }
    }
}

fn conflicts(source: &Source, findings: &mut Vec<Finding>) {
    let is_mark = |line: &String| line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ");
    for (index, _) in source
        .raw
        .iter()
        .enumerate()
        .filter(|(_, line)| is_mark(line))
    {
        findings.push(Finding {
            path: source.path.clone(),
            line: index + 1,
            what: "a conflict that a merge left".to_owned(),
        });
    }
}
