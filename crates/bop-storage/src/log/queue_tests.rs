//! Places: the same ones that encoding gives, whatever comes and goes in between.

use super::super::format::record::NoteKind;
use super::super::format::{BatchEntry, BatchPlace, encode_batch, encode_close, encode_note};
use super::super::format::{SegmentIdentity, all_zero};
use super::super::member::Silent;
use super::*;
use crate::ids::{DbId, Epoch};
use crate::testing::SplitMix64;
use std::time::Duration;

const RELAXED: Waits = Waits::Relaxed(Duration::ZERO);

/// A record of some length.
fn record(heads: u64) -> Arc<EncodedRecord> {
    if heads == 0 {
        return Arc::new(encode_note(NoteKind::Idle).unwrap());
    }
    let heads: Vec<_> = (1..=heads).map(|id| (DbId::new(id), Lsn::ZERO)).collect();
    Arc::new(encode_close(&heads).unwrap())
}

fn place(queue: &mut Queue, record: &Arc<EncodedRecord>, waits: Waits) -> (Arc<Ticket>, Placed) {
    place_in(queue, record, waits, 8192)
}

/// The same with batches of up to `batch_max` bytes.
fn place_in(
    queue: &mut Queue,
    record: &Arc<EncodedRecord>,
    waits: Waits,
    batch_max: u64,
) -> (Arc<Ticket>, Placed) {
    let ticket = Ticket::new(Box::new(Silent));
    let order = (Priority::User, waits);
    let record = Arc::clone(record);
    let at = queue.place(record, 1, Arc::clone(&ticket), order, batch_max);
    (ticket, at.unwrap())
}

/// Encodes a batch and compares the places.
fn check(batch: &Forming) {
    let identity = SegmentIdentity {
        store: crate::ids::StoreId::new([1; 16]),
        segment: crate::ids::SegmentId::new(1),
        incarnation: crate::ids::Incarnation::new(1),
    };
    let place = BatchPlace {
        lsn: batch.start,
        epoch: Epoch::new(1),
        durable: batch.start,
    };
    let entries: Vec<_> = batch
        .entries
        .iter()
        .map(|entry| BatchEntry {
            record: &entry.record,
            time_us: entry.time_us,
        })
        .collect();
    let mut blocks = Vec::new();
    let encoded = encode_batch(&identity, &place, &entries, &mut blocks).unwrap();
    let placed: Vec<_> = batch.members.iter().map(|member| member.at.lsn).collect();
    assert_eq!(placed, encoded.record_lsns);
    assert_eq!(end_of(batch.start, batch.bytes()), encoded.end);
    assert!(!all_zero(&blocks[0].0));
}

#[test]
fn records_stand_where_they_were_placed_whatever_is_withdrawn() {
    let seed = 7;
    let mut random = SplitMix64::new(seed);
    for round in 0..200 {
        let start = Lsn::new(4096 * round);
        let mut queue = Queue::new(start, 0);
        let mut tickets = Vec::new();
        for _ in 0..random.index(30) {
            let record = record(random.index(80) as u64);
            tickets.push(place(&mut queue, &record, Waits::Thread).0);
            if random.chance(1, 4) {
                let gone = tickets.swap_remove(random.index(tickets.len()));
                let member = queue.withdraw(&gone).unwrap();
                assert!(Arc::ptr_eq(&member.ticket, &gone), "seed {seed}");
            }
        }
        assert_eq!(queue.records(), tickets.len());
        let mut end = start;
        while let Some(batch) = queue.take_front() {
            assert_eq!(batch.start, end, "seed {seed}, round {round}");
            assert!(batch.bytes() <= 8192 || batch.entries.len() == 1);
            check(&batch);
            end = end_of(batch.start, batch.bytes());
        }
        assert_eq!((queue.records(), queue.bytes(), queue.end()), (0, 0, end));
    }
}

#[test]
fn what_can_be_seen_keeps_its_place_and_a_batch_of_its_own() {
    let mut queue = Queue::new(Lsn::ZERO, 0);
    let (first, _) = place(&mut queue, &record(3), Waits::Thread);
    let (_, seen) = place(&mut queue, &record(5), RELAXED);
    let (second, _) = place(&mut queue, &record(1), Waits::Thread);
    assert!(queue.withdraw(&first).is_none());
    let refused = queue.take_front().unwrap();
    assert_eq!(refused.members.len(), 1);
    queue.close_gap(refused.start);
    // There is no room: whoever only waits is told, the visible record stays.
    let gone = queue.drain_unexposed();
    assert!(gone.len() == 1 && Arc::ptr_eq(&gone[0].ticket, &second));
    let (_, later) = place(&mut queue, &record(1), RELAXED);
    assert!(seen.lsn < later.lsn);
    let batch = queue.take_front().unwrap();
    assert_eq!(batch.members[0].at, seen);
    check(&batch);
    queue.put_back(batch);
    let batch = queue.take_front().unwrap();
    check(&batch);
}

#[test]
fn a_refused_batch_leaves_no_gap() {
    let mut queue = Queue::new(Lsn::new(8192), 0);
    place(&mut queue, &record(200), Waits::Thread);
    let (_, second) = place(&mut queue, &record(300), Waits::Thread);
    assert!(Lsn::new(8192 + 4096) < second.lsn);
    let refused = queue.take_front().unwrap();
    queue.close_gap(refused.start);
    let moved = queue.take_front().unwrap();
    assert_eq!(moved.start, Lsn::new(8192));
    check(&moved);
}

#[test]
fn the_oldest_thread_that_waits_leads() {
    let mut queue = Queue::new(Lsn::ZERO, 0);
    assert!(queue.next_leader().is_none());
    place(&mut queue, &record(0), Waits::Elsewhere);
    assert!(queue.next_leader().is_none());
    let (first, _) = place(&mut queue, &record(0), Waits::Thread);
    let (second, _) = place(&mut queue, &record(0), Waits::Thread);
    assert!(Arc::ptr_eq(queue.next_leader().unwrap(), &first));
    queue.abandon(&first);
    assert!(Arc::ptr_eq(queue.next_leader().unwrap(), &second));
}

#[test]
fn the_end_of_the_number_space_is_an_error() {
    let mut queue = Queue::new(Lsn::new(Lsn::LIMIT.get() - 4096), 0);
    let ticket = Ticket::new(Box::new(Silent));
    let order = (Priority::User, Waits::Thread);
    let too_long = queue.place(record(300), 1, ticket, order, 1 << 20);
    assert!(matches!(too_long, Err(Rejection::Poisoned(_))));
    assert_eq!((queue.records(), queue.next_leader().is_none()), (0, true));
}

/// Batches of a mebibyte, records of 40 bytes, of 156 KiB, and of 625 KiB, which are more than half.
#[test]
fn what_takes_half_of_a_batch_stands_alone_and_what_takes_less_does_not() {
    let mut queue = Queue::new(Lsn::ZERO, 0);
    let (small, middle, large) = (record(1), record(10_000), record(40_000));
    for record in [
        &small, &middle, &middle, &large, &small, &middle, &large, &large,
    ] {
        place_in(&mut queue, record, Waits::Thread, 1 << 20);
    }
    let batches: Vec<_> = std::iter::from_fn(|| queue.take_front()).collect();
    batches.iter().for_each(check);
    let records: Vec<_> = batches.iter().map(|batch| batch.entries.len()).collect();
    assert_eq!(records, [3, 1, 2, 1, 1]);
}
