//! What there is to do for the housekeeper, and when.
//!
//! Owns: a handful of flags, and a moment for those that have to wait. The log sets them from its
//! commit path, so setting one is a short lock and at most one wake-up.
//!
//! Never: does the work.

use crate::limits::Limits;
use crate::log::LogEvents;
use crate::runtime::after;
use crate::runtime::sync::{Condvar, Mutex, now};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// While more than half of the spares are left others are made when no segment was filled for so long: a
/// burst of commits, which is what they are there for, does not share the device with zeros for later ones.
const SPARES_REST: Duration = Duration::from_millis(100);

/// What is due.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Due {
    /// A note that carries the durable watermark.
    pub(crate) note: bool,
    /// More spare segments.
    pub(crate) spares: bool,
    /// A look at whether the log is long enough for a checkpoint.
    pub(crate) checkpoint_check: bool,
    /// A checkpoint, whatever the log's length: commits wait for room.
    pub(crate) checkpoint: bool,
    /// A look at whether dropped databases are to be given up.
    pub(crate) purge: bool,
    /// A look at whether windows have let go of some of the past.
    pub(crate) past: bool,
    /// A look at whether there are jobs.
    pub(crate) jobs: bool,
    /// The end.
    pub(crate) stop: bool,
}

impl Due {
    fn anything(self) -> bool {
        self != Self::default()
    }
}

#[derive(Debug, Default)]
struct State {
    due: Due,
    note_at: Option<Instant>,
    spares_at: Option<Instant>,
    checkpoint_at: Option<Instant>,
    purge_at: Option<Instant>,
    past_at: Option<Instant>,
    jobs_at: Option<Instant>,
}

impl State {
    /// What waited for its moment, and that is not after `now`, is due.
    fn ripen(&mut self, now: Option<Instant>) {
        let is_ripe =
            |at: &mut Option<Instant>| at.take_if(|at| now.is_none_or(|now| *at <= now)).is_some();
        self.due.note |= is_ripe(&mut self.note_at);
        self.due.spares |= is_ripe(&mut self.spares_at);
        self.due.checkpoint |= is_ripe(&mut self.checkpoint_at);
        self.due.purge |= is_ripe(&mut self.purge_at);
        self.due.past |= is_ripe(&mut self.past_at);
        self.due.jobs |= is_ripe(&mut self.jobs_at);
    }

    /// When the next of it is due.
    fn next_at(&self) -> Option<Instant> {
        let waiting = [
            self.note_at,
            self.spares_at,
            self.checkpoint_at,
            self.purge_at,
            self.past_at,
            self.jobs_at,
        ];
        waiting.into_iter().flatten().min()
    }
}

/// The flags.
#[derive(Debug)]
pub(crate) struct Signals {
    state: Mutex<State>,
    changed: Condvar,
    note_delay: Duration,
    /// Spares that are to be there.
    spares_wanted: usize,
    /// Set with `stop`, for long work to look at.
    stopping: AtomicBool,
}

impl Signals {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            note_delay: limits.idle_note_delay,
            spares_wanted: limits.segments_spare_min as usize,
            stopping: AtomicBool::new(false),
        }
    }

    /// Waits until something is due and takes it.
    pub(crate) fn wait(&self) -> Due {
        let mut state = self.state.lock();
        loop {
            state.ripen(Some(now()));
            if state.due.anything() {
                return std::mem::take(&mut state.due);
            }
            match state.next_at() {
                Some(at) => drop(self.changed.wait_until(&mut state, at)),
                None => self.changed.wait(&mut state),
            }
        }
    }

    /// Takes what is due now; what waits for its moment counts.
    pub(crate) fn take(&self) -> Due {
        let mut state = self.state.lock();
        state.ripen(None);
        std::mem::take(&mut state.due)
    }

    /// Takes a note and spares that are due now, and nothing else.
    pub(crate) fn take_urgent(&self) -> Option<Due> {
        let mut state = self.state.lock();
        state.ripen(Some(now()));
        let urgent = Due {
            note: std::mem::take(&mut state.due.note),
            spares: std::mem::take(&mut state.due.spares),
            ..Due::default()
        };
        urgent.anything().then_some(urgent)
    }

    /// Takes what is due now but for jobs and the end.
    pub(crate) fn take_beside_jobs(&self) -> Option<Due> {
        let mut state = self.state.lock();
        state.ripen(Some(now()));
        let (jobs, stop) = (state.due.jobs, state.due.stop);
        let kept = Due {
            jobs,
            stop,
            ..Due::default()
        };
        let taken = std::mem::replace(&mut state.due, kept);
        let others = Due {
            jobs: false,
            stop: false,
            ..taken
        };
        others.anything().then_some(others)
    }

    /// Waits until the end is asked for, something else has become due, or `until`.
    pub(crate) fn pause(&self, until: Instant) {
        let mut state = self.state.lock();
        let before = state.due;
        while state.due == before && !state.due.stop {
            let wake = state.next_at().map_or(until, |at| at.min(until));
            if self.changed.wait_until(&mut state, wake).timed_out() {
                return;
            }
        }
    }

    /// The housekeeper ends after what it is doing.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.set(|due| due.stop = true);
    }

    /// Whether the end was asked for.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// A checkpoint is wanted.
    pub(crate) fn want_checkpoint(&self) {
        self.set(|due| due.checkpoint = true);
    }

    /// Spares are to be tried again at `at`.
    pub(crate) fn make_spares_at(&self, at: Instant) {
        self.state.lock().spares_at = Some(at);
        self.changed.notify_all();
    }

    /// A checkpoint is to be tried again at `at`.
    pub(crate) fn checkpoint_at(&self, at: Instant) {
        self.state.lock().checkpoint_at = Some(at);
        self.changed.notify_all();
    }

    /// Dropped databases are to be looked at, at `at`.
    pub(crate) fn purge_at(&self, at: Instant) {
        self.state.lock().purge_at = Some(at);
        self.changed.notify_all();
    }

    /// The past is to be looked at, at `at`, unless that is to be done earlier.
    pub(crate) fn free_past_at(&self, at: Instant) {
        let mut state = self.state.lock();
        let first = state.past_at.map_or(at, |before| before.min(at));
        state.past_at = Some(first);
        self.changed.notify_all();
    }

    /// There are jobs, perhaps.
    pub(crate) fn want_jobs(&self) {
        self.set(|due| due.jobs = true);
    }

    /// There is one at `at`.
    pub(crate) fn jobs_at(&self, at: Instant) {
        self.state.lock().jobs_at = Some(at);
        self.changed.notify_all();
    }

    fn set(&self, change: impl FnOnce(&mut Due)) {
        change(&mut self.state.lock().due);
        self.changed.notify_all();
    }
}

impl LogEvents for Signals {
    fn batch_written(&self) {
        let mut state = self.state.lock();
        let was_armed = state
            .note_at
            .replace(after(now(), self.note_delay))
            .is_some();
        drop(state);
        // While armed the housekeeper wakes by itself, finds a later moment and sleeps again.
        if !was_armed {
            self.changed.notify_all();
        }
    }

    fn segment_sealed(&self, spares_left: usize) {
        let mut state = self.state.lock();
        if self.spares_wanted < 2 * spares_left {
            state.spares_at = Some(after(now(), SPARES_REST));
        } else {
            state.due.spares = true;
        }
        state.due.checkpoint_check = true;
        drop(state);
        self.changed.notify_all();
    }

    fn room_wanted(&self) {
        self.set(|due| due.checkpoint = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noting_after(idle_note_delay: Duration) -> Signals {
        Signals::new(&Limits {
            idle_note_delay,
            ..Limits::default()
        })
    }

    #[test]
    fn a_note_and_spares_are_urgent_when_they_are_due_and_jobs_wait_for_all_else() {
        let signals = noting_after(Duration::ZERO);
        signals.want_checkpoint();
        assert_eq!(signals.take_urgent(), None);
        signals.batch_written();
        signals.segment_sealed(1);
        let urgent = signals.take_urgent().unwrap();
        assert!(urgent.note && urgent.spares && !urgent.checkpoint && !urgent.checkpoint_check);
        assert_eq!(signals.take_urgent(), None);
        let rest = signals.take();
        assert!(rest.checkpoint && rest.checkpoint_check && !rest.note && !rest.spares);
        signals.want_jobs();
        signals.want_checkpoint();
        let others = signals.take_beside_jobs();
        assert!(others.is_some_and(|due| due.checkpoint && !due.jobs));
        assert_eq!(signals.take_beside_jobs(), None);
        assert!(signals.take().jobs);
        signals.jobs_at(Instant::now());
        assert!(signals.wait().jobs);
        let later = noting_after(Duration::from_secs(3600));
        later.batch_written();
        assert_eq!(later.take_urgent(), None);
    }

    #[test]
    fn spares_beyond_half_are_made_when_no_segment_was_filled_for_a_while() {
        let limits = Limits {
            segments_spare_min: 4,
            ..Limits::default()
        };
        let signals = Signals::new(&limits);
        signals.segment_sealed(3);
        assert_eq!(signals.take_urgent(), None);
        let filled = Instant::now();
        signals.segment_sealed(3);
        let due = std::iter::repeat_with(|| signals.wait()).find(|due| due.spares);
        assert!(due.is_some() && SPARES_REST <= filled.elapsed());
        signals.segment_sealed(2);
        assert!(signals.take_urgent().is_some_and(|due| due.spares));
        signals.segment_sealed(3);
        assert!(signals.take().spares, "whoever keeps house now does all");
    }
}
