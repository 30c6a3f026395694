//! A store on a simulated disk, and its exporter at an address that stays the same.

use bop_control::{Failure, Request};
use bop_exporter::{Exporter, Source};
use bop_storage::error::ErrorCode;
use bop_storage::manifest::MemoryManifest;
use bop_storage::runtime::Runtime;
use bop_storage::testing::{ManualClock, SeededEntropy, SimDisk};
use bop_storage::{Db, DbKind, Housekeeping, Limits, Manager, MetricValue, Options, PageNo};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) const WAIT: Duration = Duration::from_secs(50);

/// What outlives an opening of the store.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) disk: SimDisk,
    pub(crate) manifest: MemoryManifest,
    /// Its wall time stands still at the beginning of the test.
    pub(crate) clock: Arc<ManualClock>,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self {
            disk: SimDisk::new(1),
            manifest: MemoryManifest::new(),
            clock: Arc::new(ManualClock::new(now.as_micros().try_into().unwrap())),
        }
    }

    pub(crate) fn open(&self, limits: Limits, housekeeping: Housekeeping) -> Manager {
        let runtime = Runtime {
            clock: Arc::clone(&self.clock) as _,
            entropy: Arc::new(SeededEntropy::new(7)),
            ..Runtime::system()
        };
        let options = Options::new()
            .limits(limits)
            .housekeeping(housekeeping)
            .runtime(runtime)
            .disk(Arc::new(self.disk.clone()), Arc::new(self.manifest.clone()));
        Manager::open("simulated", options).unwrap()
    }

    /// Bytes of all files.
    pub(crate) fn used(&self) -> u64 {
        self.disk.files().iter().map(|(_, bytes)| bytes).sum()
    }
}

/// The store as a source that can be made to answer nothing.
struct Switch(Manager, Arc<AtomicBool>);

impl Source for Switch {
    fn answer(&self, request: &Request, json: bool, until: Instant) -> Result<Vec<u8>, Failure> {
        match self.1.load(Ordering::Acquire) {
            true => self.0.answer(request, json, until),
            false => Err(Failure::new(ErrorCode::Control, "it does not answer")),
        }
    }

    fn before_close(&self, told: Box<dyn FnOnce() + Send>) {
        Source::before_close(&self.0, told);
    }
}

/// An open store that is scraped.
pub(crate) struct Stage {
    pub(crate) ground: Ground,
    pub(crate) store: Manager,
    pub(crate) answers: Arc<AtomicBool>,
    /// Where it is scraped.
    pub(crate) address: SocketAddr,
    exporter: Option<Exporter>,
}

impl Stage {
    /// A new store that does in the background what the test asks for.
    pub(crate) fn new(limits: Limits) -> Self {
        let ground = Ground::new();
        let store = ground.open(limits, Housekeeping::Manual);
        Self::of(ground, store)
    }

    pub(crate) fn of(ground: Ground, store: Manager) -> Self {
        let answers = Arc::new(AtomicBool::new(true));
        let anywhere = ([127, 0, 0, 1], 0).into();
        let exporter = start(&store, &answers, anywhere);
        Self {
            address: exporter.local_addr(),
            exporter: Some(exporter),
            ground,
            store,
            answers,
        }
    }

    /// The exporter ends.
    pub(crate) fn hide(&mut self) {
        self.exporter = None;
    }

    /// It is there again.
    pub(crate) fn show(&mut self) {
        self.exporter = Some(start(&self.store, &self.answers, self.address));
    }

    pub(crate) fn database(&self, name: &str) -> Db {
        self.store.create_database(name, DbKind::Raw).unwrap()
    }

    /// The value of a metric without labels.
    pub(crate) fn number(&self, name: &str) -> u64 {
        match self.store.metrics().family(name).unwrap().samples[0].value {
            MetricValue::Number(number) => number,
            other => panic!("{name}: {other:?}"),
        }
    }
}

fn start(store: &Manager, answers: &Arc<AtomicBool>, at: SocketAddr) -> Exporter {
    let source = Switch(store.clone(), Arc::clone(answers));
    let options = bop_exporter::Options::new().listen(at);
    Exporter::start(source, options.fresh_for(Duration::ZERO)).unwrap()
}

/// 4 KiB that do not compress, no two alike.
pub(crate) fn noise(seed: u64) -> Vec<u8> {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..512).flat_map(|_| next()).collect()
}

pub(crate) fn commit(db: &Db, page: u32, content: &[u8]) {
    let mut write = db.begin_write(WAIT).unwrap();
    let page = PageNo::new(page).unwrap();
    write.write_page(page, content).unwrap();
    write.commit().unwrap();
}

/// Backs up into a real directory, and proves what was made.
pub(crate) fn back_up(store: &Manager, dir: &Path, limits: Limits) {
    let options = bop_storage::BackupOptions::new();
    store.backup(dir, &options, &mut |_| ()).unwrap();
    let restored = Options::new().limits(limits);
    Manager::verify_backup(dir, None, &restored, &options, &mut |_| ()).unwrap();
    // Whoever has it looked at lets the metrics know, too, as `bop status` does.
    let until = std::time::Instant::now() + WAIT;
    let is_verified = |known: bop_storage::KnownBackups| known.last.unwrap().verified.is_some();
    while !is_verified(store.known_backups()) {
        assert!(std::time::Instant::now() < until);
        std::thread::yield_now();
    }
}
