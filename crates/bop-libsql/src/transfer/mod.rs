//! Transfer: whole databases from plain SQLite files into a store, and out again.
//!
//! ```text
//! plain file --(source: checked, locked, read by SQLite's own file object)--> import --> database
//! database --(one snapshot)--> export --> temporary file --(synced, renamed)--> plain file
//! ```
//!
//! Invariants
//! - pages are moved one by one: no more than one is in memory, apart from what a transaction of the
//!   engine keeps;
//! - a database that comes in and goes out has the same bytes but for the header's 18, 19 (journal
//!   format), 24-27, 92-95 (change counter) and 96-99 (SQLite's version).
//!
//! Never: changes the file it reads from, leaves half a file or half a database behind.

mod directory;
mod import;
mod source;

pub use bop_sqlite_common::export::{ExportError, ExportReport, Overwrite, Progress};
pub use directory::{FileToImport, Imported, files_to_import, import_files};
pub use import::{ImportError, ImportReport, import_file};

use bop_sqlite_common::export::{self, report};

use crate::Store;
use bop_storage::At;
use std::path::Path;

/// Exports the database `name` as the SQLite file `path`, in rollback journal mode.
///
/// One snapshot is exported, whatever is committed meanwhile. It is written to a temporary file
/// beside the target, checked against the database's checksum, synced and renamed.
///
/// # Errors
/// [`ExportError`]; the target is as it was then.
pub fn export_file(
    store: &Store,
    name: &str,
    path: impl AsRef<Path>,
    overwrite: Overwrite,
    progress: &mut Progress<'_>,
) -> Result<ExportReport, ExportError> {
    export_file_at(store, name, &At::Now, path, overwrite, progress)
}

/// Exports a state of the database `name`, as [`export_file`] does the newest.
///
/// # Errors
/// [`ExportError`]; the target is as it was then.
pub fn export_file_at(
    store: &Store,
    name: &str,
    at: &At,
    path: impl AsRef<Path>,
    overwrite: Overwrite,
    progress: &mut Progress<'_>,
) -> Result<ExportReport, ExportError> {
    let manager = store.manager();
    export::export_file(manager, name, at, path.as_ref(), overwrite, progress)
}
