//! A damaged entry is found and named, never served; its log suffers, and no other one.

use crate::rig::{Keep, ManifestFault, Rig};
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
        check_sound(&store);
        store.drop_database("damaged").unwrap();
        let again = store.create_record_log("damaged").unwrap();
        again.append(&[entry(1, b"anew")]).unwrap();
    }
}

#[test]
fn a_damaged_entry_does_not_keep_the_others_from_being_moved() {
    let rig = Rig::new(4, ManifestFault::NotApplied);
    let store = store(&rig);
    flip(&rig, PAYLOAD);
    let hot = store.create_record_log("hot").unwrap();
    let payload = vec![7; 4000];
    for index in 1..=600 {
        hot.append(&[entry(index, &payload)]).unwrap();
        if index > 10 {
            hot.purge(index - 10).unwrap();
        }
        store.keep_house();
    }
    let log = store.record_log("damaged").unwrap();
    let refused = log.append(&[entry(5, b"")]).unwrap_err();
    assert!(matches!(refused, RecordLogError::Damaged(_)), "{refused}");
    assert!(store.info("damaged").unwrap().damage.is_some());
    check_sound(&store);
}
