//! Group commit: many committers, one write for all that is waiting.
//!
//! ```text
//!   append: place the record -- nobody has the turn --> lead
//!                            '-- somebody has ------> wait: made leader, done, or deadline
//!   lead:   take the oldest batch -> write it -> publish in Lsn order -> wake its committers,
//!           a few times; then hand the turn to the oldest waiter, or for a crowd to the background thread
//! ```
//!
//! A committer that waits (`append`) writes by itself when nobody else does. One that does not
//! (`append_async`, `append_relaxed`) leaves the write to the next leader, or to the background
//! thread.
//!
//! Invariants
//! - the turn is held exactly while a thread leads or was told to lead, or the retry thread works;
//! - it is given under the state's lock, and a waiter that gives up asks under it: whoever was told
//!   to lead does, so that no waiter is left behind;
//! - nothing is taken after the last record, whatever its priority.
//!
//! Never: calls a publisher, an event or a committer under a lock.

use super::background::Threads;
use super::batch_buffer::BatchBuffer;
use super::format::record::NoteKind;
use super::format::{BatchLayout, EncodedRecord, encode_note};
use super::future::CommitFuture;
use super::holds::LogHolds;
use super::kept::KeptBatches;
use super::member::{Entry, OnEnd, Placed, Priority, Publish, Silent, Waits};
use super::parts::{Backlog, LogParts};
use super::queue::Health;
use super::ring::Ring;
use super::seal::SealGatherer;
use super::shared::{Patience, Shared};
use super::spares::SpareMaker;
use super::state::{State, Turn};
use super::ticket::Ticket;
use super::unwritten::Unwritten;
use super::writer::{LogStart, WriteError, Writer, take_spare};
use crate::error::{CommitError, LogFailure, Rejection};
use crate::ids::Lsn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Why a log did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The first write of the epoch failed.
    #[error("{0}")]
    Write(#[from] CommitError),
    /// No thread was to be had.
    #[error("{0}")]
    Thread(#[source] std::io::Error),
}

/// The log of an open store.
#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
    threads: Threads,
}

impl Log {
    /// Starts an epoch: its first write is durable when this returns. After a clean close the
    /// active segment goes on, else a new one is activated.
    ///
    /// # Errors
    /// The failure of that write, or why no segment was to be had, or no thread could be started.
    pub fn start(parts: LogParts, start: LogStart) -> Result<Self, StartError> {
        let (writer, index) = begin_epoch(&parts, start).map_err(starting)?;
        let last_time_us = writer.last_time_us();
        let state = State::new(writer, last_time_us);
        let shared = Arc::new(Shared::new(parts, state, index));
        let threads = Threads::start(&shared).map_err(StartError::Thread)?;
        Ok(Self { shared, threads })
    }

    /// Waits until something behind `seen` is durable and visible; `false` when nothing is by
    /// `deadline`.
    pub fn wait_published(&self, seen: Lsn, deadline: Instant) -> bool {
        self.shared.wait_published(seen, deadline)
    }

    /// The same for a task, which is woken once more when the log is closed.
    pub fn poll_published(&self, seen: Lsn, context: &mut Context<'_>) -> Poll<()> {
        self.shared.poll_published(seen, context)
    }

    /// Appends a record and returns when it is durable and published.
    ///
    /// # Errors
    /// `Rejected`: nothing happened. `Unknown`: its write had begun and failed or stalled.
    pub fn append(
        &self,
        record: EncodedRecord,
        priority: Priority,
        publish: Box<dyn Publish>,
    ) -> Result<Placed, CommitError> {
        self.shared.append(record, priority, publish, false)
    }

    /// Appends the record that ends the log: nothing is taken after it. Returns when it is durable.
    ///
    /// # Errors
    /// As for [`Log::append`]; the log has ended all the same.
    pub fn append_last(&self, record: EncodedRecord) -> Result<Placed, CommitError> {
        let priority = Priority::Housekeeping;
        self.shared.append(record, priority, Box::new(Silent), true)
    }

    /// Appends a record without waiting for anything. Its end is told by the future; when that is
    /// dropped, the record becomes durable and visible all the same.
    ///
    /// # Errors
    /// Why it was not taken; [`Rejection::Busy`] when the queue is full.
    pub fn append_async(
        &self,
        record: EncodedRecord,
        priority: Priority,
        publish: Box<dyn Publish>,
    ) -> Result<CommitFuture, CommitError> {
        self.append_elsewhere(record, priority, publish, Patience::AtOnce)
    }

    /// Appends a record whose end is awaited later: its committer makes the next one while the device
    /// writes this. Waits for room, and for nothing else.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn append_ahead(
        &self,
        record: EncodedRecord,
        priority: Priority,
        publish: Box<dyn Publish>,
    ) -> Result<CommitFuture, CommitError> {
        self.append_elsewhere(record, priority, publish, Patience::Wait)
    }

    fn append_elsewhere(
        &self,
        record: EncodedRecord,
        priority: Priority,
        publish: Box<dyn Publish>,
        patience: Patience,
    ) -> Result<CommitFuture, CommitError> {
        let ticket = Ticket::new(publish);
        let waits = (priority, Waits::Elsewhere);
        let placed = self
            .shared
            .enqueue(&Arc::new(record), waits, &ticket, false, patience)?;
        if placed.leads {
            self.shared.lead(None);
        } else {
            ticket.prepare(placed.at);
        }
        Ok(CommitFuture::new(ticket, placed.at.lsn))
    }

    /// Appends a record that is visible when this returns. It is durable within `max_delay`, or with the next record that somebody waits for.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn append_relaxed(
        &self,
        record: EncodedRecord,
        priority: Priority,
        max_delay: Duration,
        publish: Box<dyn Publish>,
    ) -> Result<Placed, CommitError> {
        let ticket = Ticket::new(publish);
        let waits = (priority, Waits::Relaxed(max_delay));
        let placed =
            self.shared
                .enqueue(&Arc::new(record), waits, &ticket, false, Patience::Wait)?;
        let visible = ticket.publish_now(placed.at);
        if placed.leads {
            self.shared.lead(None);
        }
        if visible {
            return Ok(placed.at);
        }
        // Somebody was faster: it is durable, or the log has failed, and the answer is on its way.
        let patience = self.shared.parts.limits.io_deadline;
        CommitFuture::new(ticket, placed.at.lsn).wait(patience)
    }

    /// Appends a record that is visible when this returns, unless it has failed already: `on_end` is
    /// told so, or that the record is durable. It is written at once by whoever leads, or by the
    /// background thread. Without such a thread the next committer writes it, or [`Log::sync`].
    ///
    /// # Errors
    /// Why it was not taken: `on_end` is dropped untold then.
    pub fn append_exposed(
        &self,
        record: EncodedRecord,
        priority: Priority,
        publish: Box<dyn Publish>,
        on_end: Box<dyn OnEnd>,
    ) -> Result<(), CommitError> {
        let ticket = Ticket::told(publish, on_end);
        let waits = (priority, Waits::Relaxed(Duration::ZERO));
        let placed =
            self.shared
                .enqueue(&Arc::new(record), waits, &ticket, false, Patience::Wait)?;
        ticket.publish_now(placed.at);
        if placed.leads {
            self.shared.lead(None);
        }
        Ok(())
    }

    /// Returns when everything that was appended before is durable and visible.
    ///
    /// # Errors
    /// Why it is not: the failure of the log.
    pub fn sync(&self) -> Result<(), CommitError> {
        let state = self.shared.state.lock();
        if let Health::Poisoned(cause) = &state.health {
            return Err(Rejection::Poisoned(Arc::clone(cause)).into());
        }
        // A window is ended before its records are published.
        let published = self.published() == state.writer.end();
        let idle = state.queue.records() == 0 && state.window.is_none() && published;
        drop(state);
        if idle {
            return Ok(());
        }
        // Durable after all that stands before it.
        let note = encode_note(NoteKind::Idle)?;
        let priority = Priority::Housekeeping;
        self.append(note, priority, Box::new(Silent)).map(drop)
    }

    /// Everything before this Lsn is durable and visible.
    pub fn published(&self) -> Lsn {
        self.shared.published()
    }

    /// The records that are visible and not durable yet.
    pub fn unwritten(&self) -> &Arc<Unwritten> {
        &self.shared.parts.unwritten
    }

    /// What the next checkpoint need not read.
    pub fn kept(&self) -> &Arc<KeptBatches> {
        &self.shared.parts.kept
    }

    /// The segments.
    pub fn ring(&self) -> &Arc<Ring> {
        &self.shared.parts.ring
    }

    /// Makes and releases segments.
    pub fn spares(&self) -> &Arc<SpareMaker> {
        &self.shared.parts.spares
    }

    /// Who needs what.
    pub fn holds(&self) -> &Arc<LogHolds> {
        &self.shared.parts.holds
    }

    /// Bytes of the largest record that need not be cut into fragments: a quarter of the smallest
    /// segment it is going to meet.
    pub fn fragment_bytes_max(&self) -> u64 {
        let largest = self.shared.parts.limits.fragment_bytes_max;
        largest.min(self.shared.smallest_segment_bytes() / 4)
    }

    /// Why the log takes no more records, if it does not.
    pub fn failure(&self) -> Option<Arc<LogFailure>> {
        self.shared.poison.get().cloned()
    }

    /// How long the present write has been in flight, once it is late.
    #[cfg(test)]
    pub(super) fn stalled(&self) -> Option<Duration> {
        self.shared.stalled(&self.shared.state.lock())
    }

    /// What was taken and is not durable.
    pub fn backlog(&self) -> Backlog {
        let state = self.shared.state.lock();
        Backlog {
            queued_records: state.queue.records(),
            queued_bytes: state.queue.bytes(),
            in_flight_bytes: state.window.as_ref().map_or(0, |window| window.bytes),
        }
    }

    /// Waits until no thread is writing a batch, or about to; `false` when `deadline` came first. One that hangs in the
    /// kernel counts though another one wrote its batch elsewhere: what it writes may still arrive.
    pub fn wait_until_quiet(&self, deadline: Instant) -> bool {
        let is_quiet = |state: &State| {
            state.turn == Turn::Free && self.shared.writing.load(Ordering::Acquire) == 0
        };
        let mut state = self.shared.state.lock();
        while !is_quiet(&state) {
            let late = self.shared.room.wait_until(&mut state, deadline);
            if late.timed_out() {
                return is_quiet(&state);
            }
        }
        true
    }

    /// The log was shortened: whoever waits for room looks again.
    pub fn room_made(&self) {
        self.shared.state.lock().shortened += 1;
        self.shared.look_again();
    }

    /// Takes no more records from users; housekeeping still ends its work, until the last record.
    pub fn close(&self) {
        let mut state = self.shared.state.lock();
        if matches!(state.health, Health::Open) {
            state.health = Health::Closed;
        }
        self.shared.look_again();
    }

    /// Takes no more records at all.
    pub fn end(&self) {
        let mut state = self.shared.state.lock();
        if !matches!(state.health, Health::Poisoned(_)) {
            state.health = Health::Ended;
        }
        self.shared.look_again();
    }

    /// Ends the log's threads; `false` when one has not ended by `deadline`, since the kernel has
    /// it.
    pub fn stop(&self, deadline: Instant) -> bool {
        self.threads.stop(&self.shared, deadline)
    }

    /// Wakes the tasks that wait for more: the store is closed.
    pub fn wake_readers(&self) {
        self.shared.wake_readers();
    }

    /// Answers those whose records are visible and found no room on the device. The log has ended and
    /// its threads too, so nobody writes them any more.
    pub fn refuse_rest(&self) {
        self.shared.refuse_rest();
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// Writes the note that opens an epoch.
fn begin_epoch(parts: &LogParts, start: LogStart) -> Result<(Writer, SealGatherer), WriteError> {
    let LogStart {
        position,
        base,
        goes_on,
    } = start;
    let time_us = parts.clock.wall_us().max(position.last_time_us);
    let active = if goes_on { parts.ring.active() } else { None };
    let sealed_at = position.end;
    let mut writer = Writer::new(parts.store, active, position);
    let record = Arc::new(encode_note(NoteKind::Open).map_err(WriteError::Refused)?);
    let bytes = BatchLayout::of([&*record]).batch_bytes() as u64;
    // Of a segment that goes on, the batches before are not in memory.
    let mut index = SealGatherer::default();
    if !writer.takes(base, bytes) {
        let take = || Ok::<_, WriteError>(parts.ring.take_spare(0));
        let spare = take_spare(parts, bytes, 0, take)?;
        let next = writer.activate(spare, base)?;
        index = SealGatherer::of(&next);
        parts.ring.activate(next, sealed_at);
    }
    let mut buffer = BatchBuffer::default();
    writer.write(base, &[Entry { record, time_us }], &mut buffer)?;
    index.add(|body| buffer.index(body));
    Ok((writer, index))
}

fn starting(error: WriteError) -> CommitError {
    CommitError::Rejected(match error {
        WriteError::Refused(rejection) => rejection,
        WriteError::Failed(failure) => Rejection::Poisoned(Arc::new(failure)),
    })
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
