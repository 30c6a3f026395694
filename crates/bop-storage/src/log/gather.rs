//! How long a leader waits for company before it writes.
//!
//! Committers that were just told have their next commit ready within microseconds. A leader that
//! writes at once leaves them to the batch behind: two halves of a crowd then take turns at the
//! device, and each of them waits for two writes. So the leader lets others run until as many records
//! wait as there were committers about, for no longer than the write will take.
//!
//! ```text
//!   as many as last time came in time --> wait again next time
//!   they did not                      --> do not wait for 1, 2, 4, ... batches
//! ```
//! Invariants
//! - a lone committer never waits, nor one of more than [`CROWD_MAX`], nor one of what may be half of so many;
//! - nobody waits longer than [`PATIENCE_MAX`], nor longer than the last write took.
//!
//! Never: waits, reads a clock.

use std::time::Duration;

/// A larger crowd is not waited for: its other half has work for the processors while the device writes, and
/// what comes meanwhile is a large batch, too.
const CROWD_MAX: usize = 12;

/// A larger crowd is remembered for so many batches: half of it looks small while the other half computes, and to wait
/// for the rest of a half helps nobody.
const REMEMBERED_BATCHES: u32 = 64;

/// A leader never waits longer than this.
const PATIENCE_MAX: Duration = Duration::from_micros(200);

/// After waits in vain: so many batches are written without one, at most.
const SKIPS_MAX: u32 = 64;

/// What the last batches were like.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// Committers of the last batch, and those that waited behind it.
    crowd: usize,
    /// Batches for which a larger crowd is still remembered.
    remembered: u32,
    /// How long its write took.
    write: Duration,
    /// Batches that are written without waiting, the next time that a wait was in vain.
    skips_next: u32,
    /// Batches that are still to be written without waiting.
    skips: u32,
}

impl Gathering {
    /// How many records are worth waiting for, and how long; `waiting` are there.
    pub(super) fn begin(&mut self, waiting: usize) -> Option<(usize, Duration)> {
        if self.crowd <= waiting || 0 < self.remembered {
            return None;
        }
        if 0 < self.skips {
            self.skips -= 1;
            return None;
        }
        let patience = self.write.min(PATIENCE_MAX);
        (!patience.is_zero()).then_some((self.crowd, patience))
    }

    /// A wait has ended.
    pub(super) fn end(&mut self, all_came: bool) {
        self.skips_next = match (all_came, self.skips_next) {
            (true, _) => 0,
            (false, 0) => 1,
            (false, skipped) => (2 * skipped).min(SKIPS_MAX),
        };
        self.skips = self.skips_next;
    }

    /// A batch of so many records was written, and so many wait now.
    pub(super) fn batch_ended(&mut self, records: usize, waiting: usize, write: Duration) {
        self.crowd = records + waiting;
        self.remembered = match CROWD_MAX < self.crowd {
            true => REMEMBERED_BATCHES,
            false => self.remembered.saturating_sub(1),
        };
        self.write = write;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: Duration = Duration::from_micros(100);

    #[test]
    fn a_lone_committer_never_waits() {
        let mut gathering = Gathering::default();
        assert_eq!(gathering.begin(1), None);
        gathering.batch_ended(1, 0, WRITE);
        assert_eq!(gathering.begin(1), None);
    }

    #[test]
    fn both_halves_of_a_crowd_are_waited_for() {
        let mut gathering = Gathering::default();
        gathering.batch_ended(4, 4, WRITE);
        assert_eq!(gathering.begin(4), Some((8, WRITE)));
        gathering.end(true);
        gathering.batch_ended(8, 0, WRITE);
        assert_eq!(gathering.begin(1), Some((8, WRITE)));
        gathering.end(true);
        assert_eq!(gathering.begin(8), None, "they are there");
        gathering.batch_ended(8, 0, Duration::from_secs(1));
        assert_eq!(gathering.begin(1), Some((8, PATIENCE_MAX)));
        gathering.batch_ended(6, 6, WRITE);
        assert_eq!(gathering.begin(6), Some((12, WRITE)));
        gathering.batch_ended(6, 7, WRITE);
        assert_eq!(gathering.begin(7), None, "they are a crowd");
    }

    #[test]
    fn half_of_a_large_crowd_is_no_small_one_until_no_large_one_was_seen_for_long() {
        for large in [CROWD_MAX + 1, 4000] {
            let mut gathering = Gathering::default();
            gathering.batch_ended(8, large - 8, WRITE);
            for batch in 0..REMEMBERED_BATCHES {
                assert_eq!(gathering.begin(1), None, "{large} {batch} batches ago");
                gathering.batch_ended(8, 0, WRITE);
            }
            assert_eq!(gathering.begin(1), Some((8, WRITE)));
        }
    }

    #[test]
    fn waits_in_vain_become_rare_and_one_that_helps_makes_them_usual_again() {
        let mut gathering = Gathering::default();
        let mut waits = Vec::new();
        for batch in 0..200 {
            gathering.batch_ended(1, 1, WRITE);
            if gathering.begin(1).is_some() {
                waits.push(batch);
                gathering.end(false);
            }
        }
        assert_eq!(waits, [0, 2, 5, 10, 19, 36, 69, 134, 199]);
        gathering.skips = 0;
        assert!(gathering.begin(1).is_some());
        gathering.end(true);
        assert!(gathering.begin(1).is_some());
    }
}
