//! Operations on a store, and a model of what must be there.
//!
//! ```text
//! op: what, which database, an argument
//!   commit, truncate, group -> checkpoint -> snapshot, fork, restore -> drop, rename
//!   close and open | power cut: any subset of what was not synced is there | a fault, then a power cut
//! ```
//! The model is a page's number to a byte. A commit is acknowledged or it is not: with a fault in it, both
//! states may be there after the power cut, and nothing else.

use crate::input::Input;
use bop_storage::manifest::MemoryManifest;
use bop_storage::testing::{Fault, SimDisk};
use bop_storage::{
    At, DbKind, Housekeeping, Limits, Manager, Options, PageNo, ReadTxn, Retention, WriteTxn,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(50);
const OPS_MAX: usize = 40;
const DATABASES_MAX: usize = 4;
const SNAPSHOTS_MAX: usize = 4;
const PAGES: u32 = 40;
const PAGE_BYTES: usize = 4096;

/// What is in the pages that were written, and how many there are.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct State {
    pages: BTreeMap<u32, u8>,
    count: u32,
}

#[derive(Clone, Debug)]
struct Model {
    name: String,
    state: State,
    snapshots: BTreeMap<String, State>,
}

struct World {
    disk: SimDisk,
    manifest: MemoryManifest,
    store: Manager,
    live: Vec<Model>,
    names: u32,
}

/// Does what the input says, and compares all that can be read with the model.
pub fn operations(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new();
    for _ in 0..OPS_MAX {
        if input.is_empty() {
            break;
        }
        let (op, which, argument) = (input.u8(), input.u8(), input.u8());
        world.step(op, which, argument);
    }
    world.compare();
    world.reopen();
    world.compare();
    let closed = world.store.close(LONG);
    closed.unwrap_or_else(|error| panic!("close: {error}"));
}

fn open(disk: &SimDisk, manifest: &MemoryManifest) -> Manager {
    let options = Options::new()
        .limits(Limits::tiny())
        .housekeeping(Housekeeping::Manual)
        .disk(Arc::new(disk.clone()), Arc::new(manifest.clone()));
    let opened = Manager::open("simulated", options);
    opened.unwrap_or_else(|error| panic!("open: {error}"))
}

/// Calls that nothing keeps from succeeding.
fn must<T, E: std::fmt::Display>(what: &str, done: Result<T, E>) -> T {
    done.unwrap_or_else(|error| panic!("{what}: {error}"))
}

impl World {
    fn new() -> Self {
        let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
        let store = open(&disk, &manifest);
        Self {
            disk,
            manifest,
            store,
            live: Vec::new(),
            names: 0,
        }
    }

    fn new_name(&mut self) -> String {
        self.names += 1;
        format!("d{}", self.names)
    }

    fn create(&mut self) {
        let name = self.new_name();
        must("create", self.store.create_database(&name, DbKind::Raw));
        must(
            "retention",
            self.store.set_retention(&name, Retention::NOTHING),
        );
        self.live.push(Model {
            name,
            state: State::default(),
            snapshots: BTreeMap::new(),
        });
    }

    fn step(&mut self, op: u8, which: u8, argument: u8) {
        if self.live.is_empty() || (op % 16 == 0 && self.live.len() < DATABASES_MAX) {
            self.create();
            return;
        }
        let nth = usize::from(which) % self.live.len();
        match op % 16 {
            0..=4 => self.commit(nth, argument),
            5 => self.group(argument),
            6 | 7 => {
                must("checkpoint", self.store.checkpoint());
            }
            8 => self.snapshot(nth),
            9 => self.fork(nth, argument),
            10 => self.restore(nth, argument),
            11 => {
                let model = self.live.remove(nth);
                must("drop", self.store.drop_database_now(&model.name));
            }
            12 => {
                let to = self.new_name();
                must(
                    "rename",
                    self.store.rename_database(&self.live[nth].name, &to),
                );
                self.live[nth].name = to;
            }
            13 => self.reopen(),
            14 => self.power_cut(argument.into()),
            _ => self.fault(nth, argument),
        }
    }

    fn write(&self, nth: usize) -> WriteTxn {
        let db = must("database", self.store.database(&self.live[nth].name));
        must("begin", db.begin_write(LONG))
    }

    /// Changes a few pages, or cuts some off.
    fn change(write: &mut WriteTxn, state: &mut State, argument: u8) {
        if argument % 8 == 7 {
            let count = u32::from(argument / 8);
            if count < state.count {
                write.truncate(count);
                state.count = count;
                state.pages.retain(|page, _| *page <= count);
            }
            return;
        }
        for nth in 0..=u32::from(argument % 8) {
            let page = 1 + (u32::from(argument) + nth * 7) % PAGES;
            let byte = argument.wrapping_mul(31).wrapping_add(nth as u8);
            let number = PageNo::new(page).unwrap_or(PageNo::FIRST);
            must("write", write.write_page(number, &content(byte)));
            state.pages.insert(page, byte);
            state.count = state.count.max(page);
        }
    }

    fn commit(&mut self, nth: usize, argument: u8) {
        self.make_room();
        let mut write = self.write(nth);
        let mut state = self.live[nth].state.clone();
        Self::change(&mut write, &mut state, argument);
        must("commit", write.commit());
        self.live[nth].state = state;
    }

    /// One commit of all databases.
    fn group(&mut self, argument: u8) {
        self.make_room();
        let mut group = Vec::new();
        let mut states = Vec::new();
        for nth in 0..self.live.len() {
            let mut write = self.write(nth);
            let mut state = self.live[nth].state.clone();
            Self::change(
                &mut write,
                &mut state,
                argument.wrapping_add(nth as u8) & 0xf7,
            );
            group.push(write);
            states.push(state);
        }
        must("group commit", self.store.group_commit(group));
        for (model, state) in self.live.iter_mut().zip(states) {
            model.state = state;
        }
    }

    /// Nobody checkpoints by himself here.
    fn make_room(&self) {
        if self.store.status().log_bytes > Limits::tiny().log_bytes_max / 2 {
            must("checkpoint", self.store.checkpoint());
        }
    }

    fn snapshot(&mut self, nth: usize) {
        let name = self.live[nth].name.clone();
        let kept = self
            .live
            .iter()
            .map(|model| model.snapshots.len())
            .sum::<usize>();
        let oldest = self.live[nth].snapshots.keys().next().cloned();
        if SNAPSHOTS_MAX <= kept {
            if let Some(oldest) = oldest {
                must("drop snapshot", self.store.drop_snapshot(&name, &oldest));
                self.live[nth].snapshots.remove(&oldest);
            }
            return;
        }
        let of = self.new_name();
        must(
            "snapshot",
            self.store.snapshot_database(&name, &of, &At::Now),
        );
        let state = self.live[nth].state.clone();
        self.live[nth].snapshots.insert(of, state);
    }

    /// The newest state, or that of a snapshot.
    fn state_at(&self, nth: usize, argument: u8) -> (At, State) {
        let model = &self.live[nth];
        let chosen = usize::from(argument) % (model.snapshots.len() + 1);
        match model.snapshots.iter().nth(chosen) {
            Some((name, state)) => (At::Snapshot(name.clone()), state.clone()),
            None => (At::Now, model.state.clone()),
        }
    }

    fn fork(&mut self, nth: usize, argument: u8) {
        if DATABASES_MAX <= self.live.len() {
            return;
        }
        let (at, state) = self.state_at(nth, argument);
        let name = self.new_name();
        must(
            "fork",
            self.store.fork_database(&self.live[nth].name, &name, &at),
        );
        must(
            "retention",
            self.store.set_retention(&name, Retention::NOTHING),
        );
        self.live.push(Model {
            name,
            state,
            snapshots: BTreeMap::new(),
        });
    }

    /// The database goes back; what it was is a snapshot of it.
    fn restore(&mut self, nth: usize, argument: u8) {
        let (at, state) = self.state_at(nth, argument);
        let kept = self
            .live
            .iter()
            .map(|model| model.snapshots.len())
            .sum::<usize>();
        if at == At::Now || 2 * SNAPSHOTS_MAX <= kept {
            return;
        }
        let info = must(
            "restore",
            self.store.restore_database(&self.live[nth].name, &at),
        );
        let before = std::mem::replace(&mut self.live[nth].state, state);
        self.live[nth].snapshots.insert(info.name, before);
    }

    fn reopen(&mut self) {
        must("close", self.store.close(LONG));
        self.store = open(&self.disk, &self.manifest);
    }

    /// What was not synced is there or not, as the seed has it.
    fn power_cut(&mut self, seed: u64) {
        self.disk.power_cut();
        let _failed = self.store.close(LONG);
        self.disk = self.disk.crash_image(seed);
        self.manifest = self.manifest.snapshot();
        self.store = open(&self.disk, &self.manifest);
        self.compare();
    }

    /// A write fails in the middle of a commit, then the power goes: the commit is there or not.
    fn fault(&mut self, nth: usize, argument: u8) {
        self.make_room();
        let mut write = self.write(nth);
        let before = self.live[nth].state.clone();
        let mut after = before.clone();
        Self::change(&mut write, &mut after, argument);
        self.disk.fail_in(u64::from(argument % 4), Fault::PowerCut);
        let acknowledged = write.commit().is_ok();
        self.disk.power_cut();
        let _failed = self.store.close(LONG);
        self.disk = self.disk.crash_image(argument.into());
        self.manifest = self.manifest.snapshot();
        self.store = open(&self.disk, &self.manifest);
        let db = must("database", self.store.database(&self.live[nth].name));
        let read = must("begin", db.begin_read());
        let is_after = matches(&read, &after);
        assert!(
            is_after || (!acknowledged && matches(&read, &before)),
            "neither before nor after"
        );
        self.live[nth].state = if is_after { after } else { before };
        self.compare();
    }

    fn compare(&self) {
        for model in &self.live {
            let db = must("database", self.store.database(&model.name));
            let read = must("begin", db.begin_read());
            assert!(
                matches(&read, &model.state),
                "{}: not {:?}",
                model.name,
                model.state
            );
            for (name, state) in &model.snapshots {
                let read = must(name, db.begin_read_at(&At::Snapshot(name.clone())));
                assert!(
                    matches(&read, state),
                    "{}@{name}: not {state:?}",
                    model.name
                );
            }
        }
        let names = self.store.databases().into_iter().map(|info| info.name);
        assert_eq!(names.count(), self.live.len());
    }
}

fn content(byte: u8) -> Vec<u8> {
    let mut content = vec![byte; PAGE_BYTES];
    // Not all alike, so that a change of it is a patch.
    content[100..108].copy_from_slice(&[7; 8]);
    content
}

fn matches(read: &ReadTxn, state: &State) -> bool {
    read.page_count() == state.count
        && (1..=state.count).all(|number| {
            let page = read.read_page(PageNo::new(number).unwrap_or(PageNo::FIRST));
            let page = must("read", page);
            match state.pages.get(&number) {
                Some(byte) => page[..] == content(*byte),
                None => page.iter().all(|byte| *byte == 0),
            }
        })
}
