//! The process that is traced: one connection that commits, and says so.
//!
//! Invariant: the text of commit `n` is nowhere but in the pages that commit `n` wrote, and
//! "done n" is said only after SQLite said that it is committed.

use crate::common::process::Announcer;
use bop_libsql::{Connection, Error, Options, Store};
use bop_storage::io::IoBackend;
use bop_storage::{Housekeeping, Limits};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The store's directory: who has this variable is a child.
pub(crate) const CHILD_DIR: &str = "BOP_STRACE_CHILD";
/// How the child opens the store: a [`Shape`] by name.
pub(crate) const CHILD_SHAPE: &str = "BOP_STRACE_SHAPE";
/// How many commits it makes.
pub(crate) const CHILD_COMMITS: &str = "BOP_STRACE_COMMITS";
/// How often a row has the text of its commit; [`WIDTH`] where it is not said.
pub(crate) const CHILD_WIDTH: &str = "BOP_STRACE_WIDTH";
pub(crate) const WIDTH: usize = 6;
/// The only database.
pub(crate) const DATABASE: &str = "traced";

/// Commits that are attempted after the first one that failed.
const ATTEMPTS_AFTER_FAILURE: u32 = 3;

/// How a store is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// As by default, but nothing happens besides the commits.
    Plain,
    /// The same through the page cache.
    PlainBuffered,
    /// One segment takes all commits of a test.
    Roomy,
    /// The same through the page cache.
    RoomyBuffered,
    /// Every transfer by io_uring.
    PlainUring,
    /// Small segments: the log rolls, spares are made and checkpoints run all the time.
    Rolling,
    /// The same with direct I/O, call by call.
    RollingDirect,
    /// The same through the page cache.
    RollingBuffered,
}

impl Shape {
    const ALL: [Self; 8] = [
        Self::Plain,
        Self::PlainBuffered,
        Self::Roomy,
        Self::RoomyBuffered,
        Self::PlainUring,
        Self::Rolling,
        Self::RollingDirect,
        Self::RollingBuffered,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::PlainBuffered => "plain-buffered",
            Self::Roomy => "roomy",
            Self::RoomyBuffered => "roomy-buffered",
            Self::PlainUring => "plain-uring",
            Self::Rolling => "rolling",
            Self::RollingDirect => "rolling-direct",
            Self::RollingBuffered => "rolling-buffered",
        }
    }

    pub(crate) fn named(name: &str) -> Self {
        let found = Self::ALL.into_iter().find(|known| known.name() == name);
        found.unwrap_or_else(|| panic!("no shape {name}"))
    }

    pub(crate) fn options(self) -> Options {
        let quiet = Options::new().housekeeping(Housekeeping::Manual);
        let rolling = Options::new().limits(Limits::tiny());
        let mut roomy = Limits::default();
        roomy.segment_bytes_min = 16 << 20;
        match self {
            Self::Plain => quiet,
            Self::PlainBuffered => quiet.io(IoBackend::Std),
            Self::Roomy => quiet.limits(roomy),
            Self::RoomyBuffered => quiet.limits(roomy).io(IoBackend::Std),
            Self::PlainUring => quiet.io(IoBackend::Uring),
            Self::Rolling => rolling,
            Self::RollingDirect => rolling.io(IoBackend::Direct),
            Self::RollingBuffered => rolling.io(IoBackend::Std),
        }
    }
}

/// What commit `number` writes, and no other. No two of them have much in common, so that it stands
/// in the log as it is, even where a page is compressed or the difference to its version before.
pub(crate) fn text_of(number: u32) -> String {
    let mixed = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("<{mixed:016x}>")
}

/// Commits, when the variables say so.
pub(crate) fn run_if_asked() {
    let Some(dir) = std::env::var_os(CHILD_DIR).map(PathBuf::from) else {
        return;
    };
    let shape = Shape::named(&std::env::var(CHILD_SHAPE).unwrap());
    let commits = std::env::var(CHILD_COMMITS).unwrap().parse().unwrap();
    let width = std::env::var(CHILD_WIDTH).map_or(WIDTH, |width| width.parse().unwrap());
    let pipe = Announcer::on_stdout();
    if let Err(error) = run(&dir, shape, (commits, width), &pipe) {
        pipe.say(&format!("error opening {}", error.code()));
    }
    pipe.say("end");
}

fn run(
    dir: &Path,
    shape: Shape,
    (commits, width): (u32, usize),
    pipe: &Announcer,
) -> Result<(), Error> {
    let store = Store::open(dir, shape.options())?;
    pipe.say(&format!("backend {}", store.manager().status().backend));
    let connection = store.connect(DATABASE)?;
    let mut failures = 0;
    for number in 1..=commits {
        pipe.say(&format!("pending {number}"));
        match commit(&connection, number, width) {
            Ok(()) => pipe.say(&format!("done {number}")),
            Err(code) => {
                pipe.say(&format!("error {number} {code}"));
                failures += 1;
            }
        }
        if failures > ATTEMPTS_AFTER_FAILURE {
            break;
        }
    }
    drop(connection);
    if let Err(error) = store.manager().close(Duration::from_secs(10)) {
        pipe.say(&format!("close {error:?}"));
    }
    Ok(())
}

/// One commit, or the stable name of the engine's error.
fn commit(connection: &Connection, number: u32, width: usize) -> Result<(), String> {
    let inserted = connection.execute(
        "INSERT INTO entry VALUES (?, ?)",
        (number, text_of(number).repeat(width)),
    );
    match inserted {
        Ok(_) => Ok(()),
        Err(error) => match connection.last_engine_error() {
            Some(engine) => Err(engine.code().to_string()),
            None => panic!("no error of the engine stands behind {error:?}"),
        },
    }
}
