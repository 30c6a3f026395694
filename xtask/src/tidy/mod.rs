//! The house style, as far as a program can check it.
//!
//! A check is a function from a [`Source`] to findings; it does no I/O, so that each has a test
//! with a bad snippet. [`check`] walks the tree, and a test of this crate runs it on the tree.
//!
//! Invariants
//! - the checks see comments, strings and code apart ([`source::Source`]), never raw text;
//! - the lists of exceptions ([`lists`]) can only shrink: an entry without need is a finding.

mod dependencies;
mod functions;
mod lists;
mod source;
mod text;
mod unsafety;

use source::Source;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// One place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The file, relative to the workspace.
    pub(crate) path: String,
    /// The line, counted from 1; 0 for the file as a whole.
    pub(crate) line: usize,
    /// What is wrong and what to do.
    pub(crate) what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Runs every check over the tree at `root`.
pub(crate) fn check(root: &Path) -> io::Result<Vec<Finding>> {
    let mut files = Vec::new();
    walk(root, root, &mut files)?;
    files.sort();
    let lists = lists::Lists::read(root)?;
    let mut findings = text::leftovers(&files);
    let mut sources = Vec::new();
    for path in files.iter().filter(|path| path.ends_with(".rs")) {
        let bytes = fs::read(root.join(path))?;
        match String::from_utf8(bytes) {
            Ok(raw) => sources.push(Source::new(path, &raw)),
            Err(_) => findings.push(Finding {
                path: path.clone(),
                line: 0,
                what: "is not UTF-8".to_owned(),
            }),
        }
    }
    for source in &sources {
        text::check(source, &mut findings);
        functions::check(source, &mut findings);
        unsafety::check(source, &mut findings);
    }
    lists::file_lengths(&sources, &lists, &mut findings);
    lists::unsafe_files(&sources, &lists, &mut findings);
    dependencies::check(root, &mut findings)?;
    Ok(findings)
}

/// Collects the files below `dir`, relative to `root`, leaving out what git does not hold.
fn walk(root: &Path, dir: &Path, files: &mut Vec<String>) -> io::Result<()> {
    const SKIPPED: [&str; 3] = [".git", "target", "bop-data"];
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if SKIPPED.iter().any(|skipped| name == *skipped) {
            continue;
        }
        let path: PathBuf = entry.path();
        if entry.file_type()?.is_dir() {
            walk(root, &path, files)?;
        } else if let Ok(relative) = path.strip_prefix(root) {
            files.push(relative.to_string_lossy().into_owned());
        }
    }
    Ok(())
}
