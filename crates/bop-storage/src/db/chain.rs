//! A commit that is too large for one record: a chain of fragments, the last of which is the commit.
//!
//! ```text
//! make 1 --> make 2 --> make 3 -----> make the last
//!      '-> write 1 '-> write 2 '-> write 3 '----> write the last -> visible
//!                       a failure anywhere before the last: abort record, the chain is void
//! ```
//! Invariants
//! - a fragment is put on its way when the one before has arrived, so that no commit has more in
//!   memory than the fragment that is written and the one that is made;
//! - a chain holds the log from its first fragment on, and not before there was room for that:
//!   whoever waits for room pins none of it;
//! - the last part is appended when all others are durable: it alone makes them count.
//!
//! Never: makes a patch. A page of a transaction in several parts has a full image.

use super::commit::{End, Mode, Transaction};
use super::engine::Engine;
use super::images::OwnPage;
use super::pending_commit::PendingCommit;
use super::publish::{PublishFirstFragment, place};
use crate::checksum::RollingChecksum;
use crate::error::{CommitError, LogFailure, Rejection};
use crate::ids::{CommitId, PageNo};
use crate::log::format::{FragmentPart, encode_abort};
use crate::log::{CommitFuture, HoldReason, LogHold, Priority, Publish, Silent};
use crate::view::CommittedPage;
use std::sync::{Arc, OnceLock};

/// The fragments written so far.
struct Chain {
    commit: CommitId,
    index: u32,
    previous: u64,
    /// The pages of those that are durable.
    placed: Vec<CommittedPage>,
    /// The newest one, until it is.
    in_flight: Option<InFlight>,
    /// Keeps the log from the first fragment on, once that is durable.
    hold: Arc<OnceLock<Arc<LogHold>>>,
}

/// A fragment that the log has taken.
struct InFlight {
    future: CommitFuture,
    own: Vec<OwnPage>,
    offsets: Vec<u32>,
}

impl Transaction {
    /// Commits in several parts.
    pub(super) fn commit_chain(
        self,
        pages: &[PageNo],
        parts: Vec<&[PageNo]>,
        mode: Mode,
    ) -> Result<PendingCommit, CommitError> {
        let bytes = pages.len() as u64 * self.overlay.page_size().bytes() as u64;
        self.engine.reserve_for_chain(bytes)?;
        let commit = self.engine.next_commit_id();
        let mut chain = Chain {
            commit,
            index: 0,
            previous: 0,
            placed: Vec::new(),
            in_flight: None,
            hold: Arc::default(),
        };
        let mut rolling = self.rolling_without_cut(pages)?;
        let Some((last, fragments)) = parts.split_last() else {
            return Err(Rejection::Invalid("a chain without parts").into());
        };
        for part in fragments {
            if let Err(error) = self.append_fragment(&mut chain, part, &mut rolling) {
                if chain.index > 0 {
                    self.abort(chain.commit);
                }
                return Err(error);
            }
        }
        let part = FragmentPart::Last {
            commit,
            index: chain.index,
            previous: chain.previous,
        };
        let loaded = self.load(part, last, rolling);
        let ended = loaded.and_then(|(mut own, rolling)| {
            let record = self.encode(part, &mut own, rolling)?;
            self.land(&mut chain)?;
            Ok((record, own, rolling))
        });
        match ended {
            Ok((record, own, rolling)) => {
                let (engine, database) = (Arc::clone(self.engine.engine()), self.state.id());
                let end = End {
                    own,
                    placed: chain.placed,
                    rolling,
                    hold: chain.hold.get().cloned(),
                };
                let ended = self.append(record, end, Priority::Chain, mode);
                if matches!(ended, Err(CommitError::Rejected(_))) {
                    abort(&engine, commit, database);
                }
                ended
            }
            Err(error) => {
                self.abort(commit);
                Err(error)
            }
        }
    }

    /// Puts the next fragment on its way, when the one before has arrived: that one is written while
    /// this one is made.
    fn append_fragment(
        &self,
        chain: &mut Chain,
        pages: &[PageNo],
        rolling: &mut RollingChecksum,
    ) -> Result<(), CommitError> {
        let Chain {
            commit,
            index,
            previous,
            ..
        } = *chain;
        let part = FragmentPart::Fragment {
            commit,
            index,
            previous,
        };
        let (mut own, next) = self.load(part, pages, *rolling)?;
        *rolling = next;
        let mut record = self.encode(part, &mut own, next)?;
        let offsets = std::mem::take(&mut record.image_offsets);
        let previous = record.header_checksum;
        let (priority, publish): (_, Box<dyn Publish>) = if index == 0 {
            let begun = PublishFirstFragment {
                engine: Arc::clone(self.engine.engine()),
                reason: HoldReason::FragmentChain(self.state.id()),
                hold: Arc::clone(&chain.hold),
            };
            (Priority::User, Box::new(begun))
        } else {
            (Priority::Chain, Box::new(Silent))
        };
        self.land(chain)?;
        let appended = self.engine.log().append_ahead(record, priority, publish);
        let future = appended.map_err(fragment_failed)?;
        chain.in_flight = Some(InFlight {
            future,
            own,
            offsets,
        });
        (chain.index, chain.previous) = (index + 1, previous);
        Ok(())
    }

    /// Waits until the fragment in flight is durable, if there is one.
    fn land(&self, chain: &mut Chain) -> Result<(), CommitError> {
        let Some(flight) = chain.in_flight.take() else {
            return Ok(());
        };
        let patience = self.engine.limits().io_deadline;
        let placed = flight.future.wait(patience).map_err(fragment_failed)?;
        let pages = place(&flight.own, &flight.offsets, placed.lsn);
        chain.placed.extend(pages);
        Ok(())
    }

    fn abort(&self, commit: CommitId) {
        abort(self.engine.engine(), commit, self.state.id());
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

/// Says in the log that a chain will not be committed. Without it the chain is void all the same.
fn abort(engine: &Engine, commit: CommitId, database: crate::ids::DbId) {
    let aborted = encode_abort(commit, database)
        .map_err(CommitError::from)
        .and_then(|record| {
            engine
                .log()
                .append(record, Priority::Housekeeping, Box::new(Silent))
        });
    if let Err(error) = aborted {
        tracing::debug!(%error, %database, "a chain ends without an abort record");
    }
}
