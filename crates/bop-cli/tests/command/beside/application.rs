//! An application with a connection a thread, each of which commits again and again.
//!
//! Invariant: a commit that is refused ends its thread, and is told with the number of its connection.
//!
//! Never: waits without an end: a connection that commits nothing for [`PATIENCE`] fails the test.

use bop_control::Server;
use bop_libsql::Store;
use bop_libsql::control::Door;
use parking_lot::{Condvar, Mutex};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Connections, and threads.
pub(super) const CONNECTIONS: usize = 64;

/// What a connection does with its data between two commits. As fast as they can, they would make more log and
/// chunks than a debug build of a verification reads in a minute.
const PAUSE: Duration = Duration::from_millis(20);

/// A connection that has committed nothing for so long is stalled.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest a close may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(60);

/// An open store, its control socket, and those who commit.
pub(super) struct Application {
    store: Store,
    server: Server,
    shared: Arc<Shared>,
    committers: Vec<JoinHandle<()>>,
}

/// What the threads tell.
struct Shared {
    stopping: AtomicBool,
    /// Of each connection, how many of its commits were acknowledged, or how one was refused.
    progress: Mutex<Vec<Result<u64, String>>>,
    changed: Condvar,
    stopped: Condvar,
}

/// The database of a connection.
pub(super) fn database(connection: usize) -> String {
    format!("app-{connection}")
}

impl Application {
    /// Opens the store at `path` and lets all connections commit.
    pub(super) fn start(path: &Path) -> Self {
        let store = Store::open(path, bop_storage::Options::new()).unwrap();
        let options = bop_control::Options::new()
            .sql(Arc::new(Door::new(&store)))
            .allow_writes(true);
        let server = Server::start(store.manager(), options).unwrap();
        let shared = Arc::new(Shared {
            stopping: AtomicBool::new(false),
            progress: Mutex::new(vec![Ok(0); CONNECTIONS]),
            changed: Condvar::new(),
            stopped: Condvar::new(),
        });
        let committers = (0..CONNECTIONS)
            .map(|connection| {
                let (store, shared) = (store.clone(), Arc::clone(&shared));
                std::thread::spawn(move || shared.commit_all(&store, connection))
            })
            .collect();
        let application = Self {
            store,
            server,
            shared,
            committers,
        };
        application.goes_on_while("it begins", || {});
        application
    }

    /// Does something, and waits until each connection has committed since it began.
    #[track_caller]
    pub(super) fn goes_on_while<T>(&self, what: &str, act: impl FnOnce() -> T) -> T {
        let before = self.shared.progress.lock().clone();
        let done = act();
        let until = Instant::now() + PATIENCE;
        let mut progress = self.shared.progress.lock();
        for connection in 0..CONNECTIONS {
            while progress[connection] == before[connection] {
                let waited = self.shared.changed.wait_until(&mut progress, until);
                assert!(
                    !waited.timed_out(),
                    "while {what}: connection {connection} stands at {:?}",
                    before[connection]
                );
            }
            let now = &progress[connection];
            assert!(
                now.is_ok(),
                "while {what}: connection {connection}: {now:?}"
            );
        }
        done
    }

    /// Ends the connections; answers how many commits of each were acknowledged.
    pub(super) fn end_commits(&mut self) -> Vec<u64> {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.stopped.notify_all();
        for committer in self.committers.drain(..) {
            committer.join().unwrap();
        }
        let progress = self.shared.progress.lock().clone();
        progress.into_iter().map(Result::unwrap).collect()
    }

    /// Closes the store, whoever is at its socket.
    pub(super) fn close(self) {
        self.store.manager().close(CLOSE_DEADLINE).unwrap();
        self.server.stop();
    }
}

impl Shared {
    fn commit_all(&self, store: &Store, connection: usize) {
        let refused = match self.try_commit_all(store, connection) {
            Ok(()) => return,
            Err(refused) => refused,
        };
        self.progress.lock()[connection] = Err(refused);
        self.changed.notify_all();
    }

    fn try_commit_all(&self, store: &Store, connection: usize) -> Result<(), String> {
        let db = store.connect(&database(connection));
        let db = db.map_err(|error| error.to_string())?;
        let why = |error| format!("{error}: {:?}", db.last_engine_error());
        let made = db.execute_batch("create table t(n integer primary key)");
        made.map_err(why)?;
        for n in 1.. {
            db.execute("insert into t values (?1)", [n]).map_err(why)?;
            let mut progress = self.progress.lock();
            progress[connection] = Ok(n);
            self.changed.notify_all();
            let until = Instant::now() + PAUSE;
            while !self.stopping.load(Ordering::Acquire) {
                if self.stopped.wait_until(&mut progress, until).timed_out() {
                    break;
                }
            }
            if self.stopping.load(Ordering::Acquire) {
                break;
            }
        }
        Ok(())
    }
}
