//! What needs the log, and from where: for whoever asks why it is so long.
//!
//! The holds of the log and the cursors that the release of the log follows are what is answered.
//!
//! Never: releases a segment.

use super::engine::Engine;
use super::manager::Manager;
use crate::ids::{DbId, Lsn};
use crate::log::HoldReason;
use std::collections::BTreeMap;

/// Who needs a part of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LogNeed {
    /// Pages of a database that no checkpoint has yet, or that somebody still reads there.
    Pages(DbId),
    /// Records of the catalogue that no checkpoint has yet.
    Catalogue,
    /// A large commit that is being written.
    Fragments(DbId),
    /// What is live of a record log: checkpoints move it once the log is long.
    Records(DbId),
    /// A cursor over commits, of this name.
    Cursor(String),
    /// A backup that copies the log.
    Backup,
}

/// A part of the log that somebody needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NeededLog {
    /// Who needs it.
    pub by: LogNeed,
    /// The name of the database, where it has one.
    pub database: Option<String>,
    /// From here on.
    pub from: Lsn,
    /// Bytes of the segments from there on.
    pub bytes: u64,
    /// Whether a checkpoint ends that.
    pub until_checkpoint: bool,
}

/// Why the log is as long as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogNeeds {
    /// Nothing before it is in the log.
    pub truncated: Lsn,
    /// Everything before it is in chunks.
    pub checkpointed: Lsn,
    /// Where the log ends.
    pub published: Lsn,
    /// Bytes of the segments that hold records.
    pub log_bytes: u64,
    /// Bytes of the segments that a checkpoint would release, at least: it may move what is live of record
    /// logs, too.
    pub freed_by_checkpoint: u64,
    /// Who needs it, each once with the oldest position, oldest first.
    pub needs: Vec<NeededLog>,
}

impl Manager {
    /// What needs the log, and what a checkpoint would release of it.
    pub fn log_needs(&self) -> LogNeeds {
        self.engine.log_needs()
    }
}

impl Engine {
    fn log_needs(&self) -> LogNeeds {
        let rows = self.manifest.state();
        let published = self.log.published();
        let closed = self.closed.lock().clone();
        let name_of = |id: DbId| {
            let cell = self.catalogue.lock();
            let entry = cell.catalogue.entry(id);
            entry.map(|entry| entry.name.as_str().to_owned())
        };
        let mut oldest: BTreeMap<Key, (HoldReason, Lsn)> = BTreeMap::new();
        for (from, reason) in self.log.holds().all() {
            // They come oldest first.
            oldest.entry(key(reason)).or_insert((reason, from));
        }
        let held = oldest.into_values().map(|(reason, from)| {
            let (by, database) = match reason {
                HoldReason::Pages(id) => (LogNeed::Pages(id), Some(id)),
                HoldReason::Catalogue => (LogNeed::Catalogue, None),
                HoldReason::FragmentChain(id) => (LogNeed::Fragments(id), Some(id)),
                HoldReason::Records(id) => (LogNeed::Records(id), Some(id)),
            };
            let is_closed = database.is_some_and(|id| closed.contains_key(&id));
            NeededLog {
                by,
                database: database.and_then(name_of),
                from,
                bytes: self.segment_bytes_from(from),
                until_checkpoint: ends_with_checkpoint(reason) && !is_closed,
            }
        });
        let mut needs: Vec<NeededLog> = held.collect();
        needs.extend(
            self.cursors_before(published)
                .into_iter()
                .map(|(from, name)| {
                    let by = LogNeed::Cursor(name.to_string());
                    let bytes = self.segment_bytes_from(from);
                    NeededLog {
                        by,
                        database: None,
                        from,
                        bytes,
                        until_checkpoint: false,
                    }
                }),
        );
        needs.extend(self.backup_before(published).map(|lease| NeededLog {
            by: LogNeed::Backup,
            database: None,
            from: lease.from(),
            bytes: self.segment_bytes_from(lease.from()),
            until_checkpoint: false,
        }));
        needs.sort_by_key(|need| need.from);
        let stays = needs.iter().filter(|need| !need.until_checkpoint);
        let first = stays.map(|need| need.from).min();
        let released = self.log.ring().releasable(first.unwrap_or(published));
        let released = released.iter().map(|sealed| sealed.segment.capacity_bytes);
        LogNeeds {
            truncated: rows.watermarks().truncated,
            checkpointed: rows.watermarks().checkpointed,
            published,
            log_bytes: self.log.ring().kept_bytes(),
            freed_by_checkpoint: released.sum(),
            needs,
        }
    }

    /// Bytes of the log from the oldest position on that is needed, by who needs it: a name of a fixed set.
    pub(super) fn log_bytes_by_holder(&self) -> [(&'static str, u64); 7] {
        let published = self.log.published();
        let closed = self.closed.lock().clone();
        let is_closed = |id: &DbId| closed.contains_key(id);
        let first = |is_wanted: &dyn Fn(&HoldReason) -> bool| {
            let from = self.log.holds().oldest_but(|reason| !is_wanted(reason));
            from.map_or(0, |from| self.segment_bytes_from(from))
        };
        let cursors = self.cursors_before(published);
        let cursor = cursors.first().map(|(from, _)| *from);
        let backup = self.backup_before(published).map(|lease| lease.from());
        let of = |from: Option<Lsn>| from.map_or(0, |from| self.segment_bytes_from(from));
        let of_reader = self.oldest_reader().map_or(0, |reader| reader.log_bytes);
        [
            (
                "checkpoint",
                first(&|reason| match reason {
                    HoldReason::Pages(id) => !is_closed(id),
                    HoldReason::Catalogue => true,
                    _ => false,
                }),
            ),
            ("reader", of_reader),
            (
                "large_commit",
                first(&|reason| matches!(reason, HoldReason::FragmentChain(_))),
            ),
            (
                "record_log",
                first(&|reason| matches!(reason, HoldReason::Records(id) if !is_closed(id))),
            ),
            (
                "closed_database",
                first(&|reason| match reason {
                    HoldReason::Pages(id) | HoldReason::Records(id) => is_closed(id),
                    _ => false,
                }),
            ),
            ("cursor", of(cursor)),
            ("backup", of(backup)),
        ]
    }

    /// Bytes of the segments that have something from a position on.
    pub(super) fn segment_bytes_from(&self, from: Lsn) -> u64 {
        let ring = self.log.ring();
        let before = ring.releasable(from);
        let before = before.iter().map(|sealed| sealed.segment.capacity_bytes);
        ring.kept_bytes().saturating_sub(before.sum())
    }
}

/// Whether a checkpoint has it in chunks.
fn ends_with_checkpoint(reason: HoldReason) -> bool {
    matches!(reason, HoldReason::Pages(_) | HoldReason::Catalogue)
}

/// Reasons that are one need.
type Key = (u8, DbId);

fn key(reason: HoldReason) -> Key {
    match reason {
        HoldReason::Pages(id) => (0, id),
        HoldReason::Catalogue => (1, DbId::CATALOGUE),
        HoldReason::FragmentChain(id) => (2, id),
        HoldReason::Records(id) => (3, id),
    }
}
