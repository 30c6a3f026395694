//! A store on simulated files, or on real ones, and beside it every state that its databases ever had.

use bop_storage::io::IoBackend;
use bop_storage::manifest::MemoryManifest;
use bop_storage::runtime::{Clock, Runtime};
use bop_storage::testing::{ManualClock, SimDisk, SplitMix64};
use bop_storage::{
    At, CommitError, Db, DbKind, Housekeeping, Limits, Lsn, Manager, Options, PageNo, ReadTxn,
    Retention, RollingChecksum,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) const LONG: Duration = Duration::from_secs(50);

static REAL_FILES: Mutex<()> = Mutex::new(());

/// Held by whoever has stores on real files, or starts processes: until it runs its program, a child has the
/// descriptors of its parent, and with them the lock of a store.
pub(crate) fn real_files() -> MutexGuard<'static, ()> {
    REAL_FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How large things are in a run.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    /// Bytes of a range: with 64 KiB all sections are bases, with more there are deltas.
    pub(crate) range_bytes: u64,
    pub(crate) page_bytes: usize,
    /// Pages of a database, at most.
    pub(crate) pages: u32,
}

impl Shape {
    pub(crate) const BASES: Self = Self {
        range_bytes: 64 << 10,
        page_bytes: 4096,
        pages: 60,
    };
    pub(crate) const DELTAS: Self = Self {
        range_bytes: 1 << 20,
        page_bytes: 4096,
        pages: 60,
    };
    pub(crate) const SMALL_PAGES: Self = Self {
        range_bytes: 64 << 10,
        page_bytes: 512,
        pages: 200,
    };
    const ALL: [Self; 3] = [Self::BASES, Self::DELTAS, Self::SMALL_PAGES];

    /// The shape of a run: each has its turn.
    pub(crate) fn of(seed: u64) -> Self {
        Self::ALL[usize::try_from(seed % 3).unwrap_or_default()]
    }

    pub(crate) fn limits(self) -> Limits {
        let mut limits = Limits::tiny();
        limits.range_bytes = self.range_bytes;
        limits
    }

    /// Of odd numbers such that no compression makes it shorter: chunks are as long as their pages.
    pub(crate) fn content(self, number: u32) -> Vec<u8> {
        let mut page = number.to_le_bytes().repeat(self.page_bytes / 4);
        if !number.is_multiple_of(2) {
            SplitMix64::new(number.into()).fill(&mut page[8..]);
        }
        // Not all of a page is alike, so that a change of it is a patch.
        page[100..108].copy_from_slice(&[7; 8]);
        page
    }
}

/// A transaction that stays open, and what it has to show to its end.
pub(crate) struct Reader {
    pub(crate) of: String,
    pub(crate) read: ReadTxn,
    pub(crate) saved: Saved,
}

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

pub(crate) struct World {
    pub(crate) shape: Shape,
    /// The directory of one on real files; it has no simulated ones.
    pub(crate) root: Option<PathBuf>,
    pub(crate) disk: SimDisk,
    pub(crate) manifest: MemoryManifest,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) retention: Retention,
    pub(crate) random: SplitMix64,
    pub(crate) store: Option<Manager>,
    pub(crate) live: Vec<Model>,
    pub(crate) readers: Vec<Reader>,
    pub(crate) names: u32,
    /// Chunks that were half dead, and were written again.
    pub(crate) rewritten: usize,
    numbers: u32,
}

impl World {
    pub(crate) fn new(seed: u64, retention: Retention) -> Self {
        Self::with(Shape::of(seed), seed, retention)
    }

    pub(crate) fn with(shape: Shape, seed: u64, retention: Retention) -> Self {
        let mut world = Self::closed(shape, seed, retention);
        world.open();
        world
    }

    /// One that begins when it is opened.
    pub(crate) fn closed(shape: Shape, seed: u64, retention: Retention) -> Self {
        Self {
            shape,
            root: None,
            disk: SimDisk::new(seed),
            manifest: MemoryManifest::new(),
            clock: Arc::new(ManualClock::new(1_700_000_000_000_000)),
            retention,
            random: SplitMix64::new(seed),
            store: None,
            live: Vec::new(),
            readers: Vec::new(),
            names: 0,
            rewritten: 0,
            numbers: 0,
        }
    }

    /// The same once more, which has nothing to do with it: of a store that is closed.
    pub(crate) fn copied(&self) -> Self {
        assert!(self.store.is_none() && self.readers.is_empty());
        Self {
            shape: self.shape,
            root: None,
            disk: self.disk.snapshot(),
            manifest: self.manifest.snapshot(),
            clock: Arc::new(ManualClock::new(self.clock.wall_us())),
            retention: self.retention,
            random: self.random.clone(),
            store: None,
            live: self.live.clone(),
            readers: Vec::new(),
            names: self.names,
            rewritten: 0,
            numbers: self.numbers,
        }
    }

    /// What a power cut leaves is opened.
    pub(crate) fn crash(&mut self, seed: u64) {
        self.disk.power_cut();
        let _failed = self.store.take().unwrap().close(LONG);
        self.disk = self.disk.crash_image(seed);
        self.manifest = self.manifest.snapshot();
        self.open();
    }

    pub(crate) fn checkpoint(&mut self) {
        self.rewritten += self.store().checkpoint().unwrap().chunks_rewritten;
    }

    /// The files of chunks, and their bytes.
    pub(crate) fn chunks(&self) -> (usize, u64) {
        let bytes: Vec<u64> = match &self.root {
            Some(root) => {
                let files = std::fs::read_dir(root.join("chunks")).unwrap();
                let bytes = files.map(|file| file.unwrap().metadata().unwrap().len());
                bytes.collect()
            }
            None => {
                let files = self.disk.files().into_iter();
                let chunks = files.filter(|(path, _)| path.starts_with("chunks"));
                chunks.map(|(_, bytes)| bytes).collect()
            }
        };
        (bytes.len(), bytes.iter().sum())
    }

    pub(crate) fn close(&mut self) {
        self.end_readers(None);
        self.store.take().unwrap().close(LONG).unwrap();
    }

    pub(crate) fn open(&mut self) {
        let runtime = Runtime {
            clock: Arc::clone(&self.clock) as _,
            ..Runtime::system()
        };
        let options = Options::new()
            .limits(self.shape.limits())
            .runtime(runtime)
            .housekeeping(Housekeeping::Manual);
        let opened = match &self.root {
            Some(root) => Manager::open(root, options.io(IoBackend::Std)),
            None => {
                let (disk, manifest) = (self.disk.clone(), self.manifest.clone());
                Manager::open(
                    "simulated",
                    options.disk(Arc::new(disk), Arc::new(manifest)),
                )
            }
        };
        self.store = Some(opened.unwrap());
    }

    pub(crate) fn now_us(&self) -> u64 {
        self.clock.wall_us()
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

    /// Nobody checkpoints by himself here: does so before commits have to wait for it.
    pub(crate) fn make_room(&self) {
        if self.store().status().log_bytes > self.shape.limits().log_bytes_max / 2 {
            self.store().checkpoint().unwrap();
        }
    }

    /// Commits one after the other, so that a checkpoint has a history to write.
    pub(crate) fn commits(&mut self, nth: usize, count: u64) {
        for _ in 0..count {
            self.clock.advance(self.random.below(3) * 100_000);
            self.commit(nth);
        }
    }

    /// Opens a transaction that stays open: on the newest state, or on one that `at` names.
    pub(crate) fn begin_reader(&mut self, nth: usize, at: &At, saved: Saved) {
        let of = self.live[nth].name.clone();
        let read = match at {
            At::Now => self.db(&of).begin_read().unwrap(),
            at => self.db(&of).begin_read_at(at).unwrap(),
        };
        self.readers.push(Reader { of, read, saved });
    }

    /// Compares an open transaction with what it showed when it began.
    pub(crate) fn check_reader(&self, reader: &Reader) {
        let what = format!("a reader of {}", reader.of);
        self.check(&reader.read, &reader.saved, &what);
    }

    /// Ends the transactions of a database that goes, or of all.
    pub(crate) fn end_readers(&mut self, of: Option<&str>) {
        let (gone, kept) = std::mem::take(&mut self.readers)
            .into_iter()
            .partition(|reader| of.is_none_or(|of| of == reader.of));
        self.readers = kept;
        let gone: Vec<Reader> = gone;
        gone.iter().for_each(|reader| self.check_reader(reader));
    }

    /// Commits a few pages, and perhaps cuts some off.
    pub(crate) fn commit(&mut self, nth: usize) {
        self.make_room();
        self.try_commit(nth).unwrap();
    }

    pub(crate) fn try_commit(&mut self, nth: usize) -> Result<(), CommitError> {
        let model = &self.live[nth];
        let db = self.store.as_ref().unwrap().database(&model.name).unwrap();
        let mut write = db.begin_write(LONG).unwrap();
        let mut state = State::clone(&model.head().state);
        let pages = u64::from(self.shape.pages);
        if self.random.chance(1, 6) {
            let count = self.random.below(pages) as u32;
            if count < state.page_count {
                write.truncate(count);
                state.page_count = count;
                state.pages.retain(|page, _| *page <= count);
            }
        }
        for _ in 0..=self.random.below(4) {
            let page = 1 + self.random.below(pages) as u32;
            self.numbers += 1;
            let number = PageNo::new(page).unwrap();
            let content = self.shape.content(self.numbers);
            write.write_page(number, &content).unwrap();
            state.page_count = state.page_count.max(page);
            state.pages.insert(page, self.numbers);
        }
        let after = write.commit()?;
        let saved = Saved {
            lsn: after.lsn(),
            time_us: after.time_us(),
            rolling: after.rolling_checksum(),
            state: Arc::new(state),
        };
        drop(after);
        self.live[nth].states.push(saved);
        Ok(())
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
                    page[..] == self.shape.content(*number),
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
