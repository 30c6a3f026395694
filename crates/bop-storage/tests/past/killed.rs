//! SIGKILL at each call that changes a file, LMDB's too: of a checkpoint, of the rewriting of packs, of forks,
//! drops, restores and of what frees chunks. What is opened after that is whole, and nothing is left over.
//!
//! ```text
//!  parent                                     child, under strace
//!    makes a store, copies it
//!    does what the child will do, on a copy    (so it knows the states before and after)
//!    starts it, and counts its calls ------->  opens the copy, commits, "@warm", acts, "@done"
//!    starts it with the N-th call chosen --->  ... SIGKILL as it enters the call
//!    opens the copy, compares
//! ```
//! Every call is tried, of stores of two shapes. `BOP_PAST_RUNS` is how many stores.

use crate::acts::{ALL, seeds};
use crate::faults::{Act, attempt, drop_oldest, judge, scene_of, settle, warm};
use crate::packs::many_of;
use crate::world::{Model, Shape, World, real_files};
use bop_storage::Retention;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const CHILD_DIR: &str = "BOP_PAST_CHILD";
const CHILD_STEP: &str = "BOP_PAST_STEP";
const TRACED: &str = "write,pwrite64,pwritev,pwritev2,fsync,fdatasync,fallocate,ftruncate,mkdirat,renameat2,unlink,\
                      unlinkat,linkat";
const CHILD_SEED: &str = "BOP_PAST_KILL_SEED";
/// The first of the seeds; the next one has another shape.
const FIRST: u64 = 12;
const STORES: u64 = 2;
const SIGKILL: i32 = 9;

/// What is killed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Step {
    Act(Act),
    /// A database is dropped and freed: one that a fork reads, or a fork.
    Drop(usize),
    /// Snapshots go, and with them their chunks.
    Free,
    /// Packs of which half is dead are written again.
    Rewrite,
}

const STEPS: [(&str, Step); 9] = [
    ("checkpoint", Step::Act(Act::Checkpoint)),
    ("fork", Step::Act(Act::Fork)),
    ("fork-of-past", Step::Act(Act::ForkOfPast)),
    ("restore", Step::Act(Act::Restore)),
    ("restore-to-past", Step::Act(Act::RestoreToPast)),
    ("drop-source", Step::Drop(0)),
    ("drop-fork", Step::Drop(1)),
    ("free", Step::Free),
    ("rewrite", Step::Rewrite),
];

impl Step {
    fn named(name: &str) -> Self {
        let found = STEPS.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("no step {name}")).1
    }

    /// The store that it begins with, closed; in a directory, or in memory.
    fn scene(self, seed: u64, root: Option<PathBuf>) -> World {
        let (shape, seed, retention) = match self {
            Self::Act(_) => (Shape::of(seed), seed, ALL),
            Self::Drop(_) | Self::Free => (Shape::of(seed), seed, Retention::NOTHING),
            // Of this one more than half is dead, whatever the seed.
            Self::Rewrite => (Shape::BASES, 3, ALL),
        };
        let mut world = World::closed(shape, seed, retention);
        world.root = root;
        match self {
            Self::Rewrite => {
                let mut world = many_of(world, 3);
                world.close();
                world
            }
            _ => scene_of(world),
        }
    }

    /// Commits that no checkpoint has, and what it needs to have something to do.
    fn warm(self, world: &mut World) {
        match self {
            Self::Rewrite => world.open(),
            Self::Free => {
                warm(world);
                drop_oldest(world);
            }
            _ => warm(world),
        }
    }

    fn perform(self, world: &mut World) {
        match self {
            Self::Act(act) => attempt(world, act).unwrap(),
            Self::Drop(nth) => {
                let gone = world.live.remove(nth);
                world.store().drop_database_now(&gone.name).unwrap();
                world.checkpoint();
            }
            Self::Free | Self::Rewrite => world.checkpoint(),
        }
    }

    /// Believes what the store says: what is done, and what is not.
    fn settle(self, world: &mut World, before: &[Model]) {
        match self {
            Self::Act(act) => settle(world, act, before),
            _ => {
                let listed = world.store().databases();
                let is_listed = |model: &Model| listed.iter().any(|info| info.name == model.name);
                world.live.retain(is_listed);
            }
        }
    }
}

/// The names of databases and how many snapshots each has.
fn names(models: &[Model]) -> Vec<(String, usize)> {
    let one = |model: &Model| (model.name.clone(), model.snapshots.len());
    models.iter().map(one).collect()
}

fn say(what: &str) {
    // One write, past the buffer of the standard library: it is there, whatever happens next.
    let line = format!("\n@{what}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

/// The child's side; does nothing in an ordinary run.
#[test]
fn child_acts() {
    let Some(dir) = std::env::var_os(CHILD_DIR).map(PathBuf::from) else {
        return;
    };
    let step = Step::named(&std::env::var(CHILD_STEP).unwrap());
    // The same as in the directory, but that it was in memory.
    let seed = std::env::var(CHILD_SEED).unwrap().parse().unwrap();
    let mut world = step.scene(seed, None);
    world.root = Some(dir);
    step.warm(&mut world);
    say("warm");
    step.perform(&mut world);
    say("done");
    world.close();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.unwrap(), |name| to.join(name));
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to(entry.file_name())).unwrap()),
        }
    }
}

/// Runs the child on a directory under strace with some `more` arguments.
fn run(dir: &Path, (name, seed): (&str, u64), more: &[&str]) -> Output {
    Command::new("strace")
        .args(["-f", "-e", &format!("trace={TRACED}"), "-e", "signal=none"])
        .args(more)
        .arg(std::env::current_exe().unwrap())
        .args([
            "killed::child_acts",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD_DIR, dir)
        .env(CHILD_STEP, name)
        .env(CHILD_SEED, seed.to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn has_said(output: &Output, what: &str) -> bool {
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines()
        .any(|line| line.strip_prefix('@') == Some(what))
}

/// The calls of the thread that acts, from "@warm" to "@done": each with its name and its number.
fn calls(trace: &str) -> Vec<(String, usize)> {
    let of_thread = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let warm = trace.lines().find(|line| line.contains("@warm"));
    let thread = of_thread(warm.unwrap()).unwrap();
    let (mut counts, mut found, mut is_acting) = (BTreeMap::new(), Vec::new(), false);
    for line in trace
        .lines()
        .filter(|line| of_thread(line).as_ref() == Some(&thread))
    {
        let rest = line[thread.len()..].trim_start();
        let Some((name, _)) = rest.split_once('(').filter(|_| !rest.starts_with('<')) else {
            continue;
        };
        let number: &mut usize = counts.entry(name.to_owned()).or_default();
        *number += 1;
        if line.contains("@done") {
            break;
        }
        if is_acting {
            found.push((name.to_owned(), *number));
        }
        is_acting |= line.contains("@warm");
    }
    found
}

struct Scene {
    name: &'static str,
    seed: u64,
    step: Step,
    dir: tempfile::TempDir,
    origin: World,
    before: Vec<Model>,
    after: Vec<Model>,
}

impl Scene {
    fn new((name, step): (&'static str, Step), seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let origin = step.scene(seed, Some(dir.path().join("origin")));
        let mut scene = Self {
            name,
            seed,
            step,
            dir,
            origin,
            before: Vec::new(),
            after: Vec::new(),
        };
        let mut world = scene.copied("dry");
        step.warm(&mut world);
        scene.before = world.live.clone();
        let rewritten = world.rewritten;
        step.perform(&mut world);
        assert!(step != Step::Rewrite || rewritten < world.rewritten);
        scene.after = world.live.clone();
        judge(&mut world);
        world.close();
        scene
    }

    fn copied(&self, name: &str) -> World {
        let root = self.dir.path().join(name);
        copy(&self.dir.path().join("origin"), &root);
        let mut world = self.origin.copied();
        world.root = Some(root);
        world
    }

    fn calls(&self) -> Vec<(String, usize)> {
        let world = self.copied("traced");
        let trace = self.dir.path().join("trace");
        let root = world.root.unwrap();
        let output = run(
            &root,
            (self.name, self.seed),
            &["-o", trace.to_str().unwrap()],
        );
        assert!(
            output.status.success() && has_said(&output, "done"),
            "{output:?}"
        );
        std::fs::remove_dir_all(root).unwrap();
        calls(&std::fs::read_to_string(trace).unwrap())
    }

    fn kill_at(&self, call: &str, number: usize) {
        let mut world = self.copied("killed");
        let root = world.root.clone().unwrap();
        let inject = format!("inject={call}:signal=KILL:when={number}");
        let output = run(
            &root,
            (self.name, self.seed),
            &["-o", "/dev/null", "-e", &inject],
        );
        let killed = output.status.signal() == Some(SIGKILL);
        let (is_warm, is_done) = (has_said(&output, "warm"), has_said(&output, "done"));
        assert!(
            killed && is_warm && !is_done,
            "not killed in the act: {output:?}"
        );
        world.live = self.before.clone();
        world.open();
        self.step.settle(&mut world, &self.before);
        let found = names(&world.live);
        let is_known = found == names(&self.after) || found == names(&self.before);
        assert!(is_known, "{found:?}");
        judge(&mut world);
        world.checkpoint();
        judge(&mut world);
        world.close();
        std::fs::remove_dir_all(root).unwrap();
    }

    fn kill_at_each(&self) -> usize {
        let calls = self.calls();
        for (call, number) in &calls {
            let (name, seed) = (self.name, self.seed);
            let _told = Told(format!("seed {seed}, {name} is killed at {call} {number}"));
            self.kill_at(call, *number);
        }
        println!(
            "proved: {} kill points of {}, seed {}",
            calls.len(),
            self.name,
            self.seed
        );
        calls.len()
    }
}

/// Tells where it happened.
struct Told(String);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

/// Whether processes can be traced here; where they cannot, that is said loudly.
fn strace_works() -> bool {
    let probe = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .output();
    if probe.is_ok_and(|output| output.status.success()) {
        return true;
    }
    let set = |name, to| std::env::var(name).is_ok_and(|value| value == to);
    assert!(
        !set("BOP_REQUIRE_SHARED", "1") && !set("CI", "true"),
        "strace is missing, or may not trace"
    );
    eprintln!("SKIPPED: strace is missing, or may not trace");
    false
}

#[test]
fn a_store_is_whole_wherever_its_process_is_killed() {
    if !strace_works() {
        return;
    }
    let _alone = real_files();
    let more = std::env::var("BOP_PAST_RUNS").ok();
    let more = more.and_then(|more| more.parse().ok());
    for seed in seeds(FIRST..=FIRST + more.unwrap_or(STORES) - 1) {
        // One of which packs are written again is as good as another.
        let is_tried = |step: Step| seed == FIRST || step != Step::Rewrite;
        for step in STEPS.into_iter().filter(|(_, step)| is_tried(*step)) {
            let calls = Scene::new(step, seed).kill_at_each();
            assert!(calls >= 2, "{}: {calls} calls", step.0);
        }
    }
}
