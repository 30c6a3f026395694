//! A directory of SQLite files into a store, several files at a time.
//!
//! ```text
//! files of a directory --each has a name of its own--> next file --no such database--> imported
//!                                                        |        '-- there, and equal --> as it is
//!                                                        |        '-- there, and other --> an error
//!                                                        '-- the next one, whatever became of this
//! ```
//! Invariants
//! - each database is imported as a whole or not at all, so that an import that was interrupted goes on where
//!   it was when it is begun again;
//! - equal is what has the rolling checksum of the file.
//!
//! Never: goes into directories of the directory, or imports what does not begin as a SQLite file does.

use super::import::{ImportError, ImportReport, checksum_of, import_file};
use super::source::file_error;
use crate::Store;
use bop_storage::error::CatalogueError;
use bop_storage::name::DbName;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How a SQLite file begins (SQLite's file format, section 1.3).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Endings of file names that are no part of a database's name.
const ENDINGS: [&str; 4] = ["sqlite", "sqlite3", "db", "db3"];

/// A file that becomes a database.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FileToImport {
    /// The file.
    pub path: PathBuf,
    /// What the database is called: as the file, without its ending.
    pub name: String,
    /// How long the file is.
    pub bytes: u64,
}

/// What became of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Imported {
    /// It is a new database.
    New(ImportReport),
    /// There was a database of that name with the same content.
    AlreadyThere,
}

/// The SQLite files of a directory, by name.
///
/// # Errors
/// The directory or a file of it cannot be read; two of the files would have the same name, or one that no
/// database can have.
pub fn files_to_import(dir: impl AsRef<Path>) -> Result<Vec<FileToImport>, ImportError> {
    let dir = dir.as_ref();
    let of_dir = |error| file_error(dir, error);
    let mut files: BTreeMap<String, FileToImport> = BTreeMap::new();
    for entry in dir.read_dir().map_err(of_dir)? {
        let path = entry.map_err(of_dir)?.path();
        let Some(file) = file_to_import(path)? else {
            continue;
        };
        let name = DbName::given(&file.name).map_err(|source| ImportError::Name {
            path: file.path.clone(),
            source,
        })?;
        if let Some(other) = files.insert(name.folded(), file.clone()) {
            return Err(ImportError::SameName {
                name: file.name,
                paths: [other.path, file.path],
            });
        }
    }
    Ok(files.into_values().collect())
}

fn file_to_import(path: PathBuf) -> Result<Option<FileToImport>, ImportError> {
    let refused = |error| file_error(&path, error);
    let metadata = path.metadata().map_err(refused)?;
    if !metadata.is_file() || metadata.len() < MAGIC.len() as u64 {
        return Ok(None);
    }
    let mut start = [0; MAGIC.len()];
    let mut file = File::open(&path).map_err(refused)?;
    file.read_exact(&mut start).map_err(refused)?;
    let is_ending = |ending: &&str| {
        path.extension()
            .is_some_and(|found| found.eq_ignore_ascii_case(ending))
    };
    let name = match ENDINGS.iter().any(is_ending) {
        true => path.file_stem(),
        false => path.file_name(),
    };
    let name = name.unwrap_or_default().to_string_lossy().into_owned();
    Ok((start == *MAGIC).then_some(FileToImport {
        name,
        bytes: metadata.len(),
        path,
    }))
}

/// Imports `files` by so many threads; what became of each, in their order.
///
/// `progress` hears of each piece that was read, in bytes; of a file that ends early, the rest of it, too.
pub fn import_files(
    store: &Store,
    files: &[FileToImport],
    threads: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> Vec<Result<Imported, ImportError>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(nth) else {
                return done;
            };
            done.push((nth, import_one(store, file, progress)));
        }
    };
    let mut outcomes: Vec<_> = thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads.min(files.len()))
            .map(|_| scope.spawn(work))
            .collect();
        let mut outcomes = work();
        for helper in helpers {
            match helper.join() {
                Ok(done) => outcomes.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        outcomes
    });
    outcomes.sort_by_key(|(nth, _)| *nth);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn import_one(
    store: &Store,
    file: &FileToImport,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Imported, ImportError> {
    let mut told = 0;
    let imported = import_file(store, &file.name, &file.path, &mut |done, total| {
        // Of the file at its length now: it may have grown since it was found.
        let read = (u128::from(file.bytes) * u128::from(done) / u128::from(total.max(1))) as u64;
        progress(read - told);
        told = read;
    });
    progress(file.bytes - told);
    match imported {
        Err(ImportError::Catalogue(CatalogueError::Exists { name })) => {
            match is_equal(store, file)? {
                true => Ok(Imported::AlreadyThere),
                false => Err(CatalogueError::Exists { name }.into()),
            }
        }
        imported => imported.map(Imported::New),
    }
}

/// Whether the database of that name is what the file is.
fn is_equal(store: &Store, file: &FileToImport) -> Result<bool, ImportError> {
    let there = store.manager().database(&file.name)?.begin_read()?;
    let (page_count, checksum) = checksum_of(store, &file.path)?;
    Ok((there.page_count(), there.rolling_checksum()) == (page_count, checksum))
}
