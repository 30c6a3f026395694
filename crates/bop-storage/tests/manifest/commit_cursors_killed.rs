//! SIGKILL of a process that writes and reads its own commits: every commit is seen at least once, and in
//! the log's order.
//!
//! ```text
//!  parent                          child: a writer, a consumer
//!    starts it ------------------>   opens the store (recovers it), and its cursor
//!    reads what it says <---------   "done LSN" of the writer, "saw LSN" of the consumer, which then
//!                                    acknowledges, and now and then makes that durable
//!    SIGKILL after some words ---->  gone
//!  100 times; then the parent reads the rest by the same cursor
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use bop_storage::testing::SplitMix64;
use bop_storage::{CommitsCursor, CommitsFrom, Db, DbKind, Limits, Lsn, Manager, Options, PageNo};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const KILLS: usize = 100;
const SIGKILL: i32 = 9;
const LONG: Duration = Duration::from_secs(50);
/// The store's directory: who has this variable is a child.
const CHILD: &str = "BOP_CURSOR_CHILD";

fn open(dir: &Path) -> Manager {
    let mut limits = Limits::tiny();
    limits.log_bytes_max = 4 << 20;
    limits.cursor_log_bytes_max = 2 << 20;
    Manager::open(dir, Options::new().limits(limits)).unwrap()
}

fn subscribe(store: &Manager) -> CommitsCursor {
    let from = CommitsFrom::Oldest;
    store.subscribe_commits("consumer", from, None).unwrap()
}

fn commit(db: &Db, byte: u8) -> Lsn {
    let mut write = db.begin_write(LONG).unwrap();
    let page = PageNo::new(u32::from(byte) % 5 + 1).unwrap();
    write.write_page(page, &[byte; 4096]).unwrap();
    write.commit().unwrap().lsn()
}

/// Says a word: one write, so that it is there whole or not at all. The harness may have left a line
/// unfinished.
fn say(out: &File, word: &str, lsn: Lsn) {
    let mut out = out;
    out.write_all(format!("\n@{word} {}\n", lsn.get()).as_bytes())
        .unwrap();
}

/// The child's side; does nothing in an ordinary run.
#[test]
fn child_writes_and_consumes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else {
        return;
    };
    let out = || File::from(io::stdout().as_fd().try_clone_to_owned().unwrap());
    let store = open(Path::new(&dir));
    let cursor = subscribe(&store);
    let db = store.database_or_create("a", DbKind::Raw).unwrap();
    let writer = out();
    std::thread::spawn(move || {
        for byte in (0..=u8::MAX).cycle() {
            say(&writer, "done", commit(&db, byte));
        }
    });
    let consumer = out();
    for turn in 0_u64.. {
        let page = cursor.read(3).unwrap();
        for commit in &page.commits {
            say(&consumer, "saw", commit.lsn);
        }
        cursor.acknowledge(page.next).unwrap();
        if turn.is_multiple_of(4) {
            cursor.flush().unwrap();
        }
        cursor.wait(LONG).unwrap();
    }
}

/// What one child said before it was killed.
#[derive(Default)]
struct Said {
    done: Vec<u64>,
    saw: Vec<u64>,
}

fn run_and_kill(dir: &Path, words: u64) -> Said {
    let name = "commit_cursors_killed::child_writes_and_consumes_until_it_is_killed";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Said::default();
    let mut heard = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some((word, lsn)) = line.strip_prefix('@').and_then(|line| line.split_once(' ')) else {
            continue;
        };
        let of = match word {
            "done" => &mut said.done,
            "saw" => &mut said.saw,
            other => panic!("{other}"),
        };
        of.push(lsn.parse().unwrap());
        heard += 1;
        // What it says until then is still in the pipe.
        if heard == words {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(SIGKILL), "it ended by itself");
    said
}

/// What was seen by one process after the other.
#[derive(Default)]
struct Seen {
    committed: BTreeSet<u64>,
    seen: BTreeSet<u64>,
    again: usize,
}

impl Seen {
    /// In order, and nothing that is committed is passed by.
    fn check(&mut self, saw: &[u64]) {
        assert!(saw.is_sorted_by(|one, next| one < next), "{saw:?}");
        let (Some(first), Some(last)) = (saw.first(), saw.last()) else {
            return;
        };
        let of_this: BTreeSet<u64> = saw.iter().copied().collect();
        for lsn in self.committed.range(..=last) {
            let found = if lsn < first { &self.seen } else { &of_this };
            assert!(found.contains(lsn), "{lsn} is passed by, {first} to {last}");
        }
        self.again += self.seen.intersection(&of_this).count();
        self.seen.extend(of_this);
    }
}

#[test]
fn a_consumer_that_is_killed_100_times_sees_every_commit_in_order() {
    let seed = std::env::var("BOP_CURSOR_SEED");
    let seed = seed.map_or_else(
        |_| u64::from(std::process::id()),
        |seed| seed.parse().unwrap(),
    );
    println!("BOP_CURSOR_SEED={seed}");
    let mut random = SplitMix64::new(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut all = Seen::default();
    for _ in 0..KILLS {
        let said = run_and_kill(dir.path(), 1 + random.below(60));
        all.committed.extend(said.done);
        all.check(&said.saw);
    }
    let store = open(dir.path());
    let status = store.status();
    assert!(Lsn::ZERO < status.truncated, "the log was released beside");
    let cursor = subscribe(&store);
    let mut rest = Vec::new();
    loop {
        let page = cursor.read(50).unwrap();
        if page.commits.is_empty() {
            break;
        }
        rest.extend(page.commits.iter().map(|commit| commit.lsn.get()));
    }
    all.check(&rest);
    let unseen: Vec<_> = all.committed.difference(&all.seen).collect();
    assert_eq!(unseen, [] as [&u64; 0]);
    assert!(KILLS < all.committed.len());
    assert!(0 < all.again, "a kill came between use and acknowledgement");
}
