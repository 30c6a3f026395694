//! Appends that are not waited for: read at once, called back once, gone when they fail.

use crate::ordinary::{entry, open_waiting};
use crate::rig::{Keep, ManifestFault, Rig};
use bop_storage::io::IoOp;
use bop_storage::io::errno::EIO;
use bop_storage::testing::Fault;
use bop_storage::{
    CommitError, DbKind, ErrorCode, Housekeeping, Limits, Manager, PageNo, RecordLog,
    RecordLogError, Rejection,
};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

type Told = (u64, Result<(), RecordLogError>);

fn open(rig: &Rig) -> Manager {
    open_waiting(rig, Duration::from_secs(20))
}

/// Appends one entry; the callback says its index.
fn append(log: &RecordLog, index: u64, tell: &Sender<Told>) {
    let tell = tell.clone();
    let payload = format!("entry {index}");
    log.append_with(&[entry(index, 1, payload.as_bytes())], move |durable| {
        tell.send((index, durable)).unwrap();
    })
    .unwrap();
}

fn next(told: &Receiver<Told>) -> Told {
    told.recv_timeout(LONG).unwrap()
}

fn indexes(log: &RecordLog) -> Vec<u64> {
    let bounds = log.bounds().unwrap();
    let read = log.read(bounds.first..bounds.next, u64::MAX).unwrap();
    for entry in &read {
        assert_eq!(*entry.payload, *format!("entry {}", entry.index).as_bytes());
        assert_eq!(log.term(entry.index).unwrap(), Some(entry.term));
    }
    read.iter().map(|entry| entry.index).collect()
}

#[test]
fn what_is_appended_is_read_at_once_and_there_after_a_crash_only_when_durable() {
    let rig = Rig::new(21, ManifestFault::NotApplied);
    // Without a cache everything is read from the records themselves.
    for cache in [0, 1 << 20] {
        let mut limits = Limits::tiny();
        limits.record_cache_bytes_max = cache;
        let rig = rig.copied(21, ManifestFault::NotApplied);
        let store = rig.open(&limits).unwrap();
        let log = store.create_record_log("log").unwrap();
        let (tell, told) = channel();
        log.append(&[entry(5, 1, b"entry 5")]).unwrap();
        for index in 6..=9 {
            append(&log, index, &tell);
            assert_eq!(indexes(&log), (5..=index).collect::<Vec<_>>());
        }
        let (none, empty) = channel();
        let nothing =
            move |durable: Result<(), RecordLogError>| none.send(durable.is_ok()).unwrap();
        log.append_with(&[], nothing).unwrap();
        assert_eq!(empty.recv_timeout(LONG), Ok(true));
        log.append_with(&[entry(7, 1, b"")], |_| panic!("refused"))
            .unwrap_err();
        assert!(store.verify().is_healthy(), "{:?}", store.verify());
        assert!(told.try_recv().is_err(), "nothing was written yet");

        let crashed = rig.crashed(Keep::Everything, 1).open(&limits).unwrap();
        assert_eq!(indexes(&crashed.record_log("log").unwrap()), [5]);

        store.sync().unwrap();
        for index in 6..=9 {
            let (at, durable) = next(&told);
            durable.unwrap();
            assert_eq!(at, index);
        }
        assert_eq!(indexes(&log), [5, 6, 7, 8, 9]);
        let crashed = rig.crashed(Keep::Nothing, 1).open(&limits).unwrap();
        assert_eq!(
            indexes(&crashed.record_log("log").unwrap()),
            [5, 6, 7, 8, 9]
        );
        assert!(told.try_recv().is_err(), "once");
    }
}

#[test]
fn what_comes_behind_is_durable_with_it_when_its_call_returns() {
    let rig = Rig::new(22, ManifestFault::NotApplied);
    let store = open(&rig);
    let pages = store.create_database("pages", DbKind::Raw).unwrap();
    let log = store.create_record_log("log").unwrap();
    let (tell, told) = channel();
    let durable = |count: usize| {
        for _ in 0..count {
            next(&told).1.unwrap();
        }
        assert!(told.try_recv().is_err());
        let crashed = open(&rig.crashed(Keep::Nothing, 1));
        let log = crashed.record_log("log").unwrap();
        (indexes(&log), log.vote().unwrap().map(|vote| vote.to_vec()))
    };
    append(&log, 1, &tell);
    append(&log, 2, &tell);
    log.set_vote(b"term 1").unwrap();
    assert_eq!(durable(2), (vec![1, 2], Some(b"term 1".to_vec())));
    append(&log, 3, &tell);
    append(&log, 4, &tell);
    log.truncate(4).unwrap();
    append(&log, 4, &tell);
    log.append(&[entry(5, 1, b"entry 5")]).unwrap();
    assert_eq!(durable(3).0, [1, 2, 3, 4, 5]);
    append(&log, 6, &tell);
    log.purge(6).unwrap();
    append(&log, 7, &tell);
    // Whoever writes next writes it.
    let mut write = pages.begin_write(LONG).unwrap();
    write.write_page(PageNo::FIRST, &[7; 4096]).unwrap();
    write.commit().unwrap();
    assert_eq!(durable(2).0, [7]);
    append(&log, 8, &tell);
    let (a_large_one, payload) = (tell.clone(), [1; 10_000]);
    assert!(10_000 > Limits::tiny().fragment_bytes_max);
    log.append_with(&[entry(9, 1, &payload)], move |durable| {
        a_large_one.send((9, durable)).unwrap();
    })
    .unwrap();
    let crashed = open(&rig.crashed(Keep::Nothing, 1));
    let found = crashed.record_log("log").unwrap().read(7..10, u64::MAX);
    assert_eq!(*found.unwrap()[2].payload, payload, "it was waited for");
    assert_eq!((next(&told).0, next(&told).0), (8, 9));
    append(&log, 10, &tell);
    store.drop_database("log").unwrap();
    next(&told).1.unwrap();
    store.close(LONG).unwrap();
}

#[test]
fn what_the_device_does_not_take_is_gone_and_told_of() {
    let rig = Rig::new(23, ManifestFault::NotApplied);
    let store = open(&rig);
    let (tell, told) = channel();
    let (log, fresh) = (
        store.create_record_log("log").unwrap(),
        store.create_record_log("fresh").unwrap(),
    );
    log.append(&[entry(1, 1, b"entry 1"), entry(2, 1, b"entry 2")])
        .unwrap();
    let before = (log.bounds().unwrap(), fresh.bounds().unwrap());
    for index in 3..=6 {
        append(&log, index, &tell);
        append(&fresh, index, &tell);
    }
    let live = store.status().record_entries;
    rig.disk.fail_next(IoOp::WriteDurable, Fault::Sticky(EIO));
    store.sync().unwrap_err();
    for index in 3..=6 {
        for _ in 0..2 {
            let (at, durable) = next(&told);
            assert_eq!(at, index, "in their order");
            let error = durable.unwrap_err();
            assert!(
                matches!(&error, RecordLogError::Commit(CommitError::Unknown { .. })),
                "{error}"
            );
        }
    }
    assert_eq!((log.bounds().unwrap(), fresh.bounds().unwrap()), before);
    assert_eq!((indexes(&log), indexes(&fresh)), (vec![1, 2], vec![]));
    assert_eq!(store.status().record_entries, live - 8);
    let refused = log.append_with(&[entry(3, 1, b"")], |_| panic!("refused"));
    refused.unwrap_err();
    drop(store);
    rig.disk.heal();
    assert!(told.try_recv().is_err(), "once");
    let store = open(&rig.crashed(Keep::Nothing, 1));
    assert_eq!(indexes(&store.record_log("log").unwrap()), [1, 2]);
    assert_eq!(indexes(&store.record_log("fresh").unwrap()), []);
}

#[test]
fn without_room_on_the_device_it_waits_for_some_or_for_the_end() {
    for ends in [false, true] {
        let rig = Rig::new(24, ManifestFault::NotApplied);
        let store = open(&rig);
        let log = store.create_record_log("log").unwrap();
        let (tell, told) = channel();
        // Nothing that waits for its place: the spares go.
        rig.disk.fail_next(IoOp::Allocate, Fault::Full);
        let mut index = 0;
        let refused = loop {
            index += 1;
            append(&log, index, &tell);
            let synced = store.sync();
            if store.status().queued_records > 0 {
                break synced.unwrap_err();
            }
            next(&told).1.unwrap();
            assert!(index < 10_000);
        };
        assert!(
            matches!(refused, CommitError::Rejected(Rejection::Segment(_))),
            "{refused}"
        );
        assert_eq!(indexes(&log).last(), Some(&index), "it stays where it is");
        assert!(told.try_recv().is_err());
        if ends {
            store.close(LONG).unwrap_err();
            let error = next(&told).1.unwrap_err();
            assert!(
                matches!(
                    error,
                    RecordLogError::Commit(CommitError::Rejected(Rejection::Closed))
                ),
                "{error}"
            );
        } else {
            rig.disk.heal();
            store.sync().unwrap();
            next(&told).1.unwrap();
        }
        let there = index - u64::from(ends);
        let store = open(&rig.crashed(Keep::Nothing, 1));
        assert_eq!(
            indexes(&store.record_log("log").unwrap()).last(),
            Some(&there)
        );
    }
}

#[test]
fn as_much_as_the_queue_takes_may_wait_and_a_hung_device_answers_in_the_end() {
    let mut rig = Rig::new(25, ManifestFault::NotApplied);
    rig.housekeeping = Housekeeping::Background;
    let mut limits = Limits::tiny();
    limits.writer_wait = Duration::from_millis(20);
    limits.queue_records_max = 5;
    // The housekeeper's note would be one of them.
    limits.idle_note_delay = 4 * LONG;
    let store = rig.open(&limits).unwrap();
    let log = store.create_record_log("log").unwrap();
    let (tell, told) = channel();
    rig.disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    append(&log, 1, &tell);
    rig.disk.wait_until_hung(1);
    for index in 2..=6 {
        append(&log, index, &tell);
    }
    let error = log
        .append_with(&[entry(7, 1, b"")], |_| panic!("refused"))
        .unwrap_err();
    assert!(
        matches!(
            error,
            RecordLogError::Commit(CommitError::Rejected(Rejection::Timeout { .. }))
        ),
        "{error}"
    );
    assert_eq!(indexes(&log), [1, 2, 3, 4, 5, 6]);
    assert!(told.try_recv().is_err());
    rig.disk.release_hung();
    for index in 1..=6 {
        let (at, durable) = next(&told);
        durable.unwrap();
        assert_eq!(at, index);
    }
    append(&log, 7, &tell);
    next(&told).1.unwrap();
    store.close(LONG).unwrap();
}

#[test]
fn a_callback_may_use_the_store_and_let_go_of_it() {
    let mut rig = Rig::new(26, ManifestFault::NotApplied);
    rig.housekeeping = Housekeeping::Background;
    let store = open(&rig);
    let log = store.create_record_log("log").unwrap();
    let (tell, told) = channel();
    let own = log.clone();
    log.append_with(&[entry(1, 1, b"entry 1")], move |durable| {
        durable.unwrap();
        own.append(&[entry(2, 1, b"entry 2")]).unwrap();
        append(&own, 3, &tell);
        drop(store);
        // The last handle: this closes the store, once it is let go of outside too.
        drop(own);
    })
    .unwrap();
    drop(log);
    next(&told).1.unwrap();
    // What holds the disk of the store is gone before it can be opened again.
    let store = loop {
        match rig.open(&Limits::tiny()) {
            Ok(store) => break store,
            Err(error) => assert_eq!(error.code(), ErrorCode::StoreLocked, "{error}"),
        }
        std::thread::yield_now();
    };
    assert_eq!(indexes(&store.record_log("log").unwrap()), [1, 2, 3]);
}

#[test]
fn the_end_of_the_store_answers_all_of_a_crowd() {
    let mut rig = Rig::new(27, ManifestFault::NotApplied);
    rig.housekeeping = Housekeeping::Background;
    let store = open(&rig);
    let (tell, told) = channel();
    let threads: u64 = 6;
    let each: u64 = 40;
    std::thread::scope(|scope| {
        for nth in 0..threads {
            let (store, tell) = (&store, tell.clone());
            scope.spawn(move || {
                let log = store.create_record_log(&format!("log-{nth}")).unwrap();
                for index in 1..=each {
                    append(&log, index, &tell);
                    if index % 7 == nth {
                        log.set_vote(b"now").unwrap();
                    }
                    assert_eq!(log.bounds().unwrap().next, index + 1);
                }
            });
        }
    });
    store.close(LONG).unwrap();
    drop(tell);
    let ended: Vec<Told> = told.try_iter().collect();
    assert_eq!(
        ended.len() as u64,
        threads * each,
        "all before the close returns"
    );
    assert!(ended.iter().all(|(_, durable)| durable.is_ok()));
    rig.housekeeping = Housekeeping::Manual;
    let store = open(&rig.crashed(Keep::Nothing, 1));
    for nth in 0..threads {
        let log = store.record_log(&format!("log-{nth}")).unwrap();
        assert_eq!(indexes(&log), (1..=each).collect::<Vec<_>>());
    }
}
