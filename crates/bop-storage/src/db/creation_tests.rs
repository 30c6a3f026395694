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
use std::time::Duration;

fn engine(disk: &SimDisk, manifest: &MemoryManifest) -> Arc<Engine> {
    let mut limits = Limits::tiny();
    limits.writer_wait = Duration::from_secs(2);
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
    let engine = engine(&disk, &manifest);
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
        while engine.creations.0.lock().queue.len() < 60 {
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
        while engine.creations.0.lock().queue.len() < 3 {
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
