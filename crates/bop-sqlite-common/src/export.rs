//! Export: a database of the store becomes a plain SQLite file. That takes the engine alone, and no SQLite.
//!
//! Invariant: pages are moved one by one: no more than one is in memory.
//!
//! Never: leaves half a file behind.

use crate::page_one;
use bop_storage::checksum::{PageHash, RollingChecksum};
use bop_storage::error::{BeginError, CatalogueError, ErrorCode, PastError, ReadError};
use bop_storage::ids::{DbKind, PageNo, PageSize};
use bop_storage::{At, Manager};
use bop_storage::{PageBytes, ReadTxn};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of pages that are written at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// Whether a file that is there may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// It stays, and the export fails.
    No,
    /// It is replaced, once the export is complete.
    Yes,
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportReport {
    /// Pages of the database.
    pub pages: u32,
    /// Their size; `None` for a database that was never written to, which becomes an empty file.
    pub page_size: Option<PageSize>,
    /// The checksum of all pages, as the engine knows it and as it was written.
    pub rolling_checksum: RollingChecksum,
}

/// An export failed. The target is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The target exists.
    #[error("{} exists already", path.display())]
    Exists {
        /// The target.
        path: PathBuf,
    },
    /// The target is there and no regular file: a symbolic link, a device, a directory.
    #[error("{} is {kind}, and only a regular file is replaced", path.display())]
    NotAFile {
        /// The target.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// The target is one of the store's own files, or would stand among them.
    #[error("{} is inside the store {}", path.display(), store.display())]
    InsideStore {
        /// The target.
        path: PathBuf,
        /// The store's directory.
        store: PathBuf,
    },
    /// A journal or WAL of the target's exists: SQLite would apply it to what is exported.
    #[error("{} stands beside the target and would be applied to it", path.display())]
    SideFile {
        /// The file beside it.
        path: PathBuf,
    },
    /// The target cannot be written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: Arc<std::io::Error>,
    },
    /// There is no such database.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The state that is to be exported is not kept.
    #[error(transparent)]
    Past(PastError),
    /// The database cannot be opened.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// A page cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The pages that were read are not the database's: a fault of the engine or of memory.
    #[error("database {name:?}: the pages have checksum {written}, the database has {expected}")]
    Checksum {
        /// The database.
        name: String,
        /// Over what was written.
        written: RollingChecksum,
        /// As the engine knows it.
        expected: RollingChecksum,
    },
}

impl ExportError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Exists { .. } | Self::NotAFile { .. } | Self::SideFile { .. } => {
                ErrorCode::TargetExists
            }
            Self::InsideStore { .. } => ErrorCode::Usage,
            Self::File { source, .. } if has_no_room(source) => ErrorCode::OutOfSpace,
            Self::File { .. } => ErrorCode::Io,
            Self::Catalogue(error) => error.code(),
            Self::Past(error) => error.code(),
            Self::Begin(error) => error.code(),
            Self::Read(error) => error.code(),
            Self::Checksum { .. } => ErrorCode::Corrupt,
        }
    }
}

impl From<PastError> for ExportError {
    /// What has nothing to do with the past is what it is elsewhere.
    fn from(error: PastError) -> Self {
        match error {
            PastError::Catalogue(error) => Self::Catalogue(error),
            PastError::Begin(error) => Self::Begin(error),
            PastError::Read(error) => Self::Read(error),
            other => Self::Past(other),
        }
    }
}

/// Hears how far a transfer is: pages done, pages in total.
pub type Progress<'a> = dyn FnMut(u64, u64) + 'a;

/// Pages between two calls of [`Progress`].
const PROGRESS_PAGES: u32 = 256;

/// Tells `progress` about page `page` of `count`, if it is time.
pub fn report(progress: &mut Progress<'_>, page: u32, count: u32) {
    if page.is_multiple_of(PROGRESS_PAGES) || page == count {
        progress(u64::from(page), u64::from(count));
    }
}

/// The file beside `path` that SQLite names by `suffix`.
pub fn side_file(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Exports a state of the database `name` as the SQLite file `path`, in rollback journal mode.
///
/// One state is exported, whatever is committed meanwhile. It is written to a temporary file
/// beside the target, checked against the database's checksum, synced and renamed.
///
/// # Errors
/// [`ExportError`]; the target is as it was then.
pub fn export_file(
    manager: &Manager,
    name: &str,
    at: &At,
    path: &Path,
    overwrite: Overwrite,
    progress: &mut Progress<'_>,
) -> Result<ExportReport, ExportError> {
    let db = manager.database(name)?;
    if db.kind() != DbKind::Sqlite {
        return Err(ExportError::Catalogue(CatalogueError::WrongKind {
            name: db.name(),
            found: db.kind().name(),
            wanted: DbKind::Sqlite.name(),
        }));
    }
    refuse_inside(path, manager.path())?;
    refuse_target(path, overwrite)?;
    let read = db.begin_read_at(at)?;
    let temporary = Temporary::create(path)?;
    let written = write_pages(&read, &temporary, progress)?;
    if written != read.rolling_checksum() {
        return Err(ExportError::Checksum {
            name: db.name(),
            written,
            expected: read.rolling_checksum(),
        });
    }
    let report = ExportReport {
        pages: read.page_count(),
        page_size: read.page_size(),
        rolling_checksum: written,
    };
    temporary.publish(path, overwrite)?;
    Ok(report)
}

fn refuse_target(path: &Path, overwrite: Overwrite) -> Result<(), ExportError> {
    for suffix in ["-journal", "-wal"] {
        let beside = side_file(path, suffix);
        if beside.symlink_metadata().is_ok() {
            return Err(ExportError::SideFile { path: beside });
        }
    }
    let Ok(target) = path.symlink_metadata() else {
        return Ok(());
    };
    let path = path.to_owned();
    if !target.is_file() {
        let kind = match target.file_type() {
            kind if kind.is_symlink() => "a symbolic link",
            kind if kind.is_dir() => "a directory",
            _ => "a device or the like",
        };
        return Err(ExportError::NotAFile { path, kind });
    }
    match overwrite {
        Overwrite::No => Err(ExportError::Exists { path }),
        Overwrite::Yes => Ok(()),
    }
}

/// The store's directory holds the store's files and nothing else.
fn refuse_inside(path: &Path, store: &Path) -> Result<(), ExportError> {
    let real = |path: &Path| path.canonicalize();
    // A directory that is not there is no part of the store; creating the file will say so.
    if let (Ok(parent), Ok(real_store)) = (real(parent_of(path)), real(store))
        && parent.starts_with(real_store)
    {
        return Err(ExportError::InsideStore {
            path: path.to_owned(),
            store: store.to_owned(),
        });
    }
    Ok(())
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Writes all pages; the rolling checksum over them.
fn write_pages(
    read: &ReadTxn,
    temporary: &Temporary,
    progress: &mut Progress<'_>,
) -> Result<RollingChecksum, ExportError> {
    let io = |error| file_error(&temporary.path, error);
    let mut rolling = RollingChecksum::EMPTY;
    let (Some(size), count) = (read.page_size(), read.page_count()) else {
        return Ok(rolling);
    };
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, &temporary.file);
    for raw in 1..=count {
        match PageNo::new(raw).filter(|_| raw != size.lock_page()) {
            Some(page) => {
                let content = read.read_page(page)?;
                rolling = rolling.toggled(PageHash::of(page, &content));
                write_page(&mut out, page, &content).map_err(io)?;
            }
            None => {
                let hole = i64::from(size.get());
                out.seek(SeekFrom::Current(hole)).map_err(io)?;
            }
        }
        report(progress, raw, count);
    }
    out.flush().map_err(io)?;
    Ok(rolling)
}

fn write_page(out: &mut impl Write, page: PageNo, content: &PageBytes) -> std::io::Result<()> {
    if page != PageNo::FIRST {
        return out.write_all(content);
    }
    let mut header = content.to_vec();
    page_one::to_shown(&mut header, 1);
    out.write_all(&header)
}

/// A file beside the target, removed when it was not published.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    fn create(target: &Path) -> Result<Self, ExportError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let suffix = format!(".export-{}-{number}", std::process::id());
            let path = side_file(target, &suffix);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Self { path, file }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(file_error(&path, error)),
            }
        }
    }

    /// Gives the file its name, durably.
    fn publish(self, target: &Path, overwrite: Overwrite) -> Result<(), ExportError> {
        let io = |error| file_error(&self.path, error);
        self.file.sync_all().map_err(io)?;
        refuse_target(target, overwrite)?;
        match overwrite {
            Overwrite::Yes => std::fs::rename(&self.path, target).map_err(io)?,
            Overwrite::No => self.link(target)?,
        }
        let directory = parent_of(target);
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| file_error(directory, error))
    }

    /// A link, unlike a rename, fails where a file is. The temporary name goes with `self`.
    fn link(&self, target: &Path) -> Result<(), ExportError> {
        match std::fs::hard_link(&self.path, target) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(ExportError::Exists {
                path: target.to_owned(),
            }),
            // A file system without links. Whether a file is there was asked a moment ago.
            Err(_) => {
                std::fs::rename(&self.path, target).map_err(|error| file_error(&self.path, error))
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It is gone after a rename.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// `true` when the device, or this user's share of it, is full.
fn has_no_room(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

fn file_error(path: &Path, source: std::io::Error) -> ExportError {
    ExportError::File {
        path: path.to_owned(),
        source: Arc::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_out_of_space() {
        let code = |kind: ErrorKind| file_error(Path::new("out"), kind.into()).code();
        assert_eq!(code(ErrorKind::StorageFull), ErrorCode::OutOfSpace);
        assert_eq!(code(ErrorKind::QuotaExceeded), ErrorCode::OutOfSpace);
        assert_eq!(code(ErrorKind::PermissionDenied), ErrorCode::Io);
    }
}
