//! The server: answers other processes for as long as this one has the store open.
//!
//! ```text
//!   start: directory, socket --> accepts --a client--> a thread of its own: see `serve`
//!                                   '--stop, or the store is closed--> socket gone, nobody new; those inside
//!                                      are told that nothing more is read --> their threads end
//! ```
//! Invariants
//! - the socket is bound and taken away while the store's lock is held: by [`Server::start`] on an open store, and
//!   before [`Manager::close`] lets go of the lock;
//! - there are at most [`CLIENTS_MAX`] clients, each with one thread; who comes then is told so;
//! - what a client sends is judged by its own thread: whatever it is, it ends that client alone.
//!
//! Never: runs a request on the thread that accepts, waits for a client without a deadline.

mod caller;
mod serve;
mod session;

use crate::failure::Failure;
use crate::message::Told;
use crate::socket::{self, ControlDir};
use crate::sql::SqlDoor;
use crate::wire::write_message;
use bop_storage::Manager;
use bop_storage::error::ErrorCode;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The most clients at a time.
pub const CLIENTS_MAX: usize = 32;

/// How long a client that is turned away may take for its answer, which fits the socket's buffer.
const TURN_AWAY_PATIENCE: Duration = Duration::from_millis(100);

/// How long the server waits before it accepts again, when the process had no descriptor left for a client.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long [`Server::stop`] waits for the requests that are being answered.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// What the owner of a store lets others do.
#[derive(Clone)]
pub struct Options {
    sql: Option<Arc<dyn SqlDoor>>,
    allow_writes: bool,
    sql_deadline: Duration,
    sql_bytes_max: u64,
    sql_idle_max: Duration,
    sql_transaction_idle_max: Duration,
}

impl Options {
    /// No SQL, and with it none that writes; a piece of SQL may take a minute and answer 256 MiB; a session may be idle
    /// for ten minutes, with an open transaction for thirty seconds.
    pub fn new() -> Self {
        Self {
            sql: None,
            allow_writes: false,
            sql_deadline: Duration::from_secs(60),
            sql_bytes_max: 256 << 20,
            sql_idle_max: Duration::from_secs(600),
            sql_transaction_idle_max: Duration::from_secs(30),
        }
    }

    /// Whoever runs SQL.
    #[must_use]
    pub fn sql(self, door: Arc<dyn SqlDoor>) -> Self {
        Self {
            sql: Some(door),
            ..self
        }
    }

    /// Whether a client that asks for it may write with SQL. What has a command of its own (create, drop,
    /// snapshot and so on) does not depend on it.
    #[must_use]
    pub fn allow_writes(self, yes: bool) -> Self {
        Self {
            allow_writes: yes,
            ..self
        }
    }

    /// How long one piece of SQL may run, in which its rows are taken, too.
    #[must_use]
    pub fn sql_deadline(self, deadline: Duration) -> Self {
        Self {
            sql_deadline: deadline,
            ..self
        }
    }

    /// How many bytes one piece of SQL may answer.
    #[must_use]
    pub fn sql_bytes_max(self, bytes: u64) -> Self {
        Self {
            sql_bytes_max: bytes,
            ..self
        }
    }

    /// How long a session of SQL may be idle before it is ended.
    #[must_use]
    pub fn sql_idle_max(self, time: Duration) -> Self {
        Self {
            sql_idle_max: time,
            ..self
        }
    }

    /// How long it may be with an open transaction, which is rolled back then: others wait for it to write, and what it
    /// reads is kept for it.
    #[must_use]
    pub fn sql_transaction_idle_max(self, time: Duration) -> Self {
        Self {
            sql_transaction_idle_max: time,
            ..self
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("has_sql", &self.sql.is_some())
            .field("allow_writes", &self.allow_writes)
            .field("sql_deadline", &self.sql_deadline)
            .field("sql_bytes_max", &self.sql_bytes_max)
            .field("sql_idle_max", &self.sql_idle_max)
            .field("sql_transaction_idle_max", &self.sql_transaction_idle_max)
            .finish()
    }
}

/// A running server. It is a handle of the store like any other: the store stays open until it is dropped, or the
/// store is closed, which ends it.
///
/// # Example
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use bop_control::{Client, Options, Request, Server, Terminal};
/// use bop_storage::{DbKind, Manager};
///
/// let store = Manager::open(dir.path(), bop_storage::Options::new())?;
/// store.create_database("orders", DbKind::Raw)?;
/// let server = Server::start(&store, Options::new())?;
///
/// // In any other process of the same user:
/// let client = Client::connect(dir.path())?.ok_or("nobody listens")?;
/// let mut answer = Terminal::into(Vec::new());
/// client.run(&Request::List, true, &mut answer)?;
/// assert!(String::from_utf8(answer.into_output()?)?.contains("orders"));
///
/// server.stop();
/// store.close(std::time::Duration::from_secs(5))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    accepts: Option<JoinHandle<()>>,
}

/// What the threads share.
#[derive(Debug)]
struct Shared {
    manager: Manager,
    options: Options,
    dir: ControlDir,
    listener: UnixListener,
    stopping: Arc<AtomicBool>,
    clients: Mutex<Clients>,
    /// A client is gone, or the server stops.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Clients {
    next: u64,
    streams: BTreeMap<u64, Arc<UnixStream>>,
}

impl Server {
    /// Binds the store's socket and answers whoever comes, on threads of its own.
    ///
    /// # Errors
    /// The directory or the socket cannot be made, or no thread started. The store is as it was.
    pub fn start(store: &Manager, options: Options) -> io::Result<Self> {
        let dir = ControlDir::prepare(store.path())?;
        let listener = dir.bind()?;
        let shared = Arc::new(Shared {
            manager: store.clone(),
            options,
            dir,
            listener,
            stopping: Arc::default(),
            clients: Mutex::default(),
            changed: Condvar::new(),
        });
        let of_hook = Arc::downgrade(&shared);
        store.before_close(move || {
            if let Some(shared) = of_hook.upgrade() {
                shared.begin_stop();
            }
        });
        let of_thread = Arc::clone(&shared);
        let accepts = std::thread::Builder::new().name("bop-control".to_owned());
        let accepts = accepts.spawn(move || of_thread.accept_all());
        let accepts = accepts.inspect_err(|_| shared.begin_stop())?;
        tracing::debug!(store = %store.path().display(), "the control socket is bound");
        Ok(Self {
            shared,
            accepts: Some(accepts),
        })
    }

    /// Takes the socket away, and waits a little for the requests that are being answered.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.begin_stop();
        if let Some(accepts) = self.accepts.take()
            && accepts.join().is_err()
        {
            tracing::error!("the thread of the control socket panicked");
        }
        let until = Instant::now() + STOP_PATIENCE;
        let mut clients = self.shared.clients.lock();
        while !clients.streams.is_empty() {
            if self
                .shared
                .changed
                .wait_until(&mut clients, until)
                .timed_out()
            {
                let still = clients.streams.len();
                tracing::warn!(still, "requests are still being answered");
                return;
            }
        }
    }
}

impl Shared {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Lets nobody in any more; tells those inside that nothing more is read. Waits for nothing.
    fn begin_stop(&self) {
        let clients = self.clients.lock();
        if self.stopping.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Err(error) = self.dir.unlink() {
            tracing::warn!(%error, "the control socket stays behind");
        }
        // It wakes the thread that accepts.
        if let Err(error) = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both) {
            tracing::warn!(%error, "the control socket does not stop listening");
        }
        for stream in clients.streams.values() {
            // One that is gone already need not be told.
            let _ = stream.shutdown(Shutdown::Read);
        }
        self.changed.notify_all();
    }

    fn accept_all(self: Arc<Self>) {
        while !self.is_stopping() {
            match self.listener.accept() {
                Ok((stream, _)) => self.let_in(stream),
                Err(_) if self.is_stopping() => return,
                Err(error) => {
                    tracing::warn!(%error, "the control socket accepts nobody");
                    let mut clients = self.clients.lock();
                    if !self.is_stopping() {
                        self.changed.wait_for(&mut clients, ACCEPT_PAUSE);
                    }
                }
            }
        }
    }

    /// Gives a client a thread, if he may have one.
    fn let_in(self: &Arc<Self>, stream: UnixStream) {
        if let Err(error) = socket::check_client(&stream) {
            tracing::warn!(%error, "a client of the control socket is refused");
            return turn_away(&stream, format!("the owner answers himself alone: {error}"));
        }
        let Some(place) = Place::take(self, stream) else {
            return;
        };
        let started = std::thread::Builder::new().name("bop-control-client".to_owned());
        // A thread that does not start drops the place, and the client with it.
        if let Err(error) = started.spawn(move || serve::serve(&place)) {
            tracing::warn!(%error, "no thread for a client of the control socket");
        }
    }
}

fn turn_away(stream: &UnixStream, why: String) {
    let told = Told::Failed(Failure::new(ErrorCode::Control, why));
    // He is let go in any case.
    let _ = write_message(stream, &told, TURN_AWAY_PATIENCE);
}

/// A client's place among the others, free again when it is dropped.
struct Place {
    shared: Arc<Shared>,
    number: u64,
    stream: Arc<UnixStream>,
}

impl Place {
    fn take(shared: &Arc<Shared>, stream: UnixStream) -> Option<Self> {
        let mut clients = shared.clients.lock();
        if shared.is_stopping() {
            return None;
        }
        if CLIENTS_MAX <= clients.streams.len() {
            drop(clients);
            turn_away(&stream, format!("it has {CLIENTS_MAX} clients already"));
            return None;
        }
        let (number, stream) = (clients.next, Arc::new(stream));
        clients.next += 1;
        clients.streams.insert(number, Arc::clone(&stream));
        Some(Self {
            shared: Arc::clone(shared),
            number,
            stream,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A process that was forked off meanwhile has the connection, too: to close it would end nothing.
        let _ = self.stream.shutdown(Shutdown::Both);
        self.shared.clients.lock().streams.remove(&self.number);
        self.shared.changed.notify_all();
    }
}
