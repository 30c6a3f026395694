//! Three runs, each cut while it writes: what one of them left half written never comes back in a
//! later one. All subsets of the sectors that were not synced.

use super::writer::TestLog;
use crate::ids::{Lsn, SegmentId};
use crate::io::{Block, layout};
use zerocopy::IntoBytes;

const SECTOR: usize = 512;

/// Sectors of blocks that are not as they were (all zero), with their offset in the file.
fn unsynced(log: &TestLog, segment: SegmentId, at: Lsn, blocks: &[Block]) -> Vec<(usize, Vec<u8>)> {
    assert_eq!(segment, log.active.unwrap().identity.segment);
    let start = usize::try_from(log.space().offset(at)).unwrap();
    let sectors = blocks.as_bytes().chunks(SECTOR).enumerate();
    let changed = sectors.filter(|(_, sector)| sector.iter().any(|byte| *byte != 0));
    let placed = changed.map(|(number, sector)| (start + number * SECTOR, sector.to_vec()));
    placed.collect()
}

/// Writes so many batches of database `database` that nothing acknowledges, and keeps the sectors
/// that `kept` has a bit for. Returns how many sectors there were.
fn torn(log: &mut TestLog, database: u64, pages: &[u32], kept: u32) -> usize {
    let (active, heads) = (log.active, log.heads.clone());
    let durable = active.unwrap().end;
    let mut sectors = Vec::new();
    for page in pages {
        let part = log.commit_part(&[database], *page);
        let at = log.active.unwrap().end;
        // What is in flight together does not know of another one.
        let (blocks, _) = log.make(&[part], durable);
        let (segment, _, _) = *log.batches.last().unwrap();
        sectors.extend(unsynced(log, segment, at, &blocks));
    }
    let path = layout::segment(active.unwrap().identity.segment);
    let mut bytes = log.disk.read_raw(&path);
    for (bit, (at, sector)) in sectors.iter().enumerate() {
        if kept & (1 << bit) != 0 {
            bytes[*at..at + SECTOR].copy_from_slice(sector);
        }
    }
    log.disk.write_raw(&path, &bytes);
    (log.active, log.heads) = (active, heads);
    sectors.len()
}

/// Recovers twice, and goes on as the next run does: in a new segment.
fn next_run(log: &mut TestLog, acknowledged: &[String], context: &str) -> Vec<String> {
    let (recovered, lines) = log.recover();
    assert!(lines.starts_with(acknowledged), "{context}: {lines:?}");
    assert_eq!(recovered.findings, [], "{context}");
    assert!(recovered.damaged.is_empty(), "{context}");
    assert_eq!(
        log.recover(),
        (recovered.clone(), lines.clone()),
        "{context}"
    );
    // The heads are what was recovered: of the torn batches all, some or none.
    log.heads = heads_of(log, &lines);
    log.reopen_after_crash(&recovered);
    lines
}

/// The newest commit of the only database, found by where its batches stand.
fn heads_of(log: &TestLog, lines: &[String]) -> std::collections::BTreeMap<u64, Lsn> {
    let newest = lines.last().unwrap();
    let (_, page) = newest.split_once(':').unwrap();
    let at = log.page_lsns.get(&page.parse::<u32>().unwrap()).unwrap();
    [(1, *at)].into()
}

#[test]
fn torn_bytes_of_one_run_never_come_back_in_a_later_one() {
    let (mut runs, mut whole) = (0, 0);
    let sectors = 3;
    for first in 0..1 << sectors {
        for second in 0..1 << sectors {
            for third in 0..1 << sectors {
                let context = format!("kept {first:b} {second:b} {third:b}");
                let mut log = TestLog::new();
                log.spares(1);
                log.commit(1, 1);
                assert_eq!(torn(&mut log, 1, &[2], first), sectors);
                let mut lines = next_run(&mut log, &["1:1".to_owned()], &context);
                whole += lines.len() - 1;

                log.commit(1, 4);
                lines.push("1:4".to_owned());
                assert_eq!(torn(&mut log, 1, &[5], second), sectors);
                let mut after = next_run(&mut log, &lines, &context);
                assert!(after.len() <= lines.len() + 1, "{context}: {after:?}");

                log.commit(1, 6);
                after.push("1:6".to_owned());
                assert_eq!(torn(&mut log, 1, &[7], third), sectors);
                let last = next_run(&mut log, &after, &context);
                assert!(last.len() <= after.len() + 1, "{context}: {last:?}");
                runs += 1;
            }
        }
    }
    // Some batches came through whole, and then they stay; most did not.
    assert!(runs == 512 && 0 < whole && whole < runs, "{runs} {whole}");
}
