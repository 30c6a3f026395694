//! What the kernel is asked to do for a commit, seen from outside by `strace`.
//!
//! The engine's own tests run on a simulated disk, which believes what it is told. Here the calls
//! of a real process are read: a commit is acknowledged only after a durable write of its bytes has
//! returned, the manifest is not touched on the way, and where the kernel refuses nothing is
//! acknowledged any more.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod child;
mod images;
mod kills;
mod medium;
mod pair;
mod trace;

use bop_libsql::{Options, Store};
use bop_storage::io::IoBackend;
use child::{CHILD_COMMITS, CHILD_DIR, CHILD_SHAPE, DATABASE, Shape, text_of};
use common::process::{announced, arguments_for, this_binary};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;
use trace::Call;

const COMMITS: u32 = 1_000;
const TRACED: &str = "trace=write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,msync,sync,\
                      syncfs,sync_file_range,io_uring_setup,io_uring_enter";

/// The child's side; does nothing in an ordinary run.
#[test]
fn child_commits() {
    child::run_if_asked();
}

#[test]
fn a_commit_is_acknowledged_after_its_durable_write_and_touches_no_manifest() {
    if !strace_works() {
        return;
    }
    for shape in [Shape::Roomy, Shape::RoomyBuffered] {
        let traced = run(shape, COMMITS, &[]);
        assert_eq!(traced.done().len(), COMMITS as usize, "{shape:?}");
        check_durable_before_acknowledged(&traced);
        check_no_manifest_on_the_way(&traced);
    }
}

#[test]
fn a_commit_is_acknowledged_after_its_durable_write_while_the_log_rolls() {
    if !strace_works() {
        return;
    }
    let traced = run(Shape::Rolling, COMMITS, &[]);
    assert_eq!(traced.done().len(), COMMITS as usize);
    check_durable_before_acknowledged(&traced);
    let mut segments: Vec<&str> = traced
        .calls
        .iter()
        .filter(|call| is_segment(call.path()))
        .map(Call::path)
        .collect();
    segments.sort_unstable();
    segments.dedup();
    assert!(segments.len() > 10, "the log hardly rolled: {segments:?}");
}

#[test]
fn nothing_is_acknowledged_once_the_kernel_refuses_to_make_it_durable() {
    if !strace_works() {
        return;
    }
    let mut shapes = vec![
        (Shape::PlainBuffered, "fdatasync"),
        (Shape::PlainBuffered, "pwrite64"),
    ];
    if is_to_be_had(IoBackend::Direct) {
        shapes.push((Shape::Plain, "pwritev2"));
    } else {
        eprintln!("SKIPPED: no direct I/O here, so no write with RWF_DSYNC to be refused");
    }
    if is_to_be_had(IoBackend::Uring) {
        shapes.push((Shape::PlainUring, "io_uring_enter"));
    } else {
        eprintln!("SKIPPED: no io_uring here, so none that refuses to be entered");
    }
    for (shape, call) in shapes {
        let mut commits_refused = 0;
        let firsts = [1, 2, 3, 4, 5, 6, 8, 12, 20, 40];
        // Opening reads by rings, too, so the commits come later.
        let late = [1, 2, 4, 8, 20, 45, 50, 60, 75];
        let firsts = if shape == Shape::PlainUring {
            late.as_slice()
        } else {
            firsts.as_slice()
        };
        for first in firsts.iter().copied() {
            commits_refused += u32::from(refuse(shape, call, first));
        }
        assert!(commits_refused >= 3, "{call}: {commits_refused}");
    }
}

/// A kernel that forbids io_uring is met by falling back with the reason, or by an error with it.
#[test]
fn without_io_uring_auto_goes_on_and_uring_is_an_error_and_both_say_why() {
    if !strace_works() {
        return;
    }
    if !is_to_be_had(IoBackend::Uring) {
        eprintln!("SKIPPED: no io_uring here, so nothing to be taken away");
        return;
    }
    for (errno, why) in [
        ("EPERM", "Operation not permitted"),
        ("ENOSYS", "not implemented"),
    ] {
        let inject = format!("inject=io_uring_setup:error={errno}");
        let traced = run(Shape::Plain, 5, &["-e", &inject]);
        let said = traced.said.iter().find(|said| said.starts_with("backend "));
        let said = said.unwrap();
        assert!(
            said.contains("direct (no io_uring, io_uring_setup: "),
            "{said}"
        );
        assert!(said.contains(why), "{said}");
        assert_eq!(traced.done().len(), 5, "{said}");

        let traced = run(Shape::PlainUring, 5, &["-e", &inject]);
        let expected = ["error opening backend_unavailable", "end"];
        assert_eq!(traced.said, expected, "{errno}");
    }
}

/// Refuses a call from the `first` time on. `true` when it was a commit that met the refusal, not
/// the opening of the store.
fn refuse(shape: Shape, call: &str, first: u32) -> bool {
    let inject = format!("inject={call}:error=EIO:when={first}+");
    let traced = run(shape, 60, &["-e", &inject]);
    let context = format!("{shape:?}, {inject}: {:?}", traced.said);
    let refused = traced.calls.iter().find(|call| call.injected);
    let refused = refused
        .unwrap_or_else(|| panic!("never refused; {context}"))
        .began;
    let late = traced.done().into_iter().find(|done| done.began > refused);
    assert!(late.is_none(), "{late:?} after the refusal; {context}");

    let errors: Vec<_> = traced
        .said
        .iter()
        .filter(|said| said.starts_with("error "))
        .collect();
    let opening = errors
        .iter()
        .any(|error| error.starts_with("error opening"));
    assert!(!errors.is_empty(), "no error; {context}");
    if !opening {
        assert!(errors[0].ends_with(" commit_unknown"), "{context}");
        assert!(
            errors[1..].iter().all(|error| error.ends_with(" poisoned")),
            "{context}"
        );
    }
    check_store(&traced, shape, &context);
    !opening
}

/// After the store was opened again: what was acknowledged, and at most the one commit more whose
/// end was not known.
fn check_store(traced: &Traced, shape: Shape, context: &str) {
    let store = Store::open(traced.dir.path(), shape.options()).unwrap();
    let connection = store.connect(DATABASE).unwrap();
    assert_eq!(common::integrity(&connection), "ok", "{context}");
    let rows = common::int(&connection, "SELECT count(*) FROM entry");
    let last = common::int(&connection, "SELECT coalesce(max(number), 0) FROM entry");
    let done = i64::try_from(traced.done().len()).unwrap();
    assert!(
        rows == last && (done..=done + 1).contains(&rows),
        "{rows} rows; {context}"
    );
}

/// A run of the child.
struct Traced {
    dir: TempDir,
    calls: Vec<Call>,
    /// What the child announced.
    said: Vec<String>,
}

impl Traced {
    /// The announcements of acknowledged commits, as calls of the trace.
    fn done(&self) -> Vec<&Call> {
        self.calls
            .iter()
            .filter(|call| call.name == "write" && call.arguments.contains("@done "))
            .collect()
    }
}

/// Makes a store, and runs the child on it under `strace` with some `more` arguments.
fn run(shape: Shape, commits: u32, more: &[&str]) -> Traced {
    traced(made(shape), shape, commits, TRACED, more)
}

/// A store with the table that the child fills, closed.
fn made(shape: Shape) -> TempDir {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), shape.options()).unwrap();
    let connection = store.connect(DATABASE).unwrap();
    connection
        .execute_batch("CREATE TABLE entry(number INTEGER PRIMARY KEY, content)")
        .unwrap();
    drop((connection, store));
    dir
}

/// Runs the child on a store under `strace`, which tells of some `calls`.
fn traced(dir: TempDir, shape: Shape, commits: u32, calls: &str, more: &[&str]) -> Traced {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new("strace")
        .args([
            "-f",
            "-y",
            "-s",
            "8388608",
            "-e",
            calls,
            "-e",
            "signal=none",
        ])
        .args(more)
        .arg("-o")
        .arg(trace.path())
        .arg(this_binary())
        .args(arguments_for("child_commits"))
        .env(CHILD_DIR, dir.path())
        .env(CHILD_SHAPE, shape.name())
        .env(CHILD_COMMITS, commits.to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{shape:?}, {more:?}: {} {errors}",
        output.status
    );
    let said = String::from_utf8(output.stdout).unwrap();
    let said: Vec<String> = said
        .lines()
        .filter_map(announced)
        .map(str::to_owned)
        .collect();
    assert_eq!(said.last().map(String::as_str), Some("end"), "{said:?}");
    let calls = trace::parse(&std::fs::read_to_string(trace.path()).unwrap());
    Traced { dir, calls, said }
}

/// Runs a `child` on a store under `strace`, which does something at one of its calls: `how` is the end of
/// `inject=CALL:`.
fn injected(dir: &Path, shape: Shape, child: (&str, u32), call: &str, how: &str) -> Output {
    injecting(dir, shape, child, call, how).output().unwrap()
}

fn injecting(dir: &Path, shape: Shape, child: (&str, u32), call: &str, how: &str) -> Command {
    let (child, commits) = child;
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-e", "signal=none", "-o", "/dev/null"])
        .args(["-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:{how}")])
        .arg(this_binary())
        .args(arguments_for(child))
        .env(CHILD_DIR, dir)
        .env(CHILD_SHAPE, shape.name())
        .env(CHILD_COMMITS, commits.to_string())
        .stdin(Stdio::null());
    command
}

/// Of these, what can be done by backends that are to be had here; the others are told of.
fn to_be_had<T>(by_backend: impl IntoIterator<Item = (IoBackend, T)>) -> Vec<T> {
    let mut there = Vec::new();
    for (backend, one) in by_backend {
        match is_to_be_had(backend) {
            true => there.push(one),
            false => eprintln!("SKIPPED: no {backend} here"),
        }
    }
    there
}

fn is_segment(path: &str) -> bool {
    path.contains("/log/")
}

/// For each acknowledged commit: the write that carries its text was durable before.
fn check_durable_before_acknowledged(traced: &Traced) {
    let segment_calls: Vec<&Call> = traced
        .calls
        .iter()
        .filter(|call| is_segment(call.path()))
        .collect();
    let mut from = 0;
    for (done, number) in traced.done().into_iter().zip(1..) {
        assert!(
            done.arguments.contains(&format!("@done {number}\\n")),
            "{done:?}"
        );
        let text = text_of(number);
        let until = segment_calls.partition_point(|call| call.began < done.began);
        let before = &segment_calls[from..until];
        let last = before
            .iter()
            .rposition(|call| call.is_write() && call.arguments.contains(&text))
            .unwrap_or_else(|| panic!("{text} was acknowledged and never written"));
        let write = before[last];
        assert!(write.value > 0, "{text}: {} = {}", write.name, write.value);
        assert!(
            write.returned < done.began,
            "{text} was acknowledged while it was being written"
        );
        let synced_after = before[last..].iter().any(|call| {
            call.is_sync()
                && call.path() == write.path()
                && call.value == 0
                && call.began > write.returned
                && call.returned < done.began
        });
        assert!(
            write.is_durable_write() || synced_after,
            "{text} was acknowledged before it was durable"
        );
        from = until;
    }
}

/// Between the first acknowledgement and the last, nobody writes or syncs the manifest.
fn check_no_manifest_on_the_way(traced: &Traced) {
    let done = traced.done();
    let (Some(first), Some(last)) = (done.first(), done.last()) else {
        panic!("no commits");
    };
    let on_the_way = |call: &&Call| call.returned > first.began && call.began < last.began;
    let manifest = traced.calls.iter().filter(on_the_way).find(|call| {
        let elsewhere = call.is_sync() && !is_segment(call.path());
        elsewhere || call.path().ends_with("data.mdb")
    });
    assert!(manifest.is_none(), "{manifest:?}");
}

fn is_to_be_had(backend: IoBackend) -> bool {
    let dir = TempDir::new().unwrap();
    Store::open(dir.path(), Options::new().io(backend)).is_ok()
}

/// Whether processes can be traced here; where they cannot, that is said loudly.
///
/// # Panics
/// When they cannot, in an environment that is meant to show everything.
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
