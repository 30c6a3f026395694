//! Leading: the holder of the turn writes what waits, batch by batch, and hands the turn on.
//!
//! ```text
//!   gather -> open window -> roll if it does not fit -> encode -> durable write -> close window
//!                  |                  |                   |             |             -> publish
//!                  |                  |                   '-------------'- fails, panics
//!                  '---- no room -----'                                       -> the retry thread
//!                        -> the batch is refused, the log goes on
//! ```
//! Invariants
//! - nothing is published before it is durable, and everything in Lsn order;
//! - who lost the turn while in the kernel changes nothing any more;
//! - a panic loses no record: one in a write is a failed write, one in a publisher poisons the log,
//!   since what readers see is unknown then.
//!
//! Never: writes a failed batch again (that is [`rewrite`](super::rewrite)).

use super::batch_buffer::BatchBuffer;
use super::member::Member;
use super::queue::Health;
use super::seal::SealGatherer;
use super::segment::SpareSegment;
use super::shared::Shared;
use super::state::{Background, State, Task, Turn, Window};
use super::ticket::{Crowd, Outcome, Ticket};
use super::writer::{WriteError, take_spare};
use crate::canary::{Canary, is_planted};
use crate::error::{CommitError, LogFailure, Rejection};
use crate::ids::Lsn;
use crate::runtime::sync::now;
use crate::runtime::{fence, sync};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A committer that leads hands on after so many batches, whatever waits: its own commit returns only then.
const LEAD_BATCHES_MAX: u32 = 8;

/// With as many records waiting the background thread leads, until there are few again.
pub(super) const CROWD_RECORDS_MIN: usize = 12;

/// With fewer records waiting the oldest of their committers may as well write them.
const LEAD_RECORDS_MIN: usize = 3;

/// What is visible and had no room on the device is tried again after this long.
const STUCK_RETRY: Duration = Duration::from_millis(100);

/// A record, and how it ended.
pub(super) type Ended = Vec<(Member, Outcome)>;

/// What became of an attempt to write the next batch.
enum Step {
    /// Its records have ended, these are to be told.
    Done(Ended),
    /// Nothing waits, or nothing that can be written now.
    Idle,
    /// The turn is somebody else's.
    Lost,
}

/// Why a window was not written.
pub(super) enum Stopped {
    Refused(Rejection),
    Failed(LogFailure),
    /// The turn was taken away.
    Lost,
}

impl From<Rejection> for Stopped {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection)
    }
}

impl From<WriteError> for Stopped {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused(rejection) => Self::Refused(rejection),
            WriteError::Failed(failure) => Self::Failed(failure),
        }
    }
}

impl From<Stopped> for LogFailure {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Failed(failure) => failure,
            Stopped::Refused(rejection) => Self::Refused(Box::new(rejection)),
            Stopped::Lost => Self::Lost,
        }
    }
}

impl Shared {
    /// Writes what waits. The caller, a committer, has the turn; `own` is its ticket, which ends on the way.
    pub(super) fn lead(&self, own: Option<&Arc<Ticket>>) {
        self.lead_while(own, |batches| self.stays(batches));
    }

    /// The same for the background thread: it goes on until hardly anything waits.
    pub(super) fn lead_on(&self) {
        self.lead_while(None, |_| {
            LEAD_RECORDS_MIN <= self.state.lock().queue.records()
        });
    }

    /// The same for one batch.
    pub(super) fn lead_once(&self) {
        self.lead_while(None, |_| false);
    }

    /// Writes what waits, as long as `stays` says so after so many batches.
    fn lead_while(&self, own: Option<&Arc<Ticket>>, stays: impl Fn(u32) -> bool) {
        let guard = LeadGuard(self);
        let mut buffer = std::mem::take(&mut *self.buffer.lock());
        let mut batches = 0;
        let mut own_ended = own.is_none();
        let ended = loop {
            self.gather();
            match self.write_next(&mut buffer) {
                Step::Lost => {
                    std::mem::forget(guard);
                    return;
                }
                Step::Idle => break Vec::new(),
                Step::Done(ended) => {
                    batches += 1;
                    let is_own = |(member, _): &(Member, Outcome)| {
                        own.is_some_and(|own| Arc::ptr_eq(own, &member.ticket))
                    };
                    own_ended |= ended.iter().any(is_own);
                    if own_ended && !stays(batches) {
                        break ended;
                    }
                    answer(ended);
                }
            }
        };
        std::mem::forget(guard);
        self.keep_buffer(buffer);
        let ended = answer_exposed(ended);
        self.hand_over();
        answer(ended);
    }

    /// Whether a committer goes on for others. Where no thread writes what nobody waits for, it does.
    fn stays(&self, batches: u32) -> bool {
        let state = self.state.lock();
        if self.parts.spawn.is_none() && state.queue.has_unattended() {
            return true;
        }
        let goes_on = batches < LEAD_BATCHES_MAX && LEAD_RECORDS_MIN <= state.queue.records();
        goes_on && !self.is_for_background(&state)
    }

    /// Whether a crowd waits and the background thread is there to lead it. It is not while a write of its
    /// own does not return, nor when the log is stopped.
    fn is_for_background(&self, state: &State) -> bool {
        self.has_idle_background(state) && CROWD_RECORDS_MIN <= state.queue.records()
    }

    /// Whether the background thread is there to lead, and does not.
    pub(super) fn has_idle_background(&self, state: &State) -> bool {
        let waits = state.background == Background::Waits && !state.stop;
        self.parts.spawn.is_some() && waits
    }

    /// Tells the thread that writes what no committer waits for.
    pub(super) fn call_unattended(&self, state: &State) {
        match state.background {
            Background::Waits | Background::Leads => self.work.notify_one(),
            Background::Hangs => self.failed.notify_one(),
        };
    }

    fn keep_buffer(&self, mut buffer: BatchBuffer) {
        // After a record that was much larger than a batch may be.
        buffer.shrink(2 * self.parts.limits.batch_bytes_max);
        *self.buffer.lock() = buffer;
    }

    fn write_next(&self, buffer: &mut BatchBuffer) -> Step {
        let mut state = self.state.lock();
        let Some(mut task) = state.open_window() else {
            return Step::Idle;
        };
        drop(state);
        self.room.notify_all();
        let records = task.entries.len();
        let _span = tracing::debug_span!("batch", records, bytes = task.bytes).entered();
        let before = task.writer.segment().map(|segment| segment.id);
        let began_us = self.parts.clock.monotonic_us();
        self.writing.fetch_add(1, Ordering::AcqRel);
        let written = fence("wrote a batch", || self.perform(&mut task, buffer));
        self.writing.fetch_sub(1, Ordering::AcqRel);
        let written = written
            .unwrap_or_else(|panic| Err(Stopped::Failed(LogFailure::Panic(Box::new(panic)))));
        let step = match written {
            Ok(()) => self.close_window(&task, buffer, began_us),
            Err(Stopped::Lost) => Step::Lost,
            Err(Stopped::Refused(rejection)) => self.refuse_window(&task, &rejection),
            Err(Stopped::Failed(failure)) => self.window_failed(&task, failure),
        };
        if matches!(step, Step::Lost) {
            // Whoever closes the log waits for this, too.
            let _state = self.state.lock();
            self.room.notify_all();
        }
        buffer.release();
        if before != task.writer.segment().map(|segment| segment.id) {
            self.segment_sealed();
        }
        step
    }

    /// Makes room for a window and writes it.
    fn perform(&self, task: &mut Task, buffer: &mut BatchBuffer) -> Result<(), Stopped> {
        if !task.writer.takes(task.start, task.bytes) {
            self.roll(task, task.keep_spares)?;
        }
        let took = task.writer.write(task.start, &task.entries, buffer)?;
        self.parts.meters.batch_written(took);
        Ok(())
    }

    /// Goes on in the next segment, for a window that starts it.
    pub(super) fn roll(&self, task: &mut Task, keep_spares: usize) -> Result<(), Stopped> {
        let take = || self.take_spare(task.number, keep_spares);
        let spare = take_spare(&self.parts, task.bytes, keep_spares, take)?;
        let (id, sealed_at) = (spare.id, task.writer.end());
        let left = task.writer.segment().cloned().zip(task.writer.sealed_now());
        let next = task.writer.activate(spare, task.start);
        let next = next.inspect_err(|_| self.abandoned.lock().push(id));
        let next = next.map_err(|failure| Stopped::Failed(failure.into()))?;
        let mut state = self.state.lock();
        if state.number != task.number {
            drop(state);
            // Nothing more is written to it: nobody has to find it again after the next start.
            self.abandoned.lock().push(id);
            self.discard_abandoned();
            return Err(Stopped::Lost);
        }
        self.parts.ring.activate(Arc::clone(&next), sealed_at);
        state.writer = task.writer.clone();
        // Before anybody can take the turn away: who has it next rolls the index on from here.
        let mut index = self.index.lock();
        drop(state);
        match left {
            Some((left, sealed)) => {
                self.parts.spares.segment_filled(left.capacity_bytes);
                index.roll(self.parts.ring.seals(), &left, sealed, &next);
            }
            None => *index = SealGatherer::of(&next),
        }
        Ok(())
    }

    /// The next spare, for whoever still has the turn. Whoever has it next takes one with a larger id:
    /// recovery tells by the ids whose segment the log went on in.
    pub(super) fn take_spare(
        &self,
        number: u64,
        keep: usize,
    ) -> Result<Option<SpareSegment>, Stopped> {
        let state = self.state.lock();
        if state.number != number {
            return Err(Stopped::Lost);
        }
        Ok(self.parts.ring.take_spare(keep))
    }

    /// The window is durable: makes it visible.
    fn close_window(&self, task: &Task, buffer: &BatchBuffer, began_us: u64) -> Step {
        let took_us = self.parts.clock.monotonic_us().saturating_sub(began_us);
        let mut state = self.state.lock();
        if state.number != task.number {
            return Step::Lost;
        }
        state.writer = task.writer.clone();
        state.stuck = None;
        let window = state.window.take();
        // Those of relaxed commits wait for nobody: they are no crowd.
        let crowd = window.as_ref().filter(|window| !window.is_exposed());
        if let Some(window) = crowd {
            let (records, waiting) = (window.members.len(), state.queue.records());
            let took = Duration::from_micros(took_us);
            state.gathering.batch_ended(records, waiting, took);
        }
        drop(state);
        self.index.lock().add(|body| buffer.index(body));
        if let Some((used, batch_bytes)) = buffer.used() {
            self.parts.kept.add(task.start, used, batch_bytes);
        }
        let ended = window.map(|window| self.publish(window, task.writer.end()));
        Step::Done(ended.unwrap_or_default())
    }

    /// Makes a durable window visible; each record gets its end.
    pub(super) fn publish(&self, window: Window, end: Lsn) -> Ended {
        self.parts.meters.batch_durable(&window.measures());
        let notes_only = window.members.iter().all(|member| member.is_note);
        let exposed = window.is_exposed();
        let mut poison = None;
        if is_planted(Canary::WaiterPublishes) {
            self.set_published(end);
            sync::yield_now();
        }
        let mut publish = |member: Member| {
            let published = fence("published a commit", || member.publish());
            // Durable, but readers may not see it: the next open makes it right.
            let outcome = published.map(|()| member.at).map_err(|panic| {
                let cause = Arc::new(LogFailure::Panic(Box::new(panic)));
                poison = Some(Arc::clone(&cause));
                member.failed(&cause)
            });
            (member, outcome)
        };
        let ended = window.members.into_iter().map(&mut publish).collect();
        if exposed {
            self.parts.unwritten.remove_before(end);
        }
        self.set_published(end);
        if let Some(cause) = poison {
            self.poison(&cause);
        }
        if !notes_only {
            self.parts.events.batch_written();
        }
        ended
    }

    /// There was no room for the window.
    fn refuse_window(&self, task: &Task, rejection: &Rejection) -> Step {
        let mut state = self.state.lock();
        if state.number != task.number {
            return Step::Lost;
        }
        let Some(window) = state.window.take() else {
            return Step::Idle;
        };
        let refused = if window.is_exposed() {
            state.queue.put_back(window.into_forming());
            state.stuck = Some(rejection.clone());
            self.pace.notify_all();
            state.due_at = Some(crate::runtime::after(now(), STUCK_RETRY));
            state.queue.drain_unexposed()
        } else {
            state.queue.close_gap(task.start);
            window.members
        };
        drop(state);
        if matches!(rejection, Rejection::Segment(_)) {
            // A checkpoint may give back what a segment needs.
            self.parts.events.room_wanted();
        }
        let outcome = || Err(CommitError::Rejected(rejection.clone()));
        let ended: Ended = refused
            .into_iter()
            .map(|mut member| {
                member.submitted = false;
                (member, outcome())
            })
            .collect();
        if ended.is_empty() {
            Step::Idle
        } else {
            Step::Done(ended)
        }
    }

    /// The device did not take the window: it is the retry thread's from now on.
    fn window_failed(&self, task: &Task, failure: LogFailure) -> Step {
        let mut state = self.state.lock();
        if state.number != task.number {
            return Step::Lost;
        }
        let cause = Arc::new(failure);
        tracing::warn!(%cause, lsn = %task.start, "a write of the log failed");
        take_over(&mut state, &cause);
        self.parts.meters.batch_failed(&cause);
        drop(state);
        if self.parts.spawn.is_some() {
            self.failed.notify_one();
        } else {
            self.rewrite();
        }
        Step::Lost
    }

    /// The oldest waiter leads from now on, or the background thread where there is a crowd, or when it is
    /// time, or nobody.
    pub(super) fn hand_over(&self) {
        let mut state = self.state.lock();
        if self.is_for_background(&state) {
            state.turn = Turn::Called;
            self.work.notify_one();
            return;
        }
        if let Some(oldest) = state.queue.next_leader() {
            if !is_planted(Canary::LostHandOff) {
                oldest.make_leader();
            }
            state.turn = Turn::Led;
            return;
        }
        if self.parts.spawn.is_none() && state.queue.has_unattended() {
            // It came after the leader's last look, and no thread writes it.
            drop(state);
            return self.lead(None);
        }
        state.turn = Turn::Free;
        if state.due_at.is_some() {
            self.call_unattended(&state);
        }
        self.room.notify_all();
    }

    /// Nothing more can be written, until the store is opened again.
    pub(super) fn poison(&self, cause: &Arc<LogFailure>) {
        tracing::error!(%cause, "the log is poisoned");
        let mut state = self.state.lock();
        if !matches!(state.health, Health::Poisoned(_)) {
            state.health = Health::Poisoned(Arc::clone(cause));
            self.poison.get_or_init(|| Arc::clone(cause));
        }
        // In the order of the log.
        let window = state.window.take();
        let mut waiting = window.map(|window| window.members).unwrap_or_default();
        waiting.extend(state.queue.drain());
        state.due_at = None;
        self.look_again();
        drop(state);
        let failed = |member: Member| {
            let error = member.failed(cause);
            (member, Err(error))
        };
        answer(waiting.into_iter().map(failed).collect());
    }

    /// Refuses what waits while nobody has the turn, who would write it.
    pub(super) fn refuse_rest(&self) {
        let mut state = self.state.lock();
        if state.turn != Turn::Free {
            return;
        }
        let waiting = state.queue.drain();
        drop(state);
        let refused = |member| (member, Err(Rejection::Closed.into()));
        answer(waiting.into_iter().map(refused).collect());
    }
}

/// Takes the turn from a leader whose write failed, or does not return.
pub(super) fn take_over(state: &mut State, cause: &Arc<LogFailure>) {
    state.number += 1;
    state.turn = Turn::Rewriting;
    if let Some(segment) = state.writer.segment() {
        segment.suspect();
    }
    if let Some(window) = &mut state.window {
        window.failed = Some(Arc::clone(cause));
    }
}

/// Tells the committers, and wakes them all when each has its answer.
pub(super) fn answer(ended: Ended) {
    let mut crowd = Crowd::default();
    for (member, outcome) in ended {
        member.answer(outcome, &mut crowd);
    }
}

/// Answers those whose end is told in order: before somebody else can write, and answer, what comes
/// next. The others need not wait for their answers to be told of theirs.
pub(super) fn answer_exposed(ended: Ended) -> Ended {
    if !ended.iter().any(|(member, _)| member.is_exposed()) {
        return ended;
    }
    let (exposed, others) = ended
        .into_iter()
        .partition(|(member, _)| member.is_exposed());
    answer(exposed);
    others
}

/// Poisons the log when its leader unwinds all the same: what the device holds is unknown then.
struct LeadGuard<'a>(&'a Shared);

impl Drop for LeadGuard<'_> {
    fn drop(&mut self) {
        self.0.poison(&Arc::new(LogFailure::Lost));
        self.0.hand_over();
    }
}
