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
mod export;
mod import;
mod source;

pub use directory::{FileToImport, Imported, files_to_import, import_files};
pub use export::{ExportError, ExportReport, Overwrite, export_file, export_file_at};
pub use import::{ImportError, ImportReport, import_file};

/// Hears how far a transfer is: pages done, pages in total.
pub type Progress<'a> = dyn FnMut(u64, u64) + 'a;

/// Pages between two calls of [`Progress`].
const PROGRESS_PAGES: u32 = 256;

/// Tells `progress` about page `page` of `count`, if it is time.
fn report(progress: &mut Progress<'_>, page: u32, count: u32) {
    if page.is_multiple_of(PROGRESS_PAGES) || page == count {
        progress(u64::from(page), u64::from(count));
    }
}
