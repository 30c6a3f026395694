//! The log of a store that was recovered: its segments with their files open, and the first write of
//! the new epoch.
//!
//! Invariant: nothing that recovery read is written over, but for the newest bytes with themselves:
//! the log goes on behind a close record, or in a segment of its own.

use super::housekeeper::Housekeeping;
use super::open::Parts;
use super::registry::ManifestRegistry;
use super::signals::Signals;
use crate::canary::{Canary, is_planted};
use crate::error::{Damage, OpenError, Place, Reject};
use crate::ids::{Epoch, Lsn, SegmentId};
use crate::io::{IoFailure, OpenMode, layout};
use crate::limits::UNCLEAN_GAP_BYTES;
use crate::log::format::SegmentIdentity;
use crate::log::recover::Recovered;
use crate::log::{
    KeptBatches, Log, LogEnd, LogHolds, LogParts, LogSegment, LogStart, RegisteredSegment, Ring,
    SealedSegment, SpareMaker, SpareSegment, StartError, settle,
};
use crate::manifest::ManifestState;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The log, in its new epoch.
pub(super) struct StartedLog {
    pub(super) log: Log,
    pub(super) epoch: Epoch,
}

impl Parts<'_> {
    pub(super) fn start_log(
        &self,
        recovered: Recovered,
        rows: &ManifestState,
        holds: &Arc<LogHolds>,
        signals: &Arc<Signals>,
    ) -> Result<StartedLog, OpenError> {
        let start = log_start(&recovered, self.options.restored)?;
        let (epoch, clean) = (start.position.epoch, start.goes_on);
        if let Some(active) = &recovered.active {
            settle(self.disk.as_ref(), active)?;
        }
        let ring = Arc::new(self.ring(&recovered, rows)?);
        let runtime = self.options.runtime.clone();
        let background = self.options.housekeeping == Housekeeping::Background;
        let registry = Arc::new(ManifestRegistry::new(&self.manifest, &self.limits));
        let (disk, limits) = (Arc::clone(&self.disk), self.limits.clone());
        let store = self.superblock.store;
        let spares = Arc::new(SpareMaker::new(
            disk,
            store,
            runtime.entropy,
            registry,
            Arc::clone(&ring),
            limits,
        ));
        let wanted = match self.options.housekeeping {
            // Nobody waits for more than the epoch needs to start: the housekeeper makes the others.
            Housekeeping::Background => 1,
            Housekeeping::Manual => self.limits.segments_spare_min as usize,
        };
        // One more when an activation is to come, so that it costs no second round.
        let wanted = if clean { wanted } else { wanted + 1 };
        if let Err(error) = spares.ensure(wanted) {
            tracing::warn!(%error, "spare segments are missing");
        }
        // Behind the spares: an opening needs one, and no room for a checkpoint.
        spares.fit_reserve();
        let parts = LogParts {
            store,
            ring,
            spares,
            holds: Arc::clone(holds),
            unwritten: Arc::default(),
            kept: Arc::new(KeptBatches::new(self.limits.log_kept_bytes_max)),
            clock: runtime.clock,
            spawn: background.then_some(runtime.spawn),
            limits: self.limits.clone(),
            events: Arc::clone(signals) as _,
            meters: Arc::clone(&self.meters),
        };
        let log = Log::start(parts, start).map_err(|error| match error {
            StartError::Write(error) => OpenError::Start(Box::new(error)),
            StartError::Thread(source) => OpenError::System {
                what: "a thread",
                source: Arc::new(source),
            },
        })?;
        let indexed = recovered.sealed.iter().filter(|sealed| sealed.indexed);
        let indexed: BTreeSet<SegmentId> = indexed.map(|one| one.identity.segment).collect();
        for SealedSegment { segment, end } in log.ring().sealed() {
            if !indexed.contains(&segment.id) {
                log.ring().seals().push_unread(segment, end);
            }
        }
        Ok(StartedLog { log, epoch })
    }

    /// The segments that recovery found, with their files open.
    fn ring(&self, recovered: &Recovered, rows: &ManifestState) -> Result<Ring, OpenError> {
        let file = |id| self.disk.open(&layout::segment(id), OpenMode::Write);
        let segment = |identity: &SegmentIdentity, base, capacity_bytes| {
            let file = file(identity.segment)?;
            let (id, incarnation) = (identity.segment, identity.incarnation);
            let segment = LogSegment::new(id, incarnation, base, capacity_bytes, file);
            Ok::<_, IoFailure>(Arc::new(segment))
        };
        let sealed = recovered
            .sealed
            .iter()
            .map(|found| {
                let segment = segment(&found.identity, found.base, found.capacity_bytes)?;
                Ok(SealedSegment {
                    segment,
                    end: found.end,
                })
            })
            .collect::<Result<Vec<_>, IoFailure>>()?;
        let active = recovered.active.as_ref();
        let active = active
            .map(|found| segment(&found.identity, found.base, found.capacity_bytes))
            .transpose()?;
        let spares = recovered
            .spares
            .iter()
            .map(|found| {
                let RegisteredSegment {
                    id,
                    incarnation,
                    capacity_bytes,
                } = *found;
                Ok(SpareSegment {
                    id,
                    incarnation,
                    capacity_bytes,
                    file: file(id)?,
                })
            })
            .collect::<Result<Vec<_>, IoFailure>>()?;
        let largest = rows.watermarks().next_segment.get().saturating_sub(1);
        Ok(Ring::new(sealed, active, spares, SegmentId::new(largest)))
    }
}

/// Positions and epochs that a store leaves out when it is made of a backup: whatever the one that was
/// backed up has given out since, none of it means something else here. 8,000 times a petabyte can be left out.
const RESTORED_GAP_BYTES: u64 = 1 << 50;
const RESTORED_EPOCHS: u64 = 1 << 16;

/// Where the log goes on: behind a close record in the same segment, else in a new one whose Lsns
/// lie behind all that can ever have been given out.
fn log_start(recovered: &Recovered, restored: bool) -> Result<LogStart, OpenError> {
    let exhausted = |what| {
        let place = Place::File(layout::LOG_DIR.into());
        OpenError::Damaged(Damage::new(place, Reject::Invalid(what)))
    };
    let (epochs, gap_bytes) = match restored {
        false => (1, UNCLEAN_GAP_BYTES),
        true => (RESTORED_EPOCHS, RESTORED_GAP_BYTES),
    };
    let epoch = recovered.max_epoch.get().checked_add(epochs);
    let epoch = epoch.map(Epoch::new);
    let epoch = epoch.ok_or_else(|| exhausted("all epochs are used up"))?;
    let clean = recovered.clean || is_planted(Canary::AppendAfterTornTail);
    let goes_on = clean && recovered.active.is_some() && !restored;
    let base = if goes_on {
        Some(recovered.end)
    } else if recovered.highest_possible_end == Lsn::ZERO && !restored {
        // A new store: nothing was ever given out.
        Some(Lsn::ZERO)
    } else if is_planted(Canary::LsnReused) {
        Some(recovered.end)
    } else {
        recovered.highest_possible_end.advance(gap_bytes)
    };
    let position = LogEnd {
        end: recovered.end,
        segment: recovered.active.map(|active| active.identity.segment),
        chain_hash: recovered
            .active
            .map(|active| active.chain)
            .unwrap_or_default(),
        last_time_us: recovered.last_time_us,
        epoch,
    };
    let base = base.ok_or_else(|| exhausted("all positions of the log are used up"))?;
    Ok(LogStart {
        position,
        base,
        goes_on,
    })
}
