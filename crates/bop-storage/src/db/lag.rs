//! How far chunks are behind commits, and what keeps a checkpoint from having more of them: for whoever looks
//! after a store.
//!
//! Never: reads a file.

use super::bases::checkpointed_head;
use super::engine::Engine;
use super::manager::Manager;
use crate::ids::Lsn;
use crate::manifest::ManifestState;

/// How far chunks are behind commits.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Lag {
    /// Bytes of the log between the last checkpoint and the newest commit: what an opening may have to read.
    pub bytes: u64,
    /// Commits since the last checkpoint began; `None` if there was none since the store was opened.
    pub commits: Option<u64>,
    /// Of the database that is furthest behind: how much younger its newest commit is than what chunks have of
    /// it, in microseconds. Of one that chunks have nothing of, since it was created.
    pub us: u64,
    /// When the last checkpoint since the store was opened ended, in microseconds since the Unix epoch.
    pub last_checkpoint_us: Option<u64>,
    /// Room on the device that is held for the next checkpoint.
    pub reserve_bytes: u64,
    /// Room that is to be held beside it, since the log is as long as it is, and that the device did not have.
    pub reserve_missing_bytes: u64,
    /// Who reads the oldest state that is not the newest of its database any more.
    pub oldest_reader: Option<OldestReader>,
}

/// A read transaction on a state that is not the newest any more.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct OldestReader {
    /// The name of its database.
    pub database: String,
    /// The commit that it sees.
    pub lsn: Lsn,
    /// When that was, in microseconds since the Unix epoch; 0 without a commit.
    pub time_us: u64,
    /// Bytes of the log from there on, if it keeps the log from being released; else 0: what it reads is in
    /// chunks.
    pub log_bytes: u64,
}

impl Manager {
    /// How far chunks are behind commits, and why.
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use bop_storage::{DbKind, Manager, Options};
    ///
    /// let store = Manager::open(dir.path(), Options::new())?;
    /// store.create_database("one", DbKind::Raw)?;
    /// assert!(store.lag().bytes > 0 && store.lag().last_checkpoint_us.is_none());
    /// store.checkpoint()?;
    /// assert!(store.lag().last_checkpoint_us.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn lag(&self) -> Lag {
        self.engine.lag()
    }
}

impl Engine {
    fn lag(&self) -> Lag {
        let rows = self.manifest.state();
        let published = self.log.published();
        let last = self.guards.last_checkpoint();
        let spares = self.log.spares();
        Lag {
            bytes: published
                .bytes_since(rows.watermarks().checkpointed)
                .unwrap_or(0),
            commits: last.map(|last| self.meters.commits().saturating_sub(last.commits)),
            us: self.lag_us(&rows),
            last_checkpoint_us: last.map(|last| last.ended_us),
            reserve_bytes: spares.reserve().held_bytes(),
            reserve_missing_bytes: spares.reserve_bytes_for_log(0),
            oldest_reader: self.oldest_reader(),
        }
    }

    /// See [`Lag::us`].
    fn lag_us(&self, rows: &ManifestState) -> u64 {
        let behind = self.states().into_iter().filter_map(|state| {
            let view = state.view();
            if view.layer_count() == 0 {
                return None;
            }
            let cell = self.catalogue.lock();
            let in_chunks = checkpointed_head(view.database(), rows, &cell.catalogue);
            let since = match in_chunks.time_us {
                0 => cell.catalogue.entry(view.database())?.created_us,
                us => us,
            };
            Some(view.head().time_us.saturating_sub(since))
        });
        behind.max().unwrap_or(0)
    }

    pub(super) fn oldest_reader(&self) -> Option<OldestReader> {
        let readers = self.states().into_iter().filter_map(|state| {
            let (lsn, time_us, in_log) = state.oldest_reader()?;
            (lsn < state.view().head().lsn).then_some((lsn, time_us, in_log, state))
        });
        let (lsn, time_us, in_log, state) = readers.min_by_key(|(lsn, ..)| *lsn)?;
        let database = state.view().database();
        let name = {
            let cell = self.catalogue.lock();
            let entry = cell.catalogue.entry(database);
            entry.map_or_else(|| format!("id {database}"), |entry| entry.name.to_string())
        };
        Some(OldestReader {
            database: name,
            lsn,
            time_us,
            log_bytes: if in_log {
                self.segment_bytes_from(lsn)
            } else {
                0
            },
        })
    }
}
