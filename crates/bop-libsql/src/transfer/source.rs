//! Source: a plain SQLite file, checked and held still while its pages are read.
//!
//! | the file | how it is opened | how it is read |
//! |---|---|---|
//! | rollback journal mode, no journal beside it | read-only | itself, under SQLite's read lock |
//! | a journal beside it: a crash may have left it | read-write: SQLite rolls it back | likewise |
//! | WAL mode, the WAL is empty | read-write: SQLite makes and removes its side files | likewise |
//! | WAL mode, commits stand in the WAL | likewise; the WAL is left as it is | a copy that SQLite makes |
//!
//! The mode is what SQLite says once it reads: a WAL counts whatever the file's header says.
//!
//! Invariant: bytes are read through SQLite's own file object. A second descriptor of the same file
//! would, when closed, take all of this process's locks on it away, those of other connections too.
//!
//! Never: writes a page of the file, save for a journal that any program opening it would roll back.

use super::import::ImportError;
use crate::ffi::PlainFile;
use crate::{damage_found, page_one};
use bop_sqlite_common::export::side_file;
use bop_storage::ids::{PageNo, PageSize};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Findings of the integrity check that are kept.
const FINDINGS_MAX: usize = 10;

/// Pages that SQLite copies at a time.
const COPY_PAGES: i32 = 1024;

/// A plain SQLite file, or a copy of it, with a read transaction that holds it still.
pub(super) struct Source {
    path: PathBuf,
    connection: Connection,
    page_size: PageSize,
    page_count: u32,
    /// Removes the copy, after the connection is closed.
    copy: Option<Copy>,
}

impl Source {
    /// Opens and checks a file; `None` when it is empty.
    pub(super) fn open(path: &Path, store: &Path) -> Result<Option<Self>, ImportError> {
        let absolute = path.canonicalize().map_err(|e| file_error(path, e))?;
        let metadata = absolute.metadata().map_err(|e| file_error(path, e))?;
        if !metadata.is_file() {
            let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a file");
            return Err(file_error(path, error));
        }
        let journal = side_file_bytes(&absolute, "-journal");
        let wal = side_file_bytes(&absolute, "-wal");
        if metadata.len() == 0 && journal == 0 && wal == 0 {
            return Ok(None);
        }
        let connection = open_connection(&absolute, path, journal > 0, wal > 0)?;
        check(&connection, path)?;
        // Commits may stand in the WAL since before the read lock was taken, or not at all: from
        // here on nobody moves them into the file.
        let mode: String =
            pragma(&connection, "journal_mode").map_err(|source| sqlite_error(path, source))?;
        if mode == "wal" && side_file_bytes(&absolute, "-wal") > 0 {
            let copy = Copy::make(&connection, path, store)?;
            let of_copy = open_connection(&copy.path, path, false, false)?;
            return Self::of(path, of_copy, Some(copy)).map(Some);
        }
        Self::of(path, connection, None).map(Some)
    }

    fn of(path: &Path, connection: Connection, copy: Option<Copy>) -> Result<Self, ImportError> {
        let sqlite = |source| sqlite_error(path, source);
        let size: u32 = pragma(&connection, "page_size").map_err(sqlite)?;
        let page_count = pragma(&connection, "page_count").map_err(sqlite)?;
        let Some(page_size) = PageSize::new(size) else {
            return Err(not_sound(path, format!("pages of {size} bytes")));
        };
        Ok(Self {
            path: path.to_owned(),
            connection,
            page_size,
            page_count,
            copy,
        })
    }

    pub(super) fn page_size(&self) -> PageSize {
        self.page_size
    }

    pub(super) fn page_count(&self) -> u32 {
        self.page_count
    }

    /// `true` when SQLite made a copy of the file to read from.
    pub(super) fn is_copy(&self) -> bool {
        self.copy.is_some()
    }

    pub(super) fn read_page(&self, page: PageNo, out: &mut [u8]) -> Result<(), ImportError> {
        let offset = u64::from(page.get() - 1) * u64::from(self.page_size.get());
        read(&self.connection, &self.path, offset, out)
    }
}

/// Opens a file with SQLite and begins to read: it does not change from then on.
fn open_connection(
    absolute: &Path,
    path: &Path,
    hot_journal: bool,
    has_wal: bool,
) -> Result<Connection, ImportError> {
    let sqlite = |source| sqlite_error(path, source);
    let mut connection = open_with(absolute, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(sqlite)?;
    if hot_journal || has_wal || page_one::is_wal_mode(&header(&connection, path)?) {
        connection = open_with(absolute, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(sqlite)?;
        // Otherwise closing would move the WAL's commits into the file.
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, has_wal)
            .map_err(sqlite)?;
    }
    let begin = "BEGIN; SELECT count(*) FROM sqlite_schema;";
    match connection.execute_batch(begin) {
        Ok(()) => Ok(connection),
        Err(error) => Err(unsound_or_sqlite(path, error)),
    }
}

fn open_with(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
    Connection::open_with_flags(path, flags)
}

/// Asks SQLite whether the file is sound, as far as it can tell without the application.
fn check(connection: &Connection, path: &Path) -> Result<(), ImportError> {
    let findings =
        damage_found(connection, FINDINGS_MAX).map_err(|error| unsound_or_sqlite(path, error))?;
    if findings.is_empty() {
        return Ok(());
    }
    Err(ImportError::NotSound {
        path: path.to_owned(),
        findings,
    })
}

fn header(connection: &Connection, path: &Path) -> Result<[u8; 100], ImportError> {
    let mut header = [0; page_one::HEADER_BYTES];
    read(connection, path, 0, &mut header)?;
    Ok(header)
}

fn read(
    connection: &Connection,
    path: &Path,
    offset: u64,
    out: &mut [u8],
) -> Result<(), ImportError> {
    PlainFile::of(connection)
        .and_then(|file| file.read(out, offset))
        .map_err(|code| {
            let error = rusqlite::ffi::Error::new(code);
            sqlite_error(path, rusqlite::Error::SqliteFailure(error, None))
        })
}

fn pragma<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<T> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

/// Bytes of a file beside `path`; 0 when there is none.
fn side_file_bytes(path: &Path, suffix: &str) -> u64 {
    std::fs::metadata(side_file(path, suffix)).map_or(0, |metadata| metadata.len())
}

/// A copy of a database in the store's scratch directory, removed when dropped.
struct Copy {
    path: PathBuf,
}

impl Copy {
    /// Lets SQLite copy what `connection` sees.
    fn make(connection: &Connection, path: &Path, store: &Path) -> Result<Self, ImportError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let scratch = store.join(bop_storage::io::layout::SCRATCH_DIR);
        std::fs::create_dir_all(&scratch).map_err(|e| file_error(&scratch, e))?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let copy = Self {
            path: scratch.join(format!("import-{number}.sqlite")),
        };
        copy.remove();
        copy.fill(connection)
            .map_err(|source| sqlite_error(path, source))?;
        Ok(copy)
    }

    fn fill(&self, source: &Connection) -> rusqlite::Result<()> {
        let mut target = open_with(
            &self.path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        )?;
        // Gone after a crash in any case.
        target.pragma_update(None, "synchronous", "OFF")?;
        {
            let backup = Backup::new(source, &mut target)?;
            while backup.step(COPY_PAGES)? == StepResult::More {}
        }
        // The backup counts the schema version up; all else is as in the source.
        let version: i64 = pragma(source, "schema_version")?;
        target.pragma_update(None, "schema_version", version)?;
        target.close().map_err(|(_, error)| error)
    }

    fn remove(&self) {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            // What is not there need not be removed.
            let _ = std::fs::remove_file(side_file(&self.path, suffix));
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.remove();
    }
}

pub(super) fn file_error(path: &Path, source: std::io::Error) -> ImportError {
    ImportError::File {
        path: path.to_owned(),
        source: Arc::new(source),
    }
}

fn sqlite_error(path: &Path, source: rusqlite::Error) -> ImportError {
    ImportError::Sqlite {
        path: path.to_owned(),
        source,
    }
}

fn not_sound(path: &Path, finding: String) -> ImportError {
    ImportError::NotSound {
        path: path.to_owned(),
        findings: vec![finding],
    }
}

/// What SQLite calls corrupt, or no database, is not sound; the rest is SQLite's error.
fn unsound_or_sqlite(path: &Path, error: rusqlite::Error) -> ImportError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            not_sound(path, error.to_string())
        }
        _ => sqlite_error(path, error),
    }
}
