//! The manifest's writer: many callers a transaction, each with an answer of its own, whatever
//! becomes of the others, of the transaction, and of the device.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, and so do edits here"
)]

use crate::gates::{failure, power_cut};
use bop_storage::checksum::RollingChecksum;
use bop_storage::ids::{DbId, DbKind, Generation, Incarnation, Lsn, SegmentId};
use bop_storage::io::IoFailure;
use bop_storage::manifest::{
    CheckpointedHead, DatabaseRow, DatabaseState, Edit, Gate, GenerationRow, Manifest,
    MemoryManifest, SegmentRow,
};
use bop_storage::name::DbName;
use bop_storage::runtime::SystemSpawn;
use bop_storage::testing::ManualClock;
use bop_storage::{ManifestError, Policy, StoreId};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) const STORE: StoreId = StoreId::new([7; 16]);
const SOON: Duration = Duration::from_millis(20);
pub(crate) const LONG: Duration = Duration::from_secs(50);

/// Registers the segment `number`.
pub(crate) fn register(
    number: u64,
) -> impl FnOnce(&mut Edit<'_>) -> Result<u64, ManifestError> + Send {
    move |edit| {
        let row = SegmentRow {
            incarnation: Incarnation::new(number),
            capacity_bytes: 4096,
        };
        edit.put_segment(SegmentId::new(number), row)?;
        Ok(number)
    }
}

pub(crate) fn registered(manifest: &Manifest) -> Vec<u64> {
    let state = manifest.state();
    state.segments().map(|(id, _)| id.get()).collect()
}

/// Commits of the store: counted, held up while `hold`, failing while `fail`.
#[derive(Default)]
pub(crate) struct Commits {
    count: AtomicUsize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) hold: bool,
    /// A commit is held up.
    there: bool,
    fail: bool,
}

impl Commits {
    pub(crate) fn of(store: &MemoryManifest) -> Arc<Self> {
        let commits = Arc::new(Self::default());
        let gate = Arc::clone(&commits);
        let gate: Gate = Arc::new(move || gate.pass());
        store.set_gate(Some(gate));
        commits
    }

    fn pass(&self) -> Result<(), IoFailure> {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock().unwrap();
        state.there = true;
        self.changed.notify_all();
        while state.hold {
            state = self.changed.wait(state).unwrap();
        }
        state.there = false;
        if state.fail {
            return Err(failure());
        }
        Ok(())
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    pub(crate) fn wait_until_one_is_held(&self) {
        let state = self.state.lock().unwrap();
        let waited = self
            .changed
            .wait_timeout_while(state, LONG, |state| !state.there);
        assert!(!waited.unwrap().1.timed_out());
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// With a clock that stands still.
fn with_a_clock() -> (Manifest, Arc<Commits>, Arc<ManualClock>) {
    let (store, clock) = (MemoryManifest::new(), Arc::new(ManualClock::new(1)));
    let manifest = Manifest::initialize(Arc::new(store.clone()), STORE).unwrap();
    let manifest = manifest.with_clock(Arc::clone(&clock) as _);
    manifest.start(&SystemSpawn).unwrap();
    (manifest, Commits::of(&store), clock)
}

/// A database without pages, at a generation.
fn publish(edit: &mut Edit<'_>, id: DbId, generation: u64) -> Result<(), ManifestError> {
    let checkpointed = match generation {
        0 => CheckpointedHead::NONE,
        _ => CheckpointedHead {
            generation: Generation::new(generation),
            lsn: Lsn::new(100 * generation),
            time_us: generation,
            page_count: 0,
            rolling_checksum: RollingChecksum::EMPTY,
        },
    };
    let row = DatabaseRow {
        name: DbName::new(&format!("db-{}", id.get())).unwrap(),
        kind: DbKind::Raw,
        state: DatabaseState::Live,
        page_size: None,
        created_us: 1,
        catalogue_lsn: Lsn::new(id.get()),
        checkpointed,
        policy: Policy::default(),
        origin: None,
    };
    if 0 < generation {
        let own = GenerationRow::of_head(&checkpointed, None);
        edit.put_generation(id, checkpointed.generation, own);
    }
    edit.put_database(id, row)
}

fn started() -> (Arc<Manifest>, MemoryManifest, Arc<Commits>) {
    let store = MemoryManifest::new();
    let manifest = Manifest::initialize(Arc::new(store.clone()), STORE).unwrap();
    manifest.start(&SystemSpawn).unwrap();
    let commits = Commits::of(&store);
    (Arc::new(manifest), store, commits)
}

#[test]
fn who_asks_while_a_transaction_is_written_shares_the_next_one() {
    let (manifest, _, commits) = started();
    commits.set(|state| state.hold = true);
    let first = manifest.submit(register(1)).unwrap();
    commits.wait_until_one_is_held();
    let others: Vec<_> = (2..=500)
        .map(|number| manifest.submit(register(number)).unwrap())
        .collect();
    assert_eq!(registered(&manifest), [] as [u64; 0], "nothing is visible");
    commits.set(|state| state.hold = false);
    assert_eq!(first.wait().unwrap(), 1);
    for (number, answer) in (2..).zip(others) {
        assert_eq!(answer.wait().unwrap(), number);
    }
    assert_eq!(commits.count(), 2);
    assert_eq!(registered(&manifest), (1..=500).collect::<Vec<_>>());
}

#[test]
fn an_edit_that_panics_is_refused_or_breaks_an_invariant_takes_nobody_with_it() {
    let (manifest, store, commits) = started();
    commits.set(|state| state.hold = true);
    let first = manifest.submit(register(1)).unwrap();
    commits.wait_until_one_is_held();
    let before = manifest.submit(register(2)).unwrap();
    let panics = manifest.submit(|edit| -> Result<(), ManifestError> {
        drop(register(3)(edit));
        panic!("an edit fell");
    });
    let refused = manifest.submit(|edit| {
        register(4)(edit)?;
        Err::<(), _>(ManifestError::Closed)
    });
    let breaks = manifest.submit(|edit| {
        register(5)(edit)?;
        edit.set_truncated(bop_storage::Lsn::new(4096));
        Ok(())
    });
    let behind = manifest.submit(register(6)).unwrap();
    commits.set(|state| state.hold = false);
    assert_eq!(first.wait().unwrap(), 1);
    assert_eq!(before.wait().unwrap(), 2);
    let panic = panics.unwrap().wait().unwrap_err();
    assert!(
        matches!(&panic, ManifestError::Panic(report) if report.message == "an edit fell"),
        "{panic}"
    );
    assert!(matches!(
        refused.unwrap().wait(),
        Err(ManifestError::Closed)
    ));
    assert!(matches!(
        breaks.unwrap().wait(),
        Err(ManifestError::Invariant { .. })
    ));
    assert_eq!(behind.wait().unwrap(), 6);
    assert_eq!(registered(&manifest), [1, 2, 6]);
    let again = Manifest::open(Arc::new(store), STORE).unwrap();
    assert_eq!(registered(&again), [1, 2, 6]);
}

#[test]
fn a_transaction_that_fails_is_answered_to_all_that_share_it_and_the_next_one_succeeds() {
    let (manifest, store, commits) = started();
    commits.set(|state| {
        state.hold = true;
        state.fail = true;
    });
    let first = manifest.submit(register(1)).unwrap();
    commits.wait_until_one_is_held();
    // Nobody is told of a refusal that rests on rows which do not come.
    let taken = manifest.submit(register(2)).unwrap();
    let refused = manifest.submit(|edit| {
        let there = edit.state().segment(SegmentId::new(2)).is_some();
        if there {
            Err(ManifestError::Closed)
        } else {
            Ok(())
        }
    });
    commits.set(|state| state.hold = false);
    for answer in [first.wait().map(drop), taken.wait().map(drop)] {
        assert!(matches!(answer, Err(ManifestError::Io(_))), "{answer:?}");
    }
    let refused = refused.unwrap().wait();
    assert!(matches!(refused, Err(ManifestError::Io(_))), "{refused:?}");
    commits.set(|state| state.fail = false);
    assert_eq!(manifest.transact(register(3)).unwrap(), 3);
    assert_eq!(registered(&manifest), [3]);
    // One that failed after its rows were there: the next one finds them.
    store.set_gate_after(Some(power_cut()));
    assert!(manifest.transact(register(4)).is_err());
    store.set_gate_after(None);
    assert_eq!(manifest.transact(register(5)).unwrap(), 5);
    assert_eq!(registered(&manifest), [3, 4, 5]);
}

#[test]
fn who_gives_up_in_time_has_changed_nothing() {
    let (manifest, _, commits) = started();
    commits.set(|state| state.hold = true);
    let first = manifest.submit(register(1)).unwrap();
    commits.wait_until_one_is_held();
    let late = manifest.transact_within(SOON, register(2));
    assert!(
        matches!(late, Err(ManifestError::Stalled { .. })),
        "{late:?}"
    );
    assert!(!manifest.settle(SOON));
    assert!(!manifest.close(Instant::now() + SOON), "a commit hangs");
    assert!(matches!(
        manifest.transact(register(3)),
        Err(ManifestError::Closed)
    ));
    commits.set(|state| state.hold = false);
    assert_eq!(first.wait().unwrap(), 1);
    assert_eq!(registered(&manifest), [1]);
}

#[test]
fn a_full_queue_makes_some_wait_and_tells_others() {
    let (manifest, _, commits) = started();
    commits.set(|state| state.hold = true);
    let mut answers = vec![manifest.submit(register(1)).unwrap()];
    commits.wait_until_one_is_held();
    let full = loop {
        match manifest.submit(register(answers.len() as u64 + 1)) {
            Ok(answer) => answers.push(answer),
            Err(error) => break error,
        }
        assert!(answers.len() < 10_000, "the queue has a bound");
    };
    assert!(matches!(full, ManifestError::Stalled { .. }), "{full}");
    let waits = {
        let manifest = Arc::clone(&manifest);
        let last = answers.len() as u64 + 1;
        thread::spawn(move || manifest.transact(register(last)))
    };
    commits.set(|state| state.hold = false);
    let all = answers.len() as u64 + 1;
    for answer in answers {
        answer.wait().unwrap();
    }
    assert_eq!(waits.join().unwrap().unwrap(), all);
    assert_eq!(registered(&manifest).len() as u64, all);
}

#[test]
fn who_waits_for_rows_is_woken_by_the_transaction_that_has_them() {
    let (manifest, _, _) = started();
    let has = |number| {
        move |rows: &bop_storage::manifest::ManifestState| {
            rows.segment(SegmentId::new(number)).is_some()
        }
    };
    assert!(!manifest.wait_until(SOON, has(9)));
    let waits = {
        let manifest = Arc::clone(&manifest);
        thread::spawn(move || manifest.wait_until(LONG, has(9)))
    };
    for number in 1..=9 {
        manifest.transact(register(number)).unwrap();
    }
    assert!(waits.join().unwrap());
}

/// A batch ends with the request that brings it to 4,096 rows; one row less, and the next comes with it.
#[test]
fn a_batch_ends_by_its_rows() {
    for (rows, transactions) in [(2048, 3), (2047, 2)] {
        let (manifest, commits, _) = with_a_clock();
        commits.set(|state| state.hold = true);
        let first = manifest.submit(register(1)).unwrap();
        commits.wait_until_one_is_held();
        let asked = [0, 2048, 4096].map(|from| {
            let edit = move |edit: &mut Edit<'_>| {
                (from..from + rows).try_for_each(|nth| register(nth + 2)(edit).map(drop))
            };
            manifest.submit(edit).unwrap()
        });
        commits.set(|state| state.hold = false);
        first.wait().unwrap();
        for answer in asked {
            answer.wait().unwrap();
        }
        assert_eq!(commits.count(), transactions, "three times {rows} rows");
    }
}

/// A batch ends with the request behind which it has taken 10 ms; a microsecond less, and the next comes
/// with it.
#[test]
fn a_batch_ends_by_its_time() {
    for (us, transactions) in [(5_000, 4), (4_999, 3)] {
        let (manifest, commits, clock) = with_a_clock();
        commits.set(|state| state.hold = true);
        let first = manifest.submit(register(1)).unwrap();
        commits.wait_until_one_is_held();
        let asked: Vec<_> = (2..=7)
            .map(|number| {
                let clock = Arc::clone(&clock);
                let edit = move |edit: &mut Edit<'_>| {
                    clock.advance(us);
                    register(number)(edit)
                };
                manifest.submit(edit).unwrap()
            })
            .collect();
        commits.set(|state| state.hold = false);
        first.wait().unwrap();
        for answer in asked {
            answer.wait().unwrap();
        }
        assert_eq!(commits.count(), transactions, "six times {us} us");
    }
}

#[test]
fn who_waits_for_a_generation_is_woken_by_it_or_a_newer_one_and_told_when_none_comes() {
    let (manifest, _, _) = started();
    let (one, two) = (DbId::new(1), DbId::new(2));
    let generation = Generation::new;
    manifest
        .transact(move |edit| publish(edit, one, 0))
        .unwrap();
    assert!(!manifest.wait_for_generation(one, generation(1), SOON));
    assert!(
        !manifest.wait_for_generation(two, generation(0), SOON),
        "none is there"
    );
    let waiting = [(one, 1), (one, 3), (two, 2)].map(|(id, number)| {
        let manifest = Arc::clone(&manifest);
        thread::spawn(move || manifest.wait_for_generation(id, generation(number), LONG))
    });
    manifest
        .transact(move |edit| publish(edit, two, 1))
        .unwrap();
    manifest
        .transact(move |edit| publish(edit, one, 1))
        .unwrap();
    manifest
        .transact(move |edit| publish(edit, one, 5))
        .unwrap();
    assert!(!manifest.wait_for_generation(two, generation(2), SOON));
    manifest
        .transact(move |edit| publish(edit, two, 2))
        .unwrap();
    for waits in waiting {
        assert!(waits.join().unwrap());
    }
    assert!(manifest.wait_for_generation(one, generation(4), Duration::ZERO));
}

/// Without a thread whoever asks writes what waits, of others too.
#[test]
fn sixty_four_callers_without_a_thread_all_get_their_answers() {
    let store = MemoryManifest::new();
    let manifest = Manifest::initialize(Arc::new(store.clone()), STORE).unwrap();
    let commits = Commits::of(&store);
    thread::scope(|scope| {
        for caller in 0..64 {
            let manifest = &manifest;
            scope.spawn(move || {
                for turn in 0..10 {
                    let number = caller * 10 + turn + 1;
                    assert_eq!(manifest.transact(register(number)).unwrap(), number);
                }
            });
        }
    });
    assert_eq!(registered(&manifest), (1..=640).collect::<Vec<_>>());
    assert!(commits.count() <= 640);
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker fell");
    }
}

/// Asks for the next change as soon as it is told of one.
struct AsksAgain(Arc<Manifest>);

impl Wake for AsksAgain {
    fn wake(self: Arc<Self>) {
        drop(self.0.submit(register(9)));
    }
}

#[test]
fn a_waker_that_panics_or_asks_again_holds_up_nobody() {
    let (manifest, _, commits) = started();
    let wakers = [
        Waker::from(Arc::new(Panics)),
        Waker::from(Arc::new(AsksAgain(Arc::clone(&manifest)))),
    ];
    commits.set(|state| state.hold = true);
    let first = manifest.submit(register(1)).unwrap();
    commits.wait_until_one_is_held();
    let mut told = [2, 3].map(|number| manifest.submit(register(number)).unwrap());
    let last = manifest.submit(register(4)).unwrap();
    for (told, waker) in told.iter_mut().zip(&wakers) {
        let polled = Pin::new(told).poll(&mut Context::from_waker(waker));
        assert!(polled.is_pending());
    }
    let next = manifest.feed().unwrap().next;
    let waits = manifest.poll_changes(next, &mut Context::from_waker(&wakers[0]));
    assert!(waits.is_pending());
    commits.set(|state| state.hold = false);
    assert_eq!(first.wait().unwrap(), 1);
    assert_eq!(last.wait().unwrap(), 4);
    assert!(manifest.wait_until(LONG, |rows| rows.segment(SegmentId::new(9)).is_some()));
    assert_eq!(registered(&manifest), [1, 2, 3, 4, 9]);
    assert_eq!(manifest.transact(register(5)).unwrap(), 5);
}
