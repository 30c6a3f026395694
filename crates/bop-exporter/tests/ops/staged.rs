//! A fault behind each alert: the alert fires while it lasts, and is gone after it.
//!
//! Each fault has a store of its own, and all of them are scraped by one Prometheus at the same time.

use crate::files::alert_names;
use crate::prometheus::Prometheus;
use crate::stage::{Ground, Stage, WAIT, back_up, commit, noise};
use bop_storage::error::ErrorCode;
use bop_storage::io::IoOp;
use bop_storage::io::errno::EIO;
use bop_storage::testing::{Fault, SimDisk};
use bop_storage::{Housekeeping, Limits, NewEntry, PageNo};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeSet;
use std::fs::File;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// What befalls a store.
type Play = fn(&mut Stage, &Prometheus);

/// Descriptors that this process may have, so that it can run out of them.
const DESCRIPTORS_MAX: u64 = 4096;

/// A store for each fault.
fn all_faults() -> Vec<(Stage, Play)> {
    let tiny = || Stage::new(Limits::tiny());
    let roomy = || Stage::new(Limits::default());
    vec![
        (tiny(), exporter_ends as Play),
        (tiny(), store_does_not_answer),
        (tiny(), checkpoints_fail),
        (tiny(), writes_fail_for_good),
        (roomy(), write_hangs),
        (a_damaged_store(), database_is_damaged),
        (roomy(), quota_is_reached),
        (a_store_that_keeps_house(), writes_fail_now_and_then),
        (a_store_with_a_long_log(), log_is_held),
        (a_store_without_reserve(), device_is_full),
        (roomy_with_small_cache(), reads_do_not_fit_the_cache),
        (tiny(), descriptors_run_out),
        (tiny(), nobody_backs_up),
    ]
}

#[test]
fn each_alert_fires_while_its_fault_lasts_and_is_gone_after_it() {
    let before = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: Some(DESCRIPTORS_MAX.min(before.maximum.unwrap_or(DESCRIPTORS_MAX))),
        ..before
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let (idle, faults) = (Stage::new(Limits::tiny()), all_faults());
    let backups = tempfile::tempdir().unwrap();
    commit(&idle.database("idle"), 1, &noise(1));
    back_up(&idle.store, backups.path(), Limits::tiny());

    let staged = faults.iter().map(|(stage, _)| stage.address);
    let addresses: Vec<_> = staged.clone().chain([idle.address]).collect();
    let staged: Vec<_> = staged.collect();
    let Some(prometheus) = Prometheus::start(&addresses) else {
        return;
    };
    thread::scope(|scope| {
        for (mut stage, play) in faults {
            let prometheus = &prometheus;
            scope.spawn(move || play(&mut stage, prometheus));
        }
    });
    let fired: BTreeSet<String> = staged.iter().flat_map(|at| prometheus.ever(*at)).collect();
    let all: BTreeSet<String> = alert_names().into_iter().collect();
    assert_eq!(fired, all, "an alert that nothing sets off");
    // Descriptors are the process's, and a machine that is busy with other things may scrape late.
    let mut of_idle = prometheus.ever(idle.address);
    of_idle.retain(|alert| alert != "BopDescriptorsLow" && alert != "BopStoreDown");
    assert_eq!(of_idle, BTreeSet::new(), "a store that has nothing to do");
}

fn exporter_ends(stage: &mut Stage, prometheus: &Prometheus) {
    prometheus.is_gone(stage.address, "BopStoreDown", || ());
    stage.hide();
    prometheus.fires(stage.address, "BopStoreDown", None, || ());
    stage.show();
    prometheus.is_gone(stage.address, "BopStoreDown", || ());
}

fn store_does_not_answer(stage: &mut Stage, prometheus: &Prometheus) {
    prometheus.is_gone(stage.address, "BopStoreDown", || ());
    stage.answers.store(false, Ordering::Release);
    prometheus.fires(stage.address, "BopStoreDown", None, || ());
    stage.answers.store(true, Ordering::Release);
    prometheus.is_gone(stage.address, "BopStoreDown", || ());
}

/// Three failures in a row: the work is left alone, and the store unhealthy.
fn checkpoints_fail(stage: &mut Stage, prometheus: &Prometheus) {
    let at = stage.address;
    let alerts = ["BopCheckpointFailing", "BopBreakerOpen", "BopUnhealthy"];
    prometheus.are_gone(at, alerts, || ());
    let db = stage.database("one");
    commit(&db, 1, &noise(1));
    for _ in 0..4 {
        stage.ground.disk.fail_next(IoOp::Sync, Fault::Error(EIO));
        stage.store.checkpoint().unwrap_err();
    }
    prometheus.fires(at, "BopCheckpointFailing", None, || ());
    prometheus.fires(at, "BopBreakerOpen", Some(("work", "checkpoint")), || ());
    let said = prometheus.fires(at, "BopUnhealthy", None, || ());
    assert!(said["description"].contains("breaker_open"), "{said:?}");
    stage.store.checkpoint().unwrap();
    prometheus.are_gone(at, alerts, || ());
}

/// The store takes no commits until it is opened again.
fn writes_fail_for_good(stage: &mut Stage, prometheus: &Prometheus) {
    let at = stage.address;
    prometheus.is_gone(at, "BopLogPoisoned", || ());
    let db = stage.database("one");
    stage.ground.disk.fail_in(0, Fault::Sticky(EIO));
    let mut write = db.begin_write(WAIT).unwrap();
    write.write_page(PageNo::FIRST, &noise(1)).unwrap();
    write.commit().unwrap_err();
    drop(db);
    prometheus.fires(at, "BopLogPoisoned", None, || ());
    stage.hide();
    stage.ground.disk.heal();
    // What it is closed with cannot be written any more.
    let _ = stage.store.close(WAIT);
    stage.store = stage.ground.open(Limits::tiny(), Housekeeping::Manual);
    stage.show();
    prometheus.is_gone(at, "BopLogPoisoned", || ());
}

/// Calls that hang until it is dropped, also by whoever waits in vain for something.
struct Hanging<'a>(&'a SimDisk);

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        self.0.release_hung();
    }
}

/// More than a thousand records wait behind a write that does not return; when it does, it was a slow one.
fn write_hangs(stage: &mut Stage, prometheus: &Prometheus) {
    let at = stage.address;
    let (hung, slow) = (
        ["BopIoStalled", "BopQueueDeep"],
        ["BopWriteSlow", "BopCommitSlow"],
    );
    prometheus.are_gone(at, hung, || ());
    prometheus.are_gone(at, slow, || ());
    let db = stage.database("one");
    let log = stage.store.create_record_log("log").unwrap();
    let disk = &stage.ground.disk;
    disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    thread::scope(|scope| {
        scope.spawn(|| commit(&db, 1, &noise(1)));
        disk.wait_until_hung(1);
        let hanging = Hanging(disk);
        for index in 1..=1100 {
            let (term, payload) = (1, &b"entry"[..]);
            let entry = NewEntry {
                index,
                term,
                payload,
            };
            log.append_with(&[entry], |durable| durable.unwrap())
                .unwrap();
        }
        stage.ground.clock.advance(1_000_000_000);
        prometheus.fire(at, hung);
        prometheus.has_passed(Instant::now(), Duration::from_secs(1));
        drop(hanging);
    });
    prometheus.are_gone(at, hung, || ());
    prometheus.fire(at, slow);
    // So many are fast then that it is one of more than a hundred.
    let mut page = 1;
    let ten_more = || {
        for _ in 0..10 {
            page += 1;
            commit(&db, page, &[7; 4096]);
        }
    };
    prometheus.are_gone(at, slow, ten_more);
}

/// A page that was acknowledged is not what was written.
fn a_damaged_store() -> Stage {
    let whole = Stage::new(Limits::tiny());
    commit(&whole.database("hit"), 1, &noise(77));
    let other = whole.database("other");
    (1..=20).for_each(|page| commit(&other, page, &noise(100 + u64::from(page))));
    let ground = Ground {
        disk: whole.ground.disk.crash_image_keeping_all(),
        manifest: whole.ground.manifest.snapshot(),
        ..Ground::new()
    };
    let start = &noise(77)[..64];
    let files = ground.disk.files().into_iter();
    let found = files.into_iter().find_map(|(path, _)| {
        let bytes = ground.disk.read_raw(&path);
        let at = bytes.windows(64).position(|window| window == start)?;
        Some((path, at as u64))
    });
    let (path, at) = found.unwrap();
    ground.disk.flip(&path, at, 1);
    let store = ground.open(Limits::tiny(), Housekeeping::Manual);
    Stage::of(ground, store)
}

/// It is given up.
fn database_is_damaged(stage: &mut Stage, prometheus: &Prometheus) {
    prometheus.fires(stage.address, "BopDatabaseClosed", None, || ());
    stage.store.drop_database("hit").unwrap();
    prometheus.is_gone(stage.address, "BopDatabaseClosed", || ());
}

/// A commit of every fifty is refused.
fn quota_is_reached(stage: &mut Stage, prometheus: &Prometheus) {
    let at = stage.address;
    let alerts = ["BopErrorRateHigh", "BopQuotaRefusals"];
    prometheus.are_gone(at, alerts, || ());
    let (small, other) = (stage.database("small"), stage.database("other"));
    stage.store.set_quota("small", Some(2 * 4096)).unwrap();
    let mut work = || {
        (0..49).for_each(|_| commit(&other, 1, &[7; 4096]));
        let mut write = small.begin_write(WAIT).unwrap();
        let third = PageNo::new(3).unwrap();
        write.write_page(third, &noise(1)).unwrap();
        let refused = write.commit().unwrap_err();
        assert_eq!(refused.code(), ErrorCode::OverQuota);
    };
    let said = prometheus.fires(at, "BopErrorRateHigh", None, &mut work);
    assert!(said["description"].contains("over_quota"), "{said:?}");
    prometheus.fires(at, "BopQuotaRefusals", None, &mut work);
    stage.store.set_quota("small", None).unwrap();
    let fine = || commit(&other, 1, &[7; 4096]);
    prometheus.are_gone(at, alerts, fine);
}

fn a_store_that_keeps_house() -> Stage {
    let ground = Ground::new();
    let store = ground.open(Limits::tiny(), Housekeeping::Background);
    Stage::of(ground, store)
}

/// Each of these writes is made elsewhere, so nobody but the metrics hears of it.
fn writes_fail_now_and_then(stage: &mut Stage, prometheus: &Prometheus) {
    let at = stage.address;
    prometheus.is_gone(at, "BopWriteRetries", || ());
    let (db, disk) = (stage.database("one"), stage.ground.disk.clone());
    prometheus.fires(at, "BopWriteRetries", None, || {
        disk.fail_next(IoOp::WriteDurable, Fault::Error(EIO));
        commit(&db, 1, &noise(1));
    });
    prometheus.is_gone(at, "BopWriteRetries", || commit(&db, 1, &noise(1)));
}

fn a_store_with_a_long_log() -> Stage {
    let mut limits = Limits::tiny();
    limits.log_sealed_segments_max = 64;
    Stage::new(limits)
}

/// Nobody makes a checkpoint, and somebody reads what was there at the beginning.
fn log_is_held(stage: &mut Stage, prometheus: &Prometheus) {
    let at = stage.address;
    prometheus.is_gone(at, "BopLogNearCap", || ());
    let db = stage.database("one");
    commit(&db, 1, &noise(1));
    let read = db.begin_read().unwrap();
    let mut page = 1;
    while stage.number("bop_log_capped_bytes") * 10 <= stage.number("bop_log_max_bytes") * 8 {
        page += 1;
        commit(&db, page, &noise(page.into()));
    }
    for holder in ["checkpoint", "reader"] {
        let said = prometheus.fires(at, "BopLogNearCap", Some(("by", holder)), || ());
        let summary = &said["summary"];
        assert!(
            summary.ends_with(&format!("held by {holder}.")),
            "{summary}"
        );
    }
    drop(read);
    stage.store.checkpoint().unwrap();
    prometheus.is_gone(at, "BopLogNearCap", || ());
}

/// A log that was longer before there was to be a reserve for it, on a device without more room.
fn a_store_without_reserve() -> Stage {
    let (ground, mut limits) = (Ground::new(), Limits::tiny());
    limits.checkpoint_reserve_bytes_max = 0;
    let before = Stage::of(ground.clone(), ground.open(limits, Housekeeping::Manual));
    let db = before.database("long");
    (1..=20).for_each(|page| commit(&db, page, &noise(page.into())));
    drop(db);
    before.store.close(WAIT).unwrap();
    drop(before);
    ground.disk.set_capacity(Some(ground.used()));
    let store = ground.open(Limits::tiny(), Housekeeping::Manual);
    Stage::of(ground, store)
}

/// Somebody makes room.
fn device_is_full(stage: &mut Stage, prometheus: &Prometheus) {
    prometheus.fires(stage.address, "BopDiskReserveLow", None, || ());
    stage.ground.disk.set_capacity(None);
    stage.store.checkpoint().unwrap();
    prometheus.is_gone(stage.address, "BopDiskReserveLow", || ());
}

fn roomy_with_small_cache() -> Stage {
    let mut limits = Limits::default();
    limits.cache_bytes_max = Limits::tiny().cache_bytes_max;
    Stage::new(limits)
}

/// A few times as many pages are read, in turn, as the cache has room for; then one, again and again.
fn reads_do_not_fit_the_cache(stage: &mut Stage, prometheus: &Prometheus) {
    let at = stage.address;
    prometheus.is_gone(at, "BopCacheThrashing", || ());
    let db = stage.database("one");
    (1..=60).for_each(|page| commit(&db, page, &noise(page.into())));
    stage.store.checkpoint().unwrap();
    let read = db.begin_read().unwrap();
    let look_at = |page: u32| drop(read.read_page(PageNo::new(page).unwrap()).unwrap());
    let all = || (1..=60).for_each(look_at);
    prometheus.fires(at, "BopCacheThrashing", None, all);
    let one = || (1..=60).for_each(|_| look_at(1));
    prometheus.is_gone(at, "BopCacheThrashing", one);
}

/// The process has nearly all files open that it may have.
fn descriptors_run_out(stage: &mut Stage, prometheus: &Prometheus) {
    let at = stage.address;
    prometheus.is_gone(at, "BopDescriptorsLow", || ());
    let most = stage.number("process_max_fds");
    assert!(most <= DESCRIPTORS_MAX, "{most}");
    let mut files = Vec::new();
    while stage.number("process_open_fds") * 100 < most * 87 {
        let more = (0..most / 50).map(|_| File::open("/dev/null").unwrap());
        files.extend(more);
    }
    prometheus.fires(at, "BopDescriptorsLow", None, || ());
    drop(files);
    prometheus.is_gone(at, "BopDescriptorsLow", || ());
}

/// Until somebody does.
fn nobody_backs_up(stage: &mut Stage, prometheus: &Prometheus) {
    let at = stage.address;
    let alerts = ["BopBackupOld", "BopBackupNotVerified"];
    prometheus.fire(at, alerts);
    commit(&stage.database("one"), 1, &noise(1));
    let backups = tempfile::tempdir().unwrap();
    back_up(&stage.store, backups.path(), Limits::tiny());
    prometheus.are_gone(at, alerts, || ());
}
