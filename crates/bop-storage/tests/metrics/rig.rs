//! A store on a simulated disk, and what its metrics say.

use bop_storage::manifest::MemoryManifest;
use bop_storage::runtime::Runtime;
use bop_storage::testing::{ManualClock, SeededEntropy, SimDisk};
use bop_storage::{
    Db, DbKind, Housekeeping, Limits, Manager, MetricValue, MetricsReport, Options, PageNo,
    SummaryValue,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

pub(crate) const WAIT: Duration = Duration::from_secs(50);

/// A disk, its manifest, and the clock of whoever opens it.
pub(crate) struct Rig {
    pub(crate) disk: SimDisk,
    pub(crate) manifest: MemoryManifest,
    pub(crate) clock: Arc<ManualClock>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self {
            disk: SimDisk::new(1),
            manifest: MemoryManifest::new(),
            clock: Arc::new(ManualClock::new(1_700_000_000_000_000)),
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
    write
        .write_page(PageNo::new(page).unwrap(), content)
        .unwrap();
    write.commit().unwrap();
}

/// The value of a metric without labels.
pub(crate) fn number(report: &MetricsReport, name: &str) -> u64 {
    match report.family(name).unwrap().samples[0].value {
        MetricValue::Number(number) => number,
        other => panic!("{name}: {other:?}"),
    }
}

/// The value of a metric for one label.
pub(crate) fn of_label(report: &MetricsReport, name: &str, label: &str) -> u64 {
    let samples = &report.family(name).unwrap().samples;
    let of_label = samples
        .iter()
        .find(|sample| sample.label.is_some_and(|(_, of)| of == label));
    match of_label.unwrap().value {
        MetricValue::Number(number) => number,
        other => panic!("{name}: {other:?}"),
    }
}

pub(crate) fn summary(report: &MetricsReport, name: &str) -> SummaryValue {
    match report.family(name).unwrap().samples[0].value {
        MetricValue::Summary(summary) => summary,
        other => panic!("{name}: {other:?}"),
    }
}

/// Pages that a checkpoint needs some milliseconds for.
pub(crate) fn fill(db: &Db) {
    let mut write = db.begin_write(WAIT).unwrap();
    for page in 1..=2000 {
        let content = noise(page.into());
        write
            .write_page(PageNo::new(page).unwrap(), &content)
            .unwrap();
    }
    write.commit().unwrap();
}

pub(crate) fn rests(store: &Manager) -> u64 {
    number(&store.metrics(), "bop_checkpoint_rests_total")
}

/// Checkpoints beside commits until one has rested for them. Where the machine is busy with other things
/// nobody may get to commit while one is under way.
pub(crate) fn checkpoint_beside_commits(store: &Manager) {
    let [large, small] = ["filled", "beside"].map(|name| store.create_database(name, DbKind::Raw));
    let (large, small) = (large.unwrap(), small.unwrap());
    let before = rests(store);
    for round in 0.. {
        assert!(round < 100, "no checkpoint of {round} ever rested");
        fill(&large);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Acquire) {
                    commit(&small, 1, &noise(1));
                }
            });
            let made = store.checkpoint();
            is_over.store(true, Ordering::Release);
            made.unwrap();
        });
        if before < rests(store) {
            return;
        }
    }
}
