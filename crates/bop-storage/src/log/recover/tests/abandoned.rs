//! Activations that failed and were given up: the log is what the predecessors say.

use super::super::Checkpointed;
use super::writer::{TestLog, damaged};
use crate::error::{OpenError, Reject};
use crate::ids::{DbId, SegmentId};
use crate::io::{BLOCK_BYTES, Block, layout};

/// A log in segment 1 with a commit of database 1, and many spares.
fn one_commit() -> TestLog {
    let mut log = TestLog::new();
    log.spares(6);
    log.commit(1, 1);
    log
}

/// Begins to activate the next segment and gives it up: the log is where it was, and the segment is
/// never used again. What its copies hold afterwards is in `copies`.
fn give_up(log: &mut TestLog, copies: [bool; 2]) {
    let before = log.active;
    log.activate();
    let id = log.active.unwrap().identity.segment;
    for (copy, there) in copies.into_iter().enumerate() {
        if !there {
            let offset = ((copy + 1) * BLOCK_BYTES) as u64;
            let file = log.file(id);
            file.write_durable_at(offset, &[Block::ZERO]).unwrap();
        }
    }
    log.active = before;
    log.skip_to(id.get() + 1);
}

fn ids(segments: &[super::super::RegisteredSegment]) -> Vec<u64> {
    segments.iter().map(|segment| segment.id.get()).collect()
}

#[test]
fn segments_that_were_given_up_hold_nothing_and_are_no_damage() {
    for copies in [[true, true], [true, false], [false, true]] {
        for count in 1..=3 {
            let mut log = one_commit();
            (0..count).for_each(|_| give_up(&mut log, copies));
            log.activate();
            log.commit(2, 2);
            log.activate();
            log.commit(1, 3);
            log.close();
            let (recovered, lines) = log.recover();
            let context = format!("{count} times {copies:?}");
            assert_eq!(lines, ["1:1", "2:2", "1:3"], "{context}");
            assert_eq!(recovered.findings, [], "{context}");
            assert_eq!(damaged(&recovered), [0; 0], "{context}");
            let given_up: Vec<u64> = (2..2 + count).collect();
            assert_eq!(ids(&recovered.abandoned), given_up, "{context}");
            assert_eq!(ids(&recovered.restamp), [0; 0], "{context}");
            assert!(recovered.clean, "{context}");
            assert_eq!(recovered.sealed.len(), 2, "{context}");
        }
    }
}

#[test]
fn what_a_segment_holds_that_was_given_up_never_comes_back() {
    let mut log = one_commit();
    let end = log.active.unwrap().end;
    let heads = log.heads.clone();
    // A batch that failed in the segment before: dead, though it is all there.
    log.commit(1, 7);
    log.active.as_mut().unwrap().end = end;
    let chain = log.recover().0.active.unwrap();
    assert_ne!(chain.end, end, "it would be replayed if nobody went on");
    log.rewind(end, &heads);
    // And batches in one that was given up.
    let before = log.active;
    log.activate();
    log.commit(1, 8);
    let given_up = log.active.unwrap().identity.segment.get();
    log.active = before;
    log.heads = heads;
    log.skip_to(given_up + 1);
    log.activate();
    log.commit(1, 9);
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1", "1:9"]);
    assert_eq!(damaged(&recovered), [0; 0]);
    assert_eq!(ids(&recovered.abandoned), [given_up]);
}

#[test]
fn one_that_was_given_up_last_is_the_newest_segment_until_somebody_goes_on() {
    for copies in [[true, true], [true, false]] {
        let mut log = one_commit();
        give_up(&mut log, copies);
        let newest = SegmentId::new(2);
        let (recovered, lines) = log.recover();
        assert_eq!(lines, ["1:1"]);
        let active = recovered.active.unwrap();
        assert_eq!((active.identity.segment, active.base), (newest, active.end));
        assert_eq!((recovered.findings.len(), recovered.damaged.len()), (0, 0));
        // The next run follows it, and so it is a part of the log.
        log.reopen_after_crash(&recovered);
        log.commit(1, 2);
        let (again, lines) = log.recover();
        assert_eq!(lines, ["1:1", "1:2"]);
        assert_eq!(again.abandoned, []);
        assert_eq!(damaged(&again), [0; 0]);
    }
}

#[test]
fn behind_an_unclean_stop_several_starts_may_fail() {
    let mut log = one_commit();
    let (recovered, _) = log.recover();
    log.reopen_after_crash(&recovered);
    let base = log.active.unwrap().base;
    let first = log.active.unwrap().identity.segment.get();
    // The same start once more, in the next segment.
    log.active = recovered.active;
    log.skip_to(first + 1);
    log.activate_at(base);
    log.commit(1, 2);
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1", "1:2"]);
    assert_eq!(ids(&recovered.abandoned), [first]);
    assert_eq!(damaged(&recovered), [0; 0]);
}

#[test]
fn a_segment_that_the_log_was_in_is_not_passed_over() {
    let mut log = one_commit();
    let first = log.active;
    log.activate();
    log.commit(2, 2);
    log.activate();
    log.commit(1, 3);
    // The third one names the second, which holds a commit: it is the log's.
    let (recovered, _) = log.recover();
    assert_eq!(recovered.abandoned, []);
    // One that names the first, from another place than the second starts at, contradicts it.
    let mut log = one_commit();
    let mut elsewhere = first.unwrap();
    log.commit(1, 5);
    let end = log.active.unwrap().end;
    log.activate();
    log.commit(2, 2);
    elsewhere.end = first.unwrap().end;
    assert!(elsewhere.end < end);
    log.active = Some(elsewhere);
    log.skip_to(3);
    log.activate_at(end);
    let refused = log.try_recover(&log.disk).unwrap_err();
    let what = Reject::Invalid("it does not follow the segment before it");
    assert!(matches!(&refused, OpenError::Damaged(damage) if damage.reason == what));
    let path = layout::segment(SegmentId::new(3));
    assert!(
        refused.to_string().contains(path.to_str().unwrap()),
        "{refused}"
    );
}

#[test]
fn one_that_was_given_up_and_outlived_those_that_went_on_in_its_place_is_no_damage() {
    for copies in [[true, true], [true, false]] {
        let mut log = one_commit();
        give_up(&mut log, copies);
        log.activate();
        log.commit(1, 2);
        log.activate();
        // Segments 1 and 3 are released; 2 was still in the kernel's hands.
        log.truncated = log.active.unwrap().base;
        let head = log.head(1);
        log.checkpointed
            .insert(DbId::new(1), Checkpointed::at(head));
        log.segments
            .retain(|segment| [2, 4, 5, 6].contains(&segment.id.get()));
        log.commit(1, 3);
        let (recovered, lines) = log.recover();
        assert_eq!(lines, ["1:3"], "{copies:?}");
        assert_eq!(recovered.findings, [], "{copies:?}");
        assert_eq!(damaged(&recovered), [0; 0], "{copies:?}");
        assert_eq!(ids(&recovered.abandoned), [2], "{copies:?}");
        assert_eq!(recovered.sealed.len(), 0, "{copies:?}");
    }
}
