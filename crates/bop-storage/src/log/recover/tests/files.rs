//! Segment files that are missing, short, swapped, foreign, newer, or cannot be read.

use super::writer::{STORE, TestLog, damaged};
use crate::checksum::crc64;
use crate::error::{OpenError, Place, Reject};
use crate::ids::{DbId, Lsn, SegmentId, StoreId};
use crate::io::errno::{EIO, EMFILE};
use crate::io::{Disk, IoOp, OpenMode, layout};
use crate::log::format::{SegmentIdentity, Stamped};
use crate::testing::Fault;
use std::path::PathBuf;

fn path(id: u64) -> PathBuf {
    layout::segment(SegmentId::new(id))
}

/// Three activated segments with a commit of one database each, and a spare; cleanly closed.
fn three_segments() -> TestLog {
    let mut log = TestLog::new();
    log.spares(1);
    log.commit(1, 1);
    log.activate();
    log.commit(2, 2);
    log.activate();
    log.commit(3, 3);
    log.close();
    log
}

#[test]
fn a_missing_segment_stops_whom_it_can_have_touched() {
    for (missing, delivered, stopped) in [
        (1, vec!["2:2", "3:3"], vec![1]),
        (2, vec!["1:1", "3:3"], vec![2]),
    ] {
        let log = three_segments();
        log.disk.remove_raw(&path(missing));
        let (recovered, lines) = log.recover();
        assert_eq!(lines, delivered);
        assert_eq!(damaged(&recovered), stopped);
        let damage = recovered.damaged.values().next().unwrap();
        assert_eq!(damage.place, Place::File(path(missing)));
        assert_eq!(damage.reason, Reject::Missing);
        assert_eq!(recovered.unusable, [log.segments[missing as usize - 1]]);
    }
}

#[test]
fn the_newest_segment_missing_stops_everybody_who_is_not_checkpointed() {
    let log = three_segments();
    log.disk.remove_raw(&path(3));
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1", "2:2"]);
    // Nothing names database 3 any more: the manifest would.
    assert_eq!(damaged(&recovered), [0, 1, 2]);
    assert!(!recovered.clean);
}

#[test]
fn a_missing_spare_matters_only_if_it_can_have_been_active() {
    // After a clean close it cannot.
    let log = three_segments();
    log.disk.remove_raw(&path(4));
    let (recovered, _) = log.recover();
    assert!(recovered.clean);
    assert_eq!((damaged(&recovered), recovered.findings.len()), (vec![], 1));

    // After a crash it can.
    let mut log = TestLog::new();
    log.commit(1, 1);
    log.disk.remove_raw(&path(2));
    assert_eq!(damaged(&log.recover().0), [0, 1]);

    // But not if the one before it is there and was not.
    let mut log = TestLog::new();
    log.commit(1, 1);
    log.disk.remove_raw(&path(3));
    let (recovered, _) = log.recover();
    assert_eq!((damaged(&recovered), recovered.findings.len()), (vec![], 1));
}

#[test]
fn all_segments_gone_is_not_an_empty_log() {
    let mut log = TestLog::new();
    let lsn = log.commit(1, 1);
    log.checkpointed
        .insert(DbId::new(1), super::super::Checkpointed::at(lsn));
    log.checkpointed
        .insert(DbId::new(2), super::super::Checkpointed::default());
    for id in 1..=3 {
        log.disk.remove_raw(&path(id));
    }
    assert_eq!(damaged(&log.recover().0), [0, 1, 2]);
    log.segments.clear();
    let (recovered, _) = log.recover();
    assert_eq!(damaged(&recovered), [0, 1, 2]);
    // A segment can start there, behind everything that was ever written.
    let base = recovered.highest_possible_end;
    assert!(lsn < base && base.get().is_multiple_of(4096));
}

#[test]
fn swapped_and_copied_files_are_noticed() {
    let log = three_segments();
    let (one, two) = (log.disk.read_raw(&path(1)), log.disk.read_raw(&path(2)));
    log.disk.write_raw(&path(1), &two);
    log.disk.write_raw(&path(2), &one);
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["3:3"]);
    assert_eq!(damaged(&recovered), [1, 2]);

    let log = three_segments();
    log.disk.write_raw(&path(2), &one);
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1", "3:3"]);
    assert_eq!(damaged(&recovered), [2]);
}

#[test]
fn a_foreign_segment_is_named_and_never_counted_as_a_spare() {
    let mut log = TestLog::new();
    log.commit(1, 1);
    log.close();
    let foreign = Stamped {
        identity: SegmentIdentity {
            store: StoreId::new([1; 16]),
            segment: SegmentId::new(2),
            incarnation: log.segments[1].incarnation,
        },
        capacity_bytes: log.segments[1].capacity_bytes,
    };
    let file = log.file(SegmentId::new(2));
    file.write_durable_at(0, &[foreign.encode()]).unwrap();
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1"]);
    assert_eq!(recovered.findings[0].reason, Reject::ForeignStore);
    assert_eq!(recovered.spares, [log.segments[2]]);
    assert_eq!(recovered.unusable, [log.segments[1]]);
    assert_ne!(STORE, foreign.identity.store);
}

#[test]
fn a_newer_format_is_refused_with_both_versions() {
    let log = three_segments();
    let mut bytes = log.disk.read_raw(&path(2));
    bytes[8] = 9;
    let checksum = crc64(&bytes[..56]);
    bytes[56..64].copy_from_slice(&checksum.to_le_bytes());
    log.disk.write_raw(&path(2), &bytes);
    let refused = log.try_recover(&log.disk).unwrap_err();
    let newer = Reject::Version {
        found: 9,
        supported: 1,
    };
    assert!(matches!(&refused, OpenError::Damaged(damage) if damage.reason == newer));
}

#[test]
fn a_bad_stamp_or_one_bad_copy_of_the_activation_is_reported_and_costs_nothing() {
    for byte in [20, 4096 + 20, 8192 + 20, 4096 + 100] {
        let log = three_segments();
        log.disk.flip(&path(2), byte, 1);
        let (recovered, lines) = log.recover();
        assert_eq!(lines, ["1:1", "2:2", "3:3"], "byte {byte}");
        assert_eq!(recovered.findings.len(), 1, "byte {byte}");
        assert_eq!(damaged(&recovered), [0; 0], "byte {byte}");
    }
}

#[test]
fn both_copies_of_an_activation_lost_leaves_the_batches_and_a_question() {
    let log = three_segments();
    log.disk.flip(&path(2), 4096 + 20, 1);
    log.disk.flip(&path(2), 8192 + 20, 1);
    let (recovered, lines) = log.recover();
    // The close record answers it.
    assert_eq!(lines, ["1:1", "2:2", "3:3"]);
    assert_eq!(damaged(&recovered), [0; 0]);
    assert!(!recovered.findings.is_empty());
}

#[test]
fn a_torn_first_activation_is_no_activation() {
    let mut log = TestLog::new();
    log.commit(1, 1);
    log.disk.flip(&path(2), 4096 + 9, 1);
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1"]);
    assert_eq!(recovered.spares, log.segments[1..]);
    assert_eq!(damaged(&recovered), [0; 0]);
    log.reopen_after_crash(&recovered);
    log.commit(1, 2);
    assert_eq!(log.recover().1, ["1:1", "1:2"]);
}

#[test]
fn a_short_file_is_damage_unless_only_the_unused_end_is_gone() {
    let log = three_segments();
    let end = log.space().offset(log.active.unwrap().end);
    // A block of zeros behind the close record says that nothing followed it.
    log.disk.truncate(&path(3), end + 4096);
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1", "2:2", "3:3"]);
    assert_eq!(damaged(&recovered), [0; 0]);
    assert!(!recovered.clean);
    // Without it a later run may have gone on there, with whatever database.
    let cut = log.disk.snapshot();
    cut.truncate(&path(3), end);
    let (recovered, lines) = log.recover_from(&cut);
    assert_eq!(lines, ["1:1", "2:2", "3:3"]);
    assert_eq!(damaged(&recovered), [0, 1, 2, 3]);

    log.disk.truncate(&path(2), 3 * 4096);
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1", "3:3"]);
    assert_eq!(damaged(&recovered), [2]);
    assert!(matches!(
        recovered.damaged[&DbId::new(2)].reason,
        Reject::Truncated { .. }
    ));
    // In its activation: nobody can say that there was none.
    log.disk.truncate(&path(2), 4096 + 100);
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1", "3:3"]);
    assert_eq!(recovered.unusable, [log.segments[1]]);
    let reason = Reject::Truncated {
        found: 4096 + 100,
        needed: 2 * 4096,
    };
    assert_eq!(recovered.damaged[&DbId::new(2)].reason, reason);
}

/// A spare that is not as long as it should be has no room for what is promised of it; a longer one has.
#[test]
fn a_spare_has_its_length_or_is_stamped_again() {
    let capacity = 64 << 10;
    for (bytes, is_spare) in [
        (capacity - 4096, false),
        (capacity, true),
        (capacity + 4096, true),
    ] {
        let mut log = TestLog::new();
        log.commit(1, 1);
        log.disk.truncate(&path(3), bytes);
        let (recovered, lines) = log.recover();
        assert_eq!(lines, ["1:1"]);
        let (spares, restamp) = log.segments[1..].split_at(if is_spare { 2 } else { 1 });
        assert_eq!(
            (&recovered.spares[..], &recovered.restamp[..]),
            (spares, restamp)
        );
        assert_eq!(recovered.findings.len(), restamp.len());
    }
}

/// The second copy of an activation is written behind the first one, and batches behind both.
#[test]
fn a_second_copy_may_be_missing_as_long_as_nothing_is_in_the_segment() {
    let zeros = [crate::io::Block::ZERO];
    for (batch, flipped, findings) in [
        (false, false, 0),
        (false, true, 1),
        (true, false, 1),
        (true, true, 1),
    ] {
        let mut log = TestLog::new();
        log.commit(1, 1);
        log.activate();
        if batch {
            log.commit(1, 2);
        }
        if flipped {
            log.disk.flip(&path(2), 8192 + 20, 1);
        } else {
            let file = log.file(SegmentId::new(2));
            file.write_durable_at(8192, &zeros).unwrap();
        }
        let (recovered, lines) = log.recover();
        let context = format!("batch {batch}, flipped {flipped}");
        assert_eq!(lines.len(), 1 + usize::from(batch), "{context}");
        assert_eq!(recovered.findings.len(), findings, "{context}");
        assert_eq!(damaged(&recovered), [0; 0], "{context}");
    }
}

/// Segment 2 was passed over when it could not be read: what it may have held is missed.
#[test]
fn a_segment_between_two_that_nobody_can_read_is_missed() {
    let mut log = TestLog::new();
    log.commit(2, 1);
    log.skip_to(3);
    log.activate();
    log.commit(1, 2);
    assert_eq!(damaged(&log.recover().0), [0; 0]);
    log.disk.remove_raw(&path(2));
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["2:1", "1:2"]);
    assert_eq!(damaged(&recovered), [0, 2]);
}

/// Whether anything was before it, its activation would say.
#[test]
fn a_first_segment_without_its_activation_misses_what_was_not_released() {
    let mut log = TestLog::new();
    log.commit(1, 1);
    log.activate();
    log.commit(2, 2);
    let base = log.active.unwrap().base;
    for copy in [4096, 8192] {
        log.disk.flip(&path(2), copy + 20, 1);
    }
    log.segments.remove(0);
    for (truncated, missed) in [(Lsn::ZERO, vec![0]), (base, vec![])] {
        log.truncated = truncated;
        let (recovered, lines) = log.recover();
        assert_eq!(lines, ["2:2"]);
        assert_eq!(damaged(&recovered), missed, "released below {truncated}");
    }
}

/// Released as a whole, and its file not gone yet: still the log's.
#[test]
fn a_segment_that_is_released_and_still_there_was_not_given_up() {
    let mut log = three_segments();
    log.truncated = log.recover().0.sealed[1].end;
    for (database, lsn) in log.heads.clone() {
        let held = super::super::Checkpointed::at(lsn);
        log.checkpointed.insert(DbId::new(database), held);
    }
    let (recovered, _) = log.recover();
    assert_eq!(recovered.abandoned, []);
    assert_eq!(recovered.sealed.len(), 2);
    assert_eq!(damaged(&recovered), [0; 0]);
}

#[test]
fn a_block_that_cannot_be_read_is_damage_and_never_the_end() {
    let log = three_segments();
    // The reads: an open, a length and three blocks of each of four segments, then the batches.
    for read in 20..25 {
        let image = log.disk.snapshot();
        image.fail_read_at(image.read_count() + read, Fault::Error(EIO));
        let (recovered, lines) = log.recover_from(&image);
        assert_eq!(lines, ["1:1", "2:2", "3:3"], "read {read} works again");
        assert_eq!(damaged(&recovered), [0; 0]);
    }
    // All reads of the first segment's batches, wherever they stand among the others: each is tried
    // twice, the window and then its blocks.
    let without_the_first = (12..28).find_map(|first| {
        let image = log.disk.snapshot();
        for read in first..first + 5 {
            image.fail_read_at(image.read_count() + read, Fault::Error(EIO));
        }
        let recovered = log.try_recover(&image).ok();
        recovered.filter(|(_, lines)| *lines == ["2:2", "3:3"])
    });
    let (recovered, _) = without_the_first.unwrap();
    assert_eq!(damaged(&recovered), [1]);
    assert!(matches!(
        recovered.damaged[&DbId::new(1)].reason,
        Reject::Unreadable(_)
    ));
}

#[test]
fn without_reading_the_newest_segment_nobody_can_tell_where_the_log_ends() {
    let log = three_segments();
    let segments = log.segments.len() as u64;
    // An open, a length, and three blocks of each segment, the newest one's among them; or its
    // batches, in whatever way the device lets them be read.
    for read in 0..3 * segments + 40 {
        let image = log.disk.snapshot();
        image.fail_read_at(image.read_count() + read, Fault::Sticky(EIO));
        match log.try_recover(&image) {
            Err(OpenError::Io(failure)) => assert_eq!(failure.errno, EIO),
            Err(error) => panic!("read {read}: {error}"),
            Ok((recovered, _)) => {
                assert!(recovered.damaged.is_empty(), "read {read}: {recovered:?}")
            }
        }
    }
}

#[test]
fn a_process_without_descriptors_is_told_so() {
    let log = three_segments();
    log.disk.fail_next(IoOp::Open, Fault::Error(EMFILE));
    let refused = log.try_recover(&log.disk).unwrap_err();
    assert!(matches!(refused, OpenError::Io(failure) if failure.errno == EMFILE));
}

#[test]
fn files_that_are_not_registered_are_not_read() {
    let mut log = three_segments();
    let stray = path(77);
    log.disk.open(&stray, OpenMode::CreateNew).unwrap();
    log.disk.write_raw(&stray, &log.disk.read_raw(&path(2)));
    let (recovered, lines) = log.recover();
    assert_eq!(lines.len(), 3);
    assert_eq!(recovered.findings, []);

    // Released from the front, a segment is no loss.
    log.truncated = recovered.sealed[0].end;
    log.segments.remove(0);
    for (database, lsn) in log.heads.clone() {
        let held = super::super::Checkpointed::at(lsn);
        log.checkpointed.insert(DbId::new(database), held);
    }
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["2:2", "3:3"]);
    assert_eq!(damaged(&recovered), [0; 0]);
    assert_eq!(recovered.findings, []);
}
