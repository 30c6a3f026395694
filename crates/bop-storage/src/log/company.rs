//! Letting others run: a committer before it parks, a leader before it writes.
//!
//! Whether it pays say [`linger`](super::linger) and [`gather`](super::gather), whether it is cheap
//! [`neighbours`](super::neighbours).
//!
//! Never: waits for anybody, or holds a lock meanwhile.

use super::linger::LINGER_YIELDS;
use super::shared::Shared;
use super::ticket::{Answer, Ticket};
use crate::runtime::sync;

/// So often a leader that gathers lets others run, whatever the clock says: a test's may stand still.
const GATHER_YIELDS_MAX: u32 = 1000;

impl Shared {
    /// Lets others run before the committer parks, if that pays.
    pub(super) fn linger(&self, ticket: &Ticket) -> Option<Answer> {
        if !self.lingering.is_worth_it() {
            return None;
        }
        let began_us = self.parts.clock.monotonic_us();
        if !self.neighbours.may_run(began_us) {
            return None;
        }
        let answer = ticket.linger(LINGER_YIELDS);
        self.neighbours
            .ran(began_us, self.parts.clock.monotonic_us());
        self.lingering.ended(answer.is_some());
        answer
    }

    /// Lets those run that are about to append, if there were more of them lately.
    pub(super) fn gather(&self) {
        let mut state = self.state.lock();
        let waiting = state.queue.records();
        let Some((crowd, patience)) = state.gathering.begin(waiting) else {
            return;
        };
        drop(state);
        let began_us = self.parts.clock.monotonic_us();
        if !self.neighbours.may_run(began_us) {
            return;
        }
        let patience_us = patience.as_micros() as u64;
        let (mut now_us, mut all_came) = (began_us, false);
        for _ in 0..GATHER_YIELDS_MAX {
            let before_us = now_us;
            sync::yield_now();
            now_us = self.parts.clock.monotonic_us();
            self.neighbours.ran(before_us, now_us);
            all_came = crowd <= self.state.lock().queue.records();
            if all_came || patience_us <= now_us.saturating_sub(began_us) {
                break;
            }
        }
        self.state.lock().gathering.end(all_came);
    }
}
