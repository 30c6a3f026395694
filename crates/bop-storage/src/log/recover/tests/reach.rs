//! How far anything can have been written, and what becomes of the segments that are not in the log.

use super::super::Checkpointed;
use super::writer::{TestLog, damaged};
use crate::ids::{DbId, Lsn, SegmentId};
use crate::io::layout;

/// Bytes of a segment that hold batches: all but its first three blocks.
const SEGMENT: u64 = (64 << 10) - 3 * 4096;
const BLOCK: u64 = 4096;

fn reach(log: &TestLog) -> u64 {
    log.recover().0.highest_possible_end.get()
}

#[test]
fn the_log_may_have_come_to_the_end_of_each_segment_that_it_was_in() {
    let mut log = TestLog::new();
    log.commit(1, 1);
    assert_eq!(reach(&log), SEGMENT);
    log.activate();
    log.commit(1, 2);
    assert_eq!(reach(&log), BLOCK + SEGMENT);
}

/// A segment that cannot be read may have been the log's, and any of its bytes with it.
#[test]
fn the_log_may_have_filled_each_segment_that_nobody_can_read() {
    let mut log = TestLog::new();
    log.commit(1, 1);
    log.disk.remove_raw(&layout::segment(SegmentId::new(2)));
    assert_eq!(reach(&log), SEGMENT + (64 << 10));
    log.disk.remove_raw(&layout::segment(SegmentId::new(3)));
    assert_eq!(reach(&log), SEGMENT + 2 * (64 << 10));
    // Nor does it help that nobody misses it.
    let mut log = TestLog::new();
    log.commit(1, 1);
    log.close();
    log.disk.remove_raw(&layout::segment(SegmentId::new(2)));
    assert_eq!(damaged(&log.recover().0), [0; 0]);
    assert_eq!(reach(&log), SEGMENT + (64 << 10));
}

/// A store that never had a log: a spare of it is gone, and no position was ever given out.
#[test]
fn a_spare_that_is_gone_before_the_first_activation_held_nothing() {
    let mut log = TestLog::empty();
    log.spares(2);
    log.disk.remove_raw(&layout::segment(SegmentId::new(2)));
    assert_eq!(reach(&log), 0);
    // The manifest knows of a log: it was in one of those that are gone.
    let (held, covered) = (Lsn::new(104), Lsn::new(BLOCK));
    let one = Checkpointed {
        head: held,
        covered,
    };
    log.checkpointed.insert(DbId::new(1), one);
    assert_eq!(reach(&log), BLOCK + (64 << 10));
}

/// What the manifest knows is behind its newest commit, or where its chunks were cut, whichever is later;
/// the end of the log is at a block.
#[test]
fn the_log_was_at_least_where_the_manifest_knows_of_it() {
    let mut log = TestLog::new();
    log.commit(1, 1);
    let at = |head: u64, covered: u64| Checkpointed {
        head: Lsn::new(head),
        covered: Lsn::new(covered),
    };
    let far = 100 * BLOCK;
    for (catalogue, one, truncated, end) in [
        (at(0, 0), at(far - 8, 0), 0, far),
        (at(0, 0), at(far, 0), 0, far + BLOCK),
        (at(0, 0), at(104, far), 0, far),
        (at(far, 0), at(0, 0), 0, far + BLOCK),
        (at(0, far), at(0, 0), 0, far),
        (at(0, 0), at(0, 0), far, far),
    ] {
        log.catalogue = catalogue;
        log.truncated = Lsn::new(truncated);
        log.checkpointed.insert(DbId::new(1), one);
        assert_eq!(reach(&log), end, "{catalogue:?} {one:?} {truncated}");
    }
}

/// Spares are activated in the order of their ids: one in front of the newest segment must be stamped again,
/// and counts as none.
#[test]
fn a_spare_that_was_passed_over_is_stamped_again() {
    let mut log = TestLog::new();
    log.commit(1, 1);
    log.skip_to(3);
    log.activate();
    log.commit(1, 2);
    log.close();
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1", "1:2"]);
    assert_eq!(recovered.restamp, [log.segments[1]]);
    assert_eq!(recovered.spares, []);
    assert_eq!(recovered.max_segment_id, SegmentId::new(3));
    assert_eq!(damaged(&recovered), [0; 0]);
}
