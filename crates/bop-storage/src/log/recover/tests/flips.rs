//! Every byte of a small log flipped in turn: the right answer, or the damage by name.

use super::super::{Checkpointed, Recovered};
use super::writer::{TestLog, damaged};
use crate::ids::DbId;
use crate::log::format::{CatalogueOp, all_zero, encode_note, record::NoteKind};

/// Two databases over two segments with every kind of record; closed, or killed.
fn log(closed: bool) -> TestLog {
    let mut log = TestLog::new();
    log.create(1, "one");
    log.create(2, "two");
    log.commit(1, 1);
    log.chain(5, &[2], &[1, 2]);
    log.note();
    log.activate();
    let group = log.commit_part(&[1, 2], 3);
    log.write(&[group]);
    let rename = log.catalogue_part(2, CatalogueOp::Rename { name: "deux" });
    log.write(&[rename]);
    log.commit(1, 4);
    if closed {
        log.close();
    } else {
        log.write(&[TestLog::plain(encode_note(NoteKind::Idle).unwrap())]);
        log.commit(2, 5);
    }
    for database in [1, 2] {
        log.checkpointed
            .insert(DbId::new(database), Checkpointed::default());
    }
    log
}

/// The commits of one database in what was delivered.
fn of_database(lines: &[String], database: u64) -> Vec<String> {
    let names = |line: &str| {
        line.split(' ')
            .find(|member| member.starts_with(&format!("{database}:")))
            .map(str::to_owned)
    };
    lines.iter().filter_map(|line| names(line)).collect()
}

fn catalogue(lines: &[String]) -> Vec<&String> {
    lines.iter().filter(|line| !line.contains(':')).collect()
}

/// Flips every byte of every block that was written, and some of the others, and calls `check` with
/// what recovery makes of it.
fn flip_all(log: &TestLog, check: impl Fn(&str, &Recovered, &[String])) {
    let mut images = 0;
    for (path, bytes) in log.disk.files() {
        let content = log.disk.read_raw(&path);
        for byte in 0..bytes {
            let block = byte as usize / 4096 * 4096;
            let written = !all_zero(&content[block..block + 4096]);
            if !written && byte % 97 != 0 {
                continue;
            }
            let image = log.disk.snapshot();
            let mask = 1 << (byte % 8);
            image.flip(&path, byte, mask);
            let (recovered, lines) = log.recover_from(&image);
            let context = format!("byte {byte} of {}, mask {mask}", path.display());
            check(&context, &recovered, &lines);
            images += 1;
        }
    }
    assert!(60_000 < images, "{images}");
}

#[test]
fn on_a_closed_log_a_flipped_byte_costs_nothing_or_is_reported_for_its_database() {
    let log = log(true);
    let (_, whole) = log.recover();
    flip_all(&log, |context, recovered, lines| {
        let hit = damaged(recovered);
        for database in [1, 2] {
            if !hit.contains(&database) {
                let (found, wanted) = (of_database(lines, database), of_database(&whole, database));
                assert_eq!(found, wanted, "{context}");
            }
        }
        if !hit.contains(&0) {
            assert_eq!(catalogue(lines), catalogue(&whole), "{context}");
        }
        if !hit.is_empty() {
            assert!(!recovered.findings.is_empty(), "{context}");
        }
        // One byte reaches the records of one batch: never both databases, save for the group.
        let group = hit == [1, 2];
        let about_one = hit.len() < 2 || (hit.len() == 2 && hit[0] == 0);
        assert!(group || about_one, "{context}: {hit:?}");
    });
}

#[test]
fn on_a_killed_log_a_flipped_byte_may_cost_the_newest_batch_and_nothing_else() {
    let log = log(false);
    let (_, whole) = log.recover();
    let (newest, before) = whole.split_last().unwrap();
    assert_eq!(newest, "2:5");
    flip_all(&log, |context, recovered, lines| {
        let hit = damaged(recovered);
        for database in [1, 2] {
            if !hit.contains(&database) {
                let found = of_database(lines, database);
                let all = found == of_database(&whole, database);
                assert!(all || found == of_database(before, database), "{context}");
            }
        }
        if !hit.contains(&0) {
            assert_eq!(catalogue(lines), catalogue(&whole), "{context}");
        }
    });
}
