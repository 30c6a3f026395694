//! Where a crowd parks: its threads are woken by one call of the kernel, all of them or one.
//!
//! A parker for each thread costs its waker a call for each, and each woken thread may take the
//! processor from a waker who is not done yet.
//!
//! ```text
//!   seen = look() --> is there a reason to wait? --yes--> wait(seen, mark)
//!                                                            ^
//!   make the reason go away --> wake_all(), or wake(mark) ---'  ends it, also when it came first
//! ```
//! Invariants
//! - whoever looked before the wake-up and waits after it does not park;
//! - a wait may end for nothing: its caller looks again.
//!
//! Never: knows what is waited for.

use rustix::thread::futex::{Flags, wait_bitset, wake_bitset};
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// A place to park. The word counts the wake-ups; see futex(2).
#[derive(Debug, Default)]
pub(crate) struct Gate(AtomicU32);

impl Gate {
    /// What [`Gate::wait`] is given: to be taken before the reason to wait is looked at.
    pub(crate) fn look(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    /// Parks until somebody wakes all, or `mark`, unless that was done since `seen`, or `deadline`
    /// passes.
    pub(crate) fn wait(&self, seen: u32, mark: Mark, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let now = clock_gettime(ClockId::Monotonic);
        let until = Timespec::try_from(left)
            .ok()
            .and_then(|left| now.checked_add(left));
        // Woken, too late, a signal, or a deadline beyond the clock's end: the caller looks again.
        let _ = wait_bitset(&self.0, Flags::PRIVATE, seen, until.as_ref(), mark.bits());
    }

    /// Wakes everybody.
    pub(crate) fn wake_all(&self) {
        self.wake_bits(NonZeroU32::MAX);
    }

    /// Wakes those with this mark: one thread, in a crowd of up to 32.
    pub(crate) fn wake(&self, mark: Mark) {
        self.wake_bits(mark.bits());
    }

    fn wake_bits(&self, bits: NonZeroU32) {
        self.0.fetch_add(1, Ordering::SeqCst);
        // It fails for no argument that is given here.
        let _ = wake_bitset(&self.0, Flags::PRIVATE, i32::MAX as u32, bits);
    }
}

/// Which of a gate's threads this is, more or less: every 33rd has the same.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mark(NonZeroU32);

impl Mark {
    /// That of the `nth`.
    pub(crate) fn nth(nth: usize) -> Self {
        Self(NonZeroU32::new(1 << (nth % 32)).unwrap_or(NonZeroU32::MIN))
    }

    pub(crate) fn bits(self) -> NonZeroU32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(60);

    /// A thread that waits at `gate` until `open`.
    fn waiter(gate: &Arc<Gate>, mark: Mark, open: &Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
        let (gate, open) = (Arc::clone(gate), Arc::clone(open));
        std::thread::spawn(move || {
            let deadline = Instant::now() + LONG;
            loop {
                let seen = gate.look();
                if open.load(Ordering::SeqCst) {
                    return;
                }
                gate.wait(seen, mark, deadline);
                assert!(Instant::now() < deadline, "nobody woke it");
            }
        })
    }

    #[test]
    fn all_are_woken_at_once_and_one_alone() {
        let gate = Arc::new(Gate::default());
        let opens: Vec<_> = (0..40).map(|_| Arc::new(AtomicBool::new(false))).collect();
        let waiters = opens.iter().enumerate();
        let mut waiters: Vec<_> = waiters
            .map(|(nth, open)| Some(waiter(&gate, Mark::nth(nth), open)))
            .collect();
        // Whichever have parked by now: a wake-up is never lost.
        for nth in [7, 39] {
            opens[nth].store(true, Ordering::SeqCst);
            gate.wake(Mark::nth(nth));
            waiters[nth].take().unwrap().join().unwrap();
        }
        opens
            .iter()
            .for_each(|open| open.store(true, Ordering::SeqCst));
        gate.wake_all();
        for waiter in waiters.into_iter().flatten() {
            waiter.join().unwrap();
        }
    }

    #[test]
    fn who_looked_before_the_wake_up_does_not_park_and_a_deadline_ends_a_wait() {
        let gate = Gate::default();
        let seen = gate.look();
        gate.wake(Mark::nth(3));
        gate.wait(seen, Mark::nth(4), Instant::now() + LONG);
        for wait in [Duration::ZERO, Duration::from_millis(2)] {
            gate.wait(gate.look(), Mark::nth(0), Instant::now() + wait);
        }
    }

    #[test]
    fn marks_are_one_bit_each() {
        let bits: u32 = (0..32).fold(0, |all, nth| all ^ Mark::nth(nth).bits().get());
        assert_eq!(bits, u32::MAX);
        assert_eq!(Mark::nth(35), Mark::nth(3));
    }
}
