//! The queue of jobs at its edges: its bounds, clocks that are set back, databases that are gone, and
//! a panic in each of its transactions.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, and so does the manifest here"
)]

use crate::rows::{ONE, TWO, reopen, sample};
use bop_storage::error::{ErrorCode, JobError, ManifestError};
use bop_storage::ids::{DbId, Epoch, JobId, StoreId};
use bop_storage::manifest::{
    DatabaseState, Gate, JOB_ATTEMPTS_MAX, JOBS_KEPT, JOBS_WAITING_MAX, JobFailure, JobKind,
    JobLease, JobRow, JobState, JobToken, Manifest, MemoryManifest, ScrubRow, Table, Write,
};
use bop_storage::runtime::SystemSpawn;
use std::sync::Arc;
use std::time::Duration;

const STORE: StoreId = StoreId::new([7; 16]);
const LONG: Duration = Duration::from_secs(50);
const LEASE: Duration = Duration::from_secs(60);
const RUN: Epoch = Epoch::new(1);
const NOW_US: u64 = 1_700_000_000_000_000;

fn token(number: u64) -> JobToken {
    let mut token = [0; 16];
    token[..8].copy_from_slice(&number.to_le_bytes());
    token
}

fn ask(manifest: &Manifest, database: DbId, number: u64) -> Result<JobId, JobError> {
    manifest.enqueue_job(LONG, JobKind::Scrub, database, token(number), NOW_US)
}

fn take(manifest: &Manifest, now_us: u64) -> Option<(JobLease, JobRow)> {
    manifest.lease_job(LONG, RUN, LEASE, now_us).unwrap()
}

fn failure() -> JobFailure {
    JobFailure::new(ErrorCode::Io, "chunk 7 at byte 4096", "it cannot be read")
}

fn job(manifest: &Manifest, id: JobId) -> JobRow {
    manifest.state().job(id).unwrap().clone()
}

fn empty() -> (MemoryManifest, Manifest) {
    let store = MemoryManifest::new();
    let manifest = Manifest::initialize(Arc::new(store.clone()), STORE).unwrap();
    (store, manifest)
}

#[test]
fn as_many_wait_as_may_and_the_newest_that_are_over_are_kept() {
    let (_, manifest) = empty();
    for number in 0..JOBS_WAITING_MAX as u64 {
        ask(&manifest, DbId::new(number + 1), number).unwrap();
    }
    let more = ask(&manifest, DbId::new(9_999), 9_999);
    assert!(
        matches!(
            more,
            Err(JobError::TooMany {
                limit: JOBS_WAITING_MAX
            })
        ),
        "{more:?}"
    );
    // Who asks for what waits already is no more.
    assert_eq!(ask(&manifest, DbId::new(3), 9_999).unwrap().get(), 3);
    let mut now_us = NOW_US;
    let mut over = 0;
    for number in 1..=JOBS_KEPT as u64 + 40 {
        now_us += 1;
        let (lease, _) = take(&manifest, now_us).unwrap();
        assert!(
            manifest
                .complete_job(LONG, lease, Vec::new(), now_us)
                .unwrap()
        );
        over += 1;
        let state = manifest.state();
        let kept = state.jobs().filter(|(_, row)| row.state.is_over()).count();
        assert_eq!(kept, over.min(JOBS_KEPT));
        assert!(
            state.job(lease.job).is_some(),
            "whoever waits for it finds it"
        );
        ask(&manifest, DbId::new(10_000 + number), 10_000 + number).unwrap();
    }
    assert!(manifest.state().job(JobId::new(40)).is_none());
    assert!(manifest.state().job(JobId::new(41)).is_some());
    assert_eq!(manifest.verify().unwrap(), []);
}

/// One that was over long ago is not the one that is forgotten next only for its small number.
#[test]
fn what_was_over_first_is_forgotten_first() {
    let (_, manifest) = empty();
    let slow = ask(&manifest, ONE, 1).unwrap();
    let (held, _) = take(&manifest, NOW_US).unwrap();
    for number in 2..2 + JOBS_KEPT as u64 {
        let id = ask(&manifest, TWO, number).unwrap();
        assert!(
            manifest
                .cancel_job(LONG, id, failure(), NOW_US + number)
                .unwrap()
        );
    }
    // Under a clock that was set back.
    assert!(manifest.complete_job(LONG, held, Vec::new(), 5).unwrap());
    assert_eq!(job(&manifest, slow).state, JobState::Done);
    assert_eq!(job(&manifest, slow).updated_us, NOW_US);
    assert!(manifest.state().job(JobId::new(2)).is_none());
}

#[test]
fn a_clock_that_was_set_back_stops_no_job() {
    let (_, manifest) = empty();
    let id = ask(&manifest, ONE, 1).unwrap();
    let (lease, _) = take(&manifest, NOW_US).unwrap();
    let wait = Duration::from_secs(600);
    let failed = manifest.fail_job(LONG, lease, Vec::new(), failure(), Some(wait), NOW_US);
    assert!(failed.unwrap());
    assert!(take(&manifest, NOW_US + 599_000_000).is_none());
    let next = |now_us| manifest.state().next_job_from(RUN, now_us);
    assert_eq!(next(NOW_US), Some(NOW_US + 600_000_000));
    // A day earlier.
    let early = NOW_US - 86_400_000_000;
    assert_eq!(next(early), Some(early));
    let (lease, row) = take(&manifest, early).unwrap();
    assert_eq!(
        (lease.job, row.attempts, row.failure),
        (id, 2, Some(failure()))
    );
    // The same of a lease.
    let earlier = early - 86_400_000_000;
    let (again, _) = take(&manifest, earlier).unwrap();
    assert_eq!((again.job, again.attempt), (id, 3));
    assert!(
        !manifest
            .complete_job(LONG, lease, Vec::new(), early)
            .unwrap()
    );
    assert!(
        manifest
            .complete_job(LONG, again, Vec::new(), early)
            .unwrap()
    );
    assert_eq!(next(NOW_US), None);
}

#[test]
fn a_job_that_ends_the_process_each_time_is_given_up() {
    let (store, mut manifest) = empty();
    let id = ask(&manifest, ONE, 1).unwrap();
    for epoch in 1..=u64::from(JOB_ATTEMPTS_MAX) {
        let run = Epoch::new(epoch);
        let taken = manifest
            .lease_job(LONG, run, LEASE, NOW_US)
            .unwrap()
            .unwrap();
        assert_eq!(taken.0.attempt, u16::try_from(epoch).unwrap());
        // In this run nobody else takes it.
        assert!(
            manifest
                .lease_job(LONG, run, LEASE, NOW_US)
                .unwrap()
                .is_none()
        );
        manifest = Manifest::open(Arc::new(store.clone()), STORE).unwrap();
    }
    let last = Epoch::new(99);
    assert!(
        manifest
            .lease_job(LONG, last, LEASE, NOW_US)
            .unwrap()
            .is_none()
    );
    let row = job(&manifest, id);
    assert_eq!(row.state, JobState::Failed);
    assert_eq!(row.failure.unwrap().code, ErrorCode::Abandoned);
}

#[test]
fn the_jobs_of_a_database_that_is_gone_end_and_its_scrub_is_forgotten() {
    let (store, manifest) = sample();
    let (of_one, of_two) = (
        ask(&manifest, ONE, 1).unwrap(),
        ask(&manifest, TWO, 2).unwrap(),
    );
    let (held, _) = take(&manifest, NOW_US).unwrap();
    let pending = ask(&manifest, ONE, 3).unwrap();
    let row = ScrubRow {
        job: of_one,
        finished_us: NOW_US,
        pages: 1,
        bytes: 2,
    };
    let unknown = DbId::new(77);
    let done = vec![(ONE, row), (unknown, row)];
    assert!(manifest.renew_job(LONG, held, done, LEASE, NOW_US).unwrap());
    assert_eq!(manifest.state().scrub(ONE), Some(&row));
    assert_eq!(manifest.state().scrub(unknown), None);
    let dropped = manifest.transact(|edit| {
        let mut row = edit.state().database(ONE).unwrap().clone();
        row.state = DatabaseState::Tombstone {
            dropped_us: NOW_US + 9,
        };
        edit.put_database(ONE, row)
    });
    dropped.unwrap();
    for id in [of_one, pending] {
        let row = job(&manifest, id);
        assert_eq!((row.state, row.updated_us), (JobState::Failed, NOW_US + 9));
        assert_eq!(row.failure.unwrap().code, ErrorCode::DatabaseDropped);
    }
    assert!(
        !manifest
            .complete_job(LONG, held, Vec::new(), NOW_US)
            .unwrap()
    );
    assert_eq!(
        job(&manifest, of_two).state,
        JobState::Pending { from_us: 0 }
    );
    manifest
        .transact(|edit| {
            let ranges: Vec<_> = edit.state().ranges(ONE).map(|(key, _)| *key).collect();
            ranges.into_iter().for_each(|key| edit.delete_range(key));
            edit.delete_generation(ONE, bop_storage::ids::Generation::new(1));
            edit.delete_database(ONE);
            Ok(())
        })
        .unwrap();
    let again = reopen(&store).unwrap();
    assert_eq!(again.state().scrub(ONE), None);
    assert_eq!(again.verify().unwrap(), []);
}

/// What no transaction of the queue does is refused when somebody else tries.
#[test]
fn what_is_over_stays_so_and_nothing_is_asked_for_twice() {
    let (_, manifest) = empty();
    let id = ask(&manifest, ONE, 1).unwrap();
    let (lease, _) = take(&manifest, NOW_US).unwrap();
    assert!(
        manifest
            .complete_job(LONG, lease, Vec::new(), NOW_US)
            .unwrap()
    );
    let pending = ask(&manifest, ONE, 2).unwrap();
    let refused = |edit: &dyn Fn(&mut JobRow) -> JobId, invariant: &str| {
        let mut row = job(&manifest, pending);
        let id = edit(&mut row);
        let done = manifest.transact(move |edit| {
            edit.put_job(id, row);
            Ok(())
        });
        let error = done.unwrap_err();
        let named = matches!(&error, ManifestError::Invariant { invariant: found, .. } if *found == invariant);
        assert!(named, "{error}");
    };
    refused(&|_| id, "jobs_go_their_way");
    refused(
        &|row| {
            row.database = TWO;
            pending
        },
        "jobs_go_their_way",
    );
    refused(&|_| JobId::new(3), "numbers_are_below_the_next");
    let forgotten = manifest.transact(move |edit| {
        edit.delete_job(pending);
        Ok(())
    });
    assert!(forgotten.is_err());
    let twice = |token: JobToken, database| {
        let row = JobRow {
            token,
            database,
            ..job(&manifest, pending)
        };
        manifest.transact(move |edit| {
            edit.add_job(row);
            Ok(())
        })
    };
    for refused in [twice(token(1), TWO), twice(token(9), ONE)] {
        let error = refused.unwrap_err();
        assert!(error.to_string().contains("there is already"), "{error}");
    }
    twice(token(9), TWO).unwrap();
    assert_eq!(manifest.verify().unwrap(), []);
}

/// Without the row of their numbers the next run goes on behind those that are left, damaged ones too.
#[test]
fn numbers_of_jobs_that_were_lost_are_not_given_out_again() {
    let (store, manifest) = empty();
    for number in 1..=3 {
        ask(&manifest, DbId::new(number), number).unwrap();
    }
    let key = 3_u64.to_be_bytes().to_vec();
    assert!(store.corrupt(Table::Jobs, &key, |value| value[20] ^= 1));
    let (table, key) = (Table::JobIds, vec![0; 8]);
    bop_storage::manifest::ManifestStore::commit(&store, &[Write::Delete { table, key }]).unwrap();
    let manifest = Manifest::open(Arc::new(store.clone()), STORE).unwrap();
    let refused = ask(&manifest, DbId::new(5), 5);
    assert!(matches!(refused, Err(JobError::NotThere)), "{refused:?}");
    let run = bop_storage::manifest::RunRow {
        epoch: Epoch::new(2),
        boot: [0; 16],
        pid: 1,
        opened_us: 1,
        closed_us: None,
    };
    manifest.begin_run(run).unwrap();
    assert_eq!(ask(&manifest, DbId::new(5), 5).unwrap().get(), 4);
}

/// A transaction of the queue.
type Asked = fn(&Manifest, JobLease) -> Result<(), ManifestError>;

fn scrubbed(lease: JobLease) -> Vec<(DbId, ScrubRow)> {
    let row = ScrubRow {
        job: lease.job,
        finished_us: NOW_US,
        pages: 4,
        bytes: 5,
    };
    vec![(DbId::CATALOGUE, row)]
}

const OPERATIONS: [(&str, Asked); 8] = [
    ("enqueue", |manifest, _| match ask(manifest, TWO, 50) {
        Err(JobError::Manifest(error)) => Err(error),
        other => panic!("{other:?}"),
    }),
    ("lease", |manifest, _| {
        manifest.lease_job(LONG, RUN, LEASE, NOW_US).map(drop)
    }),
    ("renew", |manifest, lease| {
        let later = NOW_US + 1;
        manifest
            .renew_job(LONG, lease, scrubbed(lease), LEASE, later)
            .map(drop)
    }),
    ("complete", |manifest, lease| {
        manifest
            .complete_job(LONG, lease, scrubbed(lease), NOW_US)
            .map(drop)
    }),
    ("fail and retry", |manifest, lease| {
        let wait = Some(LEASE);
        manifest
            .fail_job(LONG, lease, scrubbed(lease), failure(), wait, NOW_US)
            .map(drop)
    }),
    ("fail", |manifest, lease| {
        manifest
            .fail_job(LONG, lease, scrubbed(lease), failure(), None, NOW_US)
            .map(drop)
    }),
    ("release", |manifest, lease| {
        manifest
            .release_job(LONG, lease, scrubbed(lease), NOW_US)
            .map(drop)
    }),
    ("cancel", |manifest, lease| {
        manifest
            .cancel_job(LONG, lease.job, failure(), NOW_US)
            .map(drop)
    }),
];

/// The writer's thread panics inside the store's commit, before its rows are there or behind: who asked
/// is answered, what was acknowledged before is there after the next opening, and what was asked for is
/// there wholly or not at all.
#[test]
fn a_panic_in_each_transaction_answers_whoever_asked() {
    for (name, operation) in OPERATIONS {
        for applied in [false, true] {
            let store = MemoryManifest::new();
            let manifest = Manifest::initialize(Arc::new(store.clone()), STORE).unwrap();
            manifest.start(&SystemSpawn).unwrap();
            ask(&manifest, DbId::new(5), 1).unwrap();
            let (lease, _) = take(&manifest, NOW_US).unwrap();
            let waits = ask(&manifest, DbId::new(6), 2).unwrap();
            let before: Vec<(JobId, JobRow)> = rows_of(&manifest);
            let gate: Gate = Arc::new(|| panic!("the gate fell"));
            if applied {
                store.set_gate_after(Some(gate));
            } else {
                store.set_gate(Some(gate));
            }
            let error = operation(&manifest, lease).unwrap_err();
            assert!(
                matches!(&error, ManifestError::Panic(report) if report.message == "the gate fell"),
                "{name}: {error}"
            );
            // Nobody hangs behind it.
            assert!(manifest.lease_job(LONG, RUN, LEASE, NOW_US).is_err());
            store.set_gate(None);
            store.set_gate_after(None);
            let again = Manifest::open(Arc::new(store.snapshot()), STORE).unwrap();
            assert_eq!(again.verify().unwrap(), [], "{name}");
            assert!(again.state().job(waits).is_some());
            assert_eq!(rows_of(&again) == before, !applied, "{name}: {applied}");
            // The scrub comes with the rest of its transaction.
            let scrub = again.state().scrub(DbId::CATALOGUE).is_some();
            let tells = !["enqueue", "lease", "cancel"].contains(&name);
            assert_eq!(scrub, applied && tells, "{name}");
        }
    }
}

fn rows_of(manifest: &Manifest) -> Vec<(JobId, JobRow)> {
    let state = manifest.state();
    state.jobs().map(|(id, row)| (id, row.clone())).collect()
}

/// Rows that contradict themselves, and texts that are cut.
#[test]
fn a_failure_is_cut_to_what_a_row_has_room_for() {
    let (store, manifest) = empty();
    let id = ask(&manifest, ONE, 1).unwrap();
    let long = "\u{e9}".repeat(200);
    let failure = JobFailure::new(ErrorCode::Panic, &long, &long);
    assert_eq!(failure.place.len(), 254);
    assert!(
        manifest
            .cancel_job(LONG, id, failure.clone(), NOW_US)
            .unwrap()
    );
    let again = Manifest::open(Arc::new(store), STORE).unwrap();
    assert_eq!(job(&again, id).failure, Some(failure));
    // Texts are public, and a row that would not read back is refused.
    let other = ask(&again, ONE, 2).unwrap();
    let mut too_long = self::failure();
    too_long.reason = "x".repeat(256);
    let refused = again.cancel_job(LONG, other, too_long, NOW_US);
    assert!(
        matches!(refused, Err(ManifestError::Invariant { .. })),
        "{refused:?}"
    );
}
