//! The exporter's threads, their start and their end.
//!
//! ```text
//!   start: port bound --> one thread for all connections, ASKERS threads that ask the store
//!   stop, dropped, or the store is about to be closed --> port given back, nothing is asked any more
//!     --> the answers on their way go out, for a while --> the threads end
//! ```
//! Invariants
//! - the end waits for nothing without a deadline: not for a client, not for the store;
//! - it begins before the store is closed ([`Source::before_close`]).
//!
//! Never: keeps a store open that is being closed.

use crate::desk::Desk;
use crate::guests::accept_all;
use crate::options::{LAST_ANSWER_TIME, Options};
use crate::routes::Routes;
use crate::source::Source;
use parking_lot::{Condvar, Mutex};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Threads that ask the store: a slow answer keeps one of them.
const ASKERS: usize = 2;

/// A running exporter. It ends when it is dropped, or the store is closed. One that asks a [`bop_storage::Manager`] is a
/// handle of the store like any other: the store stays open until it is dropped.
///
/// # Example
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use bop_exporter::{Exporter, Options};
/// use bop_storage::Manager;
/// use std::io::{Read, Write};
///
/// let store = Manager::open(dir.path(), bop_storage::Options::new())?;
/// let anywhere = Options::new().listen(([127, 0, 0, 1], 0).into());
/// let exporter = Exporter::start(store.clone(), anywhere)?;
///
/// let mut client = std::net::TcpStream::connect(exporter.local_addr())?;
/// write!(client, "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert!(answer.contains("\nbop_up 1\n"));
///
/// exporter.stop();
/// store.close(std::time::Duration::from_secs(5))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Exporter {
    address: SocketAddr,
    /// How long the end waits for the threads: for the last answers, and for the store.
    stop_patience: Duration,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads share.
#[derive(Debug)]
struct Shared {
    desk: Arc<Desk>,
    ended: watch::Sender<bool>,
    running: Mutex<usize>,
    /// A thread is over.
    one_less: Condvar,
}

impl Exporter {
    /// Binds the port and answers whoever comes, on threads of its own.
    ///
    /// # Errors
    /// The address cannot be bound, or no thread started.
    pub fn start(source: impl Source, options: Options) -> io::Result<Self> {
        let source: Arc<dyn Source> = Arc::new(source);
        let listener = TcpListener::bind(options.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_io().enable_time().build()?;
        let shared = Arc::new(Shared {
            desk: Arc::new(Desk::new(Arc::clone(&source), &options)),
            ended: watch::Sender::new(false),
            running: Mutex::new(0),
            one_less: Condvar::new(),
        });
        let of_hook = Arc::downgrade(&shared);
        source.before_close(Box::new(move || {
            if let Some(shared) = of_hook.upgrade() {
                shared.begin_stop();
            }
        }));
        // Dropped before all its threads are there, it ends those that are.
        let mut exporter = Self {
            address,
            stop_patience: LAST_ANSWER_TIME + options.patience,
            shared,
            threads: Vec::new(),
        };
        for _ in 0..ASKERS {
            let desk = Arc::clone(&exporter.shared.desk);
            exporter.spawn("bop-exporter-ask", move || desk.work())?;
        }
        let routes = Arc::new(Routes::new(&exporter.shared.desk, address));
        let ended = exporter.shared.ended.subscribe();
        exporter.spawn("bop-exporter", move || {
            serve(&runtime, listener, routes, ended)
        })?;
        tracing::debug!(%address, "the exporter listens");
        Ok(exporter)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        *self.shared.running.lock() += 1;
        let over = Over(Arc::clone(&self.shared));
        let thread = std::thread::Builder::new().name(name.to_owned());
        // A thread that does not start drops what it was to run, and with it its place among those that do.
        self.threads.push(thread.spawn(move || {
            let _over = over;
            work();
        })?);
        Ok(())
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Gives the port back, and waits a little for the answers that are on their way.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.shared.begin_stop();
        let until = Instant::now() + self.stop_patience;
        let mut running = self.shared.running.lock();
        while 0 < *running {
            let waited = self.shared.one_less.wait_until(&mut running, until);
            if waited.timed_out() && 0 < *running {
                tracing::warn!(
                    running = *running,
                    "threads of the exporter still wait for the store"
                );
                return;
            }
        }
        drop(running);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the exporter panicked");
            }
        }
    }
}

impl Shared {
    /// Waits for nothing.
    fn begin_stop(&self) {
        self.ended.send_replace(true);
        self.desk.close();
    }
}

/// A thread's place among those that run, free when it is dropped.
struct Over(Arc<Shared>);

impl Drop for Over {
    fn drop(&mut self) {
        *self.0.running.lock() -= 1;
        self.0.one_less.notify_all();
    }
}

/// The thread of all connections.
fn serve(
    runtime: &Runtime,
    listener: TcpListener,
    routes: Arc<Routes>,
    ended: watch::Receiver<bool>,
) {
    runtime.block_on(async {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => accept_all(listener, routes, ended).await,
            Err(error) => tracing::error!(%error, "the exporter cannot accept"),
        }
    });
}
