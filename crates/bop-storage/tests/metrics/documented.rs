//! `docs/metrics.md` against the list in the code, and that against stores to which everything
//! happens.

use crate::rig::{Rig, WAIT, checkpoint_beside_commits, commit, noise, number};
use bop_storage::io::IoOp;
use bop_storage::io::errno::EIO;
use bop_storage::testing::Fault;
use bop_storage::{
    At, BackupOptions, CommitsFrom, DbKind, Housekeeping, Limits, METRICS, Manager, MetricValue,
    MetricsReport, NewEntry, Options, PageNo,
};
use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

/// Name, label, type and unit of each row of the table.
fn documented() -> Vec<(String, Option<String>, String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let name = cells.next()?.strip_suffix('`').unwrap();
        let (name, label) = match name.strip_suffix('}') {
            Some(labelled) => labelled.split_once('{').unwrap(),
            None => (name, ""),
        };
        let label = Some(label.to_owned()).filter(|label| !label.is_empty());
        let (kind, unit) = (cells.next().unwrap(), cells.next().unwrap());
        let meaning = cells.next().unwrap();
        assert!(meaning.ends_with('.'), "{line}");
        Some((name.to_owned(), label, kind.to_owned(), unit.to_owned()))
    });
    rows.collect()
}

/// What was told of each metric: its labels, and those whose value was ever more than nothing.
#[derive(Default)]
struct Told {
    labels: BTreeMap<String, BTreeSet<Option<&'static str>>>,
    more_than_nothing: BTreeSet<String>,
}

impl Told {
    /// Reads the text of the store as well, which must say what the report says.
    fn hear(&mut self, store: &Manager) {
        let report = store.metrics();
        self.add(&report);
        let text = report.to_string();
        let in_text: BTreeSet<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .map(|line| line.split_once(' ').unwrap().0)
            .collect();
        let in_report = report.families.iter().map(|family| family.metric.name);
        assert_eq!(in_text, in_report.collect(), "{text}");
        let values = text.lines().filter(|line| !line.starts_with('#'));
        for line in values {
            let (_, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }

    fn add(&mut self, report: &MetricsReport) {
        for family in &report.families {
            let name = family.metric.name;
            let labels = self.labels.entry(name.to_owned()).or_default();
            for sample in &family.samples {
                labels.insert(sample.label.map(|(label, _)| label));
                let count = match sample.value {
                    MetricValue::Number(number) => number,
                    MetricValue::Summary(summary) => summary.count,
                    _ => 0,
                };
                if 0 < count {
                    self.more_than_nothing.insert(name.to_owned());
                }
            }
        }
    }
}

fn limits() -> Limits {
    let mut limits = Limits::tiny();
    limits.retry_delay_min = Duration::from_millis(1);
    limits.retry_delay_max = Duration::from_millis(2);
    limits.write_retries_max = 2;
    limits.cursor_log_bytes_max = limits.log_bytes_max / 2;
    limits
}

/// Commits of every encoding, reads, a record log, checkpoints, a write that fails once.
fn ordinary_life(rig: &Rig, told: &mut Told) {
    let store = rig.open(limits(), Housekeeping::Manual);
    let db = store.create_database("pages", DbKind::Raw).unwrap();
    let cursor = store.subscribe_commits("replica", CommitsFrom::Oldest, None);
    for page in 1..=40 {
        commit(&db, page, &noise(page.into()));
    }
    commit(&db, 1, &[7; 4096]);
    let mut changed = noise(2);
    changed[100] ^= 1;
    commit(&db, 2, &changed);
    let log = store.create_record_log("log").unwrap();
    let (index, term, payload) = (1, 1, &b"entry"[..]);
    let entry = NewEntry {
        index,
        term,
        payload,
    };
    log.append(&[entry]).unwrap();
    told.hear(&store);
    rig.disk.fail_next(IoOp::WriteDurable, Fault::Error(EIO));
    commit(&db, 3, &noise(1000));
    for _ in 0..3 {
        rig.disk.fail_next(IoOp::Sync, Fault::Error(EIO));
        store.checkpoint().unwrap_err();
    }
    told.hear(&store);
    store.checkpoint().unwrap();
    let read = db.begin_read().unwrap();
    // Often enough that the cache tells what it throws out.
    let rounds = std::iter::repeat_n(1..=40, 100).flatten();
    for page in rounds.chain(40..=40) {
        read.read_page(PageNo::new(page).unwrap()).unwrap();
    }
    store.database("nobody").unwrap_err();
    told.hear(&store);
    drop((read, db, log, cursor.unwrap()));
    store.close(WAIT).unwrap();
}

/// A write that hangs: commits wait behind it, and the call is late.
fn hung_write(rig: &Rig, told: &mut Told) {
    let store = rig.open(Limits::tiny(), Housekeeping::Manual);
    let first = store.create_database("first", DbKind::Raw).unwrap();
    let second = store.create_database("second", DbKind::Raw).unwrap();
    rig.disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    thread::scope(|scope| {
        scope.spawn(|| commit(&first, 1, &noise(1)));
        rig.disk.wait_until_hung(1);
        scope.spawn(|| commit(&second, 1, &noise(2)));
        while store.status().queued_records == 0 {
            thread::yield_now();
        }
        rig.clock.advance(1_000_000_000);
        told.hear(&store);
        rig.disk.release_hung();
    });
    drop((first, second));
    store.close(WAIT).unwrap();
}

/// A write that does not return goes to another segment, by the retry thread.
fn stalled_write(rig: &Rig, told: &mut Told) {
    let mut limits = limits();
    limits.stall_limit = Duration::from_millis(4);
    let store = rig.open(limits, Housekeeping::Background);
    let db = store.create_database("stalls", DbKind::Raw).unwrap();
    rig.disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    thread::scope(|scope| {
        scope.spawn(|| commit(&db, 1, &noise(1)));
        rig.disk.wait_until_hung(1);
        while store
            .metrics()
            .family("bop_log_stalls_total")
            .unwrap()
            .samples[0]
            .value
            == MetricValue::Number(0)
        {
            thread::yield_now();
        }
        rig.disk.release_hung();
    });
    told.hear(&store);
    drop(db);
    store.close(WAIT).unwrap();
}

/// A damaged page of the log closes its database, and what it needs is set aside.
fn damage(rig: &Rig, told: &mut Told) {
    let store = rig.open(limits(), Housekeeping::Manual);
    let db = store.create_database("hit", DbKind::Raw).unwrap();
    commit(&db, 1, &noise(77));
    let other = store.create_database("other", DbKind::Raw).unwrap();
    for page in 1..=20 {
        commit(&other, page, &noise(u64::from(page) + 100));
    }
    let image = Rig {
        disk: rig.disk.crash_image_keeping_all(),
        manifest: rig.manifest.snapshot(),
        ..Rig::new()
    };
    let page = noise(77);
    let found = image.disk.files().into_iter().find_map(|(path, _)| {
        let bytes = image.disk.read_raw(&path);
        let at = bytes.windows(64).position(|window| *window == page[..64]);
        at.map(|at| (path, at as u64))
    });
    let (path, at) = found.unwrap();
    image.disk.flip(&path, at, 1);
    let store = image.open(limits(), Housekeeping::Manual);
    store.database("hit").unwrap_err();
    store.checkpoint().unwrap();
    told.hear(&store);
}

/// A scrub that succeeds, and one that waits for a device that cannot be read.
fn jobs(rig: &Rig, told: &mut Told) {
    let store = rig.open(limits(), Housekeeping::Manual);
    let db = store.create_database("scrubbed", DbKind::Raw).unwrap();
    commit(&db, 1, &noise(5));
    store.checkpoint().unwrap();
    let job = store.scrub_once(Some("scrubbed"), [1; 16]).unwrap();
    store.wait_for_job(job, WAIT).unwrap();
    rig.disk
        .fail_read_at(rig.disk.read_count(), Fault::Sticky(EIO));
    store.scrub_once(Some("scrubbed"), [2; 16]).unwrap();
    store.keep_house();
    told.hear(&store);
}

/// A fork and a snapshot, a backup that is verified. The directory of the backups is a real one.
fn past_and_backups(rig: &Rig, told: &mut Told) {
    let store = rig.open(limits(), Housekeeping::Manual);
    let db = store.create_database("source", DbKind::Raw).unwrap();
    commit(&db, 1, &noise(6));
    store.fork_database("source", "fork", &At::Now).unwrap();
    store
        .snapshot_database("source", "named", &At::Now)
        .unwrap();
    let (dir, options) = (tempfile::tempdir().unwrap(), BackupOptions::new());
    store.backup(dir.path(), &options, &mut |_| ()).unwrap();
    let restored = Options::new().limits(limits());
    Manager::verify_backup(dir.path(), None, &restored, &options, &mut |_| ()).unwrap();
    told.hear(&store);
}

/// A store with a long log whose device has no room for the reserve that is to be held beside that.
fn full_device(rig: &Rig, told: &mut Told) {
    let mut without = limits();
    without.checkpoint_reserve_bytes_max = 0;
    let store = rig.open(without, Housekeeping::Manual);
    let db = store.create_database("long", DbKind::Raw).unwrap();
    (1..=20).for_each(|page| commit(&db, page, &noise(page.into())));
    drop(db);
    store.close(WAIT).unwrap();
    let used = rig.disk.files().iter().map(|(_, bytes)| bytes).sum();
    rig.disk.set_capacity(Some(used));
    told.hear(&rig.open(limits(), Housekeeping::Manual));
}

/// A checkpoint that others commit beside.
fn crowded_checkpoint(rig: &Rig, told: &mut Told) {
    let store = rig.open(Limits::default(), Housekeeping::Manual);
    checkpoint_beside_commits(&store);
    told.hear(&store);
}

/// Commits into a log whose last quarter fills.
fn nearly_full_log(rig: &Rig, told: &mut Told) {
    let store = rig.open(limits(), Housekeeping::Manual);
    let db = store.create_database("fast", DbKind::Raw).unwrap();
    let paced = || number(&store.metrics(), "bop_log_paced_commits_total");
    // With these it is nearly full, not quite.
    let mut commits = 1..220;
    while paced() == 0 {
        let nth = commits.next().unwrap();
        commit(&db, nth, &noise(nth.into()));
    }
    told.hear(&store);
}

/// A device that never takes a write again.
fn poison(rig: &Rig, told: &mut Told) {
    let store = rig.open(limits(), Housekeeping::Manual);
    let db = store.create_database("last", DbKind::Raw).unwrap();
    rig.disk.fail_in(0, Fault::Sticky(EIO));
    let mut write = db.begin_write(WAIT).unwrap();
    write.write_page(PageNo::FIRST, &noise(1)).unwrap();
    write.commit().unwrap_err();
    told.hear(&store);
}

#[test]
fn every_documented_metric_is_told_and_every_told_one_documented() {
    let mut told = Told::default();
    ordinary_life(&Rig::new(), &mut told);
    hung_write(&Rig::new(), &mut told);
    stalled_write(&Rig::new(), &mut told);
    damage(&Rig::new(), &mut told);
    jobs(&Rig::new(), &mut told);
    past_and_backups(&Rig::new(), &mut told);
    full_device(&Rig::new(), &mut told);
    crowded_checkpoint(&Rig::new(), &mut told);
    nearly_full_log(&Rig::new(), &mut told);
    poison(&Rig::new(), &mut told);

    let mut named = BTreeSet::new();
    for (name, label, ..) in documented() {
        assert!(
            told.more_than_nothing.contains(&name),
            "{name} is documented, and nothing was ever told of it"
        );
        let labels: Vec<_> = told.labels[&name].iter().copied().collect();
        assert_eq!(labels, [label.as_deref()], "the label of {name}");
        named.insert(name);
    }
    for name in told.labels.keys() {
        assert!(named.contains(name), "{name} is not in docs/metrics.md");
    }
}

#[test]
fn the_table_has_types_and_units_of_the_code_in_its_order() {
    let in_code: Vec<_> = METRICS
        .iter()
        .map(|metric| {
            let kind = metric.kind.as_str().to_owned();
            (metric.name.to_owned(), kind, metric.unit.to_owned())
        })
        .collect();
    let in_doc: Vec<_> = documented()
        .into_iter()
        .map(|(name, _, kind, unit)| (name, kind, unit))
        .collect();
    assert_eq!(in_doc, in_code);
}
