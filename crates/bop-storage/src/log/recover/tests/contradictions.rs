//! Segments that contradict each other or themselves, and names that are no files.

use super::writer::{TestLog, damaged};
use crate::error::{OpenError, Reject};
use crate::ids::{DbId, Lsn, SegmentId};
use crate::io::errno::{EINVAL, EIO, EISDIR, ELOOP, ENOTDIR, EROFS};
use crate::io::{IoOp, layout};
use crate::log::format::encode_close;
use crate::testing::Fault;

/// Two activated segments with a commit each; cleanly closed.
fn two_segments() -> TestLog {
    let mut log = TestLog::new();
    log.commit(1, 1);
    log.activate();
    log.commit(2, 2);
    log.close();
    log
}

#[test]
fn what_is_no_file_is_damage_of_its_segment_alone() {
    for errno in [ELOOP, EISDIR, ENOTDIR, EINVAL] {
        let log = two_segments();
        log.disk.fail_next(IoOp::Open, Fault::Error(errno));
        let (recovered, lines) = log.recover();
        assert_eq!(lines, ["2:2"], "errno {errno}");
        assert_eq!(damaged(&recovered), [1], "errno {errno}");
        let why = &recovered.damaged.values().next().unwrap().reason;
        assert!(matches!(why, Reject::Unreadable(_)), "{why:?}");
    }
}

/// What another process left in the kernel's cache is to be durable before it is believed; where nothing
/// can be written, nothing was.
#[test]
fn a_segment_that_cannot_be_synced_is_not_looked_at_unless_nothing_can_be_written() {
    let log = two_segments();
    log.disk.fail_next(IoOp::Sync, Fault::Error(EROFS));
    assert_eq!(log.recover().1, ["1:1", "2:2"]);
    log.disk.fail_next(IoOp::Sync, Fault::Error(EIO));
    let refused = log.try_recover(&log.disk).unwrap_err();
    assert!(matches!(refused, OpenError::Io(failure) if failure.errno == EIO));
}

/// A spare whose stamp is bad was never activated as long as nothing else is in it. With anything where its
/// activation or its first batch would be, the log may have gone on there.
#[test]
fn a_spare_with_a_bad_stamp_is_missed_only_if_something_is_in_it() {
    for (something, missed) in [
        (None, vec![]),
        (Some(4096 + 9), vec![0, 1]),
        (Some(3 * 4096 + 100), vec![0, 1]),
    ] {
        let mut log = TestLog::new();
        log.commit(1, 1);
        let path = layout::segment(SegmentId::new(2));
        log.disk.flip(&path, 20, 1);
        if let Some(byte) = something {
            log.disk.flip(&path, byte, 1);
        }
        let (recovered, lines) = log.recover();
        assert_eq!(lines, ["1:1"]);
        assert_eq!(damaged(&recovered), missed, "something: {something:?}");
        assert_eq!(recovered.findings.len(), 1);
    }
}

/// Its first blocks are gone, and behind them are batches: it was activated.
#[test]
fn a_segment_whose_first_blocks_are_lost_is_known_by_its_batches() {
    let mut log = TestLog::new();
    log.commit(1, 1);
    log.activate();
    log.commit(2, 2);
    log.commit(2, 3);
    log.close();
    let lost = [crate::io::Block::ZERO; 4];
    let file = log.file(SegmentId::new(2));
    file.write_durable_at(0, &lost).unwrap();
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1"]);
    assert_eq!(damaged(&recovered), [2]);
}

/// Two batches were on their way: of the first nothing arrived, of the second, a close record, everything.
/// The close was not acknowledged, and never happened.
#[test]
fn a_close_record_behind_a_gap_closes_nothing() {
    let mut log = TestLog::new();
    log.commit(1, 1);
    let end = log.active.unwrap().end;
    let lost = log.commit_part(&[1], 2);
    log.make(&[lost], end);
    let close = encode_close(&[(DbId::new(1), log.head(1))]).unwrap();
    let (blocks, _) = log.make(&[TestLog::plain(close)], end);
    let offset = log.space().offset(log.batches[2].1);
    let file = log.file(SegmentId::new(1));
    file.write_durable_at(offset, &blocks).unwrap();
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1"]);
    assert!(!recovered.clean);
    assert_eq!(recovered.end, end);
}

/// The next run writes right behind the close record, if there is a block for it.
#[test]
fn behind_a_close_record_at_the_end_of_its_segment_the_next_one_may_have_begun() {
    // A segment has 13 blocks for batches.
    for (commits, clean) in [(11, true), (12, false)] {
        let mut log = TestLog::new();
        for page in 1..=commits {
            log.commit(1, page);
        }
        log.close();
        log.disk.remove_raw(&layout::segment(SegmentId::new(2)));
        let (recovered, _) = log.recover();
        assert_eq!(recovered.clean, clean, "{commits} commits");
        let missed = if clean { vec![] } else { vec![0, 1] };
        assert_eq!(damaged(&recovered), missed, "{commits} commits");
    }
}

#[test]
fn a_predecessor_ends_inside_of_itself() {
    let contradiction = "its predecessor cannot end where it says";
    let refused = |log: &TestLog| match log.try_recover(&log.disk).unwrap_err() {
        OpenError::Damaged(damage) => damage.reason,
        other => panic!("{other}"),
    };
    // Before its first byte, and behind its last one.
    for end in [Lsn::ZERO, Lsn::new(1 << 30)] {
        let mut log = two_segments();
        log.active.as_mut().unwrap().end = end;
        log.activate_at(Lsn::new(1 << 30));
        assert_eq!(refused(&log), Reject::Invalid(contradiction), "{end}");
    }
}

#[test]
fn a_segment_may_be_left_empty_or_full() {
    let mut log = TestLog::new();
    log.commit(1, 1);
    log.activate();
    // Nothing came into it.
    log.activate();
    log.commit(2, 2);
    log.close();
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1", "2:2"]);
    assert!(recovered.clean && recovered.findings.is_empty());
    // To its last byte: what was there and is not any more is damage, and no contradiction.
    let limit = log.space().limit();
    log.spares(1);
    log.active.as_mut().unwrap().end = limit;
    log.activate();
    assert_eq!(log.recover().1, ["1:1", "2:2"]);
}

/// The only segment that was ever activated looks like a spare: both copies of the activation and the first
/// batch are zeros.
#[test]
fn a_log_whose_beginning_is_zeros_is_found_behind_them() {
    let mut log = TestLog::new();
    for page in 1..=3 {
        log.commit(1, page);
    }
    let file = log.file(SegmentId::new(1));
    let zeros = [crate::io::Block::ZERO; 3];
    file.write_durable_at(4096, &zeros).unwrap();
    let (recovered, _) = log.recover();
    assert!(damaged(&recovered).contains(&1), "{recovered:?}");
    assert!(!recovered.spares.contains(&log.segments[0]));
}

/// Nobody can say whose commit was in a batch that is lost: it may have been the first one of a database that
/// had just been created.
#[test]
fn a_database_that_was_created_before_a_hole_is_suspect_though_it_has_no_commit() {
    let mut log = TestLog::new();
    log.create(9, "nine");
    log.commit(1, 1);
    log.commit(1, 2);
    log.ruin_batch(1);
    let (recovered, _) = log.recover();
    assert_eq!(damaged(&recovered), [0, 1, 9]);
    // Behind the hole it is not.
    let mut log = TestLog::new();
    log.commit(1, 1);
    log.create(9, "nine");
    log.ruin_batch(0);
    let (recovered, _) = log.recover();
    assert!(!damaged(&recovered).contains(&9));
}
