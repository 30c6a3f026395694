//! Group commit: many committers, one write for all that is waiting.
//!
//! ```text
//!   append: queue the record -- nobody leads --> lead
//!                           '-- somebody does --> wait: made leader, done, or deadline
//!   lead:   take the batch -> write it -> publish in Lsn order -> hand leadership to the oldest
//!           waiter -> wake the batch's committers
//! ```
//!
//! Invariants
//! - the record of the leader is the oldest of the queue, so each leader writes one batch;
//! - `leading` is set exactly while a thread leads or was told to lead;
//! - a failed write poisons at once: the batch is `Unknown`, the queue and everything after it is
//!   `Rejected`, until the store is opened again;
//! - leadership is given under the queue's lock, and a waiter that gives up asks under it: whoever
//!   was told to lead does, so that no waiter is left behind;
//! - a leader's panic poisons too ([`LeadGuard`]);
//! - nothing is taken after the last record, whatever its priority.
//!
//! Never: calls a publisher, an event or a committer under a lock.

use super::format::record::{NoteKind, RecordKind};
use super::format::{EncodedRecord, encode_note};
use super::holds::LogHolds;
use super::parts::LogParts;
use super::queue::{Health, Queue, Shortage, batch_bytes, refusal};
use super::ring::Ring;
use super::spares::SpareMaker;
use super::ticket::{Answer, Pending, Placed, Priority, Publish, Ticket};
use super::writer::{LogStart, WriteError, Writer};
use crate::error::{CommitError, LogFailure, Rejection};
use crate::ids::Lsn;
use crate::runtime::after;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The log of an open store.
#[derive(Debug)]
pub struct Log {
    parts: LogParts,
    queue: Mutex<Queue>,
    /// Signalled when the queue or the log got room, and when the health changed.
    room: Condvar,
    writer: Mutex<Writer>,
    /// Everything before it is durable and published.
    published: AtomicU64,
}

impl Log {
    /// Starts an epoch: its first write is durable when this returns. After a clean close the
    /// active segment goes on, else a new one is activated.
    ///
    /// # Errors
    /// The failure of that write, or why no segment was to be had.
    pub fn start(parts: LogParts, start: LogStart) -> Result<Self, CommitError> {
        let LogStart {
            position,
            base,
            goes_on,
        } = start;
        let LogParts {
            store,
            ring,
            spares,
            clock,
            ref limits,
            ..
        } = parts.clone();
        let patience = limits.io_deadline;
        let mut writer = Writer::new(store, ring, spares, clock, position, goes_on, patience);
        let note = encode_note(NoteKind::Open)?;
        let bytes = batch_bytes(std::iter::once(&note));
        writer.make_room(bytes, 0, base).map_err(starting)?;
        let (note, _ticket) = Pending::new(
            note,
            Priority::Housekeeping,
            Box::new(super::ticket::Silent),
        );
        writer.write(&mut [note]).map_err(starting)?;
        let published = AtomicU64::new(writer.end().get());
        let queue = Queue {
            records: VecDeque::new(),
            bytes: 0,
            leading: false,
            health: Health::Open,
            shortened: 0,
        };
        let (queue, room, writer) = (Mutex::new(queue), Condvar::new(), Mutex::new(writer));
        Ok(Self {
            parts,
            queue,
            room,
            writer,
            published,
        })
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
        let (pending, ticket) = Pending::new(record, priority, publish);
        self.append_pending(pending, &ticket, false)
    }

    /// Appends the record that ends the log: nothing is taken after it. Returns when it is durable.
    ///
    /// # Errors
    /// As for [`Log::append`]; the log has ended all the same.
    pub fn append_last(&self, record: EncodedRecord) -> Result<Placed, CommitError> {
        let (pending, ticket) = Pending::new(
            record,
            Priority::Housekeeping,
            Box::new(super::ticket::Silent),
        );
        self.append_pending(pending, &ticket, true)
    }

    fn append_pending(
        &self,
        pending: Pending,
        ticket: &Arc<Ticket>,
        last: bool,
    ) -> Result<Placed, CommitError> {
        if self.enqueue(pending, last)? {
            self.lead(ticket);
        }
        let started = Instant::now();
        let deadline = after(started, self.parts.limits.io_deadline);
        loop {
            match ticket.wait(deadline) {
                Answer::Lead => self.lead(ticket),
                Answer::Done(outcome) => return outcome,
                Answer::TimedOut => {
                    if let Some(outcome) = self.give_up(ticket, started) {
                        return outcome;
                    }
                }
            }
        }
    }

    /// Everything before this Lsn is durable and visible.
    pub fn published(&self) -> Lsn {
        Lsn::new(self.published.load(Ordering::Acquire))
    }

    /// The segments.
    pub fn ring(&self) -> &Arc<Ring> {
        &self.parts.ring
    }

    /// Makes and releases segments.
    pub fn spares(&self) -> &Arc<SpareMaker> {
        &self.parts.spares
    }

    /// Who needs what.
    pub fn holds(&self) -> &Arc<LogHolds> {
        &self.parts.holds
    }

    /// Bytes of the largest record that need not be cut into fragments: a quarter of the smallest
    /// segment it is going to meet.
    pub fn fragment_bytes_max(&self) -> u64 {
        let next = self.parts.spares.next_capacity_bytes();
        let smallest = self.parts.ring.smallest_capacity_bytes();
        let smallest = smallest.map_or(next, |smallest| smallest.min(next));
        self.parts.limits.fragment_bytes_max.min(smallest / 4)
    }

    /// Why the log takes no more records, if it does not.
    pub fn failure(&self) -> Option<Arc<LogFailure>> {
        match &self.queue.lock().health {
            Health::Poisoned(cause) => Some(Arc::clone(cause)),
            Health::Open | Health::Closed | Health::Ended => None,
        }
    }

    /// Records that wait for the next batch.
    pub fn queued_records(&self) -> usize {
        self.queue.lock().records.len()
    }

    /// Waits until no thread is writing a batch, or about to; `false` when `deadline` came first.
    pub fn wait_until_quiet(&self, deadline: Instant) -> bool {
        let mut queue = self.queue.lock();
        while queue.leading {
            if self.room.wait_until(&mut queue, deadline).timed_out() {
                return !queue.leading;
            }
        }
        true
    }

    /// The log was shortened: whoever waits for room looks again.
    pub fn room_made(&self) {
        self.queue.lock().shortened += 1;
        self.room.notify_all();
    }

    /// Takes no more records from users; housekeeping still ends its work, until the last record.
    pub fn close(&self) {
        let mut queue = self.queue.lock();
        if matches!(queue.health, Health::Open) {
            queue.health = Health::Closed;
        }
        self.room.notify_all();
    }

    /// Takes no more records at all.
    pub fn end(&self) {
        let mut queue = self.queue.lock();
        if !matches!(queue.health, Health::Poisoned(_)) {
            queue.health = Health::Ended;
        }
        self.room.notify_all();
    }

    /// Queues a record, perhaps as the last one; `true` when the caller has to lead.
    fn enqueue(&self, pending: Pending, last: bool) -> Result<bool, CommitError> {
        let started = Instant::now();
        let deadline = after(started, self.parts.limits.writer_wait);
        let bytes = pending.record.bytes.len() as u64;
        let mut queue = self.queue.lock();
        // Room is asked for once, and again whenever some was made and was not enough.
        let mut asked_at = None;
        let rejection = loop {
            if let Some(rejection) = refusal(&queue.health, pending.priority) {
                break rejection;
            }
            let Some(shortage) = self.shortage(&queue, bytes, pending.priority) else {
                if last {
                    queue.health = Health::Ended;
                }
                queue.bytes += bytes;
                queue.records.push_back(pending);
                return Ok(!std::mem::replace(&mut queue.leading, true));
            };
            let shortened = queue.shortened;
            if matches!(shortage, Shortage::Log(_))
                && asked_at.replace(shortened) != Some(shortened)
            {
                drop(queue);
                self.parts.events.room_wanted();
                queue = self.queue.lock();
            } else if deadline <= Instant::now() {
                break match shortage {
                    Shortage::Log(bytes) => Rejection::LogFull { bytes },
                    Shortage::Queue => Rejection::Timeout {
                        waited: started.elapsed(),
                    },
                };
            } else {
                self.room.wait_until(&mut queue, deadline);
            }
        };
        drop(queue);
        pending.answer(Err(rejection.clone().into()));
        Err(rejection.into())
    }

    fn shortage(&self, queue: &Queue, bytes: u64, priority: Priority) -> Option<Shortage> {
        if priority != Priority::User {
            return None;
        }
        let limits = &self.parts.limits;
        let held = self.parts.ring.held_bytes();
        if held >= limits.log_bytes_max {
            return Some(Shortage::Log(held));
        }
        let crowded = queue.records.len() >= limits.queue_records_max
            || queue.bytes + bytes > limits.queue_bytes_max;
        (crowded && !queue.records.is_empty()).then_some(Shortage::Queue)
    }

    fn lead(&self, own: &Arc<Ticket>) {
        let guard = LeadGuard { log: self };
        let mut writer = self.writer.lock();
        let before = writer.end();
        let (mut batch, room) = self.take_batch(&mut writer);
        let bytes = batch_bytes(batch.iter().map(|pending| &pending.record));
        let _span = tracing::debug_span!("batch", records = batch.len(), bytes).entered();
        let written = room.and_then(|()| writer.write(&mut batch));
        debug_assert!(
            batch
                .first()
                .is_none_or(|first| Arc::ptr_eq(first.ticket(), own))
        );
        let (end, rolled) = (writer.end(), writer.started_at() >= before);
        drop(writer);
        let ended = self.publish(batch, written, end);
        std::mem::forget(guard);
        self.hand_over();
        if rolled {
            self.parts.events.segment_sealed();
        }
        for (pending, outcome) in ended {
            pending.answer(outcome);
        }
    }

    /// The oldest records that fit one batch, with room made for them; when there is none, the
    /// oldest one alone.
    fn take_batch(&self, writer: &mut Writer) -> (Vec<Pending>, Result<(), WriteError>) {
        let mut queue = self.queue.lock();
        let Some(first) = queue.records.pop_front() else {
            return (Vec::new(), Ok(()));
        };
        queue.bytes -= first.record.bytes.len() as u64;
        drop(queue);
        let keep_spares = usize::from(first.priority != Priority::Housekeeping);
        let needed = batch_bytes(std::iter::once(&first.record));
        let end = writer.end();
        if let Err(error) = writer.make_room(needed, keep_spares, end) {
            return (vec![first], Err(error));
        }
        let budget = writer
            .room_bytes()
            .min(self.parts.limits.batch_bytes_max.max(needed));
        let mut batch = vec![first];
        let mut queue = self.queue.lock();
        while let Some(next) = queue.records.front() {
            let records = batch.iter().map(|pending| &pending.record);
            if batch_bytes(records.chain(std::iter::once(&next.record))) > budget {
                break;
            }
            queue.bytes -= next.record.bytes.len() as u64;
            batch.extend(queue.records.pop_front());
        }
        self.room.notify_all();
        (batch, Ok(()))
    }

    /// Makes a durable batch visible, or poisons the log; each record gets its outcome.
    fn publish(
        &self,
        mut batch: Vec<Pending>,
        written: Result<Vec<Placed>, WriteError>,
        end: Lsn,
    ) -> Vec<Ended> {
        match written {
            Ok(places) => {
                let notes_only = batch
                    .iter()
                    .all(|pending| pending.record.kind == RecordKind::Note);
                for (pending, placed) in batch.iter_mut().zip(&places) {
                    pending.publish(*placed);
                }
                self.published.store(end.get(), Ordering::Release);
                if !notes_only {
                    self.parts.events.batch_written();
                }
                batch.into_iter().zip(places.into_iter().map(Ok)).collect()
            }
            Err(WriteError::Refused(rejection)) => {
                let refused = || Err(CommitError::Rejected(rejection.clone()));
                batch
                    .into_iter()
                    .map(|pending| (pending, refused()))
                    .collect()
            }
            Err(WriteError::Failed(failure)) => {
                let cause = Arc::new(failure);
                tracing::error!(%cause, "the log is poisoned");
                self.poison(&cause);
                batch
                    .into_iter()
                    .map(|pending| {
                        let error = pending.failed(&cause);
                        (pending, Err(error))
                    })
                    .collect()
            }
        }
    }

    /// The oldest waiter leads from now on, or nobody.
    fn hand_over(&self) {
        let mut queue = self.queue.lock();
        match queue.records.front() {
            Some(oldest) => oldest.ticket().make_leader(),
            None => {
                queue.leading = false;
                self.room.notify_all();
            }
        }
    }

    fn poison(&self, cause: &Arc<LogFailure>) {
        let mut queue = self.queue.lock();
        if !matches!(queue.health, Health::Poisoned(_)) {
            queue.health = Health::Poisoned(Arc::clone(cause));
        }
        let waiting = std::mem::take(&mut queue.records);
        queue.bytes = 0;
        self.room.notify_all();
        drop(queue);
        for pending in waiting {
            let error = pending.failed(cause);
            pending.answer(Err(error));
        }
    }

    /// The deadline passed: takes the record back if no batch has it yet. `None` when the ticket
    /// was told to lead in this moment: it has to, since nobody else does.
    fn give_up(
        &self,
        ticket: &Arc<Ticket>,
        started: Instant,
    ) -> Option<Result<Placed, CommitError>> {
        let waited = started.elapsed();
        let mut queue = self.queue.lock();
        if ticket.is_to_lead() {
            return None;
        }
        let at = queue
            .records
            .iter()
            .position(|pending| Arc::ptr_eq(pending.ticket(), ticket));
        let withdrawn = at.and_then(|at| queue.records.remove(at));
        if let Some(pending) = &withdrawn {
            queue.bytes -= pending.record.bytes.len() as u64;
        }
        drop(queue);
        if let Some(outcome) = ticket.take_outcome() {
            return Some(outcome);
        }
        let rejection = CommitError::Rejected(Rejection::Timeout { waited });
        Some(Err(match withdrawn {
            Some(pending) => {
                pending.answer(Err(rejection.clone()));
                rejection
            }
            None => CommitError::Unknown {
                lsn: self.published(),
                cause: Arc::new(LogFailure::Stalled { waited }),
            },
        }))
    }
}

/// A record, and how it ended.
type Ended = (Pending, Result<Placed, CommitError>);

fn starting(error: WriteError) -> CommitError {
    CommitError::Rejected(match error {
        WriteError::Refused(rejection) => rejection,
        WriteError::Failed(failure) => Rejection::Poisoned(Arc::new(failure)),
    })
}

/// Poisons the log when its leader unwinds: what the device holds is unknown then.
struct LeadGuard<'a> {
    log: &'a Log,
}

impl Drop for LeadGuard<'_> {
    fn drop(&mut self) {
        self.log.poison(&Arc::new(LogFailure::Panic {
            stage: "led a batch",
        }));
        self.log.queue.lock().leading = false;
        self.log.room.notify_all();
    }
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
