//! A seeded workload on a rig, one step at a time, with its expected state.
//!
//! Invariant: `acknowledged` is what the store has promised; `in_flight` is what the one operation
//! whose end is unknown would have made of it. After such an operation the session is over.

use crate::fill::{Fill, fill_with, fill_with_many};
use crate::oracle::{Expected, Standing};
use crate::rig::Rig;
use crate::world::{Database, Dropped, World, judge, observe, observe_snapshot};
use bop_storage::testing::SplitMix64;
use bop_storage::{
    BeginError, CatalogueError, CommitError, DbKind, ErrorCode, Limits, Manager, ReadTxn, Rejection,
};
use std::sync::Arc;
use std::time::Duration;

const WAIT: Duration = Duration::from_millis(200);
const CLOSE: Duration = Duration::from_secs(5);
const NAMES: usize = 6;

/// Whether failures are to be expected.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Weather {
    /// An error is a bug.
    Fair,
    /// Calls fail; what they answer must be true all the same.
    Foul,
}

/// What can be done to a store.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Commit,
    /// With more pages than a record or the memory of a transaction takes.
    LargeCommit,
    Create,
    Rename,
    Drop,
    Undrop,
    Checkpoint,
    TakeReader,
    ReleaseReader,
    KeepHouse,
    /// Closes the store and opens it again.
    Reopen,
    /// The same without closing it.
    Abandon,
}

impl Op {
    pub(crate) const ALL: [Self; 12] = [
        Self::Commit,
        Self::LargeCommit,
        Self::Create,
        Self::Rename,
        Self::Drop,
        Self::Undrop,
        Self::Checkpoint,
        Self::TakeReader,
        Self::ReleaseReader,
        Self::KeepHouse,
        Self::Reopen,
        Self::Abandon,
    ];
}

/// What a session did, so that a test can tell that it tried what it is there to try.
#[derive(Clone, Default, Debug)]
pub(crate) struct Done {
    pub(crate) commits: u64,
    pub(crate) chains: u64,
    pub(crate) patches: u64,
    pub(crate) rejected: u64,
    /// Of them, for want of room on the device.
    pub(crate) without_room: u64,
    pub(crate) unknown: u64,
    pub(crate) catalogue: u64,
    /// Of the changes of the catalogue, drops taken back.
    pub(crate) undropped: u64,
    pub(crate) truncations: u64,
    pub(crate) checkpoints: u64,
    pub(crate) segments_released: u64,
    pub(crate) reopened: u64,
}

impl Done {
    pub(crate) fn add(&mut self, other: &Self) {
        self.commits += other.commits;
        self.chains += other.chains;
        self.patches += other.patches;
        self.rejected += other.rejected;
        self.without_room += other.without_room;
        self.unknown += other.unknown;
        self.catalogue += other.catalogue;
        self.undropped += other.undropped;
        self.truncations += other.truncations;
        self.checkpoints += other.checkpoints;
        self.segments_released += other.segments_released;
        self.reopened += other.reopened;
    }
}

/// A workload in progress.
pub(crate) struct Session {
    pub(crate) rig: Rig,
    pub(crate) limits: Limits,
    pub(crate) random: SplitMix64,
    pub(crate) weather: Weather,
    pub(crate) store: Option<Manager>,
    pub(crate) acknowledged: World,
    /// The state before the newest acknowledged operation.
    pub(crate) before: World,
    pub(crate) in_flight: Option<World>,
    reader: Option<(ReadTxn, Database)>,
    /// What a dropped database held: a drop comes behind all that was committed to it.
    pub(crate) dropped: Dropped,
    /// Whether what an open shows is judged.
    looks_at_open: bool,
    /// Is told what may be found, before and after each operation.
    pub(crate) watch: Option<Arc<Standing>>,
    pub(crate) done: Done,
}

impl Session {
    /// A session on what `rig` holds, which is `acknowledged`; the store is not open yet.
    pub(crate) fn new(
        rig: Rig,
        limits: &Limits,
        acknowledged: World,
        weather: Weather,
        seed: u64,
    ) -> Self {
        Self {
            rig,
            limits: limits.clone(),
            random: SplitMix64::new(seed),
            weather,
            store: None,
            before: acknowledged.clone(),
            acknowledged,
            in_flight: None,
            reader: None,
            dropped: Dropped::new(),
            looks_at_open: true,
            watch: None,
            done: Done::default(),
        }
    }

    /// What may be found now.
    pub(crate) fn expected(&self) -> Expected<'_> {
        Expected {
            acknowledged: &self.acknowledged,
            in_flight: self.in_flight.as_ref(),
            dropped: &self.dropped,
        }
    }

    /// Opens the store, unless that fails as it may in foul weather.
    pub(crate) fn open(&mut self) {
        let (rig, limits) = (&self.rig, &self.limits);
        match rig.open(limits) {
            Ok(store) => {
                match observe(&store) {
                    Ok(_) if !self.looks_at_open => {}
                    Ok(found) => {
                        let verdict = judge(&found, &self.acknowledged, None);
                        verdict.expect("an open store shows what was acknowledged");
                    }
                    Err(error) => self.excuse("reading after open", &error),
                }
                self.store = Some(store);
            }
            Err(error) => self.excuse("open", &error),
        }
    }

    /// Opens the store and does `steps` steps, or fewer when it ends before.
    pub(crate) fn run(&mut self, steps: u32) {
        self.open();
        for _ in 0..steps {
            if self.is_over() {
                return;
            }
            self.step();
        }
    }

    /// Whether no step makes sense any more.
    pub(crate) fn is_over(&self) -> bool {
        self.store.is_none() || self.in_flight.is_some() || self.rig.disk.is_cut()
    }

    /// One step; a store may be closed and opened again in it.
    pub(crate) fn step(&mut self) {
        match self.random.below(100) {
            0..4 => self.perform(Op::Reopen),
            4..6 => self.perform(Op::Abandon),
            _ => self.inner_step(),
        }
    }

    /// One step on the open store.
    pub(crate) fn inner_step(&mut self) {
        let op = match self.random.below(100) {
            0..62 => Op::Commit,
            62..70 => Op::Create,
            70..74 => Op::Rename,
            74..78 => Op::Drop,
            78..83 => Op::Undrop,
            83..88 => Op::Checkpoint,
            88..91 => Op::TakeReader,
            91..94 => Op::ReleaseReader,
            _ => Op::KeepHouse,
        };
        self.perform(op);
        if self.random.chance(1, 3) && !self.is_over() {
            self.keep_house();
        }
    }

    /// One operation; on what, and with which pages, is random.
    pub(crate) fn perform(&mut self, op: Op) {
        match op {
            Op::Commit => self.commit(),
            Op::LargeCommit => self.commit_of(fill_with_many),
            Op::Create => self.create(),
            Op::Rename => self.rename(),
            Op::Drop => self.drop_database(),
            Op::Undrop => self.undrop_database(),
            Op::Checkpoint => self.checkpoint(),
            Op::TakeReader => self.take_reader(),
            Op::ReleaseReader => self.release_reader(),
            Op::KeepHouse => self.keep_house(),
            Op::Reopen => self.reopen(true),
            Op::Abandon => self.reopen(false),
        }
    }

    fn keep_house(&mut self) {
        self.store().keep_house();
    }

    /// Lets go of the store, with a close or without.
    pub(crate) fn leave(&mut self, close: bool) {
        self.reader = None;
        if let Some(store) = self.store.take()
            && close
            && let Err(error) = store.close(CLOSE)
        {
            self.excuse("close", &error);
        }
    }

    fn reopen(&mut self, close: bool) {
        self.leave(close);
        self.done.reopened += 1;
        self.open();
    }

    pub(crate) fn store(&self) -> Manager {
        self.store.clone().expect("the store is open")
    }

    /// A session on a disk that lies: what it shows may be wrong as long as it is refused.
    pub(crate) fn lied_to(rig: Rig, limits: &Limits, seed: u64) -> Self {
        Self {
            looks_at_open: false,
            ..Self::new(rig, limits, World::new(), Weather::Foul, seed)
        }
    }

    /// An error is only believed in foul weather, or of a manifest that panicked: it takes nothing
    /// more before the next opening.
    fn excuse(&self, what: &str, error: &dyn std::fmt::Display) {
        let error = error.to_string();
        let panicked = error.contains("the disk panics at ManifestCommit");
        assert!(
            panicked || self.weather == Weather::Foul,
            "{what} fails: {error}"
        );
    }

    fn pick(&mut self) -> Option<String> {
        let nth = self.random.index(self.acknowledged.len());
        self.acknowledged.keys().nth(nth).cloned()
    }

    fn acknowledge(&mut self, after: World) {
        self.before = std::mem::replace(&mut self.acknowledged, after);
    }

    /// An operation begins that would make `after` of the store.
    fn begins(&self, after: &World) {
        if let Some(watch) = &self.watch {
            watch.change(&self.acknowledged, Some(after), &self.dropped);
        }
    }

    /// It has ended, however.
    pub(crate) fn ended(&self) {
        if let Some(watch) = &self.watch {
            watch.change(&self.acknowledged, self.in_flight.as_ref(), &self.dropped);
        }
    }

    fn failed(&mut self, error: &CommitError, after: World) {
        self.done.without_room += u64::from(error.code() == ErrorCode::OutOfSpace);
        match error {
            CommitError::Rejected(Rejection::LogFull { .. } | Rejection::Timeout { .. }) => {
                self.done.rejected += 1;
            }
            CommitError::Unknown { .. } => {
                self.done.unknown += 1;
                self.excuse("a commit", error);
                self.in_flight = Some(after);
            }
            rejected => {
                self.done.rejected += 1;
                self.excuse("a commit", rejected);
            }
        }
    }

    fn create(&mut self) {
        let name = format!("db-{}", self.random.index(NAMES));
        let kind = if self.random.chance(1, 3) {
            DbKind::Sqlite
        } else {
            DbKind::Raw
        };
        let mut after = self.acknowledged.clone();
        let taken = after.insert(name.clone(), Database::new(kind)).is_some();
        self.begins(&after);
        let created = self.store().create_database(&name, kind).map(drop);
        self.catalogue_change(created, taken, after);
    }

    fn rename(&mut self) {
        let Some(from) = self.pick() else { return };
        let to = format!("db-{}", self.random.index(NAMES));
        let taken = self.acknowledged.contains_key(&to);
        let mut after = self.acknowledged.clone();
        if !taken && let Some(database) = after.remove(&from) {
            after.insert(to.clone(), database);
        }
        self.begins(&after);
        let renamed = self.store().rename_database(&from, &to);
        self.catalogue_change(renamed, taken, after);
    }

    fn drop_database(&mut self) {
        let Some(name) = self.pick() else { return };
        self.reader = None;
        let mut after = self.acknowledged.clone();
        let last = after.remove(&name).expect("picked from it");
        let store = self.store();
        if let Ok(info) = store.info(&name) {
            self.dropped.insert(info.id, last);
        }
        self.begins(&after);
        let dropped = match self.random.chance(1, 4) {
            true => store.drop_database_now(&name),
            false => store.drop_database(&name),
        };
        self.catalogue_change(dropped, false, after);
    }

    /// Brings back one of those that this session has dropped.
    fn undrop_database(&mut self) {
        let mut known = self.store().dropped_databases();
        known.retain(|one| self.dropped.contains_key(&one.id));
        if known.is_empty() {
            return;
        }
        let id = known[self.random.index(known.len())].id;
        let name = format!("db-{}", self.random.index(NAMES));
        let mut after = self.acknowledged.clone();
        let taken = after
            .insert(name.clone(), self.dropped[&id].clone())
            .is_some();
        self.begins(&after);
        let undropped = self.store().undrop_database_id(id, Some(&name));
        self.done.undropped += u64::from(undropped.is_ok());
        self.catalogue_change(undropped, taken, after);
    }

    fn catalogue_change(&mut self, done: Result<(), CatalogueError>, taken: bool, after: World) {
        match done {
            Ok(()) => {
                assert!(!taken, "a name was given twice");
                self.done.catalogue += 1;
                self.acknowledge(after);
            }
            Err(CatalogueError::Exists { .. }) => assert!(taken, "a free name is refused"),
            Err(CatalogueError::Commit(error)) => self.failed(&error, after),
            Err(error) => self.excuse("a change of the catalogue", &error),
        }
        self.ended();
    }

    fn checkpoint(&mut self) {
        let store = self.store();
        match store.checkpoint() {
            Ok(report) => {
                self.done.checkpoints += 1;
                self.done.segments_released += report.segments_released as u64;
            }
            Err(error) => self.excuse("a checkpoint", &error),
        }
    }

    fn take_reader(&mut self) {
        let Some(name) = self.pick() else { return };
        let database = self.acknowledged[&name].clone();
        match self.store().database(&name) {
            Ok(db) => {
                let read = db.begin_read().expect("a live database can be read");
                self.reader = Some((read, database));
            }
            Err(error) => self.excuse("opening a database", &error),
        }
    }

    fn release_reader(&mut self) {
        let Some((read, expected)) = self.reader.take() else {
            return;
        };
        match observe_snapshot(expected.kind, &read) {
            Ok(found) => assert_eq!(found, expected, "a snapshot has moved"),
            Err(error) => self.excuse("a snapshot", &error),
        }
    }

    /// One transaction on one database.
    pub(crate) fn commit(&mut self) {
        self.commit_of(fill_with);
    }

    fn commit_of(&mut self, fill: Fill) {
        let Some(name) = self.pick() else {
            return self.create();
        };
        let db = match self.store().database(&name) {
            Ok(db) => db,
            Err(error) => return self.excuse("opening a database", &error),
        };
        let mut write = match db.begin_write(WAIT) {
            Ok(write) => write,
            Err(BeginError::Poisoned(_)) if self.weather == Weather::Foul => return,
            Err(error) => return self.excuse("beginning a transaction", &error),
        };
        let mut database = self.acknowledged[&name].clone();
        let filled = fill(&mut self.random, &mut write, &mut database);
        if let Err(rejection) = filled {
            self.done.rejected += 1;
            return self.excuse("writing a page", &rejection);
        }
        if self.random.chance(1, 12) {
            return;
        }
        let shrinks = database.pages.len() < self.acknowledged[&name].pages.len();
        self.done.truncations += u64::from(shrinks);
        let bytes = write.touched_pages().len() * database.page_size.unwrap_or(0) as usize;
        let changed = database.pages != self.acknowledged[&name].pages || bytes > 0;
        if !changed {
            // The page size was chosen for pages that are gone again.
            database.page_size = self.acknowledged[&name].page_size;
        }
        database.head = None;
        let mut after = self.acknowledged.clone();
        after.insert(name.clone(), database);
        let patches = || self.store().status().images.patches;
        let before = patches();
        self.begins(&after);
        match write.commit() {
            Ok(read) => {
                self.done.patches += patches() - before;
                let head = Some(read.lsn());
                let moved = self.acknowledged[&name].head < head;
                assert!(moved || !changed, "a commit moves the head");
                if let Some(database) = after.get_mut(&name) {
                    database.head = head;
                }
                self.done.commits += 1;
                self.done.chains += u64::from(bytes as u64 > self.limits.fragment_bytes_max);
                self.acknowledge(after);
            }
            Err(error) => self.failed(&error, after),
        }
        self.ended();
    }
}
