//! Exports that other processes ask for: the file is written by the one that has the store open.

use crate::export::{ExportError, Overwrite, export_file};
use bop_control::{ExportWanted, Failure, Transferred};
use bop_storage::Manager;
use std::io;

/// Copies a state of a database into a SQLite file.
///
/// # Errors
/// Why it cannot be; the file is as it was then.
pub fn export(
    manager: &Manager,
    wanted: &ExportWanted<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Transferred, Failure> {
    let ExportWanted {
        database,
        at,
        file,
        force,
    } = *wanted;
    let overwrite = if force { Overwrite::Yes } else { Overwrite::No };
    let report = export_file(manager, database, at, file, overwrite, progress)?;
    Ok(Transferred {
        pages: report.pages,
        page_bytes: report.page_size.map(|size| size.get()),
        through_sqlite: false,
        rolling_checksum: report.rolling_checksum.to_string(),
    })
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Catalogue(error) => error.into(),
            ExportError::SideFile { .. } => Self::new(error.code(), &error)
                .with_hint("choose another file, or let the program that uses this one close it"),
            ExportError::NotAFile { .. } => Self::new(error.code(), &error)
                .with_hint("choose another file; --force replaces regular files only"),
            ExportError::File { ref source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Self::new(error.code(), &error)
                    .with_hint("the directory of the file must exist: make it, or choose another")
            }
            ExportError::InsideStore { .. } => Self::new(error.code(), &error)
                .with_hint("choose a file outside the store's directory"),
            other => Self::new(other.code(), &other),
        }
    }
}
