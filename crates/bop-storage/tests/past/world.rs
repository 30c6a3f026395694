//! A store on simulated files, and beside it every state that its databases ever had.

use bop_storage::manifest::MemoryManifest;
use bop_storage::runtime::{Runtime, SystemEntropy, SystemSpawn};
use bop_storage::testing::{ManualClock, SimDisk, SplitMix64};
use bop_storage::{
    At, Db, DbKind, Housekeeping, Limits, Lsn, Manager, Options, PageNo, ReadTxn, Retention,
    RollingChecksum,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const LONG: Duration = Duration::from_secs(50);
pub(crate) const PAGES: u32 = 60;
const PAGE_BYTES: usize = 4096;

/// Nobody keeps house: a log that is half full is checkpointed.
const LOG_BYTES_MAX: u64 = 512 << 10;

/// A state of a database: the number that fills each page.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct State {
    pub(crate) page_count: u32,
    pub(crate) pages: BTreeMap<u32, u32>,
}

/// A state, and the commit that made it.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    pub(crate) lsn: Lsn,
    pub(crate) time_us: u64,
    pub(crate) rolling: RollingChecksum,
    pub(crate) state: Arc<State>,
}

/// What a database is believed to be.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) name: String,
    /// All states, the newest last.
    pub(crate) states: Vec<Saved>,
    pub(crate) snapshots: BTreeMap<String, Saved>,
    /// Whether the first state is one that it was made with.
    pub(crate) is_fork: bool,
}

impl Model {
    pub(crate) fn head(&self) -> &Saved {
        &self.states[self.states.len() - 1]
    }
}

/// Of odd numbers such that no compression makes it shorter: chunks are as long as their pages.
fn content(number: u32) -> Vec<u8> {
    let mut page = number.to_le_bytes().repeat(PAGE_BYTES / 4);
    if !number.is_multiple_of(2) {
        SplitMix64::new(number.into()).fill(&mut page[8..]);
    }
    // Not all of a page is alike, so that a change of it is a patch.
    page[100..108].copy_from_slice(&[7; 8]);
    page
}

pub(crate) struct World {
    pub(crate) disk: SimDisk,
    pub(crate) manifest: MemoryManifest,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) retention: Retention,
    pub(crate) random: SplitMix64,
    pub(crate) store: Option<Manager>,
    pub(crate) live: Vec<Model>,
    pub(crate) names: u32,
    /// Chunks that were half dead, and were written again.
    pub(crate) rewritten: usize,
    numbers: u32,
}

impl World {
    pub(crate) fn new(seed: u64, retention: Retention) -> Self {
        let mut world = Self {
            disk: SimDisk::new(seed),
            manifest: MemoryManifest::new(),
            clock: Arc::new(ManualClock::new(1_700_000_000_000_000)),
            retention,
            random: SplitMix64::new(seed),
            store: None,
            live: Vec::new(),
            names: 0,
            rewritten: 0,
            numbers: 0,
        };
        world.open();
        world
    }

    /// The same on a copy of the disk. Neither has it open.
    pub(crate) fn copy(&self, seed: u64) -> Self {
        Self {
            disk: self.disk.snapshot(),
            manifest: self.manifest.snapshot(),
            clock: Arc::clone(&self.clock),
            random: SplitMix64::new(seed),
            store: None,
            live: self.live.clone(),
            ..*self
        }
    }

    /// What a power cut leaves of it; open again.
    pub(crate) fn cut(&mut self, seed: u64) {
        self.disk.power_cut();
        let _failed = self.store.take().map(|store| store.close(LONG));
        self.disk = self.disk.crash_image(seed);
        self.manifest = self.manifest.snapshot();
        self.open();
    }

    pub(crate) fn close(&mut self) {
        self.store.take().unwrap().close(LONG).unwrap();
    }

    pub(crate) fn checkpoint(&mut self) {
        self.rewritten += self.store().checkpoint().unwrap().chunks_rewritten;
    }

    /// The files of chunks, and their bytes.
    pub(crate) fn chunks(&self) -> (usize, u64) {
        let files = self.disk.files().into_iter();
        let chunks = files.filter(|(path, _)| path.starts_with("chunks"));
        chunks.fold((0, 0), |(count, sum), (_, bytes)| (count + 1, sum + bytes))
    }

    pub(crate) fn open(&mut self) {
        let runtime = Runtime {
            clock: Arc::clone(&self.clock) as _,
            entropy: Arc::new(SystemEntropy),
            spawn: Arc::new(SystemSpawn),
        };
        let options = Options::new()
            .limits(Limits::tiny())
            .runtime(runtime)
            .housekeeping(Housekeeping::Manual)
            .disk(Arc::new(self.disk.clone()), Arc::new(self.manifest.clone()));
        self.store = Some(Manager::open("simulated", options).unwrap());
    }

    pub(crate) fn store(&self) -> &Manager {
        self.store.as_ref().unwrap()
    }

    pub(crate) fn db(&self, name: &str) -> Db {
        self.store().database(name).unwrap()
    }

    pub(crate) fn new_name(&mut self) -> String {
        self.names += 1;
        format!("d{}", self.names)
    }

    pub(crate) fn create(&mut self) {
        let name = self.new_name();
        let db = self.store().create_database(&name, DbKind::Raw).unwrap();
        self.store().set_retention(&name, self.retention).unwrap();
        let read = db.begin_read().unwrap();
        let first = Saved {
            lsn: Lsn::ZERO,
            time_us: 0,
            rolling: read.rolling_checksum(),
            state: Arc::default(),
        };
        self.live.push(Model {
            name,
            states: vec![first],
            snapshots: BTreeMap::new(),
            is_fork: false,
        });
    }

    /// Commits a few pages, and perhaps cuts some off.
    pub(crate) fn commit(&mut self, nth: usize) {
        if self.store().status().log_bytes > LOG_BYTES_MAX {
            self.checkpoint();
        }
        let model = &self.live[nth];
        let db = self.store.as_ref().unwrap().database(&model.name).unwrap();
        let mut write = db.begin_write(LONG).unwrap();
        let mut state = State::clone(&model.head().state);
        if self.random.chance(1, 6) {
            let count = self.random.below(u64::from(PAGES)) as u32;
            if count < state.page_count {
                write.truncate(count);
                state.page_count = count;
                state.pages.retain(|page, _| *page <= count);
            }
        }
        for _ in 0..=self.random.below(4) {
            let page = 1 + self.random.below(u64::from(PAGES)) as u32;
            self.numbers += 1;
            let number = PageNo::new(page).unwrap();
            write.write_page(number, &content(self.numbers)).unwrap();
            state.page_count = state.page_count.max(page);
            state.pages.insert(page, self.numbers);
        }
        let after = write.commit().unwrap();
        let saved = Saved {
            lsn: after.lsn(),
            time_us: after.time_us(),
            rolling: after.rolling_checksum(),
            state: Arc::new(state),
        };
        drop(after);
        self.live[nth].states.push(saved);
    }

    /// Compares a transaction with what it should show.
    pub(crate) fn check(&self, read: &ReadTxn, saved: &Saved, what: &str) {
        let State { page_count, pages } = &*saved.state;
        assert_eq!(read.page_count(), *page_count, "{what}: page count");
        assert_eq!(read.rolling_checksum(), saved.rolling, "{what}: checksum");
        for raw in 1..=*page_count {
            let page = read.read_page(PageNo::new(raw).unwrap());
            let page = page.unwrap_or_else(|error| panic!("{what}: page {raw}: {error}"));
            match pages.get(&raw) {
                Some(number) => assert!(
                    page[..] == content(*number),
                    "{what}: page {raw} is not {number} but {:?} at {:?} of {:?}",
                    &page[..4],
                    read.lsn(),
                    read.page_count()
                ),
                None => assert!(
                    page.iter().all(|byte| *byte == 0),
                    "{what}: page {raw} is not zeros"
                ),
            }
        }
    }

    pub(crate) fn check_head(&self, model: &Model) {
        let db = self.db(&model.name);
        let read = db.begin_read().unwrap();
        self.check(&read, model.head(), &model.name);
    }

    pub(crate) fn check_at(&self, model: &Model, at: &At, saved: &Saved) {
        let db = self.db(&model.name);
        let what = format!("{}@{at}", model.name);
        let read = db.begin_read_at(at);
        let read = read.unwrap_or_else(|error| panic!("{what}: {error}"));
        self.check(&read, saved, &what);
    }
}
