//! Works over the data that projects of this kind share, which stands beside the workspace.
//!
//! Never: needs it; where it is missing the work is left out, and that is said.

use super::report::Row;
use super::works::{Pair, Want};
use super::{Place, failed, pairs};
use crate::tasks::Failure;
use std::fs;
use std::path::{Path, PathBuf};

/// The script that makes the Northwind database.
pub(super) fn script(root: &Path) -> Result<PathBuf, String> {
    let shared = std::env::var_os("BOP_SHARED");
    let shared = shared.map_or_else(|| root.join("../shared"), PathBuf::from);
    let script = shared.join("data/northwind.sql");
    match script.is_file() {
        true => Ok(script),
        false => Err(script.display().to_string()),
    }
}

/// Runs the slices of a pair, each side with the script in its directory.
pub(super) fn alternate(
    want: &Want,
    pair: &Pair,
    place: &Place,
    (script, dir): (&Path, &Path),
    slices: usize,
) -> Result<Row, Failure> {
    for side in ["ours", "theirs"] {
        let dir = dir.join(side);
        let placed =
            fs::create_dir_all(&dir).and_then(|()| fs::copy(script, dir.join("source.sql")));
        placed.map_err(|source| failed("copy", script.display(), source))?;
    }
    pairs::alternate(want, pair, place, dir, slices)
}
