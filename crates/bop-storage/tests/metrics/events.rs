//! What the metrics say of what happened.

use crate::rig::{
    Rig, WAIT, checkpoint_beside_commits, commit, fill, noise, number, of_label, rests, summary,
};
use bop_storage::io::IoOp;
use bop_storage::io::errno::EIO;
use bop_storage::testing::Fault;
use bop_storage::{DbKind, Housekeeping, Limits, Manager};
use std::thread;

#[test]
fn a_batch_is_measured_once_with_all_that_is_in_it() {
    let rig = Rig::new();
    let store = rig.open(Limits::tiny(), Housekeeping::Manual);
    let names = ["first", "second", "third"];
    let databases = names.map(|name| store.create_database(name, DbKind::Raw).unwrap());
    let before = store.metrics();
    // Two wait while one is being written: two writes for three commits.
    rig.disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    thread::scope(|scope| {
        scope.spawn(|| commit(&databases[0], 1, &noise(1)));
        rig.disk.wait_until_hung(1);
        for db in &databases[1..] {
            scope.spawn(move || commit(db, 1, &noise(2)));
        }
        while store.status().queued_records < 2 {
            thread::yield_now();
        }
        let now = store.metrics();
        assert_eq!(number(&now, "bop_log_queue_records"), 2);
        let queued = number(&now, "bop_log_queue_bytes");
        assert!(2 * 4096 < queued, "{queued}");
        let in_flight = number(&now, "bop_log_backlog_bytes") - queued;
        assert!(4096 < in_flight && in_flight <= 3 * 4096, "{in_flight}");
        rig.disk.release_hung();
    });
    let after = store.metrics();
    let grown = |name| {
        let (after, before) = (summary(&after, name), summary(&before, name));
        (after.count - before.count, after.sum - before.sum)
    };
    assert_eq!(grown("bop_log_commits_per_write"), (2, 3.0));
    assert_eq!(grown("bop_log_batch_records"), (2, 3.0));
    let (writes, bytes) = grown("bop_log_batch_bytes");
    assert!(writes == 2 && 3.0 * 4096.0 < bytes, "{bytes}");
    assert_eq!(grown("bop_log_write_seconds").0, 2);
    // The flush of a batch has its write inside.
    let (flushes, seconds) = grown("bop_log_flush_seconds");
    assert!(flushes == 2 && grown("bop_log_write_seconds").1 <= seconds);
    let commits = |report| number(report, "bop_log_commits_total");
    assert_eq!(commits(&after) - commits(&before), 3);
    assert_eq!(number(&after, "bop_log_queue_records"), 0);
    assert_eq!(number(&after, "bop_log_backlog_bytes"), 0);
}

#[test]
fn notes_are_records_and_no_commits() {
    let rig = Rig::new();
    let store = rig.open(Limits::tiny(), Housekeeping::Manual);
    store.create_database("one", DbKind::Raw).unwrap();
    let before = store.metrics();
    store.keep_house();
    let after = store.metrics();
    let records = |report| summary(report, "bop_log_batch_records").sum;
    assert!(records(&before) < records(&after));
    let commits = |report| number(report, "bop_log_commits_total");
    assert_eq!((commits(&before), commits(&after)), (1, 1));
}

#[test]
fn a_failed_write_its_rewrites_and_the_error_are_counted_by_kind() {
    let rig = Rig::new();
    let mut limits = Limits::tiny();
    limits.write_retries_max = 3;
    let store = rig.open(limits, Housekeeping::Manual);
    let db = store.create_database("one", DbKind::Raw).unwrap();
    rig.disk.fail_next(IoOp::WriteDurable, Fault::Error(EIO));
    commit(&db, 1, &noise(1));
    let healed = store.metrics();
    assert_eq!(of_label(&healed, "bop_log_write_failures_total", "io"), 1);
    assert_eq!(of_label(&healed, "bop_log_rewrites_total", "io"), 1);
    assert_eq!(number(&healed, "bop_log_poisoned"), 0);
    let errors = |code| of_label(&store.metrics(), "bop_errors_total", code);
    assert_eq!(errors("commit_unknown"), 0);

    rig.disk.fail_in(0, Fault::Sticky(EIO));
    let mut write = db.begin_write(WAIT).unwrap();
    write
        .write_page(bop_storage::PageNo::FIRST, &noise(2))
        .unwrap();
    write.commit().unwrap_err();
    let poisoned = store.metrics();
    // The write, and three attempts to make it good.
    let failures = |kind| of_label(&poisoned, "bop_log_write_failures_total", kind);
    assert_eq!(failures("io") + failures("no_segment"), 1 + 4);
    let rewrites = |kind| of_label(&poisoned, "bop_log_rewrites_total", kind);
    assert_eq!(rewrites("io") + rewrites("no_segment"), 1 + 3);
    assert_eq!(number(&poisoned, "bop_log_poisoned"), 1);
    assert_eq!(errors("commit_unknown"), 1);
    db.begin_write(WAIT).unwrap_err();
    assert_eq!(errors("poisoned"), 1);
}

#[test]
fn two_stores_of_a_process_are_not_mixed() {
    let (one, other) = (Rig::new(), Rig::new());
    let open = |rig: &Rig| rig.open(Limits::tiny(), Housekeeping::Manual);
    let (one, other) = (open(&one), open(&other));
    one.create_database("a", DbKind::Raw).unwrap();
    one.create_database("b", DbKind::Raw).unwrap();
    other.database("a").unwrap_err();
    let commits = |store: &Manager| number(&store.metrics(), "bop_log_commits_total");
    assert_eq!((commits(&one), commits(&other)), (2, 0));
    let errors =
        |store: &Manager| of_label(&store.metrics(), "bop_errors_total", "database_not_found");
    assert_eq!((errors(&one), errors(&other)), (0, 1));
}

#[test]
fn the_text_is_what_prometheus_reads_and_names_no_database() {
    let rig = Rig::new();
    let store = rig.open(Limits::tiny(), Housekeeping::Manual);
    store.create_database("secret-name", DbKind::Raw).unwrap();
    let text = store.metrics_text();
    let expected = "# HELP bop_log_commits_total Commits that became durable (commits).\n\
        # TYPE bop_log_commits_total counter\n\
        bop_log_commits_total 1\n";
    assert!(text.contains(expected), "{text}");
    assert!(
        text.contains("\nbop_errors_total{code=\"busy\"} 0\n"),
        "{text}"
    );
    assert!(text.contains("\nbop_log_commits_per_write{quantile=\"0.99\"} 1\n"));
    assert!(
        text.contains("\nbop_log_commits_per_write_sum 1\n"),
        "{text}"
    );
    assert!(text.contains("\nbop_checkpoint_seconds{quantile=\"0.5\"} NaN\n"));
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn a_checkpoint_rests_where_somebody_commits_and_nowhere_else() {
    let rig = Rig::new();
    let store = rig.open(Limits::default(), Housekeeping::Manual);
    fill(&store.create_database("large", DbKind::Raw).unwrap());
    store.checkpoint().unwrap();
    assert_eq!(rests(&store), 0);
    checkpoint_beside_commits(&store);
    assert!(rests(&store) > 0);
}
