//! The situations that documents for operators are about, each made for real: what is damaged is damaged on disk, what
//! fails fails under an application that has the store open.
//!
//! Invariant: a stage ends when it is dropped: who has the store open closes it, what was mounted is gone.
//!
//! Never: waits for a situation without an end: see [`wait_until`].

use super::application::Application;
use super::damages;
use super::faulty_disk::EIO;
use crate::full_disk::{SmallDisk, fill};
use crate::store::Store;
use bop_storage::{CommitsFrom, Housekeeping, Limits};
use std::any::Any;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Where documents have the store, its backups, and other things.
const SHOWN: [(&str, &str); 4] = [
    ("/var/lib/shop", "store"),
    ("/var/backups/shop", "backups"),
    ("/srv/other", "other"),
    ("/srv/shop.damaged", "damaged"),
];

/// How long a situation may take to come about.
const PATIENCE: Duration = Duration::from_secs(60);

/// A situation.
pub(super) struct Stage {
    /// What the documents' commands use, in the order in which it ends.
    kept: Vec<Box<dyn Any>>,
    files: Store,
    /// Where the store is, if not there.
    root: Option<PathBuf>,
}

impl Stage {
    fn new() -> Self {
        Self {
            kept: Vec::new(),
            files: Store::new(),
            root: None,
        }
    }

    fn keep(mut self, what: impl Any) -> Self {
        self.kept.push(Box::new(what));
        self
    }

    /// Whoever has the store open ends.
    pub(super) fn stop(&mut self) {
        // In their order.
        for each in self.kept.drain(..) {
            drop(each);
        }
    }

    /// An application opens the store.
    pub(super) fn start(&mut self) {
        let application = Application::open(&self.store(), bop_storage::Options::new());
        self.kept.push(Box::new(application));
    }

    /// Where commands are run.
    pub(super) fn dir(&self) -> &Path {
        self.root.as_deref().unwrap_or(self.files.path())
    }

    /// The store.
    pub(super) fn store(&self) -> PathBuf {
        self.dir().join("store")
    }

    /// Its backups.
    pub(super) fn backups(&self) -> PathBuf {
        self.dir().join("backups")
    }

    /// A command with the paths that there are.
    pub(super) fn to_real(&self, text: &str) -> String {
        let real = |name: &str| self.dir().join(name).display().to_string();
        SHOWN.iter().fold(text.to_owned(), |text, (shown, name)| {
            text.replace(shown, &real(name))
        })
    }

    /// What was printed, with the paths of the documents.
    pub(super) fn to_shown(&self, text: &str) -> String {
        let real = |name: &str| self.dir().join(name).display().to_string();
        SHOWN.iter().fold(text.to_owned(), |text, (shown, name)| {
            text.replace(&real(name), shown)
        })
    }

    /// Runs `bop` on it, which must succeed.
    pub(super) fn bop(&self, arguments: &[&str]) {
        let store = self.store();
        let arguments = [&["--store", store.to_str().unwrap()], arguments].concat();
        self.files.ok(&arguments);
    }

    /// Makes one.
    pub(super) fn back_up(&self) {
        let backups = self.backups();
        self.bop(&["backup", backups.to_str().unwrap()]);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Before the files are gone.
        self.stop();
    }
}

/// Sets the stage of that name; `None` if there is none, and in it `None`, loudly, where it cannot be set here.
pub(super) fn set(name: &str) -> Option<Option<Stage>> {
    Some(Some(match name {
        "stopped" => stopped(),
        "running" => running(Stage::new(), |_| {}),
        "backed-up" => backed_up(),
        "stopped-backed-up" => stopped_backed_up(),
        "killed" => killed(),
        "kept-to-itself" => kept_to_itself(),
        "old-reader" => old_reader(),
        "quota" => with_quota("70KiB", 14),
        "over-quota" => with_quota("32KiB", 6),
        "lost-cursor" => lost_cursor(),
        "job-waiting" => job_waiting(),
        "forgotten" => forgotten(),
        "inserts" => inserts(),
        "log-at-cap" => log_at_cap(),
        "poisoned" => poisoned(),
        "stalled" => stalled(),
        "failing-checkpoints" => failing_checkpoints(),
        "full-disk" => return Some(full_disk()),
        "damaged-chunk" => damages::damaged_chunk(Stage::new()),
        "damaged-chunk-backed-up" => damages::damaged_chunk(stopped_backed_up()),
        "damaged-log" => damages::damaged_log(),
        "lost-manifest" => damages::lost_manifest(),
        "lost-superblock" => damages::lost_superblock(),
        "damaged-backup" => damages::damaged_backup(),
        "lost-backup" => damages::lost_backup(),
        "newer-format" => damages::newer_format(),
        "no-store" => Stage::new(),
        "not-a-store" => not_a_store(),
        _ => return None,
    }))
}

/// Waits for a situation.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "not {what}");
        std::thread::yield_now();
    }
}

/// The store of a shop, of which a part is in chunks and a part in the log; nobody has it open.
pub(super) fn stopped() -> Stage {
    fill_shop(Stage::new())
}

pub(super) fn fill_shop(stage: Stage) -> Stage {
    fill_shop_with(stage, bop_storage::Options::new())
}

fn fill_shop_with(stage: Stage, options: bop_storage::Options) -> Stage {
    let application = Application::open(&stage.store(), options);
    application.sql("invoices", "create table t(x)");
    application.sql(
        "orders",
        "create table lines(what); insert into lines values ('tea'), ('bread')",
    );
    application.checkpoint();
    application.sql("orders", "insert into lines values ('a-word-of-its-own')");
    application.sql("orders", "insert into lines values ('milk')");
    drop(application);
    stage
}

/// The same, and an application has it open.
fn running(stage: Stage, change: impl FnOnce(&mut Limits)) -> Stage {
    let stage = fill_shop(stage);
    let mut limits = Limits::default();
    change(&mut limits);
    let application = Application::open(&stage.store(), bop_storage::Options::new().limits(limits));
    stage.keep(application)
}

pub(super) fn backed_up() -> Stage {
    let stage = stopped_backed_up();
    let application = Application::open(&stage.store(), bop_storage::Options::new());
    stage.keep(application)
}

pub(super) fn stopped_backed_up() -> Stage {
    let stage = stopped();
    stage.back_up();
    let backups = stage.backups();
    stage.bop(&["backup", "verify", backups.to_str().unwrap()]);
    stage
}

/// `bop sql orders` at the other end of a pipe.
struct Process(Child);

impl Process {
    fn of(stage: &Stage, options: &[&str], sql: &str) -> Self {
        let store = stage.store();
        let arguments = [
            options,
            &["--store", store.to_str().unwrap(), "sql", "orders"],
        ]
        .concat();
        let mut command = stage.files.command(&arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "{sql};\nselect 'done';").unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(output.any(|line| line.unwrap() == "done"));
        Self(child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that is gone already need not be ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn killed() -> Stage {
    let stage = stopped();
    drop(Process::of(&stage, &[], "insert into lines values ('jam')"));
    stage
}

fn kept_to_itself() -> Stage {
    let stage = stopped();
    let process = Process::of(&stage, &["--control", "off"], "select 1");
    stage.keep(process)
}

/// Somebody has begun to read, and does not end; others write.
fn old_reader() -> Stage {
    let stage = stopped();
    let application = Application::open(&stage.store(), bop_storage::Options::new());
    let reader = application.connect("orders");
    reader.execute_batch("begin").unwrap();
    let read = reader.query_row("select count(*) from lines", [], |row| row.get::<_, u64>(0));
    assert_eq!(read.unwrap(), 4);
    application.sql("orders", "insert into lines values ('jam')");
    stage.keep(reader).keep(application)
}

/// A database of so many pages and the two of its schema, with that quota.
fn with_quota(quota: &str, pages: usize) -> Stage {
    let stage = stopped();
    let application = Application::open(&stage.store(), bop_storage::Options::new());
    let row = "insert into lines values (zeroblob(3500));".repeat(pages);
    application.sql("orders", &row);
    let stage = stage.keep(application);
    stage.bop(&["quota", "orders", quota]);
    stage
}

/// A subscriber for whom nothing is kept, and who was away.
fn lost_cursor() -> Stage {
    let stage = running(Stage::new(), |limits| limits.cursor_log_bytes_max = 0);
    let application = stage.kept[0].downcast_ref::<Application>().unwrap();
    let manager = application.manager();
    let cursor = manager.subscribe_commits("replica", CommitsFrom::Newest, None);
    drop(cursor.unwrap());
    wait_until("a cursor is lost", || {
        application.sql("orders", "insert into lines values (zeroblob(100000))");
        application.checkpoint();
        manager.cursors().iter().any(|cursor| cursor.lost)
    });
    stage
}

/// A scrub that nobody has begun.
fn job_waiting() -> Stage {
    let stage = stopped();
    let options = bop_storage::Options::new().housekeeping(Housekeeping::Manual);
    let application = Application::open(&stage.store(), options);
    application.manager().scrub(None).unwrap();
    stage.keep(application)
}

/// A database that was dropped, and a snapshot, of which nobody has thought for long.
fn forgotten() -> Stage {
    let stage = running(Stage::new(), |_| {});
    stage.bop(&["create", "old"]);
    stage.bop(&["drop", "old", "--yes"]);
    stage.bop(&["snapshot", "create", "orders", "before"]);
    stage
}

/// Inserts in a file, each a commit of its own.
fn inserts() -> Stage {
    let stage = running(Stage::new(), |_| {});
    let row = format!("insert into lines values ('{}');\n", "x".repeat(100));
    fs::write(stage.dir().join("inserts.sql"), row.repeat(1000)).unwrap();
    stage
}

/// A log that nobody releases has reached its cap.
fn log_at_cap() -> Stage {
    let mut limits = Limits::tiny();
    limits.writer_wait = Duration::from_millis(50);
    let options = bop_storage::Options::new()
        .limits(limits)
        .housekeeping(Housekeeping::Manual);
    let stage = fill_shop_with(Stage::new(), options.clone());
    let application = Application::open(&stage.store(), options);
    let db = application.connect("invoices");
    wait_until("the log is full", || {
        db.execute("insert into t values (randomblob(3000))", [])
            .is_err()
    });
    drop(db);
    stage.keep(application)
}

/// An application, and what it does not get done before the device fails below `dir`.
fn faulty(dir: &'static str, change: impl FnOnce(&mut Limits)) -> (Stage, Application) {
    let stage = stopped();
    let mut limits = Limits::default();
    limits.retry_delay_min = Duration::from_millis(1);
    limits.retry_delay_max = Duration::from_millis(4);
    change(&mut limits);
    let application = Application::on_faulty_disk(&stage.store(), dir, limits);
    (stage, application)
}

/// The device refuses all writes of the log.
fn poisoned() -> Stage {
    let (stage, application) = faulty("log", |_| {});
    application.faults().fail(EIO);
    let db = application.connect("orders");
    let refused = db.execute("insert into lines values ('lost')", []);
    refused.unwrap_err();
    wait_until("poisoned", || {
        let health = application.manager().status().health;
        matches!(health, bop_storage::Health::Poisoned(_))
    });
    drop(db);
    // As a device does that failed for a moment.
    application.faults().heal();
    stage.keep(application)
}

/// A write of the log does not return.
fn stalled() -> Stage {
    let (stage, mut application) = faulty("log", |limits| {
        limits.io_deadline = Duration::from_millis(50);
        // No sooner than the test ends.
        limits.stall_limit = Duration::from_secs(600);
    });
    application.faults().hang();
    application.commit_aside("orders", "insert into lines values ('slow')");
    wait_until("stalled", || {
        !application.manager().status().stalled_calls.is_empty()
    });
    stage.keep(application)
}

/// The device refuses to write chunks.
fn failing_checkpoints() -> Stage {
    let (stage, application) = faulty("scratch", |_| {});
    application.faults().fail(EIO);
    application.sql("orders", "insert into lines values ('jam')");
    wait_until("left alone", || {
        // Each of them fails.
        let _ = application.manager().checkpoint();
        let breakers = application.manager().status().breakers;
        breakers.iter().any(|breaker| breaker.opened > 0)
    });
    stage.keep(application)
}

fn full_disk() -> Option<Stage> {
    let disk = SmallDisk::mount(24)?;
    let root = disk.path("");
    let mut stage = Stage::new();
    stage.root = Some(root);
    let stage = fill_shop(stage);
    let application = Application::open(&stage.store(), bop_storage::Options::new());
    fill(&stage.dir().join("other"));
    let db = application.connect("orders");
    wait_until("full", || {
        db.execute("insert into lines values (randomblob(100000))", [])
            .is_err()
    });
    drop(db);
    Some(stage.keep(application).keep(disk))
}

fn not_a_store() -> Stage {
    let stage = Stage::new();
    fs::create_dir(stage.store()).unwrap();
    fs::write(stage.store().join("letter.txt"), "dear").unwrap();
    stage
}
