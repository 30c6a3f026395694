//! What recovery makes of a store: the catalogue, the views that the log adds to, and which databases
//! cannot be vouched for.
//!
//! Invariants
//! - a damaged database has no view; its part of the log is kept for salvage, out of the log's way;
//! - a dropped database is never damaged: it has nothing left to lose.
//!
//! Never: writes.

use super::chunks::ChunkSet;
use super::closed::closed_at_open;
use super::housekeeper::Housekeeping;
use super::open::Parts;
use super::replay::Replay;
use super::strangers::own_stamp;
use crate::cache::PageCache;
use crate::catalogue::Catalogue;
use crate::error::{Damage, OpenError};
use crate::ids::{DbId, DbKind, Incarnation, SegmentId};
use crate::log::recover::Recovered;
use crate::log::{Checkpointed, Helpers, LogHold, LogHolds, LogState, RegisteredSegment, recover};
use crate::manifest::{ClosedRow, ManifestState};
use crate::recordlog::LogIndex;
use crate::view::View;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The state that an engine starts from.
pub(super) struct RecoveredState {
    pub(super) catalogue: Catalogue,
    pub(super) catalogue_hold: Option<Arc<LogHold>>,
    /// Databases with commits that no checkpoint covers.
    pub(super) views: BTreeMap<DbId, View>,
    /// Record logs that have anything.
    pub(super) record_logs: BTreeMap<DbId, LogIndex>,
    /// Databases that are closed, and why.
    pub(super) damaged: BTreeMap<DbId, Damage>,
    /// Everything that was found damaged, whether or not a database suffers by it.
    pub(super) findings: Vec<Damage>,
    /// What is to be recorded of them.
    pub(super) closed: BTreeMap<DbId, ClosedRow>,
}

impl Parts<'_> {
    pub(super) fn recover_state(
        &self,
        rows: &ManifestState,
        chunks: &ChunkSet,
        cache: &Arc<PageCache>,
        holds: &Arc<LogHolds>,
    ) -> Result<(RecoveredState, Recovered), OpenError> {
        let _span = tracing::info_span!("recovery").entered();
        let mut replay = Replay {
            rows,
            chunks,
            cache,
            limits: &self.limits,
            holds,
            catalogue: Catalogue::from_rows(rows),
            catalogue_hold: None,
            views: BTreeMap::new(),
            record_logs: BTreeMap::new(),
            damaged: BTreeMap::new(),
        };
        let recovered = self.recover(rows, &mut replay)?;
        let mut record_logs = replay.finish_record_logs();
        let Replay {
            mut catalogue,
            catalogue_hold,
            mut views,
            mut damaged,
            ..
        } = replay;
        let found = rows.damaged().databases.iter().chain(&recovered.damaged);
        damaged.extend(found.map(|(id, why)| (*id, why.clone())));
        // What was found first is what is told: the log may have gone on since.
        let recorded = rows
            .closed()
            .filter_map(|(id, row)| Some((id, row.damage(id)?)));
        damaged.extend(recorded);
        if let Some(damage) = damaged.remove(&DbId::CATALOGUE) {
            catalogue.set_damaged(damage);
        }
        let has_pages = |id| catalogue.has_pages(id);
        damaged.retain(|id, _| has_pages(*id));
        views.retain(|id, _| !damaged.contains_key(id));
        record_logs.retain(|id, _| has_pages(*id) && !damaged.contains_key(id));
        let closed = closed_at_open(rows, &recovered, &damaged, catalogue.damage());
        let mut findings = recovered.findings.clone();
        let still = rows.closed().filter(|(id, _)| closed.contains_key(id));
        let recorded = still.filter_map(|(id, row)| row.damage(id));
        for damage in recorded {
            if !findings.contains(&damage) {
                findings.push(damage);
            }
        }
        let state = RecoveredState {
            catalogue,
            catalogue_hold,
            views,
            record_logs,
            damaged,
            findings,
            closed,
        };
        Ok((state, recovered))
    }

    fn recover(
        &self,
        rows: &ManifestState,
        replay: &mut Replay<'_>,
    ) -> Result<Recovered, OpenError> {
        let registered = rows.segments().map(|(id, row)| RegisteredSegment {
            id,
            incarnation: row.incarnation,
            capacity_bytes: row.capacity_bytes,
        });
        // A segment whose row cannot be believed is part of the log all the same.
        let damaged = rows.damaged().segments.keys();
        let by_stamp = damaged.map(|id| self.by_its_stamp(*id));
        let segments: Vec<_> = registered.chain(by_stamp).collect();
        let covered = rows.watermarks().checkpointed;
        let checkpointed: BTreeMap<DbId, Checkpointed> = rows
            .databases()
            .map(|(id, row)| {
                let checkpointed = match row.kind {
                    DbKind::Sqlite | DbKind::Raw => Checkpointed {
                        head: row.checkpointed.lsn,
                        covered,
                    },
                    // Nothing of it is ever in a chunk.
                    DbKind::Log => Checkpointed::default(),
                };
                (id, checkpointed)
            })
            .collect();
        let state = LogState {
            store: self.superblock.store,
            segments: &segments,
            truncated: rows.watermarks().truncated,
            catalogue: Checkpointed::at(rows.watermarks().catalogue),
            checkpointed: &checkpointed,
        };
        let spawn = self.options.runtime.spawn.as_ref();
        let helpers = match self.options.housekeeping {
            Housekeeping::Background => Helpers::new(spawn),
            // Whoever keeps house by hand wants every call in the same order each time.
            Housekeeping::Manual => Helpers::at_most(spawn, 0),
        };
        recover(self.disk.as_ref(), &state, helpers, replay)
    }

    /// What the damaged row of a segment said, by the segment's file. When that has no stamp of its
    /// own either, recovery finds it unusable, and misses what it may have held.
    fn by_its_stamp(&self, id: SegmentId) -> RegisteredSegment {
        let stamp = own_stamp(self.disk.as_ref(), self.superblock.store, id);
        let (incarnation, capacity_bytes) = match stamp {
            Some(stamp) => (stamp.identity.incarnation, stamp.capacity_bytes),
            None => (Incarnation::default(), self.limits.segment_bytes_max),
        };
        RegisteredSegment {
            id,
            incarnation,
            capacity_bytes,
        }
    }
}
