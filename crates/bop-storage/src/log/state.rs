//! What the threads of a log share, under one lock.
//!
//! The *turn* is the right to write to the device. Its holder takes one batch after the other, each
//! as the *window*: what is in flight.
//!
//! ```text
//!   turn:    Free --take--> Led --hand over--> Led by another
//!             ^               |  '-- a crowd waits --> Called --the background thread comes--> Led
//!             |               |  '-- nothing waits --> Free
//!             |               '-- its write failed, or does not come back --> Rewriting
//!             '---- hand over ---------------------------------------------------'  '--> poisoned
//! ```
//! Invariants
//! - one thread has the turn; `number` says which: it grows whenever the turn is taken away from a
//!   thread that may still be in the kernel, whose late return then changes nothing;
//! - a window is ended by the holder of the turn that it names.
//!
//! Never: does I/O, calls anybody.

use super::gather::Gathering;
use super::member::{Entry, Member, Priority, Waits};
use super::pace::Pace;
use super::queue::{Forming, Health, Queue};
use super::writer::Writer;
use crate::error::LogFailure;
use crate::ids::Lsn;
use crate::meters::Batch;
use crate::runtime::sync::now;
use std::sync::Arc;
use std::time::Instant;

/// Who writes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// Nobody: the next committer leads.
    Free,
    /// A committer or the background thread, or the retry thread for one batch that was the background thread's.
    Led,
    /// The background thread, which was called and has not come yet.
    Called,
    /// The retry thread, with a window that failed or hangs.
    Rewriting,
}

/// Where the background thread is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Background {
    /// Waiting for work.
    Waits,
    /// It has the turn, or has just handed it on.
    Leads,
    /// It had the turn, which was taken from it since its write does not return: the retry thread writes
    /// what no committer waits for.
    Hangs,
}

/// A batch in flight.
#[derive(Debug)]
pub(super) struct Window {
    /// Where it starts.
    pub(super) start: Lsn,
    /// Bytes of the batch.
    pub(super) bytes: u64,
    /// Its records, shared with whoever is writing them.
    pub(super) entries: Arc<Vec<Entry>>,
    /// Who waits for them, in the same order.
    pub(super) members: Vec<Member>,
    /// When its first write began.
    pub(super) since: Instant,
    /// Why its write failed, once it has.
    pub(super) failed: Option<Arc<LogFailure>>,
}

impl Window {
    /// Whether its records can be seen already: all of a batch, or none.
    pub(super) fn is_exposed(&self) -> bool {
        self.members.first().is_some_and(Member::is_exposed)
    }

    /// What is measured of it once it is durable.
    pub(super) fn measures(&self) -> Batch {
        let ends_change = |entry: &&Entry| entry.record.kind.ends_change();
        Batch {
            bytes: self.bytes,
            records: self.members.len() as u64,
            commits: self.entries.iter().filter(ends_change).count() as u64,
            since: self.since,
        }
    }

    /// The batch it was taken as, when nothing of it was written.
    pub(super) fn into_forming(self) -> Forming {
        let entries = Arc::unwrap_or_clone(self.entries);
        Forming::of(self.start, entries, self.members)
    }
}

/// The state.
#[derive(Debug)]
pub(super) struct State {
    pub(super) queue: Queue,
    pub(super) health: Health,
    pub(super) turn: Turn,
    /// Grows when the turn is taken from somebody.
    pub(super) number: u64,
    pub(super) window: Option<Window>,
    pub(super) writer: Writer,
    pub(super) gathering: Gathering,
    pub(super) pace: Pace,
    /// How often the log was shortened.
    pub(super) shortened: u64,
    pub(super) background: Background,
    /// When a thread of the log has to write what waits, unless somebody does before.
    pub(super) due_at: Option<Instant>,
    /// Records could not be written for want of room, and must not be refused since they are
    /// visible: nothing else is taken before there is room.
    pub(super) stuck: Option<crate::error::Rejection>,
    /// The threads are to end.
    pub(super) stop: bool,
}

impl State {
    pub(super) fn new(writer: Writer, last_time_us: u64) -> Self {
        Self {
            queue: Queue::new(writer.end(), last_time_us),
            health: Health::Open,
            turn: Turn::Free,
            number: 0,
            window: None,
            writer,
            gathering: Gathering::default(),
            pace: Pace::default(),
            shortened: 0,
            background: Background::Waits,
            due_at: None,
            stuck: None,
            stop: false,
        }
    }

    /// Whether the window waits for the retry thread.
    pub(super) fn window_failed(&self) -> bool {
        let window = self.window.as_ref();
        window.is_some_and(|window| window.failed.is_some())
    }

    /// When what waits must be written by a thread of the log, if nobody has the turn.
    pub(super) fn unattended_due(&self) -> Option<Instant> {
        let waits = self.turn == Turn::Free && 0 < self.queue.records();
        self.due_at.filter(|_| waits)
    }

    /// Takes the oldest batch as the window; `None` when nothing waits.
    pub(super) fn open_window(&mut self) -> Option<Task> {
        let front = self.queue.take_front()?;
        let bytes = front.bytes();
        // What can be seen already may use the reserve: it cannot be refused, and a checkpoint, which
        // would make room, waits for it.
        let refusable =
            |member: &Member| member.priority != Priority::Housekeeping && !member.is_exposed();
        let keep_spares = usize::from(front.members.iter().any(refusable));
        self.window = Some(Window {
            start: front.start,
            bytes,
            entries: Arc::new(front.entries),
            members: front.members,
            since: now(),
            failed: None,
        });
        if self.queue.records() == 0 {
            self.due_at = None;
        }
        self.task(keep_spares)
    }

    /// What is needed to write the window.
    pub(super) fn task(&self, keep_spares: usize) -> Option<Task> {
        let window = self.window.as_ref()?;
        Some(Task {
            number: self.number,
            start: window.start,
            bytes: window.bytes,
            entries: Arc::clone(&window.entries),
            keep_spares,
            writer: self.writer.clone(),
        })
    }

    /// Remembers by when a record that nobody waits for must be written. `true` when that is earlier
    /// than it was.
    pub(super) fn due_by(&mut self, waits: Waits, now: Instant) -> bool {
        let at = match waits {
            Waits::Thread => return false,
            Waits::Elsewhere => now,
            Waits::Relaxed(delay) => crate::runtime::after(now, delay),
        };
        let earlier = self.due_at.is_none_or(|due| at < due);
        if earlier {
            self.due_at = Some(at);
        }
        earlier
    }
}

/// What the holder of the turn needs to write a window, without the lock.
#[derive(Debug)]
pub(super) struct Task {
    /// The turn it belongs to.
    pub(super) number: u64,
    pub(super) start: Lsn,
    pub(super) bytes: u64,
    pub(super) entries: Arc<Vec<Entry>>,
    /// Spares that it must leave for housekeeping.
    pub(super) keep_spares: usize,
    /// Its copy of the log's end.
    pub(super) writer: Writer,
}
