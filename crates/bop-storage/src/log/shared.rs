//! What the committers, the background thread and the retry thread of a log have in common: taking
//! a record in, and waiting for its end.
//!
//! The write controller: bounded in records and bytes, waits with a deadline or answers at once,
//! refuses while the log is stalled.
//!
//! Never: writes (that is [`lead`](super::lead) and [`rewrite`](super::rewrite)).

use super::batch_buffer::BatchBuffer;
use super::format::{BatchLayout, EncodedRecord};
use super::linger::Lingering;
use super::member::{Placed, Priority, Publish, Waits};
use super::neighbours::Neighbours;
use super::pace::bytes_per_second;
use super::parts::LogParts;
use super::queue::Health;
use super::seal::SealGatherer;
use super::state::{State, Turn};
use super::ticket::{Answer, Crowd, Outcome, Ticket};
use crate::error::{CommitError, LogFailure, Rejection};
use crate::ids::{Lsn, SegmentId};
use crate::runtime::sync::{AtomicU64, Condvar, Mutex, MutexGuard, elapsed, now};
use crate::runtime::{Bell, after};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// What all threads of a log share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) parts: LogParts,
    pub(super) state: Mutex<State>,
    /// Threads that write a batch. One that lost the turn meanwhile does so until the kernel is done with it.
    pub(super) writing: AtomicU64,
    /// Signalled when the queue or the log got room, and when turn or health changed.
    pub(super) room: Condvar,
    /// Signalled when the log got room, and when health changed: for records that the pace lets in later.
    pub(super) pace: Condvar,
    /// Signalled when the background thread has something to do.
    pub(super) work: Condvar,
    /// Signalled when the retry thread has something to do.
    pub(super) failed: Condvar,
    /// Everything before it is durable and published.
    published: AtomicU64,
    /// Rung when there is more of that.
    bell: Bell,
    /// Why nothing more is taken, once it is so: asked by every transaction.
    pub(super) poison: OnceLock<Arc<LogFailure>>,
    /// The buffer of batches, between two leaders.
    pub(super) buffer: Mutex<BatchBuffer>,
    /// What the active segment's batches say, for its index. Only the holder of the turn asks.
    pub(super) index: Mutex<SealGatherer>,
    /// Whether committers let others run before they park.
    pub(super) lingering: Lingering,
    /// Whether that is cheap, for them and for leaders.
    pub(super) neighbours: Neighbours,
    /// Segments that were tried and given up: not part of the log, still registered.
    pub(super) abandoned: Mutex<Vec<SegmentId>>,
}

/// Whether a committer waits for room in the queue.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Patience {
    Wait,
    AtOnce,
}

/// A record that was taken.
#[derive(Copy, Clone, Debug)]
pub(super) struct Taken {
    pub(super) at: Placed,
    /// Whether the committer has the turn now.
    pub(super) leads: bool,
}

/// Why a record has to wait.
enum Shortage {
    Log(u64),
    Queue,
}

impl Shared {
    pub(super) fn new(parts: LogParts, state: State, index: SealGatherer) -> Self {
        let published = AtomicU64::new(state.writer.end().get());
        Self {
            parts,
            state: Mutex::new(state),
            writing: AtomicU64::new(0),
            room: Condvar::new(),
            pace: Condvar::new(),
            work: Condvar::new(),
            failed: Condvar::new(),
            published,
            bell: Bell::default(),
            poison: OnceLock::new(),
            buffer: Mutex::default(),
            index: Mutex::new(index),
            lingering: Lingering::default(),
            neighbours: Neighbours::default(),
            abandoned: Mutex::default(),
        }
    }

    /// Tells whoever keeps house.
    pub(super) fn segment_sealed(&self) {
        let spares_left = self.parts.ring.spare_count();
        self.parts.events.segment_sealed(spares_left);
    }

    pub(super) fn published(&self) -> Lsn {
        Lsn::new(self.published.load(Ordering::Acquire))
    }

    /// Waits until something behind `seen` is published; `false` when nothing is by `deadline`.
    pub(super) fn wait_published(&self, seen: Lsn, deadline: Instant) -> bool {
        loop {
            let rung = self.bell.count();
            if seen < self.published() {
                return true;
            }
            if !self.bell.wait_past(rung, deadline) {
                return false;
            }
        }
    }

    /// The same for a task. What wakes it may also be the end of the log.
    pub(super) fn poll_published(&self, seen: Lsn, context: &mut Context<'_>) -> Poll<()> {
        let rung = self.bell.count();
        if seen < self.published() {
            return Poll::Ready(());
        }
        self.bell.poll_past(rung, context)
    }

    /// Wakes whoever waits for more: there will be none.
    pub(super) fn wake_readers(&self) {
        self.bell.ring();
    }

    pub(super) fn set_published(&self, end: Lsn) {
        self.published.store(end.get(), Ordering::Release);
        self.bell.ring();
    }

    /// Bytes of the smallest segment that the next records can meet.
    pub(super) fn smallest_segment_bytes(&self) -> u64 {
        let next = self.parts.spares.next_capacity_bytes();
        let smallest = self.parts.ring.smallest_capacity_bytes();
        smallest.map_or(next, |smallest| smallest.min(next))
    }

    /// How long the present write has been in flight, once that is longer than it may be.
    pub(super) fn stalled(&self, state: &State) -> Option<Duration> {
        let waited = elapsed(state.window.as_ref()?.since);
        (self.parts.limits.io_deadline <= waited).then_some(waited)
    }

    pub(super) fn append(
        &self,
        record: EncodedRecord,
        priority: Priority,
        publish: Box<dyn Publish>,
        last: bool,
    ) -> Outcome {
        // The leader drops his before this one: the memory comes back to whoever took it.
        let record = Arc::new(record);
        let ticket = Ticket::new(publish);
        let waits = (priority, Waits::Thread);
        let Taken { at, leads } = self.enqueue(&record, waits, &ticket, last, Patience::Wait)?;
        let mut found = None;
        if leads {
            self.lead(Some(&ticket));
        } else {
            ticket.prepare(at);
            found = self.linger(&ticket);
        }
        let started = now();
        let deadline = after(started, self.parts.limits.io_deadline);
        loop {
            match found.take().unwrap_or_else(|| ticket.wait(deadline)) {
                Answer::Lead => self.lead(Some(&ticket)),
                Answer::Done(outcome) => return outcome,
                Answer::TimedOut => {
                    if let Some(outcome) = self.give_up(&ticket, at, started) {
                        return outcome;
                    }
                }
            }
        }
    }

    /// Gives a record its place, perhaps as the last one.
    pub(super) fn enqueue(
        &self,
        record: &Arc<EncodedRecord>,
        (priority, waits): (Priority, Waits),
        ticket: &Arc<Ticket>,
        last: bool,
        patience: Patience,
    ) -> Result<Taken, Rejection> {
        let bytes = self.check_size(record)?;
        let started = now();
        let deadline = after(started, self.parts.limits.writer_wait);
        let batch_max = self.batch_bytes_max();
        let mut state = self.state.lock();
        // Room is asked for once, and again whenever some was made and was not enough.
        let mut asked_at = None;
        let mut paced = None;
        loop {
            if let Some(rejection) = self.refusal(&state, priority) {
                return Err(rejection);
            }
            let Some(shortage) = self.shortage(&state, bytes, priority) else {
                let until = *paced.get_or_insert_with(|| self.pace(&mut state, bytes, priority));
                let waits = until.filter(|_| patience == Patience::Wait && self.is_paced(&state));
                let until = waits.map(|until| until.min(deadline));
                let Some(until) = until.filter(|until| now() < *until) else {
                    break;
                };
                self.pace.wait_until(&mut state, until);
                continue;
            };
            let shortened = state.shortened;
            if matches!(shortage, Shortage::Log(_))
                && asked_at.replace(shortened) != Some(shortened)
            {
                MutexGuard::unlocked(&mut state, || self.parts.events.room_wanted());
            } else if patience == Patience::AtOnce {
                let records = state.queue.records();
                return Err(Rejection::Busy { records });
            } else if matches!(shortage, Shortage::Queue) && state.turn == Turn::Free {
                // What fills the queue waits for its moment: that is now.
                state.turn = Turn::Led;
                MutexGuard::unlocked(&mut state, || self.lead(None));
            } else if deadline <= now() {
                return Err(match shortage {
                    Shortage::Log(bytes) => Rejection::LogFull { bytes },
                    Shortage::Queue => Rejection::Timeout {
                        waited: elapsed(started),
                    },
                });
            } else {
                self.room.wait_until(&mut state, deadline);
            }
        }
        let now_us = self.parts.clock.wall_us();
        let exposed = matches!(waits, Waits::Relaxed(_)).then(|| Arc::clone(record));
        let (ticket, order) = (Arc::clone(ticket), (priority, waits));
        let at = state
            .queue
            .place(Arc::clone(record), now_us, ticket, order, batch_max)?;
        if let Some(record) = exposed {
            self.parts.unwritten.add(at.lsn, record);
        }
        if last {
            state.health = Health::Ended;
            self.pace.notify_all();
        }
        let leads = self.who_writes(&mut state, (priority, waits));
        Ok(Taken { at, leads })
    }

    /// Whether the committer of a record that was just placed takes the turn; the background thread
    /// is told of what it has to do.
    fn who_writes(&self, state: &mut State, (priority, waits): (Priority, Waits)) -> bool {
        let free = state.turn == Turn::Free;
        if waits == Waits::Thread {
            if free && priority == Priority::ChainEnd && self.has_idle_background(state) {
                state.turn = Turn::Called;
                self.work.notify_one();
                return false;
            }
            if free {
                state.turn = Turn::Led;
            }
            return free;
        }
        let full = self.parts.limits.batch_bytes_max <= state.queue.bytes();
        let waits = if full { Waits::Elsewhere } else { waits };
        let earlier = state.due_by(waits, now());
        if self.parts.spawn.is_some() {
            if free && earlier {
                self.call_unattended(state);
            }
            return false;
        }
        // Without a background thread a relaxed record waits for whoever writes next.
        let leads = free && waits == Waits::Elsewhere;
        if leads {
            state.turn = Turn::Led;
        }
        leads
    }

    /// Bytes of a record that fits a segment.
    fn check_size(&self, record: &EncodedRecord) -> Result<u64, Rejection> {
        let bytes = BatchLayout::of([record]).batch_bytes() as u64;
        let limit = self.parts.spares.data_bytes_max();
        if limit < bytes {
            return Err(Rejection::TooLarge { bytes, limit });
        }
        Ok(record.bytes.len() as u64)
    }

    /// A batch is no larger than this, unless a single record is: it must fit a segment without
    /// wasting much of the one before.
    fn batch_bytes_max(&self) -> u64 {
        let largest = self.parts.limits.batch_bytes_max;
        largest.min(self.smallest_segment_bytes() / 4)
    }

    fn refusal(&self, state: &State, priority: Priority) -> Option<Rejection> {
        if let Some(rejection) = state.health.refusal(priority) {
            return Some(rejection);
        }
        if let Some(waited) = self.stalled(state) {
            return Some(Rejection::Stalled { waited });
        }
        state
            .stuck
            .clone()
            .filter(|_| priority != Priority::Housekeeping)
    }

    /// Until when a record waits for the sake of the pace.
    fn pace(&self, state: &mut State, bytes: u64, priority: Priority) -> Option<Instant> {
        let bytes = priority.paced_bytes(bytes)?;
        let left = self.left_bytes(state);
        let max = self.parts.limits.log_bytes_max;
        let until = state.pace.admit(now, bytes, left, max);
        until.inspect(|_| self.parts.meters.commit_paced())
    }

    /// Whoever waits to be let in looks again.
    pub(super) fn look_again(&self) {
        self.room.notify_all();
        self.pace.notify_all();
    }

    /// Whether the log is so full that records are let in slowly.
    fn is_paced(&self, state: &State) -> bool {
        bytes_per_second(self.left_bytes(state), self.parts.limits.log_bytes_max).is_some()
    }

    /// Bytes that can be written before commits wait for room: until a segment begins at the cap.
    fn left_bytes(&self, state: &State) -> u64 {
        let held = self.parts.ring.held_bytes() + self.parts.spares.next_capacity_bytes();
        state.writer.left_bytes() + self.parts.limits.log_bytes_max.saturating_sub(held)
    }

    fn shortage(&self, state: &State, bytes: u64, priority: Priority) -> Option<Shortage> {
        if !priority.waits_at_the_cap() && priority != Priority::Queued {
            return None;
        }
        let limits = &self.parts.limits;
        let held = self.parts.ring.held_bytes();
        if priority.waits_at_the_cap() && held >= limits.log_bytes_max {
            return Some(Shortage::Log(held));
        }
        let queue = &state.queue;
        let crowded = queue.records() >= limits.queue_records_max
            || queue.bytes() + bytes > limits.queue_bytes_max;
        (crowded && queue.records() > 0).then_some(Shortage::Queue)
    }

    /// The deadline passed: takes the record back if that is possible. `None` when the ticket was
    /// told to lead in this moment: it has to, since nobody else does.
    pub(super) fn give_up(
        &self,
        ticket: &Arc<Ticket>,
        at: Placed,
        started: Instant,
    ) -> Option<Outcome> {
        let waited = elapsed(started);
        let mut state = self.state.lock();
        if ticket.is_to_lead() {
            return None;
        }
        let withdrawn = state.queue.withdraw(ticket);
        if withdrawn.is_none() {
            // A thread of the log writes it, if no leader comes by.
            if state.queue.abandon(ticket) && state.due_by(Waits::Elsewhere, now()) {
                self.call_unattended(&state);
            }
        }
        drop(state);
        if let Some(outcome) = ticket.take_outcome() {
            return Some(outcome);
        }
        Some(Err(match withdrawn {
            Some(member) => {
                let rejection = CommitError::Rejected(Rejection::Timeout { waited });
                member.answer(Err(rejection.clone()), &mut Crowd::default());
                rejection
            }
            None => CommitError::Unknown {
                lsn: at.lsn,
                cause: Arc::new(LogFailure::Stalled { waited }),
            },
        }))
    }
}
