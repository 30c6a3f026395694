//! Segments that contradict each other or themselves, and names that are no files.

use super::writer::{TestLog, damaged};
use crate::error::{OpenError, Reject};
use crate::ids::{Lsn, SegmentId};
use crate::io::errno::{EINVAL, EIO, EISDIR, ELOOP, ENOTDIR, EROFS};
use crate::io::{IoOp, layout};
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
/// first batch would be, the log may have gone on there.
#[test]
fn a_spare_with_a_bad_stamp_is_missed_only_if_something_is_in_it() {
    for (something, missed) in [(false, vec![]), (true, vec![0, 1])] {
        let mut log = TestLog::new();
        log.commit(1, 1);
        let path = layout::segment(SegmentId::new(2));
        log.disk.flip(&path, 20, 1);
        if something {
            log.disk.flip(&path, 3 * 4096 + 100, 1);
        }
        let (recovered, lines) = log.recover();
        assert_eq!(lines, ["1:1"]);
        assert_eq!(damaged(&recovered), missed, "something: {something}");
        assert_eq!(recovered.findings.len(), 1);
    }
}

#[test]
fn a_predecessor_ends_inside_of_itself() {
    let contradiction = "its predecessor cannot end where it says";
    let refused = |log: &TestLog| match log.try_recover(&log.disk).unwrap_err() {
        OpenError::Damaged(damage) => damage.reason,
        other => panic!("{other}"),
    };
    for end in [Lsn::ZERO, Lsn::new(1 << 30)] {
        let mut log = two_segments();
        log.active.as_mut().unwrap().end = end;
        log.activate_at(Lsn::new(1 << 30));
        assert_eq!(refused(&log), Reject::Invalid(contradiction), "{end}");
    }
}
