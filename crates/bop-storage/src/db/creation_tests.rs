//! Creating databases together: whose record it is, and who is refused.

use super::*;
use crate::db::{Housekeeping, Options, open};
use crate::error::ErrorCode;
use crate::io::IoOp;
use crate::limits::Limits;
use crate::manifest::MemoryManifest;
use crate::testing::{Fault, SimDisk};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

fn engine(disk: &SimDisk, manifest: &MemoryManifest) -> Arc<Engine> {
    engine_with(disk, manifest, Duration::from_secs(2))
}

/// One whose callers wait for so long.
fn engine_with(disk: &SimDisk, manifest: &MemoryManifest, wait: Duration) -> Arc<Engine> {
    let mut limits = Limits::tiny();
    limits.writer_wait = wait;
    limits.io_deadline = Duration::from_millis(20);
    let options = Options::new()
        .limits(limits)
        .housekeeping(Housekeeping::Manual)
        .disk(Arc::new(disk.clone()), Arc::new(manifest.clone()));
    open::open(Path::new("simulated"), options).unwrap()
}

fn names(engine: &Engine) -> BTreeSet<String> {
    let cell = engine.catalogue.lock();
    let live = cell.catalogue.live();
    live.map(|(_, entry)| entry.name.to_string()).collect()
}

/// While the first record is on its way, sixty others ask: one record has them all, after a power
/// cut too, and of those who want one name exactly one gets it.
#[test]
fn who_asks_while_a_record_is_written_shares_the_next_one() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    // Sixty threads are to come in time, however busy the machine is.
    let engine = engine_with(&disk, &manifest, Duration::from_secs(50));
    disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    let before = disk.op_count();
    let answers = thread::scope(|scope| {
        let first = scope.spawn(|| engine.create_with_others("first", DbKind::Raw));
        disk.wait_until_hung(1);
        let others: Vec<_> = (0..60)
            .map(|number| {
                let engine = &engine;
                // "twin" three times, in as many spellings.
                let name = match number {
                    20 => "twin".to_owned(),
                    30 => "TWIN".to_owned(),
                    40 => "Twin".to_owned(),
                    50 => "first".to_owned(),
                    51 => "not/a/name".to_owned(),
                    _ => format!("db-{number}"),
                };
                scope.spawn(move || engine.create_with_others(&name, DbKind::Raw))
            })
            .collect();
        // One leads, the others wait for it.
        while engine.creations.0.lock().queue.len() < 59 {
            thread::yield_now();
        }
        disk.release_hung();
        assert!(first.join().unwrap().is_ok());
        let joined = others.into_iter().map(|other| other.join().unwrap());
        joined.collect::<Vec<_>>()
    });
    assert_eq!(disk.op_count() - before, 2, "two writes of the log");
    let codes: Vec<ErrorCode> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().err().map(CatalogueError::code))
        .collect();
    assert_eq!(codes.len(), 4, "{codes:?}");
    let exists = |code: &&ErrorCode| **code == ErrorCode::DatabaseExists;
    assert_eq!(codes.iter().filter(exists).count(), 3, "{codes:?}");
    let ids: BTreeSet<_> = answers.iter().flatten().collect();
    assert_eq!(ids.len(), 56, "each has an id of its own");

    let made = names(&engine);
    assert_eq!(made.len(), 57);
    let cut = disk.crash_image_keeping_nothing();
    let reopened = self::engine(&cut, &manifest.snapshot());
    assert_eq!(names(&reopened), made);
}

/// A record that cannot be written is answered to all that share it, and nobody is there.
#[test]
fn a_record_that_fails_is_answered_to_all_that_share_it() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let engine = engine(&disk, &manifest);
    disk.power_cut();
    let answers = thread::scope(|scope| {
        let asked: Vec<_> = (0..8)
            .map(|number| {
                let (engine, name) = (&engine, format!("db-{number}"));
                scope.spawn(move || engine.create_with_others(&name, DbKind::Raw))
            })
            .collect();
        let joined = asked.into_iter().map(|one| one.join().unwrap());
        joined.collect::<Vec<_>>()
    });
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
    assert_eq!(names(&engine), BTreeSet::new());
}

/// The one who writes the record is in a call that hangs: the others are told, each once.
#[test]
fn who_shares_a_record_that_hangs_is_told_in_time() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let engine = engine(&disk, &manifest);
    disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    thread::scope(|scope| {
        let create = |name: &'static str| {
            let engine = &engine;
            scope.spawn(move || engine.create_with_others(name, DbKind::Raw))
        };
        let first = create("first");
        disk.wait_until_hung(1);
        let others = ["a", "b", "c"].map(create);
        while engine.creations.0.lock().queue.len() < 2 {
            thread::yield_now();
        }
        disk.fail_next(IoOp::WriteDurable, Fault::Hang);
        disk.release_hung();
        assert!(first.join().unwrap().is_ok());
        disk.wait_until_hung(1);
        while others.iter().filter(|other| other.is_finished()).count() < 2 {
            thread::yield_now();
        }
        disk.release_hung();
        let answers = others.map(|other| other.join().unwrap());
        let unknown = |answer: &Result<DbId, CatalogueError>| {
            matches!(
                answer,
                Err(CatalogueError::Commit(CommitError::Unknown { .. }))
            )
        };
        assert_eq!(answers.iter().filter(|answer| unknown(answer)).count(), 2);
    });
    assert_eq!(names(&engine).len(), 4, "all of them are there in the end");
}

fn follower(creations: &Creations, name: &str) -> (u64, Pending<Word>) {
    match creations.ask(name, DbKind::Raw) {
        Place::Follower(number, pending) => (number, pending),
        Place::Leader(_) => panic!("{name} leads"),
    }
}

fn leads(pending: &Pending<Word>) -> Option<Lead> {
    match pending.wait(Some(Instant::now())) {
        Waited::Answer(Word::Lead(lead)) => Some(lead),
        _ => None,
    }
}

/// A leader goes without having made anything: the oldest that waits leads, past one that has gone
/// without a word, and not one that has withdrawn; after the last the next to come does.
#[test]
fn the_lead_goes_to_the_oldest_that_waits() {
    let creations = Creations::default();
    let Place::Leader(lead) = creations.ask("first", DbKind::Raw) else {
        panic!("nobody led before");
    };
    drop(follower(&creations, "gone"));
    let (_, second) = follower(&creations, "second");
    let (third_number, third) = follower(&creations, "third");
    let (fourth_number, fourth) = follower(&creations, "fourth");
    drop(lead);
    let lead = leads(&second).expect("the oldest that is there");
    assert!(creations.withdraw(third_number));
    drop(lead);
    assert!(leads(&third).is_none());
    assert!(!creations.withdraw(fourth_number), "it waits no more");
    drop(leads(&fourth).expect("the only one"));
    assert!(matches!(
        creations.ask("fifth", DbKind::Raw),
        Place::Leader(_)
    ));
}

/// Somebody has the catalogue's slot for too long: who leads and who follows are both told so, nothing is
/// made, and when the slot is free again names can be had.
#[test]
fn without_the_slot_all_are_refused_and_later_ones_are_not() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let engine = engine(&disk, &manifest);
    let slot = engine.catalogue_slot().unwrap();
    let answers = thread::scope(|scope| {
        let asked = ["a", "b", "c"].map(|name| {
            let engine = &engine;
            scope.spawn(move || engine.create_with_others(name, DbKind::Raw))
        });
        asked.map(|one| one.join().unwrap())
    });
    for answer in answers {
        let rejected = matches!(
            answer,
            Err(CatalogueError::Commit(CommitError::Rejected(
                Rejection::Timeout { .. }
            )))
        );
        assert!(rejected, "{answer:?}");
    }
    drop(slot);
    engine.create_with_others("a", DbKind::Raw).unwrap();
    assert_eq!(names(&engine), BTreeSet::from(["a".to_owned()]));
}
