//! A damaged entry is found and named, never served; its log suffers, and no other one.

use crate::rig::{Keep, ManifestFault, Rig};
use bop_storage::io::layout;
use bop_storage::{CatalogueError, Limits, Manager, NewEntry, RecordLogError};

const PAYLOAD: &[u8] = b"an entry that can be found in its file";

fn limits() -> Limits {
    let mut limits = Limits::tiny();
    limits.record_cache_bytes_max = 0;
    limits
}

fn entry(index: u64, payload: &[u8]) -> NewEntry<'_> {
    NewEntry {
        index,
        term: 1,
        payload,
    }
}

/// Two logs with a vote and some entries each.
fn store(rig: &Rig) -> Manager {
    let store = rig.open(&limits()).unwrap();
    for name in ["sound", "damaged"] {
        let log = store.create_record_log(name).unwrap();
        log.set_vote(format!("vote of {name}").as_bytes()).unwrap();
        log.append(&[entry(1, name.as_bytes())]).unwrap();
    }
    let log = store.record_log("damaged").unwrap();
    log.append(&[entry(2, PAYLOAD), entry(3, b"behind")])
        .unwrap();
    log.append(&[entry(4, b"newest")]).unwrap();
    store
        .record_log("sound")
        .unwrap()
        .append(&[entry(2, b"more")])
        .unwrap();
    store
}

/// Flips a byte of what `needle` is found in.
fn flip(rig: &Rig, needle: &[u8]) {
    let mut found = 0;
    for (path, _) in rig.disk.files() {
        let bytes = rig.disk.read_raw(&path);
        let at = bytes
            .windows(needle.len())
            .position(|window| window == needle);
        if let Some(at) = at.filter(|_| path.starts_with("log")) {
            rig.disk.flip(&path, at as u64 + 5, 0x10);
            found += 1;
        }
    }
    assert_eq!(found, 1, "{}", String::from_utf8_lossy(needle));
}

fn check_sound(store: &Manager) {
    let log = store.record_log("sound").unwrap();
    let read = log.read(1..3, u64::MAX).unwrap();
    assert_eq!(
        (&*read[0].payload, &*read[1].payload),
        (&b"sound"[..], &b"more"[..])
    );
    assert_eq!(&*log.vote().unwrap().unwrap(), b"vote of sound");
    log.append(&[entry(3, b"goes on")]).unwrap();
    log.truncate(3).unwrap();
}

#[test]
fn a_damaged_entry_is_never_read_while_the_store_is_open() {
    let rig = Rig::new(1, ManifestFault::NotApplied);
    let store = store(&rig);
    flip(&rig, PAYLOAD);
    flip(&rig, b"vote of damaged");
    let log = store.record_log("damaged").unwrap();
    for range in [2..3, 1..3, 1..5] {
        let error = log.read(range, u64::MAX).unwrap_err();
        assert!(matches!(error, RecordLogError::Damaged(_)), "{error}");
    }
    assert!(matches!(log.vote(), Err(RecordLogError::Damaged(_))));
    let read = log.read(3..5, u64::MAX).unwrap();
    assert_eq!(
        (&*read[0].payload, &*read[1].payload),
        (&b"behind"[..], &b"newest"[..])
    );
    // Each of the two is found as an entry, and in its batch.
    let report = store.verify();
    assert_eq!(report.findings.len(), 4, "{report:?}");
    assert_eq!(report.entries, 3 + 2);
    check_sound(&store);
}

#[test]
fn a_damaged_entry_closes_its_log_at_the_next_open_and_no_other() {
    for needle in [PAYLOAD, b"vote of damaged", b"newest"] {
        let rig = Rig::new(2, ManifestFault::NotApplied);
        let before = store(&rig);
        let rig = rig.crashed(Keep::Everything, 3);
        drop(before);
        flip(&rig, needle);
        let store = rig.open(&limits()).unwrap();
        let error = store.record_log("damaged").unwrap_err();
        assert!(
            matches!(error, CatalogueError::Corrupt { ref name, .. } if name == "damaged"),
            "{error}"
        );
        assert!(store.info("damaged").unwrap().damage.is_some());
        assert!(!store.verify().is_healthy());
        // What is left of the damaged one is neither counted nor kept: those are the other's.
        assert_eq!(store.status().record_entries, 2);
        check_sound(&store);
        store.drop_database("damaged").unwrap();
        let again = store.create_record_log("damaged").unwrap();
        again.append(&[entry(1, b"anew")]).unwrap();
    }
}

/// Appends to `log`, which keeps its last ten entries, many times what the whole log may hold.
fn fill(store: &Manager, log: &str, entries: std::ops::RangeInclusive<u64>) {
    let payload = vec![7; 4000];
    let hot = store.record_log(log).unwrap();
    let mut written = 0;
    for index in entries {
        hot.append(&[entry(index, &payload)]).unwrap();
        written += payload.len() as u64;
        if index > 10 {
            hot.purge(index - 10).unwrap();
        }
        store.keep_house();
        let in_log = store.status().log_bytes;
        assert!(in_log <= limits().log_bytes_max, "{in_log} at {index}");
    }
    assert!(limits().log_bytes_max < written);
}

/// Bytes of the files in a directory.
fn in_dir(rig: &Rig, dir: &str) -> u64 {
    let files = rig.disk.files().into_iter();
    let files = files.filter(|(path, _)| path.starts_with(dir));
    files
        .map(|(path, _)| rig.disk.read_raw(&path).len() as u64)
        .sum()
}

/// How many files in `damaged/` have these bytes.
fn set_aside(rig: &Rig, needle: &[u8]) -> usize {
    let files = rig.disk.files().into_iter().map(|(path, _)| path);
    files
        .filter(|path| path.starts_with(layout::DAMAGED_DIR))
        .filter(|path| {
            let bytes = rig.disk.read_raw(path);
            bytes.windows(needle.len()).any(|window| window == needle)
        })
        .count()
}

#[test]
fn a_log_whose_entry_cannot_be_moved_is_closed_and_set_aside() {
    let rig = Rig::new(4, ManifestFault::NotApplied);
    let before = store(&rig);
    flip(&rig, PAYLOAD);
    before.create_record_log("hot").unwrap();
    fill(&before, "hot", 1..=1500);
    let log = before.record_log("damaged").unwrap();
    let refused = log.append(&[entry(5, b"")]).unwrap_err();
    assert!(matches!(refused, RecordLogError::Damaged(_)), "{refused}");
    let damage = before.info("damaged").unwrap().damage.unwrap();
    assert_eq!(set_aside(&rig, b"vote of damaged"), 1);
    assert_eq!(set_aside(&rig, b"newest"), 1);
    assert!(0 < before.status().damaged_bytes);
    // Whoever has it open reads what can be read.
    let read = log.read(3..5, u64::MAX).unwrap();
    assert_eq!(&*read[1].payload, b"newest");
    assert_eq!(&*log.vote().unwrap().unwrap(), b"vote of damaged");
    let live = before.status().record_entries;
    assert_eq!(live, 2 + 10, "the closed one costs nothing here");
    check_sound(&before);
    drop(log);

    let rig = rig.crashed(Keep::Everything, 5);
    drop(before);
    let store = rig.open(&limits()).unwrap();
    let error = store.record_log("damaged").unwrap_err();
    assert!(
        matches!(&error, CatalogueError::Corrupt { damage: found, .. } if *found == damage),
        "{error} is not {damage}"
    );
    check_sound(&store);
    store.drop_database("damaged").unwrap();
    let rig = rig.crashed(Keep::Everything, 6);
    drop(store);
    let store = rig.open(&limits()).unwrap();
    assert_eq!(in_dir(&rig, layout::DAMAGED_DIR), 0);
    check_sound(&store);
}

/// What is kept of a log is all of it, not the damaged place alone.
#[test]
fn all_records_of_a_log_that_opening_closes_are_set_aside() {
    let rig = Rig::new(7, ManifestFault::NotApplied);
    let before = store(&rig);
    let log = before.record_log("damaged").unwrap();
    let filler = before.create_record_log("filler").unwrap();
    let fill_segment = |from: u64| {
        let payload = vec![9; 4000];
        let segments = before.status().log_segments;
        for index in from.. {
            if segments < before.status().log_segments {
                return index;
            }
            filler.append(&[entry(index, &payload)]).unwrap();
        }
        from
    };
    let next = fill_segment(1);
    log.append(&[entry(5, b"in the middle of it all")]).unwrap();
    let next = fill_segment(next);
    log.append(&[entry(6, b"at the end of it all")]).unwrap();
    fill_segment(next);
    drop((log, filler));
    let rig = rig.crashed(Keep::Everything, 8);
    drop(before);
    flip(&rig, b"in the middle of it all");
    let store = rig.open(&limits()).unwrap();
    assert!(matches!(
        store.record_log("damaged").unwrap_err(),
        CatalogueError::Corrupt { .. }
    ));
    store.drop_database("filler").unwrap();
    store.create_record_log("hot").unwrap();
    fill(&store, "hot", 1..=1500);
    for needle in [&b"vote of damaged"[..], PAYLOAD, b"at the end of it all"] {
        let kept = set_aside(&rig, needle);
        assert_eq!(kept, 1, "{}", String::from_utf8_lossy(needle));
    }
    check_sound(&store);
}
