//! How fast records are let in when the log is nearly full.
//!
//! Commits that outrun the checkpoint would fill the log at full speed and then stand still until it ends.
//! In the last quarter of the log they are let in more and more slowly instead, so that the checkpoint is
//! done first: every writer gets slower, and none is refused.
//!
//! Those who wait are let in a crowd at a time, at the end of a beat: one by one each would be written alone, at
//! the price of a batch of all, while a checkpoint needs the device and the processors most.
//!
//! ```text
//!   taken:  0 ------ 3/4 of the cap -------------------- cap
//!           |  as they come  |  slower with what is left  |  wait for room
//!
//!   their turns at the rate    | a   b c   d |   e     f   |
//!   let in                                a b c d         e f         a beat each
//! ```
//! Invariants
//! - nobody waits longer than [`WAIT_MAX`] for the sake of the pace;
//! - as long as there is room, a record that has waited is let in.
//!
//! Never: waits, refuses; asks for the time where nobody has to wait.

use std::time::{Duration, Instant};

/// Nobody waits longer.
pub(super) const WAIT_MAX: Duration = Duration::from_millis(500);

/// So many beats has a log at full speed in its last quarter: 4 ms each, of one that is not small.
const BEATS: u64 = 1000;

/// At full speed a log takes so long through its last quarter, or longer.
const ZONE_SECONDS: u64 = 4;

/// Bytes a second at the beginning of the last quarter at least: a small log is not slower than a device.
const BEGIN_MIN: u64 = 16 << 20;

/// Bytes a second at its end.
const END: u64 = 256 << 10;

/// When the next record is let in.
#[derive(Debug, Default)]
pub(super) struct Pace {
    next: Option<Turn>,
}

#[derive(Copy, Clone, Debug)]
struct Turn {
    /// When the first beat began.
    since: Instant,
    /// When it would be this record's turn, were there no beats.
    at: Instant,
}

impl Turn {
    /// The end of the beat, but for whom it is too long.
    fn let_in(&self, beat: Duration, latest: Instant) -> Instant {
        let beat = beat.as_nanos().max(1);
        let of = |beats: u128| {
            let nanos = u64::try_from(beats.saturating_mul(beat)).unwrap_or(u64::MAX);
            self.since.checked_add(Duration::from_nanos(nanos))
        };
        let beats = (self.at - self.since).as_nanos().div_ceil(beat);
        let end = of(beats).filter(|end| *end <= latest);
        // With the crowd before, which is not too late.
        end.or_else(|| of(beats.saturating_sub(1)))
            .map_or(latest, |end| end.min(latest))
    }
}

impl Pace {
    /// When a record of `bytes` bytes that comes now is let in, if not at once. `left` bytes of a log of `max`
    /// are to be had.
    pub(super) fn admit(
        &mut self,
        now: impl FnOnce() -> Instant,
        bytes: u64,
        left: u64,
        max: u64,
    ) -> Option<Instant> {
        let Some(rate) = bytes_per_second(left, max) else {
            self.next = None;
            return None;
        };
        let now = now();
        let fresh = Turn {
            since: now,
            at: now,
        };
        let (beat, latest) = (beat(max), now + WAIT_MAX);
        // Those who come back at the end of a beat have its turns, too; a longer pause is not made up for.
        let turn = self.next.filter(|next| now <= next.at + beat);
        let turn = turn.unwrap_or(fresh);
        let at = turn.at.min(latest);
        let turn = Turn { at, ..turn };
        let takes = Duration::from_micros(bytes.saturating_mul(1_000_000) / rate);
        self.next = at.checked_add(takes).map(|at| Turn { at, ..turn });
        (now < at).then(|| turn.let_in(beat, latest))
    }
}

/// `None`: as they come.
pub(super) fn bytes_per_second(left: u64, max: u64) -> Option<u64> {
    let zone = max / 4;
    if zone <= left {
        return None;
    }
    let begin = bytes_per_second_at_begin(zone);
    let rate = u128::from(begin) * u128::from(left) / u128::from(zone);
    Some(u64::try_from(rate).unwrap_or(u64::MAX).max(END))
}

/// At full speed.
fn bytes_per_second_at_begin(zone: u64) -> u64 {
    (zone / ZONE_SECONDS).max(BEGIN_MIN)
}

/// How often those who wait are let in.
fn beat(max: u64) -> Duration {
    let zone = max / 4;
    Duration::from_micros(zone.saturating_mul(1_000_000 / BEATS) / bytes_per_second_at_begin(zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const MAX: u64 = 1024 * MIB;

    #[test]
    fn the_less_is_left_the_slower() {
        let rate = |left: u64| bytes_per_second(left, MAX).map(|rate| rate / 1024);
        assert_eq!(rate(MAX), None);
        assert_eq!(rate(256 * MIB), None);
        assert_eq!(rate(192 * MIB), Some(48 * 1024));
        assert_eq!(rate(64 * MIB), Some(16 * 1024));
        assert_eq!(rate(2 * MIB), Some(512));
        assert_eq!(rate(0), Some(256));
        let small = |left: u64| bytes_per_second(left, MIB).map(|rate| rate / MIB);
        assert_eq!(small(MIB / 4 - 1), Some(15));
        assert_eq!(small(MIB / 8), Some(8));
    }

    #[test]
    fn records_come_one_behind_the_other_at_the_rate_and_none_waits_for_long() {
        let now = Instant::now();
        let mut pace = Pace::default();
        let mut wait = |left: u64, bytes: u64| {
            let at = pace.admit(|| now, bytes, left * MIB, MAX);
            at.map(|at| (at - now).as_millis())
        };
        assert_eq!(wait(500, 100 * MIB), None);
        // 16 MiB a second: the first at once, each behind the one before.
        assert_eq!(wait(64, MIB), None);
        assert_eq!(wait(64, 2 * MIB), Some(64));
        assert_eq!(wait(64, 16 * MIB), Some(188));
        assert_eq!(wait(64, MIB), Some(500));
        // There is room again.
        assert_eq!(wait(300, MIB), None);
        assert_eq!(wait(64, MIB), None);
    }

    #[test]
    fn those_who_wait_are_let_in_a_crowd_at_a_time() {
        let (now, mut pace) = (Instant::now(), Pace::default());
        // 16 MiB a second: 64 KiB a beat.
        let mut let_in = |after_us: u64| {
            let now = now + Duration::from_micros(after_us);
            let at = pace.admit(|| now, 16 * 1024, 64 * MIB, MAX);
            at.map(|at| (at - now).as_micros() as u64 + after_us)
        };
        assert_eq!(let_in(0), None);
        let crowds: Vec<_> = (1..13).map(|nth| let_in(nth * 10)).collect();
        let expected = [[4000; 4], [8000; 4], [12_000; 4]];
        assert_eq!(
            crowds,
            expected.concat().into_iter().map(Some).collect::<Vec<_>>()
        );
    }

    #[test]
    fn writers_that_come_back_at_the_end_of_a_beat_have_all_of_its_turns() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        // Four writers of 4 KiB at 16 MiB a second: a quarter of a beat's turns each time that they are let in.
        let mut clock = start;
        let mut written = 0;
        for _ in 0..1000 {
            let mut last = clock;
            for _ in 0..4 {
                let at = pace.admit(|| clock, 4096, 64 * MIB, MAX);
                last = last.max(at.unwrap_or(clock));
                written += 4096;
            }
            clock = last;
        }
        let rate = written as f64 / (clock - start).as_secs_f64() / MIB as f64;
        assert!((15.0..17.0).contains(&rate), "{rate} MiB/s");
    }

    #[test]
    fn a_small_log_has_short_beats() {
        assert_eq!(beat(MAX), Duration::from_millis(4));
        assert_eq!(beat(64 * MAX), Duration::from_millis(4));
        assert_eq!(beat(64 * MIB), Duration::from_millis(1));
        assert_eq!(beat(MIB), Duration::from_micros(15));
        assert_eq!(beat(0), Duration::ZERO);
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let (now, mut pace) = (Instant::now(), Pace::default());
        assert_eq!(pace.admit(|| now, MIB, 64 * MIB, MAX), None);
        let later = now + Duration::from_secs(9);
        assert_eq!(pace.admit(|| later, MIB, 64 * MIB, MAX), None);
        let next = pace.admit(|| later, MIB, 64 * MIB, MAX);
        // 62.5 ms, and on to the end of the beat.
        assert_eq!(next, Some(later + Duration::from_millis(64)));
    }
}
