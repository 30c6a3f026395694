//! Sealed segments with an index: opened without their batches, and with them when it is bad.

use super::super::Recovered;
use super::writer::{STORE, TestLog, damaged};
use crate::ids::{DbId, Lsn};
use crate::io::Block;
use crate::io::{BLOCK_BYTES, Disk, OpenMode, layout};
use crate::log::format::record::RecordKind;
use crate::log::format::{
    Activated, CatalogueOp, EntryKind, EntrySpec, LogSpec, Sealed, all_zero, encode_logs,
    entry_hash,
};
use crate::log::scan::{Content, Manner, ScannedBody, SegmentSpace, read_index, scan_segment};
use crate::log::seal::SealJobs;
use crate::log::segment::LogSegment;
use crate::testing::{Fault, SimDisk};
use std::sync::Arc;

/// Puts an index behind every sealed segment.
pub(super) fn index_all(log: &TestLog, recovered: &Recovered) {
    index_on(&log.disk, recovered);
}

fn index_on(disk: &SimDisk, recovered: &Recovered) {
    let jobs = SealJobs::default();
    for sealed in &recovered.sealed {
        let id = sealed.identity.segment;
        let Ok(file) = disk.open(&layout::segment(id), OpenMode::Write) else {
            return;
        };
        let (incarnation, base) = (sealed.identity.incarnation, sealed.base);
        let segment = LogSegment::new(id, incarnation, base, sealed.capacity_bytes, file);
        jobs.push_unread(Arc::new(segment), sealed.end);
    }
    jobs.run(STORE, true, |_| panic!("none was gathered"));
    jobs.run(STORE, false, |_| true);
}

/// Every kind of record over two sealed segments and an active one.
fn log() -> (TestLog, Recovered, Vec<String>) {
    let mut log = TestLog::new();
    log.create(1, "one");
    log.create(2, "two");
    log.commit(1, 1);
    log.chain(5, &[2], &[1, 2]);
    let head = record_log(&mut log, Lsn::ZERO, RecordKind::Append, &[(1, 0), (2, 0)]);
    let head = record_log(&mut log, head, RecordKind::Vote, &[(0, 0)]);
    log.activate();
    let head = record_log(
        &mut log,
        head,
        RecordKind::Relocate,
        &[(1, 5), (2, 6), (0, 7)],
    );
    let head = record_log(&mut log, head, RecordKind::Truncate, &[]);
    record_log(&mut log, head, RecordKind::Purge, &[]);
    let group = log.commit_part(&[1, 2], 3);
    let rename = log.catalogue_part(2, CatalogueOp::Rename { name: "deux" });
    log.write(&[group, rename]);
    log.note();
    log.activate();
    log.commit(1, 4);
    log.close();
    let (recovered, lines) = log.recover();
    assert!(recovered.sealed.iter().all(|sealed| !sealed.indexed));
    (log, recovered, lines)
}

/// One record of a record log, with these entries (index, old place; index 0 is the hard state).
fn record_log(log: &mut TestLog, parent: Lsn, kind: RecordKind, entries: &[(u64, u64)]) -> Lsn {
    let database = DbId::new(6);
    let spec = |(index, old): &(u64, u64)| {
        let (kind, term) = match *index {
            0 => (EntryKind::Vote, 0),
            _ => (EntryKind::Entry, 3),
        };
        // Of different lengths, one without any byte.
        let payload = &b"what an entry says"[..*index as usize % 2 * 9];
        EntrySpec {
            kind,
            index: *index,
            term,
            old: Lsn::new(*old),
            hash: entry_hash(database, kind, *index, term, payload),
            payload,
        }
    };
    let spec = LogSpec {
        database,
        parent,
        first: 1,
        first_term: 0,
        next: 3,
        vote: Lsn::ZERO,
        entries: entries.iter().map(spec).collect(),
    };
    log.write(&[TestLog::plain(encode_logs(kind, &[spec]).unwrap())])
}

fn indexed(recovered: &Recovered) -> Vec<bool> {
    recovered
        .sealed
        .iter()
        .map(|sealed| sealed.indexed)
        .collect()
}

/// As if no index had been read.
fn plain(recovered: &Recovered) -> Recovered {
    let mut plain = recovered.clone();
    plain
        .sealed
        .iter_mut()
        .for_each(|sealed| sealed.indexed = false);
    plain
}

#[test]
fn an_index_says_of_every_record_what_a_scan_says() {
    let (log, before, _) = log();
    index_all(&log, &before);
    let (mut kinds, mut entries) = (Vec::new(), 0);
    for sealed in &before.sealed {
        let path = layout::segment(sealed.identity.segment);
        let file = log.disk.open(&path, OpenMode::Read).unwrap();
        let mut activation = [Block::ZERO];
        file.read_at(BLOCK_BYTES as u64, &mut activation).unwrap();
        let (activated, start) = Activated::decode(&activation[0], &sealed.identity).unwrap();
        let space = SegmentSpace {
            identity: sealed.identity,
            base: sealed.base,
            capacity_bytes: sealed.capacity_bytes,
            epoch: activated.epoch,
        };
        let manner = Manner {
            keep: &|_| (),
            images: true,
        };
        let scanned = scan_segment(Arc::clone(&file), &space, sealed.end, manner).unwrap();
        let mut chain = start;
        for span in &scanned.spans {
            let Content::Batch(batch) = &span.content else {
                panic!("{span:?}");
            };
            chain = chain.extended(batch.header.checksum);
            let bodies = batch.records.iter().map(|record| &record.body);
            kinds.extend(bodies.clone().map(std::mem::discriminant));
            let logs = bodies.filter_map(|body| match body {
                ScannedBody::Logs(record) => Some(&record.logs),
                _ => None,
            });
            entries += logs.flatten().map(|log| log.entries.len()).sum::<usize>();
        }
        let left = Sealed {
            base: sealed.base,
            end: sealed.end,
            chain,
        };
        let by_index = read_index(file.as_ref(), &space, start, &left, &|_| ()).unwrap();
        assert_eq!(by_index.unwrap(), scanned);
    }
    kinds.dedup();
    assert!(5 < kinds.len(), "{kinds:?}");
    assert_eq!(entries, 2 + 1 + 3);
}

#[test]
fn what_the_index_says_is_not_looked_for_in_the_batches() {
    let (log, before, lines) = log();
    index_all(&log, &before);
    let (recovered, by_index) = log.recover();
    assert_eq!(indexed(&recovered), [true, true]);
    assert_eq!((&plain(&recovered), &by_index), (&before, &lines));
    // All batches of both: the log is what it was, and nobody is stopped.
    for batch in 0..log.batches.len() - 2 {
        log.ruin_batch(batch);
    }
    assert_eq!(log.recover(), (recovered, by_index));
}

#[test]
fn every_flipped_byte_of_an_index_costs_the_scan_and_nothing_else() {
    let (log, before, lines) = log();
    index_all(&log, &before);
    let mut flips = 0;
    for (which, sealed) in before.sealed.iter().enumerate() {
        let path = layout::segment(sealed.identity.segment);
        let content = log.disk.read_raw(&path);
        for at in sealed.capacity_bytes..content.len() as u64 {
            let block = at as usize / BLOCK_BYTES * BLOCK_BYTES;
            if all_zero(&content[block..block + BLOCK_BYTES]) {
                continue;
            }
            let image = log.disk.snapshot();
            image.flip(&path, at, 1 << (at % 8));
            let (recovered, by_scan) = log.recover_from(&image);
            let mut expected = [true, true];
            expected[which] = false;
            assert_eq!(indexed(&recovered), expected, "byte {at}");
            assert_eq!(
                (plain(&recovered), by_scan),
                (before.clone(), lines.clone())
            );
            flips += 1;
        }
    }
    assert!(10_000 < flips, "{flips}");
}

#[test]
fn an_index_of_another_segment_or_of_other_batches_is_not_believed() {
    let (log, before, lines) = log();
    index_all(&log, &before);
    let paths: Vec<_> = before
        .sealed
        .iter()
        .map(|sealed| layout::segment(sealed.identity.segment))
        .collect();
    let capacity = before.sealed[0].capacity_bytes as usize;
    let (first, second) = (log.disk.read_raw(&paths[0]), log.disk.read_raw(&paths[1]));
    let swapped = [&first[..capacity], &second[capacity..]].concat();
    log.disk.write_raw(&paths[0], &swapped);
    let (recovered, again) = log.recover();
    assert_eq!(indexed(&recovered), [false, true]);
    assert_eq!((plain(&recovered), again), (before.clone(), lines));
    // An index made before the segment had its last batches.
    let early = TestLog::new();
    assert_eq!(early.recover().0.sealed, []);
    let mut early = TestLog::new();
    early.commit(1, 1);
    let end = early.active.unwrap().end;
    early.activate();
    early.commit(1, 2);
    index_all(&early, &early.recover().0);
    let path = layout::segment(early.batches[0].0);
    let with_index = early.disk.read_raw(&path);
    let mut late = TestLog::new();
    late.commit(1, 1);
    assert_eq!(late.active.unwrap().end, end);
    late.commit(2, 5);
    late.activate();
    late.commit(1, 2);
    let own = late.disk.read_raw(&path);
    late.disk
        .write_raw(&path, &[&own[..], &with_index[capacity..]].concat());
    let (recovered, lines) = late.recover();
    assert_eq!(lines, ["1:1", "2:5", "1:2"]);
    assert_eq!(
        (indexed(&recovered), damaged(&recovered)),
        (vec![false], vec![])
    );
}

#[test]
fn a_segment_with_damage_gets_no_index() {
    let (log, before, _) = log();
    log.flip_batch(2, 700);
    index_all(&log, &before);
    let (recovered, _) = log.recover();
    assert_eq!(indexed(&recovered), [false, true]);
    assert_eq!(damaged(&recovered), [1]);
}

/// A cut at any call while indexes are written: whole or not there, never bad.
#[test]
fn a_power_cut_leaves_an_index_whole_or_none() {
    let (mut none, mut whole) = (0, 0);
    for cut in 0..12 {
        let (log, before, lines) = log();
        let disk = log.disk.snapshot();
        disk.fail_at(disk.op_count() + cut, Fault::PowerCut);
        index_on(&disk, &before);
        for seed in 0..20 {
            let image = disk.crash_image(seed);
            let (recovered, again) = log.recover_from(&image);
            assert_eq!((plain(&recovered), again), (before.clone(), lines.clone()));
            for sealed in &recovered.sealed {
                let bytes = image.read_raw(&layout::segment(sealed.identity.segment));
                let header = bytes.get(sealed.capacity_bytes as usize..);
                let header = header.filter(|behind| behind.len() >= BLOCK_BYTES);
                let there = header.is_some_and(|behind| !all_zero(&behind[..BLOCK_BYTES]));
                assert_eq!(there, sealed.indexed, "cut {cut}, seed {seed}");
                none += usize::from(!there);
                whole += usize::from(there);
            }
        }
    }
    assert!(20 < none && 20 < whole, "{none} {whole}");
}
