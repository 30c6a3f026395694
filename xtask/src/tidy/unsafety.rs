//! Each unsafe block or impl states, directly above, what it owes and who pays.

use super::Finding;
use super::source::{Source, line_of, words};

/// Finds blocks and impls without a `SAFETY:` comment.
pub(crate) fn check(source: &Source, findings: &mut Vec<Finding>) {
    let code = source.joined_code();
    for at in obligations(&code) {
        let line = line_of(&code, at);
        if !is_explained(source, line - 1) {
            findings.push(Finding {
                path: source.path.clone(),
                line,
                what: "unsafe without a // SAFETY: comment directly above".to_owned(),
            });
        }
    }
}

/// How many unsafe blocks and impls the source has.
pub(crate) fn count(source: &Source) -> usize {
    obligations(&source.joined_code()).count()
}

/// Where the code takes an obligation on itself; `unsafe fn` only hands one to its caller.
fn obligations(code: &str) -> impl Iterator<Item = usize> + '_ {
    words(code, "unsafe").filter(|at| {
        let after = code
            .get(at + "unsafe".len()..)
            .unwrap_or_default()
            .trim_start();
        after.starts_with('{') || after.starts_with("impl")
    })
}

/// Whether a `SAFETY:` comment stands above the statement that has line `index` (from 0): going
/// up, only attributes, comments and the earlier lines of the same statement may come first.
fn is_explained(source: &Source, index: usize) -> bool {
    let says = |at: usize| {
        source
            .comments
            .get(at)
            .is_some_and(|line| line.contains("SAFETY:"))
    };
    let code = |at: usize| source.code.get(at).map_or("", |line| line.trim());
    for at in (0..index).rev() {
        if says(at) {
            return true;
        }
        let line = code(at);
        let is_comment =
            line.is_empty() && source.raw.get(at).is_some_and(|l| !l.trim().is_empty());
        let is_attribute = line.starts_with("#[") || line.ends_with(")]");
        let continues = !line.is_empty() && !line.ends_with([';', '{', '}', ',']);
        if !(is_comment || is_attribute || continues) {
            return false;
        }
    }
    false
}
