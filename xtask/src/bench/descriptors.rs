//! How many databases can be open at a time: SQLite has three files of each.
//!
//! Never: raises a limit; the programs do that for themselves.

use super::failed;
use super::works::Pair;
use crate::tasks::Failure;
use std::process::Command;

/// A SQLite database, its WAL and its shared memory.
const FILES_OF_DATABASE: usize = 3;
/// What a program has open besides.
const OTHER_FILES: usize = 100;

/// The pair with as many databases as a process may have open, said loudly where that is fewer.
pub(super) fn fitting(id: &str, pair: &Pair) -> Result<Pair, Failure> {
    let wanted = pair.ours.databases;
    let databases = match may_have(wanted * FILES_OF_DATABASE + OTHER_FILES)? {
        None => wanted,
        Some(files) => wanted.min(files.saturating_sub(OTHER_FILES) / FILES_OF_DATABASE),
    };
    if databases < wanted {
        eprintln!(
            "{id}: {databases} databases instead of {wanted}: SQLite may not have more open here"
        );
    }
    let mut pair = pair.clone();
    (pair.ours.databases, pair.theirs.databases) = (databases, databases);
    Ok(pair)
}

/// How many files a process may have open, if it may not have `files`.
fn may_have(files: usize) -> Result<Option<usize>, Failure> {
    let shell = |command: &str| {
        let ended = Command::new("sh").args(["-c", command]).output();
        ended.map_err(|source| failed("run", command, source))
    };
    if shell(&format!("ulimit -n {files}"))?.status.success() {
        return Ok(None);
    }
    let told = shell("ulimit -H -n")?;
    let told = String::from_utf8_lossy(&told.stdout);
    let most = told.trim().parse();
    most.map(Some)
        .map_err(|_| failed("read", "the limit of open files", told.trim()))
}
