//! What waits for the device: records that have their place, in the batches they will be written in.
//!
//! ```text
//!   health:  Open --close--> Closed --the last record--> Ended
//!              '---------------'-- no segment takes a batch any more --> Poisoned (until reopen)
//!
//!   place --> [forming] [forming] ... --take_front--> in flight (the turn's)
//! ```
//!
//! A record gets its Lsn here. Until its write begins nobody outside knows that Lsn, unless the
//! record is *exposed*: visible to readers before it is durable. So a record that is not exposed can
//! be withdrawn, and whatever is behind it moves up.
//!
//! Invariants
//! - batches stand one behind the other: each starts where the one before ends, the first one at the
//!   end of what was taken, unless exposed records keep it from moving up;
//! - a batch has exposed records only, or none;
//! - a record that takes half of the largest batch has one of its own.
//!
//! Never: waits, locks, does I/O.

use super::format::{BatchLayout, EncodedRecord};
use super::member::{Entry, Member, Placed, Priority, Waits};
use super::ticket::Ticket;
use crate::error::{LogFailure, Rejection};
use crate::ids::Lsn;
use crate::runtime::sync::Gate;
use std::collections::VecDeque;
use std::sync::Arc;

/// A smaller batch is as soon copied.
const ALONE_BYTES_MIN: usize = 128 << 10;

/// Whether the log takes records.
#[derive(Clone, Debug)]
pub(super) enum Health {
    Open,
    /// Housekeeping goes on.
    Closed,
    /// The last record was taken.
    Ended,
    Poisoned(Arc<LogFailure>),
}

impl Health {
    /// Why no record of this priority is taken, if so.
    pub(super) fn refusal(&self, priority: Priority) -> Option<Rejection> {
        match self {
            Self::Open => None,
            Self::Closed if priority == Priority::Housekeeping => None,
            Self::Closed | Self::Ended => Some(Rejection::Closed),
            Self::Poisoned(cause) => Some(Rejection::Poisoned(Arc::clone(cause))),
        }
    }
}

/// A batch that no device write has taken yet.
#[derive(Debug)]
pub(super) struct Forming {
    /// Where it starts.
    pub(super) start: Lsn,
    layout: BatchLayout,
    /// Its records, in order.
    pub(super) entries: Vec<Entry>,
    /// Who waits for them, in the same order.
    pub(super) members: Vec<Member>,
    /// Where they park.
    gate: Arc<Gate>,
}

impl Forming {
    fn new(start: Lsn) -> Self {
        Self {
            gate: Arc::default(),
            start,
            layout: BatchLayout::default(),
            entries: Vec::new(),
            members: Vec::new(),
        }
    }

    /// A batch of records that have their places.
    pub(super) fn of(start: Lsn, entries: Vec<Entry>, members: Vec<Member>) -> Self {
        Self {
            gate: Arc::default(),
            start,
            layout: BatchLayout::of(entries.iter().map(|entry| &*entry.record)),
            entries,
            members,
        }
    }

    /// Bytes of the batch.
    pub(super) fn bytes(&self) -> u64 {
        self.layout.batch_bytes() as u64
    }

    /// Whether its records can be seen already.
    pub(super) fn is_exposed(&self) -> bool {
        self.members.first().is_some_and(Member::is_exposed)
    }

    /// Where a record would stand, and the layout with it.
    fn offer(&self, record: &EncodedRecord) -> Option<(Lsn, BatchLayout)> {
        let mut layout = self.layout;
        let at = layout.add_record(record);
        // The end is in the number space, so every place in the batch is.
        self.start.advance(layout.batch_bytes() as u64)?;
        Some((self.start.advance(at as u64)?, layout))
    }

    /// Puts its records into a batch that starts elsewhere.
    fn moved_to(self, start: Lsn) -> Option<Self> {
        let mut moved = Self::new(start);
        for (entry, mut member) in self.entries.into_iter().zip(self.members) {
            let (lsn, layout) = moved.offer(&entry.record)?;
            member.at.lsn = lsn;
            moved.layout = layout;
            moved.entries.push(entry);
            moved.members.push(member);
        }
        Some(moved)
    }
}

/// The records that wait.
#[derive(Debug)]
pub(super) struct Queue {
    forming: VecDeque<Forming>,
    records: usize,
    bytes: u64,
    /// Where the first batch starts that is not there yet, when none is forming.
    tail: Lsn,
    last_time_us: u64,
}

impl Queue {
    /// An empty queue of a log that ends at `tail`.
    pub(super) fn new(tail: Lsn, last_time_us: u64) -> Self {
        Self {
            forming: VecDeque::new(),
            records: 0,
            bytes: 0,
            tail,
            last_time_us,
        }
    }

    /// Records that wait.
    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where everything that was placed so far ends.
    pub(super) fn end(&self) -> Lsn {
        let last = self.forming.back();
        last.map_or(self.tail, |last| end_of(last.start, last.bytes()))
    }

    /// Gives a record its place. It joins the newest batch, unless that would pass `batch_max`.
    pub(super) fn place(
        &mut self,
        record: Arc<EncodedRecord>,
        now_us: u64,
        ticket: Arc<Ticket>,
        (priority, waits): (Priority, Waits),
        batch_max: u64,
    ) -> Result<Placed, Rejection> {
        let exposed = matches!(waits, Waits::Relaxed(_));
        let joins = |last: &Forming| {
            let offered = last.offer(&record);
            let fits = |(_, layout): &(Lsn, BatchLayout)| layout.batch_bytes() as u64 <= batch_max;
            let alone = |record: &EncodedRecord| stands_alone(record, batch_max);
            last.is_exposed() == exposed
                && offered.as_ref().is_some_and(fits)
                && !alone(&record)
                && !last.entries.first().is_some_and(|one| alone(&one.record))
        };
        let newest = self.forming.pop_back_if(|last| joins(last));
        let mut batch = newest.unwrap_or_else(|| Forming::new(self.end()));
        let Some((lsn, layout)) = batch.offer(&record) else {
            // One that was just begun: the number space ends here.
            let at = batch.start;
            return Err(Rejection::Poisoned(Arc::new(LogFailure::Exhausted { at })));
        };
        self.last_time_us = now_us.max(self.last_time_us);
        let at = Placed {
            lsn,
            time_us: self.last_time_us,
        };
        let is_note = record.kind == super::format::record::RecordKind::Note;
        self.records += 1;
        self.bytes += record.bytes.len() as u64;
        ticket.sit(&batch.gate, batch.members.len());
        batch.layout = layout;
        batch
            .members
            .push(Member::new(ticket, at, priority, waits, is_note));
        batch.entries.push(Entry {
            record,
            time_us: at.time_us,
        });
        self.forming.push_back(batch);
        Ok(at)
    }

    /// Takes the oldest batch.
    pub(super) fn take_front(&mut self) -> Option<Forming> {
        let mut front = self.forming.pop_front()?;
        self.tail = end_of(front.start, front.bytes());
        front
            .members
            .iter_mut()
            .for_each(|member| member.submitted = true);
        self.count_out(&front.entries);
        Some(front)
    }

    /// Puts a batch back that was taken and of which nothing was written.
    pub(super) fn put_back(&mut self, mut batch: Forming) {
        batch
            .members
            .iter_mut()
            .for_each(|member| member.submitted = false);
        self.records += batch.entries.len();
        self.bytes += record_bytes(&batch.entries);
        self.forming.push_front(batch);
    }

    /// A batch that started at `start` is not written after all: what waits moves up to there, if it
    /// can.
    pub(super) fn close_gap(&mut self, start: Lsn) {
        if self.forming.iter().any(Forming::is_exposed) {
            return;
        }
        let waiting = std::mem::take(&mut self.forming);
        self.tail = start;
        for batch in waiting {
            // Moving down does not leave the number space.
            let moved = batch.moved_to(self.end());
            self.forming.extend(moved);
        }
    }

    /// Takes a record back that no write has taken. `None` when it is gone, or has to keep its place.
    pub(super) fn withdraw(&mut self, ticket: &Arc<Ticket>) -> Option<Member> {
        let (batch, at) = self.find(ticket)?;
        // Those before it do not move, but `close_gap` is simpler when nothing keeps its place.
        if self.forming.iter().any(Forming::is_exposed) {
            return None;
        }
        let start = self.forming.front()?.start;
        let forming = self.forming.get_mut(batch)?;
        let member = forming.members.remove(at);
        let entry = forming.entries.remove(at);
        self.count_out(&[entry]);
        self.forming.retain(|batch| !batch.members.is_empty());
        self.close_gap(start);
        Some(member)
    }

    /// Nobody waits for a record any more that stays where it is; `false` when it is not here, but on its way to
    /// the device.
    pub(super) fn abandon(&mut self, ticket: &Arc<Ticket>) -> bool {
        if let Some((batch, at)) = self.find(ticket)
            && let Some(batch) = self.forming.get_mut(batch)
            && let Some(member) = batch.members.get_mut(at)
        {
            member.waits = Waits::Elsewhere;
            return true;
        }
        false
    }

    /// Whether a record is to be written at once that no thread waits for.
    pub(super) fn has_unattended(&self) -> bool {
        let mut members = self.forming.iter().flat_map(|batch| &batch.members);
        members.any(|member| member.waits == Waits::Elsewhere)
    }

    /// The oldest waiter that can lead.
    pub(super) fn next_leader(&self) -> Option<&Arc<Ticket>> {
        let mut members = self.forming.iter().flat_map(|batch| &batch.members);
        let thread = members.find(|member| member.waits == Waits::Thread);
        thread.map(|member| &member.ticket)
    }

    /// Takes those out that nobody can see yet. The others keep their places.
    pub(super) fn drain_unexposed(&mut self) -> Vec<Member> {
        let waiting = std::mem::take(&mut self.forming);
        let (exposed, others): (VecDeque<_>, VecDeque<_>) =
            waiting.into_iter().partition(Forming::is_exposed);
        self.tail = others.back().map_or(self.tail, |last| {
            self.tail.max(end_of(last.start, last.bytes()))
        });
        self.forming = exposed;
        let mut gone = Vec::new();
        for batch in others {
            self.count_out(&batch.entries);
            gone.extend(batch.members);
        }
        gone
    }

    /// Takes everybody out, to be told of a failure.
    pub(super) fn drain(&mut self) -> Vec<Member> {
        self.records = 0;
        self.bytes = 0;
        let waiting = std::mem::take(&mut self.forming);
        waiting
            .into_iter()
            .flat_map(|batch| batch.members)
            .collect()
    }

    fn find(&self, ticket: &Arc<Ticket>) -> Option<(usize, usize)> {
        self.forming.iter().enumerate().find_map(|(index, batch)| {
            let mut members = batch.members.iter();
            let at = members.position(|member| Arc::ptr_eq(&member.ticket, ticket))?;
            Some((index, at))
        })
    }

    fn count_out(&mut self, gone: &[Entry]) {
        self.records -= gone.len();
        self.bytes -= record_bytes(gone);
    }
}

/// Whether a record is rather written by itself, from where it is, than copied for company: there would be no
/// room for another of its size.
fn stands_alone(record: &EncodedRecord, batch_max: u64) -> bool {
    let batch_bytes = BatchLayout::of([record]).batch_bytes();
    ALONE_BYTES_MIN <= batch_bytes && batch_max <= 2 * batch_bytes as u64
}

fn record_bytes(entries: &[Entry]) -> u64 {
    let bytes = entries.iter().map(|entry| entry.record.bytes.len() as u64);
    bytes.sum()
}

/// Where a batch ends; it was placed inside the number space.
fn end_of(start: Lsn, bytes: u64) -> Lsn {
    start.advance(bytes).unwrap_or(Lsn::LIMIT)
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
