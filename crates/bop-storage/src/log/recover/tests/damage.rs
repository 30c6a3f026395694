//! Acknowledged bytes are damaged: who suffers, and who does not.

use super::super::Checkpointed;
use super::writer::{TestLog, damaged};
use crate::error::{Place, Reject};
use crate::ids::{CommitId, DbId, Lsn, SegmentId};
use crate::log::format::{
    CatalogueOp, EncodedRecord, EntryKind, EntrySpec, FragmentPart, LogSpec, encode_abort,
    encode_close, encode_logs, encode_note, entry_hash, record,
};
use std::collections::BTreeSet;

/// Batches: 0 commit of 1, 1 commit of 2, 2 commit of 1, 3 commit of 2; then closed.
fn two_databases() -> TestLog {
    let mut log = TestLog::new();
    for page in 1..=4 {
        log.commit(if page % 2 == 1 { 1 } else { 2 }, page);
    }
    log.close();
    log
}

#[test]
fn a_damaged_record_stops_its_database_and_no_other() {
    let log = two_databases();
    log.flip_batch(2, 700);
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1", "2:2", "2:4"]);
    assert_eq!(damaged(&recovered), [1]);
    let damage = &recovered.damaged[&DbId::new(1)];
    assert_eq!(damage.reason, Reject::Checksum);
    let lsn = Lsn::new(log.batches[2].1.get() + 64 + 40);
    let segment = SegmentId::new(1);
    assert_eq!(damage.place, Place::Log { segment, lsn });
    assert!(recovered.clean);
}

#[test]
fn a_damaged_header_leaves_the_trailer_to_name_the_database() {
    let log = two_databases();
    log.flip_batch(2, 8);
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1", "2:2", "2:4"]);
    assert_eq!(damaged(&recovered), [1]);
}

#[test]
fn a_damaged_trailer_or_padding_costs_nothing_and_is_reported() {
    for byte in [-8, -100] {
        let log = two_databases();
        log.flip_batch(2, byte);
        let (recovered, lines) = log.recover();
        assert_eq!(lines, ["1:1", "2:2", "1:3", "2:4"]);
        assert_eq!(damaged(&recovered), [0; 0]);
        assert_eq!(recovered.findings.len(), 1);
    }
}

#[test]
fn a_batch_that_nobody_can_name_stops_whom_the_next_commit_or_the_close_record_convicts() {
    let mut log = TestLog::new();
    log.commit(1, 1);
    log.commit(2, 2);
    log.commit(3, 3);
    log.commit(1, 4);
    log.commit(2, 5);
    log.ruin_batch(3);
    // Without a close record: 1 and 3 have no later commit that proves anything, 2 has.
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1", "2:2", "3:3", "2:5"]);
    assert_eq!(damaged(&recovered), [0, 1, 3]);
    // The close record proves the head of 3 and the catalogue's, and convicts 1.
    log.close();
    let (recovered, _) = log.recover();
    assert_eq!(damaged(&recovered), [1]);
}

#[test]
fn a_commit_that_follows_the_lost_one_is_not_delivered() {
    let mut log = two_databases();
    log.epoch = 2;
    log.commit(1, 5);
    log.commit(2, 6);
    log.ruin_batch(2);
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1", "2:2", "2:4", "2:6"]);
    assert_eq!(damaged(&recovered), [1]);
}

#[test]
fn a_lost_write_is_damage_even_if_zeros_are_all_that_is_left() {
    let mut log = TestLog::new();
    log.commit(1, 1);
    log.commit(1, 2);
    log.commit(2, 3);
    let (segment, start, _) = log.batches[1];
    let zeros = [crate::io::Block::ZERO];
    let offset = log.space().offset(start);
    log.file(segment).write_durable_at(offset, &zeros).unwrap();
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1", "2:3"]);
    assert_eq!(damaged(&recovered), [0, 1]);
    let damage = &recovered.damaged[&DbId::new(1)];
    assert_eq!(damage.reason, Reject::Missing);
}

#[test]
fn a_group_stays_whole_for_the_databases_that_are() {
    let mut log = TestLog::new();
    log.commit(1, 1);
    let group = log.commit_part(&[1, 2], 2);
    log.write(&[group]);
    log.close();
    log.flip_batch(0, 700);
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["2:2"]);
    assert_eq!(damaged(&recovered), [1]);
}

#[test]
fn what_the_chunks_hold_cannot_be_lost_with_the_log() {
    let mut log = two_databases();
    log.ruin_batch(2);
    let head = log.head(1);
    log.checkpointed
        .insert(DbId::new(1), Checkpointed::at(head));
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1", "2:2", "2:4"]);
    assert_eq!(damaged(&recovered), [0; 0]);
    assert!(!recovered.findings.is_empty());

    // Known to the manifest, the newest batch is no torn tail either.
    let mut log = TestLog::new();
    log.commit(1, 1);
    log.commit(2, 2);
    let head = log.head(2);
    log.checkpointed
        .insert(DbId::new(2), Checkpointed::at(head));
    log.checkpointed
        .insert(DbId::new(3), Checkpointed::default());
    log.ruin_batch(1);
    let (recovered, _) = log.recover();
    // Another commit of 2 can have stood behind the one that is held.
    assert_eq!(damaged(&recovered), [0, 1, 2, 3]);
    let covered = log.batches[1].2;
    assert_eq!(recovered.end, covered);
    // Unless the checkpoint was cut behind it.
    log.checkpointed
        .insert(DbId::new(2), Checkpointed { head, covered });
    assert_eq!(damaged(&log.recover().0), [0, 1, 3]);
}

/// Its directory names the commit, and the chunks of its database have it.
#[test]
fn a_lost_commit_that_is_named_costs_nothing_if_the_chunks_hold_it() {
    let mut log = two_databases();
    log.flip_batch(2, 8);
    let head = log.head(1);
    log.checkpointed
        .insert(DbId::new(1), Checkpointed::at(head));
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1", "2:2", "2:4"]);
    assert_eq!(damaged(&recovered), [0; 0]);
    assert_eq!(recovered.findings.len(), 1);
}

#[test]
fn a_lost_catalogue_record_closes_the_catalogue_and_the_database_it_was_about() {
    let mut log = TestLog::new();
    log.create(1, "one");
    log.create(2, "two");
    log.commit(1, 1);
    log.commit(2, 2);
    let rename = log.catalogue_part(1, CatalogueOp::Rename { name: "uno" });
    log.write(&[rename]);
    log.commit(1, 3);
    log.create(4, "four");
    log.close();
    log.flip_batch(4, 150);
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["Create 1 one", "Create 2 two", "1:1", "2:2"]);
    assert_eq!(damaged(&recovered), [0, 1]);
}

#[test]
fn a_missing_fragment_stops_the_database_of_the_chain() {
    for part in 0..4 {
        let mut log = TestLog::new();
        log.chain(9, &[1], &[1, 2, 3, 4]);
        log.commit(2, 5);
        log.close();
        log.ruin_batch(part);
        let (recovered, lines) = log.recover();
        assert_eq!(lines, ["2:5"], "part {part}");
        assert_eq!(damaged(&recovered), [1], "part {part}");
    }
}

/// A part of transaction 9 of database 1.
fn part_of_nine(log: &TestLog, index: u32, previous: u64) -> super::writer::Part {
    let commit = CommitId::new(9);
    let part = FragmentPart::Fragment {
        commit,
        index,
        previous,
    };
    log.pages_part(part, &[1], &[index + 1])
}

fn last_of_nine(log: &TestLog, index: u32, previous: u64) -> super::writer::Part {
    let commit = CommitId::new(9);
    let part = FragmentPart::Last {
        commit,
        index,
        previous,
    };
    log.pages_part(part, &[1], &[index + 1])
}

#[test]
fn a_part_that_comes_behind_its_abort_is_of_no_transaction() {
    let mut log = TestLog::new();
    let first = part_of_nine(&log, 0, 0);
    let previous = first.record.header_checksum;
    log.write(&[first]);
    let abort = encode_abort(CommitId::new(9), DbId::new(1)).unwrap();
    log.write(&[TestLog::plain(abort)]);
    let last = last_of_nine(&log, 1, previous);
    log.write(&[last]);
    log.note();
    let (recovered, lines) = log.recover();
    assert_eq!(lines, [""; 0]);
    assert_eq!(damaged(&recovered), [1]);
}

/// What a lost batch held is known by its directory. Who replays the log hears of commits and of records of
/// the catalogue; parts of transactions are nothing without their commit.
#[test]
fn who_replays_is_told_of_each_record_that_is_lost() {
    let mut log = TestLog::new();
    log.commit(1, 1);
    let parts = [
        part_of_nine(&log, 0, 0),
        log.commit_part(&[3], 2),
        log.catalogue_part(1, CatalogueOp::Rename { name: "uno" }),
        TestLog::plain(encode_abort(CommitId::new(8), DbId::new(4)).unwrap()),
        TestLog::plain(encode_note(record::NoteKind::Idle).unwrap()),
    ];
    log.write(&parts);
    let lost = [(0, log.head(0)), (3, log.head(3))];
    log.commit(2, 4);
    assert_eq!(log.undelivered().len(), 0);
    log.flip_batch(1, 8);
    assert_eq!(log.undelivered(), BTreeSet::from(lost));
    assert!(log.head(3) < log.head(0));
}

/// Where the last batch of a run that did not end well was cut off by the crash, nobody lost anything.
#[test]
fn damage_that_costs_nothing_is_told_unless_a_crash_may_have_made_it() {
    let findings = |log: &TestLog| {
        let (recovered, _) = log.recover();
        assert_eq!(damaged(&recovered), [0; 0]);
        recovered.findings.len()
    };
    let mut log = TestLog::new();
    log.commit(1, 1);
    log.commit(1, 2);
    let (crashed, _) = log.recover();
    log.flip_batch(1, -8);
    assert_eq!(findings(&log), 0, "the newest one");
    // The next run goes on behind it, in another segment.
    let mut next = log;
    next.reopen_after_crash(&crashed);
    next.commit(1, 3);
    assert_eq!(findings(&next), 0, "the last one of its run");
    next.flip_batch(0, -8);
    assert_eq!(findings(&next), 1, "the one before");
    // The same run went on: it had been written whole.
    let mut log = TestLog::new();
    log.commit(1, 1);
    log.activate();
    log.commit(1, 2);
    log.flip_batch(0, -8);
    assert_eq!(findings(&log), 1, "the last one of its segment");
}

#[test]
fn a_chain_made_of_parts_of_two_transactions_is_no_commit() {
    let mut log = TestLog::new();
    let commit = CommitId::new(9);
    let first = FragmentPart::Fragment {
        commit,
        index: 0,
        previous: 0,
    };
    let first = log.pages_part(first, &[1], &[1]);
    log.write(&[first]);
    let last = FragmentPart::Last {
        commit,
        index: 1,
        previous: 12345,
    };
    let last = log.pages_part(last, &[1], &[2]);
    log.write(&[last]);
    log.commit(2, 4);
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["2:4"]);
    assert_eq!(damaged(&recovered), [1]);
}

#[test]
fn a_lost_note_touches_nobody() {
    let mut log = TestLog::new();
    log.commit(1, 1);
    log.note();
    log.commit(2, 2);
    log.flip_batch(1, 8);
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1", "2:2"]);
    assert_eq!(damaged(&recovered), [0; 0]);
    assert_eq!(recovered.findings.len(), 1);
}

/// A record of log 6 with one entry, which follows `parent`.
fn log_entry(parent: Lsn, index: u64) -> EncodedRecord {
    let database = DbId::new(6);
    let entry = EntrySpec {
        kind: EntryKind::Entry,
        index,
        term: 1,
        old: Lsn::ZERO,
        hash: entry_hash(database, EntryKind::Entry, index, 1, b"entry"),
        payload: b"entry",
    };
    let log = LogSpec {
        database,
        parent,
        first: 1,
        first_term: 0,
        next: index + 1,
        vote: Lsn::ZERO,
        entries: vec![entry],
    };
    encode_logs(record::RecordKind::Append, &[log]).unwrap()
}

#[test]
fn a_lost_record_closes_its_record_log_and_no_other() {
    let mut log = TestLog::new();
    let first = log.write(&[TestLog::plain(log_entry(Lsn::ZERO, 1))]);
    log.commit(1, 1);
    let second = log.write(&[TestLog::plain(log_entry(first, 2))]);
    log.write(&[TestLog::plain(log_entry(second, 3))]);
    log.commit(1, 2);
    log.note();
    let (recovered, lines) = log.recover();
    assert_eq!(
        lines,
        [
            "Append 6 1..2",
            "1:1",
            "Append 6 1..3",
            "Append 6 1..4",
            "1:2"
        ]
    );
    assert_eq!(damaged(&recovered), [0; 0]);
    log.flip_batch(2, 8);
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["Append 6 1..2", "1:1", "1:2"]);
    assert_eq!(damaged(&recovered), [6]);
}

#[test]
fn the_record_before_the_oldest_one_of_a_record_log_may_be_released_but_not_lost() {
    let mut log = TestLog::new();
    log.write(&[TestLog::plain(log_entry(Lsn::new(8), 7))]);
    log.commit(1, 1);
    log.note();
    for truncated in [0, 8] {
        log.truncated = Lsn::new(truncated);
        let (recovered, _) = log.recover();
        assert_eq!(damaged(&recovered), [6], "released below {truncated}");
    }
    log.truncated = Lsn::new(9);
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["Append 6 1..8", "1:1"]);
    assert_eq!(damaged(&recovered), [0; 0]);
}

#[test]
fn a_close_record_may_name_a_head_that_was_released_since_and_not_one_that_is_lost() {
    let mut log = TestLog::new();
    let heads = [(DbId::new(6), Lsn::new(8))];
    log.write(&[TestLog::plain(encode_close(&heads).unwrap())]);
    log.commit(1, 1);
    log.note();
    for truncated in [0, 8] {
        log.truncated = Lsn::new(truncated);
        let (recovered, _) = log.recover();
        assert_eq!(damaged(&recovered), [6], "released below {truncated}");
    }
    log.truncated = Lsn::new(9);
    let (recovered, lines) = log.recover();
    assert_eq!(lines, ["1:1"]);
    assert_eq!(damaged(&recovered), [0; 0]);
}
