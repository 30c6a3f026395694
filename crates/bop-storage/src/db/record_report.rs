//! What a store tells about its record logs, and whether every live entry is right.

use super::engine::Engine;
use super::report::VerifyReport;
use super::verify::damage_of;
use crate::error::{CatalogueError, Place};
use crate::ids::{DbId, DbKind, Lsn};
use crate::log::format::EntryKind;
use crate::recordlog::{LogBounds, RecordState, Wanted};
use std::sync::Arc;

/// A record log, for people and programs.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct RecordLogInfo {
    /// Which entries there are.
    pub bounds: LogBounds,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Bytes of the hard state; `None` before the first.
    pub vote_bytes: Option<u32>,
}

/// So many entries are checked between two looks at the index.
const ENTRIES_AT_ONCE: usize = 1024;

impl Engine {
    /// Opens a record log by name.
    pub(super) fn open_record_log(&self, name: &str) -> Result<Arc<RecordState>, CatalogueError> {
        self.check_open().map_err(|_| CatalogueError::Closed)?;
        self.by_name(name, |id, kind| {
            if kind != DbKind::Log {
                return Err(CatalogueError::WrongKind {
                    name: name.to_owned(),
                    found: kind.name(),
                    wanted: DbKind::Log.name(),
                });
            }
            self.check_undamaged(id, name)?;
            self.load_record_log(id, name)
        })
    }

    /// A log's newest record and what it has; nothing of one that never had a record.
    pub(super) fn record_log_info(&self, id: DbId) -> (Lsn, RecordLogInfo) {
        let Some(state) = self.records.get(id) else {
            return (Lsn::ZERO, RecordLogInfo::default());
        };
        let inner = state.look();
        let info = RecordLogInfo {
            bounds: inner.index.bounds(),
            payload_bytes: inner.index.payload_bytes(),
            vote_bytes: inner.index.vote().map(|vote| vote.bytes),
        };
        (inner.index.head(), info)
    }

    /// Reads every live entry, and the hard state, from the device.
    pub(super) fn verify_record_log(&self, id: DbId, report: &mut VerifyReport) {
        let Some(state) = self.records.get(id) else {
            return;
        };
        report.record_logs += 1;
        let mut from = state.look().index.bounds().first;
        loop {
            if self.lifecycle.is_closing() {
                return;
            }
            let wanted = wanted_from(&state, from);
            let Some((_, last, _)) = wanted.last() else {
                break;
            };
            let next = last + 1;
            match self.record_reader.check(id, &wanted) {
                Ok(()) => {
                    report.entries += wanted.len() as u64;
                    from = next;
                }
                // Purged, cut or moved meanwhile: looked at again where it is now.
                Err(_) if wanted_from(&state, from) != wanted => {
                    from = from.max(state.look().index.bounds().first);
                }
                Err(_) => {
                    self.verify_singly(id, &wanted, report);
                    from = next;
                }
            }
        }
        self.verify_vote(&state, report);
    }

    /// Some of these cannot be read: which?
    fn verify_singly(&self, id: DbId, wanted: &[Wanted], report: &mut VerifyReport) {
        for one in wanted {
            match self.record_reader.check(id, std::slice::from_ref(one)) {
                Ok(()) => report.entries += 1,
                Err(error) => {
                    let place = Place::Database { database: id };
                    report.findings.push(damage_of(error, place));
                }
            }
        }
    }

    fn verify_vote(&self, state: &RecordState, report: &mut VerifyReport) {
        let vote = || state.look().index.vote();
        while let Some(item) = vote() {
            let checked = self
                .record_reader
                .check(state.id(), &[(EntryKind::Vote, 0, item)]);
            match checked {
                Err(_) if vote() != Some(item) => continue,
                Err(error) => {
                    let place = Place::Database {
                        database: state.id(),
                    };
                    report.findings.push(damage_of(error, place));
                }
                Ok(()) => {}
            }
            return;
        }
    }
}

fn wanted_from(state: &RecordState, from: u64) -> Vec<Wanted> {
    let inner = state.look();
    let there = (from..inner.index.bounds().next).take(ENTRIES_AT_ONCE);
    there
        .filter_map(|index| Some((EntryKind::Entry, index, inner.index.item(index)?)))
        .collect()
}
