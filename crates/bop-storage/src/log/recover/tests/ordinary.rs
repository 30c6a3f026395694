//! No fault but a crash: everything that was acknowledged is there, and nothing else.

use super::writer::{TestLog, damaged};
use crate::ids::{CommitId, DbId, Epoch, Lsn, SegmentId};
use crate::io::{Disk, OpenMode, layout};
use crate::log::format::{FragmentPart, encode_abort, encode_note, record::NoteKind};
use crate::log::recover::ActiveSegment;
use crate::testing::{SimDisk, SplitMix64};

#[test]
fn a_new_store_has_no_log() {
    let (recovered, lines) = TestLog::empty().recover();
    assert_eq!(lines, [""; 0]);
    assert_eq!(recovered.active, None);
    assert_eq!(recovered.findings, []);

    let mut log = TestLog::empty();
    log.spares(2);
    let (recovered, _) = log.recover();
    assert_eq!(recovered.spares, log.segments);
    assert_eq!(recovered.damaged.len(), 0);
}

#[test]
fn a_cleanly_closed_log_replays_in_order_and_goes_on_where_it_ended() {
    let mut log = TestLog::new();
    log.create(1, "one");
    log.create(2, "two");
    log.commit(1, 5);
    let group = log.commit_part(&[1, 2], 6);
    let second = log.commit_part(&[3], 1);
    log.write(&[group, second]);
    log.close();
    let (recovered, lines) = log.recover();
    assert_eq!(
        lines,
        ["Create 1 one", "Create 2 two", "1:5", "1:6 2:6", "3:1"]
    );
    assert!(recovered.clean);
    let closed = Lsn::new(4 * 4096);
    let active = log.active.map(|active| ActiveSegment {
        tail: closed,
        ..active
    });
    assert_eq!(recovered.active, active);
    assert_eq!(recovered.end, log.active.unwrap().end);
    assert_eq!(recovered.last_time_us, 1006);
    assert_eq!(recovered.spares, log.segments[1..]);
    assert_eq!((recovered.findings.len(), recovered.damaged.len()), (0, 0));
}

#[test]
fn a_log_that_goes_on_after_a_clean_close_in_the_same_segment_is_one_log() {
    let mut log = TestLog::new();
    log.commit(1, 1);
    log.close();
    log.epoch = 2;
    log.write(&[TestLog::plain(encode_note(NoteKind::Open).unwrap())]);
    log.commit(1, 2);
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1", "1:2"]);
    assert!(!recovered.clean);
    assert_eq!(recovered.max_epoch, Epoch::new(2));
}

#[test]
fn segments_follow_each_other() {
    let mut log = TestLog::new();
    log.commit(1, 1);
    log.activate();
    log.commit(2, 2);
    log.activate();
    log.commit(1, 3);
    log.close();
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1", "2:2", "1:3"]);
    assert_eq!(recovered.sealed.len(), 2);
    assert_eq!(recovered.sealed[1].end, log.active.unwrap().base);
    assert!(recovered.clean);
    assert_eq!(recovered.findings, []);
}

#[test]
fn a_torn_tail_ends_the_log_and_never_comes_back() {
    let mut log = TestLog::new();
    log.commit(1, 1);
    let end = log.active.unwrap().end;
    // Two batches in flight: of the first nothing arrives, of the second everything.
    let first = log.commit_part(&[1], 2);
    log.make(&[first], end);
    let second = log.commit_part(&[1], 3);
    let (blocks, _) = log.make(&[second], end);
    let offset = log.space().offset(log.batches[2].1);
    let file = log.file(SegmentId::new(1));
    file.write_durable_at(offset, &blocks).unwrap();

    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1"]);
    assert_eq!((recovered.end, recovered.clean), (end, false));
    assert_eq!((recovered.findings.len(), recovered.damaged.len()), (0, 0));
    assert_eq!(log.recover(), (recovered.clone(), lines));

    // The next run names the end, so even with the lost batch back nothing behind it lives.
    log.heads.insert(1, Lsn::new(64 + 40));
    log.reopen_after_crash(&recovered);
    log.commit(1, 9);
    log.close();
    let (after, lines) = log.recover();
    assert_eq!(lines, ["1:1", "1:9"]);
    assert_eq!(after.sealed[0].end, end);
    assert!(after.end > recovered.highest_possible_end);
    assert_eq!(damaged(&after), [0; 0]);
}

#[test]
fn a_batch_of_an_older_epoch_behind_a_newer_one_is_no_batch() {
    let mut log = TestLog::new();
    log.epoch = 2;
    log.commit(1, 1);
    log.epoch = 1;
    log.commit(1, 2);
    log.commit(1, 3);
    let (recovered, lines) = log.recover();
    // Were their watermarks read, the second would be damage.
    assert_eq!(lines, ["1:1"]);
    assert_eq!(damaged(&recovered), [0; 0]);
    assert_eq!(recovered.end, log.batches[0].2);
}

#[test]
fn fragments_replay_as_one_commit_at_their_last_part() {
    let mut log = TestLog::new();
    log.commit(1, 1);
    let lsn = log.chain(77, &[1, 2], &[4, 2, 9, 2]);
    log.commit(2, 3);
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1", "1:2,4,9 2:2,4,9", "2:3"]);
    assert_eq!(damaged(&recovered), [0; 0]);
    assert!(lsn < log.head(2));
}

#[test]
fn all_databases_of_a_chain_need_it_from_its_first_part_on() {
    let mut log = TestLog::new();
    log.commit(1, 1);
    log.commit(2, 1);
    let commit = CommitId::new(5);
    let mut lsns = Vec::new();
    let mut previous = 0;
    for (index, database) in (0..).zip([1, 2]) {
        let part = FragmentPart::Fragment {
            commit,
            index,
            previous,
        };
        let part = log.pages_part(part, &[database], &[7]);
        previous = part.record.header_checksum;
        lsns.push(log.write(&[part]));
    }
    let part = FragmentPart::Last {
        commit,
        index: 2,
        previous,
    };
    let part = log.pages_part(part, &[1, 2, 3], &[]);
    lsns.push(log.write(&[part]));
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1", "2:1", "1:7 2:7 3:"]);
    assert_eq!(damaged(&recovered), [0; 0]);
    // Of the third it has nothing but the commit, which is void without the first part.
    assert_eq!(recovered.spans[&DbId::new(3)], (lsns[0], lsns[2]));
}

#[test]
fn chains_without_their_commit_are_void() {
    let mut log = TestLog::new();
    let open = |commit| FragmentPart::Fragment {
        commit: CommitId::new(commit),
        index: 0,
        previous: 0,
    };
    let first = log.pages_part(open(5), &[1], &[1]);
    let second = log.pages_part(open(6), &[2], &[1]);
    log.write(&[first, second]);
    log.write(&[TestLog::plain(
        encode_abort(CommitId::new(5), DbId::new(1)).unwrap(),
    )]);
    log.commit(1, 7);
    // The number of a void chain may be drawn again.
    log.chain(6, &[2], &[8, 9]);
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:7", "2:8,9"]);
    assert_eq!(damaged(&recovered), [0; 0]);
}

#[test]
fn a_commit_that_is_checkpointed_may_have_lost_its_first_fragments() {
    let mut log = TestLog::new();
    log.chain(3, &[1], &[1, 2]);
    log.activate();
    log.chain(4, &[1], &[3, 4]);
    // The first part of chain 3 is released: start where the second part stands.
    let (_, _, end) = log.batches[0];
    log.flip_batch(0, 110);
    log.truncated = end;
    log.checkpointed.insert(
        DbId::new(1),
        super::super::Checkpointed::at(Lsn::new(end.get() + 64 + 40)),
    );
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:3,4"]);
    assert_eq!(damaged(&recovered), [0; 0]);
}

/// Every acknowledged commit is there after a power cut at any call, in any image that the rules of
/// a disk allow; what was not acknowledged is there whole or not at all, and a second recovery
/// agrees with the first.
#[test]
fn power_cuts_at_any_call_lose_nothing_acknowledged() {
    let mut images = 0;
    for cut in 0..40 {
        let mut log = TestLog::new();
        let mut random = SplitMix64::new(cut);
        let start = log.disk.op_count();
        log.disk
            .fail_at(start + cut, crate::testing::Fault::PowerCut);
        let mut acknowledged = Vec::new();
        let mut tried = Vec::new();
        for page in 1..30 {
            let next = log.active.unwrap().end;
            if page % 12 == 0 && log.try_activate_at(next).is_err() {
                break;
            }
            let database = random.below(3) + 1;
            let part = log.commit_part(&[database], page);
            let watermark = log.active.unwrap().end;
            let (blocks, _) = log.make(&[part], watermark);
            let (segment, lsn, _) = *log.batches.last().unwrap();
            let offset = log.space().offset(lsn);
            tried.push(format!("{database}:{page}"));
            let Ok(file) = log.disk.open(&layout::segment(segment), OpenMode::Write) else {
                break;
            };
            if file.write_durable_at(offset, &blocks).is_err() {
                break;
            }
            acknowledged.push(format!("{database}:{page}"));
        }
        for seed in 0..25 {
            let image: SimDisk = log.disk.crash_image(seed);
            let (recovered, lines) = log.recover_from(&image);
            let context = format!("cut {cut}, seed {seed}");
            assert!(lines.starts_with(&acknowledged), "{context}: {lines:?}");
            assert!(tried.starts_with(&lines), "{context}: {lines:?}");
            assert_eq!(recovered.findings, [], "{context}");
            assert_eq!(log.recover_from(&image), (recovered, lines), "{context}");
            images += 1;
        }
    }
    assert_eq!(images, 1000);
}
