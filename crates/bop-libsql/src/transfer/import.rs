//! Import: a plain SQLite file becomes a database of the store.

use super::source::Source;
use super::{Progress, report};
use crate::{Store, page_one};
use bop_storage::error::{
    BeginError, CatalogueError, CommitError, ErrorCode, NameError, Rejection,
};
use bop_storage::ids::{DbKind, PageNo, PageSize};
use bop_storage::{Db, PageHash, ReadTxn, RollingChecksum};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportReport {
    /// Pages of the database.
    pub pages: u32,
    /// Their size; `None` for an empty file.
    pub page_size: Option<PageSize>,
    /// The file was read through SQLite, since part of it stood in a WAL.
    pub through_sqlite: bool,
    /// The rolling checksum of what was read; the database has it, too.
    pub rolling_checksum: RollingChecksum,
}

/// An import failed. No database was left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file cannot be opened or read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: Arc<std::io::Error>,
    },
    /// The file is no database, or a damaged one.
    #[error("{} is no sound SQLite database: {}", path.display(), findings.join("; "))]
    NotSound {
        /// The file.
        path: PathBuf,
        /// What SQLite found, its first findings.
        findings: Vec<String>,
    },
    /// SQLite cannot open or read the file.
    #[error("{}: {source}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's answer.
        source: rusqlite::Error,
    },
    /// No database can be called as the file is.
    #[error("{}: {source}", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: NameError,
    },
    /// Two files would be databases of one name.
    #[error("{} and {} would both be {name:?}", paths[0].display(), paths[1].display())]
    SameName {
        /// The name.
        name: String,
        /// The files.
        paths: [PathBuf; 2],
    },
    /// The database is not what was read of the file, and was dropped again.
    #[error("{}: the database that was made of it has another checksum", path.display())]
    NotEqual {
        /// The file.
        path: PathBuf,
    },
    /// The database cannot be created.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The database cannot be written.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// The store has no room, or cannot be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<Rejection> for ImportError {
    fn from(rejection: Rejection) -> Self {
        Self::Commit(rejection.into())
    }
}

impl ImportError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::File { .. } => ErrorCode::Io,
            Self::NotSound { .. } => ErrorCode::InvalidDatabaseFile,
            Self::Sqlite { .. } => ErrorCode::Sql,
            Self::Name { .. } => ErrorCode::InvalidName,
            Self::SameName { .. } => ErrorCode::DatabaseExists,
            Self::NotEqual { .. } => ErrorCode::Corrupt,
            Self::Catalogue(error) => error.code(),
            Self::Begin(error) => error.code(),
            Self::Commit(error) => error.code(),
        }
    }
}

/// Imports the SQLite file `path` as the new database `name`.
///
/// The file is checked first (`PRAGMA integrity_check`) and read under a read lock of SQLite's, so
/// that other programs may have it open. Page size, reserved bytes, `auto_vacuum`, encoding,
/// `application_id` and `user_version` are those of the file. An empty file becomes an empty
/// database. Where the newest commits stand in a WAL, SQLite makes a copy in the store's scratch
/// directory first.
///
/// All pages are committed before the database gets its name, and have the rolling checksum of what was
/// read: either it is there with all of them, or it is not. What a process that was killed leaves is dropped when the store is opened again.
///
/// # Errors
/// [`ImportError`]; the database does not exist then, unless it did before.
pub fn import_file(
    store: &Store,
    name: &str,
    path: impl AsRef<Path>,
    progress: &mut Progress<'_>,
) -> Result<ImportReport, ImportError> {
    let manager = store.manager();
    // Before the file is checked, which may take long.
    match manager.database(name) {
        Err(CatalogueError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
        Ok(found) => return Err(CatalogueError::Exists { name: found.name() }.into()),
    }
    let source = Source::open(path.as_ref(), manager.path())?;
    // Nobody finds it before it has its pages; whatever ends this call early drops it.
    let unfinished = manager.begin_database(DbKind::Sqlite)?;
    let mut report = ImportReport {
        pages: 0,
        page_size: None,
        through_sqlite: false,
        rolling_checksum: RollingChecksum::EMPTY,
    };
    if let Some(source) = source {
        let (committed, read) = copy(&source, unfinished.db(), progress)?;
        if committed.rolling_checksum() != read {
            let path = path.as_ref().to_owned();
            return Err(ImportError::NotEqual { path });
        }
        report = ImportReport {
            pages: committed.page_count(),
            page_size: committed.page_size(),
            through_sqlite: source.is_copy(),
            rolling_checksum: read,
        };
    }
    unfinished.finish(name)?;
    Ok(report)
}

/// Commits the pages of a file; also the rolling checksum of what was read.
fn copy(
    source: &Source,
    db: &Db,
    progress: &mut Progress<'_>,
) -> Result<(ReadTxn, RollingChecksum), ImportError> {
    // Nobody else has it.
    let mut write = db.begin_write(Duration::ZERO)?;
    write.set_page_size(source.page_size())?;
    let mut rolling = RollingChecksum::EMPTY;
    for_each_page(source, |page, content| {
        rolling = rolling.toggled(PageHash::of(page, content));
        write.write_page(page, content)?;
        report(progress, page.get(), source.page_count());
        Ok(())
    })?;
    Ok((write.commit()?, rolling))
}

/// Pages of the database that a file would be, and their rolling checksum.
pub(super) fn checksum_of(
    store: &Store,
    path: &Path,
) -> Result<(u32, RollingChecksum), ImportError> {
    let mut rolling = RollingChecksum::EMPTY;
    let Some(source) = Source::open(path, store.manager().path())? else {
        return Ok((0, rolling));
    };
    for_each_page(&source, |page, content| {
        rolling = rolling.toggled(PageHash::of(page, content));
        Ok(())
    })?;
    Ok((source.page_count(), rolling))
}

/// Shows each page of a file as a store has it.
fn for_each_page(
    source: &Source,
    mut show: impl FnMut(PageNo, &[u8]) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let (size, count) = (source.page_size(), source.page_count());
    let mut content = vec![0; size.bytes()];
    for raw in 1..=count {
        let Some(page) = PageNo::new(raw).filter(|_| raw != size.lock_page()) else {
            continue;
        };
        source.read_page(page, &mut content)?;
        if page == PageNo::FIRST {
            page_one::settle_page_count(&mut content, count);
            page_one::to_stored(&mut content);
        }
        show(page, &content)?;
    }
    Ok(())
}
