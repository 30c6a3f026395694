//! What users of record logs meet: names, kinds, limits, callbacks, threads.

use crate::rig::{ManifestFault, Rig};
use bop_storage::error::ErrorCode;
use bop_storage::{
    CatalogueError, CommitError, DbKind, Housekeeping, Limits, Manager, NewEntry, RecordLogError,
    Rejection,
};
use std::time::Duration;

pub(crate) fn entry(index: u64, term: u64, payload: &[u8]) -> NewEntry<'_> {
    NewEntry {
        index,
        term,
        payload,
    }
}

/// A small store whose writers wait so long for room.
pub(crate) fn open_waiting(rig: &Rig, writer_wait: Duration) -> Manager {
    let mut limits = Limits::tiny();
    limits.writer_wait = writer_wait;
    rig.open(&limits).unwrap()
}

fn open(rig: &Rig) -> Manager {
    open_waiting(rig, Duration::from_millis(50))
}

#[test]
fn a_record_log_is_no_database_of_pages_and_the_reverse() {
    let rig = Rig::new(1, ManifestFault::NotApplied);
    let store = open(&rig);
    let log = store.create_record_log("Group").unwrap();
    store.create_database("pages", DbKind::Raw).unwrap();
    for error in [
        store.database("group").unwrap_err(),
        store.record_log("pages").unwrap_err(),
        store.create_database("other", DbKind::Log).unwrap_err(),
        store.begin_database(DbKind::Log).unwrap_err(),
    ] {
        assert_eq!(error.code(), ErrorCode::WrongKind, "{error}");
    }
    let twin = store.create_record_log("PAGES").unwrap_err();
    assert!(matches!(twin, CatalogueError::Exists { .. }), "{twin}");
    log.append(&[entry(1, 1, b"one")]).unwrap();
    store.rename_database("group", "renamed").unwrap();
    let info = store.info("renamed").unwrap();
    let records = info.records.unwrap();
    assert_eq!((info.kind, info.page_count), (DbKind::Log, 0));
    assert_eq!((records.bounds.first, records.bounds.next), (1, 2));
    assert_eq!((records.payload_bytes, records.vote_bytes), (3, None));
    assert_eq!(store.databases().len(), 2);
    store.drop_database("renamed").unwrap();
    assert!(matches!(
        log.append(&[entry(2, 1, b"")]),
        Err(RecordLogError::Dropped)
    ));
    assert!(matches!(log.read(1..2, 1), Err(RecordLogError::Dropped)));
    assert!(matches!(log.bounds(), Err(RecordLogError::Dropped)));
    let anew = store.create_record_log("renamed").unwrap();
    assert_eq!(anew.bounds().unwrap().next, 0);
    store.close(Duration::ZERO).unwrap();
    assert!(matches!(anew.set_vote(b""), Err(RecordLogError::Closed)));
    assert!(matches!(anew.bounds(), Err(RecordLogError::Closed)));
}

#[test]
fn what_does_not_follow_is_refused_and_changes_nothing() {
    let rig = Rig::new(2, ManifestFault::NotApplied);
    let store = open(&rig);
    let log = store.create_record_log("log").unwrap();
    log.append(&[
        entry(0, 1, b"zero"),
        entry(1, 2, b"one"),
        entry(2, 2, b"two"),
    ])
    .unwrap();
    log.purge(0).unwrap();
    let before = (log.bounds().unwrap(), log.read(1..3, 100).unwrap());
    for (what, refused) in [
        ("again", log.append(&[entry(2, 2, b"")])),
        ("a gap", log.append(&[entry(4, 2, b"")])),
        (
            "a gap inside",
            log.append(&[entry(3, 2, b""), entry(5, 2, b"")]),
        ),
        ("an old term", log.append(&[entry(3, 1, b"")])),
        ("purged", log.truncate(0)),
        ("not there yet", log.purge(3)),
        ("behind entries", log.start_after(1, 2)),
        ("an old term of a snapshot", log.start_after(9, 1)),
        ("read of what is purged", log.read(0..2, 100).map(drop)),
        ("read of what is not there", log.read(1..4, 100).map(drop)),
    ] {
        let error = refused.expect_err(what);
        assert_eq!(error.code(), ErrorCode::IndexConflict, "{what}: {error}");
    }
    let error = log.append(&[entry(7, 2, b"")]).unwrap_err();
    assert!(
        matches!(
            error,
            RecordLogError::Conflict {
                expected: 3,
                found: 7
            }
        ),
        "{error}"
    );
    let error = log.set_vote(&[0; 4097]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::TooLarge);
    let error = log.append(&[entry(3, 2, &vec![0; 64 << 10])]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::TooLarge);
    let head = store.info("log").unwrap().head;
    log.truncate(3).unwrap();
    log.truncate(9).unwrap();
    log.purge(0).unwrap();
    log.append(&[]).unwrap();
    assert_eq!(
        store.info("log").unwrap().head,
        head,
        "nothing to do, nothing written"
    );
    assert_eq!(
        before,
        (log.bounds().unwrap(), log.read(1..3, 100).unwrap())
    );
    assert_eq!(log.term(2).unwrap(), Some(2));
    assert_eq!(log.term(3).unwrap(), None);
    assert_eq!(log.read(1..3, 0).unwrap().len(), 1, "one entry at least");
    assert_eq!(log.read(1..3, 6).unwrap().len(), 2);
}

#[test]
fn what_is_live_may_not_fill_the_log_and_votes_and_purges_go_on() {
    let rig = Rig::new(5, ManifestFault::NotApplied);
    let store = open(&rig);
    let log = store.create_record_log("log").unwrap();
    let payload = vec![9; 4000];
    let mut next = 1;
    let refused = loop {
        store.keep_house();
        match log.append(&[entry(next, 1, &payload)]) {
            Ok(()) => next += 1,
            Err(error) => break error,
        }
        assert!(next < 1000);
    };
    let full = |error: &RecordLogError| {
        matches!(
            error,
            RecordLogError::Commit(CommitError::Rejected(Rejection::LogFull { .. }))
        )
    };
    assert!(full(&refused), "{refused}");
    let cap = Limits::tiny().log_bytes_max;
    let live = next * 4000;
    assert!(live > cap / 3 && live <= cap / 2, "{live} of {cap}");
    assert!(store.status().log_bytes <= cap);
    store.keep_house();
    log.set_vote(b"goes on").unwrap();
    log.truncate(next - 1).unwrap();
    log.purge(next / 2).unwrap();
    store.keep_house();
    log.append(&[entry(next - 1, 1, &payload)]).unwrap();
    let read = log.read(next / 2 + 1..next, u64::MAX).unwrap();
    assert!(read.iter().all(|entry| *entry.payload == payload[..]));
}

#[test]
fn the_number_of_live_entries_is_bounded() {
    let rig = Rig::new(6, ManifestFault::NotApplied);
    let mut limits = Limits::tiny();
    limits.record_entries_max = 3;
    let store = rig.open(&limits).unwrap();
    let log = store.create_record_log("log").unwrap();
    log.append(&[entry(1, 1, b""), entry(2, 1, b""), entry(3, 1, b"")])
        .unwrap();
    let error = log.append(&[entry(4, 1, b"")]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::LimitReached, "{error}");
    log.purge(1).unwrap();
    log.append(&[entry(4, 1, b"")]).unwrap();
    assert_eq!(store.status().record_entries, 3);
}

#[test]
fn writers_of_one_log_take_turns_and_those_of_many_share_batches() {
    let mut rig = Rig::new(7, ManifestFault::NotApplied);
    rig.housekeeping = Housekeeping::Background;
    let mut limits = Limits::tiny();
    limits.writer_wait = Duration::from_secs(20);
    let store = rig.open(&limits).unwrap();
    let shared = store.create_record_log("shared").unwrap();
    std::thread::scope(|scope| {
        for nth in 0..8 {
            let (shared, store) = (shared.clone(), &store);
            scope.spawn(move || {
                let own = store.create_record_log(&format!("own-{nth}")).unwrap();
                for index in 1..=25 {
                    own.append(&[entry(index, 1, b"own")]).unwrap();
                    loop {
                        let next = shared.bounds().unwrap().next.max(1);
                        match shared.append(&[entry(next, 1, &[nth])]) {
                            Ok(()) => break,
                            Err(RecordLogError::Conflict { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            });
        }
    });
    let read = shared.read(1..201, u64::MAX).unwrap();
    for nth in 0..8 {
        let of_one = read.iter().filter(|entry| *entry.payload == [nth]).count();
        assert_eq!(of_one, 25);
    }
}
