//! Recovery: what the log says, from the files that the manifest names.
//!
//! ```text
//! inspect (first blocks of each segment) -> link (predecessor chain)
//!   -> read (index or scan, several segments at a time, ahead of the walk)
//!   -> for each segment, in order: judge (tail rule) -> replay (fragments, histories of databases)
//!   -> the sink
//! ```
//! Invariants
//! - recovery never writes: doing it again gives the same result, and a crash in it changes nothing;
//! - bytes that were once acknowledged are replayed, or the databases that they can belong to are
//!   reported as damaged; they are never taken for the end of the log;
//! - files that are not registered are not read.
//!
//! Never: decides which of its findings a user is shown, keeps a page image.

mod chains;
mod databases;
mod inspect;
mod judge;
mod links;
mod readers;
mod reading;
mod replay;
mod sink;
mod walk;

#[cfg(test)]
mod tests;

pub use databases::Checkpointed;
pub use inspect::RegisteredSegment;
pub use readers::Helpers;
pub use sink::{
    ReplaySink, ReplayedCatalogue, ReplayedCommit, ReplayedLog, ReplayedMember, ReplayedPage,
};

use crate::error::{Damage, OpenError};
use crate::ids::{DbId, Epoch, Lsn, SegmentId, StoreId};
use crate::io::{BLOCK_BYTES, Disk};
use crate::log::format::{ChainHash, SegmentIdentity};
use databases::Databases;
use inspect::{Inspected, State, inspect, look_behind_zeros};
use links::{link, set_aside_abandoned};
use replay::Replay;
use std::collections::BTreeMap;
use walk::Walk;

/// What the manifest knows of the log.
#[derive(Clone, Debug)]
pub struct LogState<'a> {
    /// The store.
    pub store: StoreId,
    /// Its segments.
    pub segments: &'a [RegisteredSegment],
    /// Everything below was released: nothing there is looked for.
    pub truncated: Lsn,
    /// What of the catalogue's records the manifest has applied.
    pub catalogue: Checkpointed,
    /// Every database that the manifest knows, with what its chunks hold. A database without a
    /// checkpoint is here too, else damage cannot be told from it.
    pub checkpointed: &'a BTreeMap<DbId, Checkpointed>,
}

impl LogState<'_> {
    /// Everything below was durable once: the manifest could not know of it otherwise.
    fn known(&self) -> Lsn {
        let behind = |checkpointed: &Checkpointed| {
            let head = checkpointed.head;
            let end = if head == Lsn::ZERO {
                head
            } else {
                head.next().unwrap_or(head)
            };
            end.max(checkpointed.covered)
        };
        let databases = self.checkpointed.values().map(behind);
        databases.fold(self.truncated.max(behind(&self.catalogue)), Lsn::max)
    }
}

/// A segment that the log has left.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SealedSegment {
    /// Whose file it is.
    pub identity: SegmentIdentity,
    /// Bytes of its file.
    pub capacity_bytes: u64,
    /// Its first Lsn.
    pub base: Lsn,
    /// Where the log left it.
    pub end: Lsn,
    /// It has a good index, which was read instead of its batches.
    pub indexed: bool,
}

/// The segment that the log is in.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ActiveSegment {
    /// Whose file it is.
    pub identity: SegmentIdentity,
    /// Bytes of its file.
    pub capacity_bytes: u64,
    /// Its first Lsn.
    pub base: Lsn,
    /// Where its newest batch starts; its end when it has none, or has lost it.
    pub tail: Lsn,
    /// Where the log ends: after a clean close the next batch may start here; after anything else
    /// the log goes on in another segment, which names this place.
    pub end: Lsn,
    /// The fold of its batches up to there.
    pub chain: ChainHash,
}

/// What recovery found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// The end of the log. Nothing behind it was replayed, and nothing ever will be.
    pub end: Lsn,
    /// The newest time stamp given out.
    pub last_time_us: u64,
    /// The newest epoch that wrote anything.
    pub max_epoch: Epoch,
    /// The largest id of a registered segment.
    pub max_segment_id: SegmentId,
    /// The log ends in a close record, and only zeros stand behind it.
    pub clean: bool,
    /// No Lsn from here on was ever given to a byte that was written. A multiple of a block.
    pub highest_possible_end: Lsn,
    /// The segment that the log is in; `None` when none was ever activated.
    pub active: Option<ActiveSegment>,
    /// The segments before it, in order.
    pub sealed: Vec<SealedSegment>,
    /// Segments that can be activated, in the order in which they must be.
    pub spares: Vec<RegisteredSegment>,
    /// Segments that hold nothing of the log but must be stamped again before they are of use.
    pub restamp: Vec<RegisteredSegment>,
    /// Segments whose activation was begun and given up: they hold nothing, whatever is in them.
    pub abandoned: Vec<RegisteredSegment>,
    /// Registered segments that are missing, unreadable, or another store's file: never written.
    pub unusable: Vec<RegisteredSegment>,
    /// Databases that cannot be vouched for; [`DbId::CATALOGUE`] stands for the catalogue.
    pub damaged: BTreeMap<DbId, Damage>,
    /// The first and the last record of each database that its chunks do not hold.
    pub spans: BTreeMap<DbId, (Lsn, Lsn)>,
    /// Everything that was found damaged, whether or not a database suffers by it.
    pub findings: Vec<Damage>,
}

/// Reads the log and delivers it to `sink`.
///
/// # Errors
/// [`OpenError::Io`] when files cannot be opened for reasons that have nothing to do with their
/// bytes, or when the device refuses reads without which nobody can tell where the log ends;
/// [`OpenError::Damaged`] for a newer format ([`Reject::Version`](crate::error::Reject),
/// [`Reject::Features`](crate::error::Reject)) and for sound segments that contradict each other.
/// Any other damage is in the result.
pub fn recover(
    disk: &dyn Disk,
    state: &LogState<'_>,
    helpers: Helpers<'_>,
    sink: &mut dyn ReplaySink,
) -> Result<Recovered, OpenError> {
    let mut registered = state.segments.to_vec();
    registered.sort_by_key(|segment| segment.id);
    let mut segments = registered
        .iter()
        .map(|segment| inspect(disk, state.store, *segment))
        .collect::<Result<Vec<_>, _>>()?;
    if segments.iter().all(|segment| segment.opened().is_none()) {
        for segment in &mut segments {
            look_behind_zeros(state.store, segment)?;
        }
    }
    set_aside_abandoned(&mut segments, state.truncated);
    let links = link(&segments, state.truncated)?;
    let databases = Databases::new(state.checkpointed, state.catalogue, state.truncated);
    let walk = Walk::new(state, Replay::new(databases, sink));
    let walked = walk.run(&segments, &links, helpers)?;
    Ok(summary(state, &segments, walked))
}

fn summary(state: &LogState<'_>, segments: &[Inspected], walked: walk::Walked) -> Recovered {
    let mut recovered = Recovered {
        end: walked.end,
        last_time_us: walked.last_time_us,
        max_epoch: walked.max_epoch,
        max_segment_id: SegmentId::default(),
        clean: walked.clean,
        highest_possible_end: state.known().max(walked.end),
        active: walked.active,
        sealed: walked.sealed,
        spares: Vec::new(),
        restamp: Vec::new(),
        abandoned: Vec::new(),
        unusable: Vec::new(),
        damaged: walked.damaged,
        spans: walked.spans,
        findings: Vec::new(),
    };
    let active = recovered.active.map(|active| active.identity.segment);
    let mut unseen_bytes: u64 = 0;
    for segment in segments {
        let registered = segment.registered;
        recovered.max_segment_id = recovered.max_segment_id.max(registered.id);
        recovered.findings.extend(segment.findings.iter().cloned());
        match &segment.state {
            State::Activated(opened) => {
                let limit = opened.space.limit();
                recovered.highest_possible_end = recovered.highest_possible_end.max(limit);
            }
            State::Abandoned(limit) => {
                recovered.highest_possible_end = recovered.highest_possible_end.max(*limit);
                recovered.abandoned.push(registered);
            }
            State::Spare(_) if active < Some(registered.id) => recovered.spares.push(registered),
            State::Spare(_) | State::NeverActivated => recovered.restamp.push(registered),
            State::Unusable(_) => {
                unseen_bytes = unseen_bytes.saturating_add(registered.capacity_bytes);
                recovered.unusable.push(registered);
            }
        }
    }
    if recovered.active.is_none() && recovered.damaged.is_empty() {
        // Nothing of the log is missing, so the one whose turn it was to be activated first was not.
        unseen_bytes = 0;
    }
    let end = recovered.highest_possible_end.advance(unseen_bytes);
    let end = end.unwrap_or(Lsn::LIMIT).get();
    recovered.highest_possible_end = Lsn::new(end.next_multiple_of(BLOCK_BYTES as u64));
    for finding in walked.findings {
        if !recovered.findings.contains(&finding) {
            recovered.findings.push(finding);
        }
    }
    recovered
}
