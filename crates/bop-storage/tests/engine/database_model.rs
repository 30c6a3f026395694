//! One database against a map from page to byte: whatever is written, cut, undone, committed,
//! checkpointed and reopened, both say the same.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bop_storage::manifest::MemoryManifest;
use bop_storage::testing::SimDisk;
use bop_storage::{
    Db, DbKind, Housekeeping, Limits, Manager, Options, PageNo, PageSize, ReadTxn, Savepoint,
    WriteTxn,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const PAGES: u32 = 48;

#[derive(Clone, Debug)]
enum Step {
    Write {
        first: u32,
        pages: u32,
        byte: u8,
    },
    /// Changes a few bytes of a page.
    Touch {
        page: u32,
        mark: u8,
    },
    /// Commits a few touches of a page, one by one.
    TouchAndCommit {
        page: u32,
        marks: Vec<u8>,
    },
    Truncate(u32),
    Savepoint,
    RollbackTo(usize),
    Forget(usize),
    Commit,
    Rollback,
    Clear,
    KeepSnapshot,
    Checkpoint,
    Close,
    DropStore,
}

fn step() -> impl Strategy<Value = Step> {
    let write = (1..=PAGES, 1..12_u32, 1..=u8::MAX);
    prop_oneof![
        8 => write.prop_map(|(first, pages, byte)| Step::Write { first, pages, byte }),
        4 => (1..=PAGES, 1..=u8::MAX).prop_map(|(page, mark)| Step::Touch { page, mark }),
        3 => (1..=6_u32, prop::collection::vec(1..=u8::MAX, 1..7))
            .prop_map(|(page, marks)| Step::TouchAndCommit { page, marks }),
        3 => (0..=PAGES).prop_map(Step::Truncate),
        3 => Just(Step::Savepoint),
        2 => any::<usize>().prop_map(Step::Forget),
        2 => any::<usize>().prop_map(Step::RollbackTo),
        5 => Just(Step::Commit),
        1 => Just(Step::Rollback),
        1 => Just(Step::Clear),
        2 => Just(Step::KeepSnapshot),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Close),
        1 => Just(Step::DropStore),
    ]
}

/// What the database is believed to hold.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct State {
    page_count: u32,
    /// The byte that fills a page, and its mark; others are zeros.
    pages: BTreeMap<u32, (u8, u8)>,
}

/// A page of one byte, but for a place that depends on the mark.
fn content(bytes: usize, (byte, mark): (u8, u8)) -> Vec<u8> {
    let mut content = vec![byte; bytes];
    if mark != 0 {
        let at = usize::from(mark) * (bytes - 16) / 255;
        content[at..at + 16].fill(mark ^ byte);
    }
    content
}

impl State {
    fn truncate(&mut self, page_count: u32) {
        self.page_count = page_count;
        self.pages.retain(|page, _| *page <= page_count);
    }

    fn write(&mut self, page: u32, byte: u8) {
        self.page_count = self.page_count.max(page);
        self.pages.insert(page, (byte, 0));
    }

    fn touch(&mut self, page: u32, mark: u8) {
        self.page_count = self.page_count.max(page);
        self.pages.entry(page).or_default().1 = mark;
    }

    fn tag(&self, page: u32) -> (u8, u8) {
        self.pages.get(&page).copied().unwrap_or_default()
    }
}

/// Small enough that a few pages fragment, spill and roll; large enough for the page size.
fn limits(page_bytes: usize) -> Limits {
    let mut limits = Limits::tiny();
    if page_bytes > 4096 {
        limits.segment_bytes_min = 512 << 10;
        limits.segment_bytes_max = 512 << 10;
        limits.log_bytes_max = 16 << 20;
        limits.fragment_bytes_max = 128 << 10;
        limits.cache_bytes_max = 4 << 20;
    }
    limits.transaction_memory_bytes_max = 6 * page_bytes as u64;
    limits.range_bytes = 64 << 10;
    limits
}

struct Subject {
    disk: SimDisk,
    manifest: MemoryManifest,
    page_bytes: usize,
    store: Option<Manager>,
    db: Option<Db>,
}

impl Subject {
    fn new(page_bytes: usize) -> Self {
        let mut subject = Self {
            disk: SimDisk::new(1),
            manifest: MemoryManifest::new(),
            page_bytes,
            store: None,
            db: None,
        };
        subject.open();
        let store = subject.store.as_ref().unwrap();
        subject.db = Some(store.create_database("d", DbKind::Raw).unwrap());
        subject
    }

    fn open(&mut self) {
        let options = Options::new()
            .limits(limits(self.page_bytes))
            .housekeeping(Housekeeping::Manual)
            .disk(Arc::new(self.disk.clone()), Arc::new(self.manifest.clone()));
        let store = Manager::open("simulated", options).unwrap();
        self.db = store.database("d").ok();
        self.store = Some(store);
    }

    /// Ends the store, by a close or by dropping the last handle, and opens it again.
    fn reopen(&mut self, close: bool) {
        self.db = None;
        let store = self.store.take().unwrap();
        if close {
            store.close(Duration::ZERO).unwrap();
        }
        drop(store);
        self.open();
    }

    /// Patches that were written since the store was opened.
    fn patches(&self) -> u64 {
        self.store.as_ref().unwrap().status().images.patches
    }

    fn page_size(&self) -> PageSize {
        let bytes = u32::try_from(self.page_bytes).unwrap();
        PageSize::new(bytes).unwrap()
    }

    fn begin(&self) -> WriteTxn {
        let db = self.db.as_ref().unwrap();
        let mut write = db.begin_write(Duration::ZERO).unwrap();
        write.set_page_size(self.page_size()).unwrap();
        write
    }
}

fn check(what: &str, expected: &State, page_count: u32, read: impl Fn(PageNo) -> Vec<u8>) {
    assert_eq!(page_count, expected.page_count, "page count of {what}");
    for number in 1..=PAGES + 12 {
        let found = read(PageNo::new(number).unwrap());
        let tag = expected.tag(number);
        let same = found == content(found.len(), tag);
        assert!(same, "page {number} of {what}: {}, not {tag:?}", found[0]);
    }
}

fn check_read(what: &str, expected: &State, read: &ReadTxn) {
    check(what, expected, read.page_count(), |page| {
        read.read_page(page).unwrap().to_vec()
    });
}

/// A write transaction and what it should show.
struct Private {
    txn: WriteTxn,
    state: State,
    savepoints: Vec<(Savepoint, State)>,
}

impl Private {
    fn touch(&mut self, page: u32, mark: u8, subject: &Subject) {
        self.state.touch(page, mark);
        let content = content(subject.page_bytes, self.state.tag(page));
        let number = PageNo::new(page).unwrap();
        self.txn.write_page(number, &content).unwrap();
    }

    /// A step that changes nothing but the transaction.
    fn step(&mut self, step: &Step, subject: &Subject, committed: &State) {
        match *step {
            Step::Write { first, pages, byte } => {
                for page in first..(first + pages).min(PAGES + 1) {
                    let content = vec![byte; subject.page_bytes];
                    let number = PageNo::new(page).unwrap();
                    self.txn.write_page(number, &content).unwrap();
                    self.state.write(page, byte);
                }
            }
            Step::Touch { page, mark } => self.touch(page, mark, subject),
            Step::Truncate(page_count) => {
                self.txn.truncate(page_count);
                self.state.truncate(page_count);
            }
            Step::Savepoint => {
                let savepoint = self.txn.savepoint();
                self.savepoints.push((savepoint, self.state.clone()));
            }
            Step::RollbackTo(nth) if !self.savepoints.is_empty() => {
                self.savepoints.truncate(nth % self.savepoints.len() + 1);
                let (savepoint, before) = self.savepoints.last().unwrap();
                self.txn.rollback_to(*savepoint);
                self.state = before.clone();
            }
            Step::Forget(nth) if !self.savepoints.is_empty() => {
                let (savepoint, _) = self.savepoints.remove(nth % self.savepoints.len());
                self.txn.forget(savepoint);
            }
            Step::Clear => {
                self.txn.clear();
                self.txn.set_page_size(subject.page_size()).unwrap();
                self.savepoints.clear();
                self.state = committed.clone();
            }
            _ => {}
        }
        check(
            "the transaction",
            &self.state,
            self.txn.page_count(),
            |page| self.txn.read_page(page).unwrap().to_vec(),
        );
    }
}

/// Lives through the steps; how many patches that wrote.
fn run(page_bytes: usize, steps: &[Step]) -> u64 {
    let mut patches = 0;
    let mut subject = Subject::new(page_bytes);
    let mut committed = State::default();
    let mut private: Option<Private> = None;
    let mut snapshots: Vec<(ReadTxn, State)> = Vec::new();
    for step in steps {
        let mut own = private.take().unwrap_or_else(|| Private {
            txn: subject.begin(),
            state: committed.clone(),
            savepoints: Vec::new(),
        });
        match step {
            Step::Commit => {
                let after = own.txn.commit().unwrap();
                committed = own.state;
                check_read("what was committed", &committed, &after);
            }
            Step::TouchAndCommit { page, marks } => {
                for mark in marks {
                    own.touch(*page, *mark, &subject);
                    own.txn.commit().unwrap();
                    committed = own.state;
                    own = Private {
                        txn: subject.begin(),
                        state: committed.clone(),
                        savepoints: Vec::new(),
                    };
                }
                private = Some(own);
            }
            Step::Rollback => drop(own),
            Step::Close | Step::DropStore => {
                patches += subject.patches();
                snapshots.clear();
                drop(own);
                subject.reopen(matches!(step, Step::Close));
            }
            Step::KeepSnapshot => {
                let read = subject.db.as_ref().unwrap().begin_read().unwrap();
                snapshots.push((read, committed.clone()));
                private = Some(own);
            }
            Step::Checkpoint => {
                subject.store.as_ref().unwrap().checkpoint().unwrap();
                own.step(step, &subject, &committed);
                private = Some(own);
            }
            _ => {
                own.step(step, &subject, &committed);
                private = Some(own);
            }
        }
        for (read, state) in &snapshots {
            check_read("a snapshot", state, read);
        }
        // An old snapshot holds the log.
        snapshots.truncate(3);
    }
    drop((private, snapshots));
    let report = subject.store.as_ref().unwrap().verify();
    assert!(report.is_healthy(), "{report:?}");
    let read = subject.db.as_ref().unwrap().begin_read().unwrap();
    check_read("the database", &committed, &read);
    patches + subject.patches()
}

/// Runs `cases` lives of a database; together they must have written many patches.
fn lives(page_bytes: usize, cases: u32, steps: usize) {
    let patches = AtomicU64::new(0);
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let outcome = TestRunner::new(config).run(&prop::collection::vec(step(), 1..steps), |steps| {
        patches.fetch_add(run(page_bytes, &steps), Ordering::Relaxed);
        Ok(())
    });
    outcome.unwrap_or_else(|failed| panic!("{failed}"));
    let patches = patches.into_inner();
    assert!(
        patches > u64::from(cases),
        "{patches} patches in {cases} lives"
    );
}

#[test]
fn a_database_of_small_pages_is_the_model() {
    lives(512, 400, 60);
}

#[test]
fn a_database_of_usual_pages_is_the_model() {
    lives(4096, 400, 60);
}

#[test]
fn a_database_of_the_largest_pages_is_the_model() {
    lives(65_536, 24, 40);
}
