//! What the tests share: a store in a temporary directory, random numbers with a seed, and the
//! place of the shared data.
#![allow(dead_code, reason = "every test binary uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use bop_libsql::{Connection, Options, Store};
use std::path::PathBuf;
use tempfile::TempDir;

pub(crate) mod process;

/// A new store. The directory goes when the guard does.
pub(crate) fn new_store() -> (TempDir, Store) {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), Options::new()).unwrap();
    (dir, store)
}

/// What SQLite says to `PRAGMA integrity_check`.
pub(crate) fn integrity(connection: &rusqlite::Connection) -> String {
    connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap()
}

/// The one integer that `sql` answers.
pub(crate) fn int(connection: &rusqlite::Connection, sql: &str) -> i64 {
    connection
        .query_row(sql, [], |row| row.get(0))
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// The one text that `sql` answers.
pub(crate) fn text(connection: &rusqlite::Connection, sql: &str) -> String {
    connection
        .query_row(sql, [], |row| row.get(0))
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// A connection whose page cache spills after a few pages.
pub(crate) fn connect_small_cache(store: &Store, name: &str) -> Connection {
    let connection = store.connect(name).unwrap();
    connection
        .execute_batch("PRAGMA cache_size = 10; PRAGMA cache_spill = 10;")
        .unwrap();
    connection
}

/// The extended result code of a failed call.
pub(crate) fn code_of<T: std::fmt::Debug>(result: Result<T, rusqlite::Error>) -> i32 {
    result
        .unwrap_err()
        .sqlite_error()
        .expect("an error of SQLite's own")
        .extended_code
}

/// Random numbers that can be had again: a failing test prints the seed, `BOP_SEED` repeats it.
pub(crate) struct Random {
    state: u64,
    seed: u64,
}

impl Random {
    /// With the seed in `BOP_SEED`, else a fresh one.
    pub(crate) fn new() -> Self {
        use std::hash::{BuildHasher, Hasher, RandomState};
        let seed = std::env::var("BOP_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(|| RandomState::new().build_hasher().finish());
        Self::seeded(seed)
    }

    /// With this seed.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { state: seed, seed }
    }

    /// The seed it started with.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// The next number: splitmix64.
    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with BOP_SEED={}", self.seed);
        }
    }
}

/// The directory of the shared data; `None`, loudly, where it is absent.
///
/// # Panics
/// When it is absent and `BOP_REQUIRE_SHARED=1`.
pub(crate) fn shared_dir() -> Option<PathBuf> {
    let dir = std::env::var_os("BOP_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    if dir.is_dir() {
        return Some(dir);
    }
    let required = std::env::var_os("BOP_REQUIRE_SHARED").is_some_and(|value| value == "1");
    assert!(
        !required,
        "BOP_REQUIRE_SHARED=1, but there is no {}",
        dir.display()
    );
    eprintln!(
        "SKIPPED: this test needs the shared data, and there is no {}",
        dir.display()
    );
    None
}
