//! A commit, or a group, that is too large for one record: a chain of fragments, the last of which is the commit.
//!
//! ```text
//! make 1 -> make 2 -> make 3 -> make 4 ... make the last
//!      '-> write 1 '-> write 2 '-> write 3 ...         '-> write the last -> visible
//!                       a failure anywhere before the last: abort record, the chain is void
//! ```
//! The device goes from one fragment to the next without waiting for the committer, and the first ones are
//! small, so that it begins soon.
//!
//! Invariants
//! - no commit has more in memory than the fragment that is written, one that waits, and the one that is
//!   made;
//! - a chain holds the log from its first fragment on, and not before there was room for that:
//!   whoever waits for room pins none of it;
//! - the last part is appended when all others are durable: it alone makes them count.
//!
//! Never: makes a patch. A page of a transaction in several parts has a full image.

use super::commit::{End, Mode, Transaction};
use super::engine::OpenStore;
use super::images::OwnPage;
use super::pending_commit::PendingCommit;
use super::publish::{PublishFirstFragment, next_offsets, place};
use crate::checksum::RollingChecksum;
use crate::error::{CommitError, LogFailure, Rejection};
use crate::ids::{CommitId, DbId, PageNo};
use crate::log::format::{EncodedRecord, FragmentPart, ImageOffsets, encode_abort};
use crate::log::{CommitFuture, HoldReason, LogHold, Priority, Publish, Silent};
use crate::view::CommittedPage;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

/// The fragments written so far, of a transaction over some databases.
pub(super) struct Chain {
    engine: Arc<OpenStore>,
    /// The first of its databases.
    database: DbId,
    commit: CommitId,
    /// Of all its pages.
    bytes: u64,
    index: u32,
    previous: u64,
    /// The pages of those that are durable, for each member.
    placed: Vec<Vec<CommittedPage>>,
    /// Those that are not yet, the oldest first.
    in_flight: VecDeque<InFlight>,
    /// Keeps the log from the first fragment on, once that is durable.
    hold: Arc<OnceLock<Arc<LogHold>>>,
}

/// Fragments that the log has and has not written: one is, another waits.
const AHEAD_MAX: usize = 2;

/// How often the size of a chain's parts doubles until they have half of what a record may have.
const DOUBLINGS: u32 = 3;

/// A smaller part costs as much as one of this size: a write of its own.
const PART_BYTES_MIN: usize = 64 << 10;

/// Bytes of the `nth` part of a chain, counted from 0, where a record may have `limit`.
pub(super) fn part_bytes(limit: usize, nth: usize) -> usize {
    let halved = 1 + DOUBLINGS.saturating_sub(u32::try_from(nth).unwrap_or(u32::MAX));
    (limit >> halved).max(PART_BYTES_MIN).min(limit)
}

/// The pages that a fragment has of some of the members.
pub(super) type OwnOfMembers = Vec<(usize, Vec<OwnPage>)>;

/// A fragment that the log has taken.
struct InFlight {
    future: CommitFuture,
    own: OwnOfMembers,
    offsets: ImageOffsets,
}

impl Chain {
    /// A chain for `bytes` bytes of pages, if there is room for them.
    pub(super) fn begin(
        engine: &Arc<OpenStore>,
        database: DbId,
        members: usize,
        bytes: u64,
    ) -> Result<Self, CommitError> {
        engine.reserve_for_chain(bytes)?;
        Ok(Self {
            engine: Arc::clone(engine),
            database,
            commit: engine.next_commit_id(),
            bytes,
            index: 0,
            previous: 0,
            placed: (0..members).map(|_| Vec::new()).collect(),
            in_flight: VecDeque::new(),
            hold: Arc::default(),
        })
    }

    /// The place of the next fragment.
    pub(super) fn next_part(&self) -> FragmentPart {
        FragmentPart::Fragment {
            commit: self.commit,
            index: self.index,
            previous: self.previous,
        }
    }

    /// The place of the record that commits.
    pub(super) fn last_part(&self) -> FragmentPart {
        FragmentPart::Last {
            commit: self.commit,
            index: self.index,
            previous: self.previous,
        }
    }

    /// Puts the next fragment on its way, when all but one of those before have arrived: they are written
    /// while this one is made.
    pub(super) fn append(
        &mut self,
        mut record: EncodedRecord,
        own: OwnOfMembers,
    ) -> Result<(), CommitError> {
        let offsets = std::mem::take(&mut record.image_offsets);
        let previous = record.header_checksum;
        let (priority, publish): (_, Box<dyn Publish>) = if self.index == 0 {
            let begun = PublishFirstFragment {
                engine: Arc::clone(self.engine.engine()),
                reason: HoldReason::FragmentChain(self.database),
                hold: Arc::clone(&self.hold),
            };
            (Priority::ChainBegin(self.bytes), Box::new(begun))
        } else {
            (Priority::Chain, Box::new(Silent))
        };
        self.land_but(AHEAD_MAX - 1)?;
        let appended = self.engine.log().append_ahead(record, priority, publish);
        let future = appended.map_err(fragment_failed)?;
        self.in_flight.push_back(InFlight {
            future,
            own,
            offsets,
        });
        (self.index, self.previous) = (self.index + 1, previous);
        Ok(())
    }

    /// Waits until all fragments in flight are durable.
    pub(super) fn land(&mut self) -> Result<(), CommitError> {
        self.land_but(0)
    }

    /// Waits until no more than `left` fragments are in flight.
    fn land_but(&mut self, left: usize) -> Result<(), CommitError> {
        while left < self.in_flight.len()
            && let Some(flight) = self.in_flight.pop_front()
        {
            self.land_one(flight)?;
        }
        Ok(())
    }

    /// Waits until a fragment is durable.
    fn land_one(&mut self, flight: InFlight) -> Result<(), CommitError> {
        let patience = self.engine.limits().io_deadline;
        let placed = flight.future.wait(patience).map_err(fragment_failed)?;
        let mut offsets = flight.offsets.as_slice();
        for (member, own) in &flight.own {
            let mine = next_offsets(&mut offsets, own.len());
            if let Some(all) = self.placed.get_mut(*member) {
                all.extend(place(own, mine, placed.lsn));
            }
        }
        Ok(())
    }

    /// What the durable fragments leave to be made visible with a member's pages of the last record.
    pub(super) fn end(
        &mut self,
        member: usize,
        own: Vec<OwnPage>,
        rolling: RollingChecksum,
    ) -> End {
        End {
            own,
            placed: self
                .placed
                .get_mut(member)
                .map(std::mem::take)
                .unwrap_or_default(),
            rolling,
            hold: self.hold.get().cloned(),
        }
    }

    /// Says in the log that the chain will not be committed, if it has begun. Without it the chain is
    /// void all the same.
    pub(super) fn abort(&self) {
        if self.index == 0 {
            return;
        }
        let database = self.database;
        let aborted = encode_abort(self.commit, database)
            .map_err(CommitError::from)
            .and_then(|record| {
                let priority = Priority::Housekeeping;
                self.engine.log().append(record, priority, Box::new(Silent))
            });
        if let Err(error) = aborted {
            tracing::debug!(%error, %database, "a chain ends without an abort record");
        }
    }
}

impl Transaction {
    /// Commits in several parts.
    pub(super) fn commit_chain(
        self,
        pages: &[PageNo],
        record_bytes_max: usize,
        mode: Mode,
    ) -> Result<PendingCommit, CommitError> {
        let bytes = pages.len() as u64 * self.overlay.page_size().bytes() as u64;
        let mut chain = Chain::begin(&self.engine, self.state.id(), 1, bytes)?;
        match self.append_parts(&mut chain, pages, record_bytes_max) {
            Ok((record, own, rolling)) => {
                let end = chain.end(0, own, rolling);
                let ended = self.append(record, end, Priority::ChainEnd, mode);
                if matches!(ended, Err(CommitError::Rejected(_))) {
                    chain.abort();
                }
                ended
            }
            Err(error) => {
                chain.abort();
                Err(error)
            }
        }
    }

    /// Writes all parts but the last one, which it makes.
    fn append_parts(
        &self,
        chain: &mut Chain,
        pages: &[PageNo],
        record_bytes_max: usize,
    ) -> Result<(EncodedRecord, Vec<OwnPage>, RollingChecksum), CommitError> {
        let part_pages = |nth| self.pages_in(part_bytes(record_bytes_max, nth));
        let mut rolling = self.rolling_without_cut(pages)?;
        let (mut last, mut nth) = (pages, 0);
        while let Some((pages, rest)) = last.split_at_checked(part_pages(nth))
            && !rest.is_empty()
        {
            (last, nth) = (rest, nth + 1);
            let part = chain.next_part();
            let (mut own, next) = self.load(part, pages, rolling)?;
            rolling = next;
            let record = self.encode(part, &mut own, rolling)?;
            chain.append(record, vec![(0, own)])?;
        }
        let part = chain.last_part();
        let (mut own, rolling) = self.load(part, last, rolling)?;
        let record = self.encode(part, &mut own, rolling)?;
        chain.land()?;
        Ok((record, own, rolling))
    }
}

/// Without its last part a chain is void, whatever became of the others: nothing is unknown.
fn fragment_failed(error: CommitError) -> CommitError {
    match error {
        CommitError::Unknown { cause, .. } => match *cause {
            LogFailure::Stalled { waited } => Rejection::Timeout { waited }.into(),
            _ => Rejection::Poisoned(cause).into(),
        },
        rejected => rejected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    #[test]
    fn parts_are_small_at_first_and_half_a_record_later() {
        let parts = |limit| [0, 1, 2, 3, 4, 1 << 40].map(|nth| part_bytes(limit, nth) / KIB);
        assert_eq!(parts(4096 * KIB), [256, 512, 1024, 2048, 2048, 2048]);
        assert_eq!(parts(256 * KIB), [64, 64, 64, 128, 128, 128]);
        assert_eq!(
            parts(8 * KIB),
            [8; 6],
            "no smaller than what a record may have"
        );
    }
}
