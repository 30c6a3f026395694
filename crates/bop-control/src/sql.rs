//! SQL for whoever asks over the socket: what a front end supplies, since this crate knows no SQLite.
//!
//! ```text
//!   open --> session --run--> rows, one by one --> ended, or refused
//!                 '--dropped: what is open in it is rolled back
//! ```
//! Invariant: that a session only reads is seen to here, by the process that owns the store. What the
//! client says of itself decides nothing.

use crate::cells::{Cells, Explain};
use crate::failure::Failure;
use bop_storage::At;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Instant;

/// SQL on the databases of a store.
pub trait SqlDoor: Send + Sync {
    /// Begins a session on a database.
    ///
    /// # Errors
    /// There is no such database or state, or it cannot be opened.
    fn open(&self, wanted: &SqlWanted) -> Result<Box<dyn SqlSession>, Failure>;

    /// What SQLite finds wrong with the b-trees of a database, at most `max` findings.
    ///
    /// # Errors
    /// In words, why it cannot read them.
    fn integrity_check(&self, database: &str, max: usize) -> Result<Vec<String>, String>;

    /// Copies a SQLite file into a new database. `progress` hears of pages that are done, and of how many.
    ///
    /// # Errors
    /// Why it cannot be; there is no such database then, unless it was there before.
    fn import(
        &self,
        database: &str,
        file: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Transferred, Failure>;

    /// Copies a state of a database into a SQLite file.
    ///
    /// # Errors
    /// Why it cannot be; the file is as it was then.
    fn export(
        &self,
        wanted: &ExportWanted<'_>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Transferred, Failure>;
}

/// What is copied into a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExportWanted<'a> {
    /// The database.
    pub database: &'a str,
    /// The state of it.
    pub at: &'a At,
    /// The file.
    pub file: &'a Path,
    /// One that is there is replaced.
    pub force: bool,
}

/// What was copied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transferred {
    /// Pages of the database.
    pub pages: u32,
    /// Bytes of each; `None` for an empty file.
    pub page_bytes: Option<u32>,
    /// Of an import: the file was read through SQLite, since part of it stood in a WAL.
    pub through_sqlite: bool,
    /// The rolling checksum of the pages.
    pub rolling_checksum: String,
}

/// What a session may do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SqlWanted {
    /// The database.
    pub database: String,
    /// The state of it; `None`: whatever is newest.
    pub at: Option<At>,
    /// Whether a missing database is made.
    pub create: bool,
    /// Whether it may write. Else it reads, and ATTACH, `load_extension` and every PRAGMA that changes
    /// anything are refused.
    pub write: bool,
    /// The most bytes of one value.
    pub value_bytes_max: u64,
}

/// A connection of a client.
pub trait SqlSession: Send {
    /// Runs all of `sql`, which may be several statements. `watch` is asked again and again, however long a
    /// statement takes, and ends it by answering `false`.
    ///
    /// # Errors
    /// What SQLite says of the first statement that fails; what `rows` answers.
    fn run(
        &mut self,
        sql: &[u8],
        watch: &SqlWatch,
        rows: &mut dyn SqlRows,
    ) -> Result<(), SqlRunError>;

    /// Whether a transaction is open.
    fn is_in_transaction(&self) -> bool;
}

/// Until when a statement may run, and whether anybody waits for it.
#[derive(Clone)]
pub struct SqlWatch {
    /// After this it is ended.
    pub until: Instant,
    /// Whether its client is still there.
    pub is_wanted: std::sync::Arc<dyn Fn() -> bool + Send + Sync + std::panic::RefUnwindSafe>,
}

impl SqlWatch {
    /// Whether the statement may go on.
    pub fn goes_on(&self) -> bool {
        Instant::now() < self.until && (self.is_wanted)()
    }
}

impl std::fmt::Debug for SqlWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlWatch")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// Where the rows of statements go.
pub trait SqlRows {
    /// A row; `is_first` says that a result starts.
    ///
    /// # Errors
    /// Nobody takes more rows.
    fn row(
        &mut self,
        cells: &mut dyn Cells,
        explain: Explain,
        is_first: bool,
    ) -> Result<(), Failure>;

    /// The end of a result that had rows.
    ///
    /// # Errors
    /// Nobody takes more rows.
    fn end(&mut self) -> Result<(), Failure>;
}

/// What SQLite says of a statement that failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SqlRefused {
    /// The error: its code, its words, what to do, without the place.
    pub failure: Failure,
    /// The byte of the SQL that it means: where SQLite names none, the first word of the statement.
    pub offset: usize,
}

/// Why a run of SQL ended early.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SqlRunError {
    /// SQLite refused a statement.
    Refused(SqlRefused),
    /// The rows were not taken.
    Rows(Failure),
}
