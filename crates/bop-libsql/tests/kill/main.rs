//! SIGKILL of a process that writes: what it was told is durable is there, and nothing else.
//!
//! ```text
//!  parent                          child: two writers, four databases
//!    starts it ------------------>   opens the store (recovers it)
//!    reads its announcements <----   "pending ..." "committing ..." "done ..." , over and over
//!    SIGKILL at a random moment,
//!    mostly in a COMMIT --------->   gone
//!    reads the pipe to its end
//!    opens the store, compares it with what was announced, looks at its size
//! ```
//!
//! Each child reads and writes files by a backend of its own, those that are to be had here in turn:
//! what one wrote another recovers.
//!
//! Two stores, each of which lives through half of the kills, so that its log is recovered, rolled,
//! checkpointed and recycled many times over.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod child;
mod model;

use bop_libsql::{Options, Store};
use bop_storage::Lsn;
use bop_storage::io::IoBackend;
use child::{CHILD_DIR, CHILD_FIRST, CHILD_IO, CHILD_SEED, WRITERS};
use common::Random;
use common::process::{announced, arguments_for, occupied_bytes, this_binary};
use model::{DATABASES, Model};
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const KILLS: u32 = 200;
const STORES: u32 = 2;
const STORE_BYTES_MAX: u64 = 100 << 20;
const SIGKILL: i32 = 9;
/// What a run must have met at least; each is far below what it meets.
const CHECKPOINTS_MIN: u32 = 10;
const FOUND_MIN: u32 = 10;
const ACKNOWLEDGED_MIN: u64 = 500;

/// Held while a child is started and while a store is left: until it runs its program, a child has
/// the descriptors of the other store too, and with them its lock.
static FORKING: Mutex<()> = Mutex::new(());

/// The child's side; does nothing in an ordinary run.
#[test]
fn child_writes_until_it_is_killed() {
    child::run_if_asked();
}

#[test]
fn every_acknowledged_commit_survives_sigkill_and_nothing_else_does() {
    let mut random = Random::new();
    println!("BOP_SEED={}", random.seed());
    let backends = backends();
    let mut counts = Counts::default();
    // Side by side: much of the time of a kill is spent waiting for the disk.
    std::thread::scope(|scope| {
        let stores: Vec<_> = (0..STORES)
            .map(|_| Random::seeded(random.next()))
            .map(|random| scope.spawn(|| kill_again_and_again(random, &backends)))
            .collect();
        for store in stores {
            counts.add(&store.join().unwrap());
        }
    });
    println!("{counts:?}");
    assert!(counts.kills == KILLS && counts.with_commit_in_flight * 2 >= KILLS);
    assert!(counts.with_checkpoint_in_flight >= CHECKPOINTS_MIN);
    assert!(counts.found >= FOUND_MIN);
    assert!(counts.acknowledged >= ACKNOWLEDGED_MIN);
}

/// The life of one store.
fn kill_again_and_again(mut random: Random, backends: &[IoBackend]) -> Counts {
    let dir = TempDir::new().unwrap();
    create_databases(dir.path());
    let mut model = Model::default();
    let mut counts = Counts::default();
    for kill in 0..KILLS / STORES {
        let io = backends[kill as usize % backends.len()];
        if random.below(8) == 0 {
            // Killed while it recovers or makes segments; it is not told to write anything.
            kill_one(dir.path(), io, &mut random, &mut model, Moment::Opening);
            counts.openings += 1;
        }
        let events = 1 + random.below(60);
        let moment = match random.below(4) {
            0 => Moment::Events(events),
            _ => Moment::Committing(events),
        };
        let killed = kill_one(dir.path(), io, &mut random, &mut model, moment);
        counts.add_kill(&killed);
        counts.found += check_store(dir.path(), &mut model, random.below(2) == 0);
        let bytes = occupied_bytes(dir.path());
        assert!(bytes < STORE_BYTES_MAX, "the store occupies {bytes} bytes");
        counts.bytes_max = counts.bytes_max.max(bytes);
    }
    counts.acknowledged = model.acknowledged();
    let truncated = Store::open(dir.path(), Options::new())
        .unwrap()
        .manager()
        .status()
        .truncated;
    println!("log truncated to {truncated}");
    assert!(truncated > Lsn::ZERO, "no segment was ever released");
    counts
}

/// The backends that are to be had here.
fn backends() -> Vec<IoBackend> {
    let works = |io: &IoBackend| {
        let dir = TempDir::new().unwrap();
        let opened = Store::open(dir.path(), Options::new().io(*io));
        if let Err(error) = &opened {
            eprintln!("SKIPPED: no process by {io} is killed: {error}");
        }
        opened.is_ok()
    };
    IoBackend::ALL.into_iter().filter(works).collect()
}

/// When a child is killed.
enum Moment {
    /// While it opens the store.
    Opening,
    /// After so many announcements of its writers.
    Events(u64),
    /// The same, and inside a COMMIT.
    Committing(u64),
}

/// What a child was doing when it was killed.
struct Killed {
    commits: usize,
    checkpointing: bool,
}

#[derive(Debug, Default)]
struct Counts {
    kills: u32,
    with_commit_in_flight: u32,
    with_checkpoint_in_flight: u32,
    openings: u32,
    /// Commits that were in flight and turned out to be durable.
    found: u32,
    acknowledged: u64,
    bytes_max: u64,
}

impl Counts {
    fn add_kill(&mut self, killed: &Killed) {
        self.kills += 1;
        self.with_commit_in_flight += u32::from(killed.commits > 0);
        self.with_checkpoint_in_flight += u32::from(killed.checkpointing);
    }

    fn add(&mut self, other: &Self) {
        self.kills += other.kills;
        self.with_commit_in_flight += other.with_commit_in_flight;
        self.with_checkpoint_in_flight += other.with_checkpoint_in_flight;
        self.openings += other.openings;
        self.found += other.found;
        self.acknowledged += other.acknowledged;
        self.bytes_max = self.bytes_max.max(other.bytes_max);
    }
}

fn create_databases(dir: &Path) {
    let store = Store::open(dir, Options::new()).unwrap();
    for name in DATABASES {
        let connection = store.connect(name).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE entry(writer, number, position, payload BLOB);
                 CREATE INDEX entry_by_number ON entry(writer, number);",
            )
            .unwrap();
    }
    let _alone = FORKING.lock().unwrap();
    drop(store);
}

/// Runs a child, kills it, and tells the model what it announced.
fn kill_one(
    dir: &Path,
    io: IoBackend,
    random: &mut Random,
    model: &mut Model,
    moment: Moment,
) -> Killed {
    let first = match moment {
        Moment::Opening => None,
        Moment::Events(_) | Moment::Committing(_) => Some(model.next_numbers()),
    };
    let mut child = start(dir, io, random, first);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (wanted, events, delay_us) = match moment {
        Moment::Opening => ("opening", 1, 10_000),
        Moment::Events(events) => ("", events, 1_500),
        // Shorter than a durable write.
        Moment::Committing(events) => ("committing", events, 100),
    };
    hear(&mut lines, model, |line, heard| {
        line.starts_with(wanted) && heard >= events
    });
    let moment = Instant::now() + Duration::from_micros(random.below(delay_us));
    while Instant::now() < moment {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    // What it said before it died is still in the pipe.
    hear(&mut lines, model, |_, _| false);
    let status = child.wait().unwrap();
    assert_eq!(
        status.signal(),
        Some(SIGKILL),
        "the child ended by itself: {status}"
    );
    Killed {
        commits: model.committing_count(),
        checkpointing: model.take_checkpoints() > 0,
    }
}

/// Starts a child that writes from these numbers on.
fn start(dir: &Path, io: IoBackend, random: &mut Random, first: Option<String>) -> Child {
    let _alone = FORKING.lock().unwrap();
    Command::new(this_binary())
        .args(arguments_for("child_writes_until_it_is_killed"))
        .env(CHILD_DIR, dir)
        .env(CHILD_IO, io.as_str())
        .env(CHILD_SEED, random.next().to_string())
        .envs(first.map(|first| (CHILD_FIRST, first)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Takes in announcements until `enough` says so or the pipe ends. `enough` gets a line and how
/// many announcements of writers there were.
fn hear(
    lines: &mut Lines<BufReader<ChildStdout>>,
    model: &mut Model,
    mut enough: impl FnMut(&str, u64) -> bool,
) {
    let mut heard = 0;
    for line in lines {
        let line = line.unwrap();
        let Some(what) = announced(&line) else {
            continue;
        };
        heard += 1;
        model.hear(what);
        if enough(what, heard) {
            return;
        }
    }
}

/// Opens the store and compares it with the model. Returns how many commits in flight are there.
fn check_store(dir: &Path, model: &mut Model, close: bool) -> u32 {
    let store = Store::open(dir, Options::new()).unwrap();
    let mut found = 0;
    for name in DATABASES {
        let connection = store.connect(name).unwrap();
        assert_eq!(common::integrity(&connection), "ok", "{name}");
        found += model.compare(name, &connection);
    }
    model.settled();
    let _alone = FORKING.lock().unwrap();
    if close {
        store.manager().close(Duration::from_secs(30)).unwrap();
    }
    drop(store);
    found
}
