//! The process that is killed: two writers, each with at most one commit in flight.
//!
//! Invariant: a transaction is announced before it begins, once more before its COMMIT, and again
//! only after that was acknowledged.

use crate::common::Random;
use crate::common::process::Announcer;
use crate::model::{Commit, DATABASES};
use bop_libsql::{Connection, Options, Store};
use bop_storage::Limits;
use bop_storage::io::IoBackend;
use rusqlite::params;
use std::collections::VecDeque;
use std::path::Path;

/// The store's directory: who has this variable is a child.
pub(crate) const CHILD_DIR: &str = "BOP_KILL_CHILD";
/// Where its random numbers start.
pub(crate) const CHILD_SEED: &str = "BOP_KILL_SEED";
/// The number of each writer's first commit, separated by commas. Without it nobody writes.
pub(crate) const CHILD_FIRST: &str = "BOP_KILL_FIRST";
/// How it reads and writes files.
pub(crate) const CHILD_IO: &str = "BOP_KILL_IO";
/// Writers of a child.
pub(crate) const WRITERS: u64 = 2;

/// Commits of one writer that a database keeps; the oldest is removed then.
const ALIVE_MAX: usize = 12;
/// Small, so that a large commit is a chain of several records.
const FRAGMENT_BYTES_MAX: u64 = 32 << 10;

/// The bytes of one row.
pub(crate) fn payload(writer: u64, number: u64, position: u64, bytes: u64) -> Vec<u8> {
    let mut random = Random::seeded(writer << 60 | number << 20 | position);
    let bytes = usize::try_from(bytes).unwrap();
    let words = std::iter::repeat_with(|| random.next().to_le_bytes());
    words.flatten().take(bytes).collect()
}

/// Writes until it is killed, when the variables say so.
pub(crate) fn run_if_asked() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let variable = |name| std::env::var(name).unwrap();
    let seed: u64 = variable(CHILD_SEED).parse().unwrap();
    let first = std::env::var(CHILD_FIRST);
    let pipe = Announcer::on_stdout();
    pipe.say("opening");
    let store = open(Path::new(&dir), variable(CHILD_IO).parse().unwrap());
    pipe.say("open");
    let Ok(first) = first else {
        loop {
            std::thread::park();
        }
    };
    std::thread::scope(|scope| {
        for (writer, first) in (0..WRITERS).zip(first.split(',')) {
            let random = Random::seeded(seed ^ writer);
            let (store, pipe) = (&store, &pipe);
            let next: u64 = first.parse().unwrap();
            scope.spawn(move || Writer::new(store, pipe, writer, next, random).write_on());
        }
    });
}

fn open(dir: &Path, io: IoBackend) -> Store {
    let mut limits = Limits::default();
    limits.fragment_bytes_max = FRAGMENT_BYTES_MAX;
    Store::open(dir, Options::new().limits(limits).io(io)).unwrap()
}

struct Writer<'a> {
    store: &'a Store,
    pipe: &'a Announcer,
    writer: u64,
    next: u64,
    random: Random,
    databases: Vec<(Connection, VecDeque<u64>)>,
}

impl<'a> Writer<'a> {
    fn new(store: &'a Store, pipe: &'a Announcer, writer: u64, next: u64, random: Random) -> Self {
        let databases = DATABASES
            .iter()
            .map(|name| {
                let connection = store.connect(name).unwrap();
                let alive = alive(&connection, writer);
                (connection, alive)
            })
            .collect();
        Self {
            store,
            pipe,
            writer,
            next,
            random,
            databases,
        }
    }

    fn write_on(mut self) {
        loop {
            if self.random.below(40) == 0 {
                self.checkpoint();
            }
            self.commit();
        }
    }

    fn checkpoint(&mut self) {
        self.pipe.say("checkpoint begins");
        self.store.manager().checkpoint().unwrap();
        self.pipe.say("checkpoint ended");
    }

    fn commit(&mut self) {
        let at = usize::try_from(self.random.below(DATABASES.len() as u64)).unwrap();
        // One in sixteen is a chain of fragments.
        let (rows, row_bytes) = match self.random.below(16) {
            0 => (10 + self.random.below(20), 5_000),
            _ => (1 + self.random.below(4), 20 + self.random.below(300)),
        };
        let (connection, alive) = &mut self.databases[at];
        let removes = match alive.len() {
            ALIVE_MAX.. => alive.pop_front().unwrap(),
            _ => 0,
        };
        let commit = Commit {
            writer: self.writer,
            number: self.next,
            database: DATABASES[at].to_owned(),
            rows,
            row_bytes,
            removes,
        };
        self.pipe.say(&commit.announcement());
        write(connection, &commit);
        self.pipe
            .say(&format!("committing {} {}", commit.writer, commit.number));
        connection.execute_batch("COMMIT").unwrap();
        self.pipe
            .say(&format!("done {} {}", commit.writer, commit.number));
        alive.push_back(commit.number);
        self.next += 1;
    }
}

/// The writer's commits that are there, oldest first.
fn alive(connection: &Connection, writer: u64) -> VecDeque<u64> {
    let mut statement = connection
        .prepare("SELECT DISTINCT number FROM entry WHERE writer = ? ORDER BY 1")
        .unwrap();
    let numbers = statement
        .query_map([signed(writer)], |row| row.get::<_, i64>(0))
        .unwrap();
    numbers
        .map(|number| u64::try_from(number.unwrap()).unwrap())
        .collect()
}

/// Everything of a transaction but its COMMIT.
fn write(connection: &Connection, commit: &Commit) {
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (writer, number) = (signed(commit.writer), signed(commit.number));
    if commit.removes != 0 {
        let removes = signed(commit.removes);
        connection
            .execute(
                "DELETE FROM entry WHERE writer = ? AND number = ?",
                [writer, removes],
            )
            .unwrap();
    }
    let mut insert = connection
        .prepare_cached("INSERT INTO entry VALUES (?, ?, ?, ?)")
        .unwrap();
    for position in 0..commit.rows {
        let payload = payload(commit.writer, commit.number, position, commit.row_bytes);
        insert
            .execute(params![writer, number, signed(position), payload])
            .unwrap();
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap()
}
