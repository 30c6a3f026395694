//! Pool: connections to one database that are opened once and used by many.
//!
//! ```text
//!   get: an idle one, or a new one, or wait --> PooledConnection --drop--> idle
//!                                                  '--- cannot be rolled back, panic --> closed
//! ```
//!
//! Invariants
//! - no more connections than the limit are open at a time, and whoever waits is told when one comes
//!   back or is closed;
//! - a connection that is idle has no transaction.
//!
//! Never: opens or closes a connection with its lock in hand.

mod answer;
mod error;
mod runner;

pub use error::PoolError;
pub use runner::{AsyncPool, Run};

use crate::connection::{Connection, OpenOptions};
use crate::store::Store;
use parking_lot::{Condvar, Mutex};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How a pool behaves.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PoolOptions {
    /// Connections that are open at a time, at most; at least one. Default: 8.
    pub connections_max: usize,
    /// How long [`Pool::get`] waits for a connection. Default: 30 seconds.
    pub wait: Duration,
    /// How each connection is opened.
    pub open: OpenOptions,
}

impl PoolOptions {
    /// The defaults.
    pub const fn new() -> Self {
        Self {
            connections_max: 8,
            wait: Duration::from_secs(30),
            open: OpenOptions::new(),
        }
    }

    /// So many connections at most.
    #[must_use]
    pub const fn connections_max(mut self, connections: usize) -> Self {
        self.connections_max = connections;
        self
    }

    /// How long to wait for a connection.
    #[must_use]
    pub const fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// How each connection is opened.
    #[must_use]
    pub const fn open(mut self, open: OpenOptions) -> Self {
        self.open = open;
        self
    }
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Connections to one database. Clones are handles of the same pool.
///
/// # Example
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use bop_libsql::{Options, Pool, Store};
///
/// let store = Store::open(dir.path(), Options::new())?;
/// let pool = Pool::new(&store, "orders");
/// pool.get()?.execute_batch("CREATE TABLE line(amount)")?;
/// let threads: Vec<_> = (0..4)
///     .map(|amount| {
///         let pool = pool.clone();
///         std::thread::spawn(move || {
///             let connection = pool.get().expect("a connection");
///             connection.execute("INSERT INTO line VALUES (?1)", [amount])
///         })
///     })
///     .collect();
/// for thread in threads {
///     thread.join().expect("no panic")?;
/// }
/// let sum: i64 = pool.get()?.query_row("SELECT sum(amount) FROM line", [], |row| row.get(0))?;
/// assert_eq!(sum, 6);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    store: Store,
    database: String,
    options: PoolOptions,
    state: Mutex<State>,
    came_back: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Connection>,
    /// Idle ones, those in use, and those being opened.
    open: usize,
}

impl Pool {
    /// A pool of connections to the database `name`, which is created when it is missing. None is
    /// opened yet.
    pub fn new(store: &Store, name: &str) -> Self {
        Self::with(store, name, PoolOptions::new())
    }

    /// The same with options.
    pub fn with(store: &Store, name: &str, options: PoolOptions) -> Self {
        Self(Arc::new(Shared {
            store: store.clone(),
            database: name.to_owned(),
            options: PoolOptions {
                connections_max: options.connections_max.max(1),
                ..options
            },
            state: Mutex::default(),
            came_back: Condvar::new(),
        }))
    }

    /// A connection. It has whatever the one before left set or attached, but no transaction. One whose database was
    /// dropped since, or restored, which makes another one of it, is closed, and a new one opened in its place.
    ///
    /// # Errors
    /// [`PoolError::Timeout`] when none came back in time, [`PoolError::Open`] when a new one cannot
    /// be opened.
    pub fn get(&self) -> Result<PooledConnection, PoolError> {
        let shared = &self.0;
        let deadline = Instant::now().checked_add(shared.options.wait);
        let mut state = shared.state.lock();
        let idle = loop {
            if let Some(connection) = state.idle.pop() {
                break Some(connection);
            }
            if state.open < shared.options.connections_max {
                state.open += 1;
                break None;
            }
            match deadline {
                None => shared.came_back.wait(&mut state),
                Some(deadline) => {
                    let waited = shared.came_back.wait_until(&mut state, deadline);
                    if waited.timed_out() && state.idle.is_empty() {
                        return Err(PoolError::Timeout {
                            database: shared.database.clone(),
                            waited: shared.options.wait,
                        });
                    }
                }
            }
        };
        drop(state);
        // From here on it is counted, and given back whatever happens.
        let mut pooled = PooledConnection {
            pool: Arc::clone(shared),
            connection: idle.filter(|idle| !idle.is_of_a_dropped_database()),
        };
        if pooled.connection.is_none() {
            let opened = shared
                .store
                .connect_with(&shared.database, &shared.options.open)?;
            pooled.connection = Some(opened);
        }
        Ok(pooled)
    }

    /// Connections that are open now.
    pub fn open_connections(&self) -> usize {
        self.0.state.lock().open
    }

    /// Connections that are open at a time, at most.
    pub fn connections_max(&self) -> usize {
        self.0.options.connections_max
    }
}

impl Shared {
    /// Takes a connection back; `None` for one that is gone.
    fn give_back(&self, connection: Option<Connection>) {
        let mut state = self.state.lock();
        match connection {
            Some(connection) => state.idle.push(connection),
            None => state.open -= 1,
        }
        drop(state);
        self.came_back.notify_one();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("database", &self.0.database)
            .field("options", &self.0.options)
            .field("open", &self.open_connections())
            .finish_non_exhaustive()
    }
}

/// A connection of a [`Pool`], which gets it back when this is dropped. A transaction that is still
/// open is rolled back.
pub struct PooledConnection {
    pool: Arc<Shared>,
    /// `None` before it is open, and after it was given back.
    connection: Option<Connection>,
}

impl PooledConnection {
    fn take_sound(&mut self) -> Option<Connection> {
        let connection = self.connection.take()?;
        let sound = !std::thread::panicking()
            && (connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok());
        sound.then_some(connection)
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        let sound = self.take_sound();
        self.pool.give_back(sound);
    }
}

/// What a pooled connection without one would be; none is ever handed out.
#[cold]
fn gone() -> ! {
    unreachable!("a connection that was handed out is there until it is dropped")
}

impl Deref for PooledConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().unwrap_or_else(|| gone())
    }
}

impl DerefMut for PooledConnection {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().unwrap_or_else(|| gone())
    }
}

impl fmt::Debug for PooledConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledConnection")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}
