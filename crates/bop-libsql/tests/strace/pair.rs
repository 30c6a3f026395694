//! A transaction over two databases in a process that is killed, or refused, at each write and each
//! sync of its commits.

use crate::child::{CHILD_COMMITS, CHILD_DIR, CHILD_SHAPE, Shape};
use crate::common::process::{Announcer, announced};
use crate::common::{int, integrity};
use crate::{injected, strace_works, to_be_had};
use bop_libsql::Store;
use bop_storage::io::IoBackend;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

const NAMES: [&str; 2] = ["first", "second"];
const COMMITS: i64 = 3;
pub(crate) const SIGKILL: i32 = 9;
const CHILD: &str = "pair::child_commits_to_both";

/// The child's side; does nothing in an ordinary run.
#[test]
fn child_commits_to_both() {
    let Some(dir) = std::env::var_os(CHILD_DIR).map(PathBuf::from) else {
        return;
    };
    let shape = Shape::named(&std::env::var(CHILD_SHAPE).unwrap());
    let commits: i64 = std::env::var(CHILD_COMMITS).unwrap().parse().unwrap();
    let pipe = Announcer::on_stdout();
    let Ok(store) = Store::open(dir, shape.options()) else {
        return;
    };
    let connection = store.connect(NAMES[0]).unwrap();
    connection
        .execute_batch("ATTACH 'second' AS other")
        .unwrap();
    for number in 1..=commits {
        let committed = connection.execute_batch(&format!(
            "BEGIN; INSERT INTO main.t VALUES ({number}, hex(randomblob(2000)));
             INSERT INTO other.t VALUES ({number}, hex(randomblob(2000))); COMMIT"
        ));
        match committed {
            Ok(()) => pipe.say(&format!("done {number}")),
            Err(_) => pipe.say("failed"),
        }
    }
    drop(connection);
    // A log that has failed cannot be closed in peace.
    let _ = store.manager().close(Duration::from_secs(10));
    pipe.say("end");
}

#[test]
fn a_process_killed_at_any_write_or_sync_leaves_both_or_neither() {
    if !strace_works() {
        return;
    }
    for (shape, call) in calls() {
        let (mut killed, mut in_commits) = (0, 0);
        for nth in 1.. {
            let run = run(shape, call, &format!("signal=KILL:when={nth}"));
            let what = format!("{shape:?}, {call} {nth}");
            if run.signal != Some(SIGKILL) {
                assert_eq!(run.done, COMMITS, "{what}");
                break;
            }
            killed += 1;
            in_commits += i64::from(run.done > 0 && run.done < COMMITS);
            run.check(&what);
        }
        println!("proved: {killed} kill points of a commit over two databases");
        assert!(
            killed >= COMMITS && in_commits >= COMMITS - 1,
            "{call}: {killed}, {in_commits}"
        );
    }
}

#[test]
fn a_call_that_the_kernel_refuses_leaves_both_or_neither_and_is_an_error() {
    if !strace_works() {
        return;
    }
    for (shape, call) in calls() {
        // From then on, or once: the engine may get past that.
        for (errno, more) in [("EIO", "+"), ("ENOSPC", "")] {
            let mut failed = 0;
            for nth in 1.. {
                let run = run(shape, call, &format!("error={errno}:when={nth}{more}"));
                let what = format!("{shape:?}, {call} {errno} {nth}{more}");
                run.check(&what);
                failed += i64::from(run.failed);
                // A thread makes so many calls, and none meets the refusal any more.
                if run.done == COMMITS && nth > 2 * COMMITS {
                    break;
                }
            }
            assert!(
                more.is_empty() || failed >= COMMITS - 1,
                "{call} {errno}: {failed}"
            );
        }
    }
}

fn calls() -> Vec<(Shape, &'static str)> {
    to_be_had([
        (IoBackend::Std, (Shape::PlainBuffered, "pwrite64")),
        (IoBackend::Std, (Shape::PlainBuffered, "fdatasync")),
        (IoBackend::Direct, (Shape::Plain, "pwritev2")),
    ])
}

struct Run {
    dir: TempDir,
    shape: Shape,
    signal: Option<i32>,
    done: i64,
    failed: bool,
}

fn run(shape: Shape, call: &str, how: &str) -> Run {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), shape.options()).unwrap();
    for name in NAMES {
        let connection = store.connect(name).unwrap();
        connection
            .execute_batch("CREATE TABLE t(number INTEGER PRIMARY KEY, content)")
            .unwrap();
    }
    drop(store);
    let output = injected(dir.path(), shape, (CHILD, COMMITS as u32), call, how);
    let said = String::from_utf8_lossy(&output.stdout);
    let said: Vec<&str> = said.lines().filter_map(announced).collect();
    let done = said.iter().filter(|line| line.starts_with("done ")).count();
    Run {
        dir,
        shape,
        signal: output.status.signal(),
        done: i64::try_from(done).unwrap(),
        failed: said.contains(&"failed"),
    }
}

impl Run {
    /// After the store was opened again both have what was acknowledged, and at most one more.
    fn check(&self, what: &str) {
        let store = Store::open(self.dir.path(), self.shape.options()).unwrap();
        let rows = NAMES.map(|name| {
            let connection = store.connect(name).unwrap();
            assert_eq!(integrity(&connection), "ok", "{what}, {name}");
            (
                int(&connection, "SELECT count(*) FROM t"),
                int(&connection, "SELECT coalesce(sum(number), 0) FROM t"),
            )
        });
        assert_eq!(rows[0], rows[1], "{what}");
        let more = self.done..=self.done + 1;
        assert!(
            more.contains(&rows[0].0),
            "{what}: {rows:?}, {} done",
            self.done
        );
    }
}
