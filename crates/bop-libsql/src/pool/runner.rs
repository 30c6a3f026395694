//! AsyncPool: work on connections for tasks of any async runtime, done by threads of its own.
//!
//! ```text
//!   run --first poll--> queue --> a thread: connection of the pool, the work --> answer wakes the task
//!                         '--- the future is dropped: not begun, or done unheard
//! ```
//!
//! Invariants
//! - a task never waits inside of `poll`: what may wait (a commit, the writer's turn, a free
//!   connection) does so on a thread of the pool;
//! - there are at most as many threads as connections, and none before there is work;
//! - whatever becomes of a thread or the pool, each future gets an answer;
//! - when the last handle is gone the threads do what is queued, and end.
//!
//! Never: knows a runtime.

use super::answer::{self, Asker};
use super::{Pool, PoolError, PooledConnection};
use crate::connection::Connection;
use crate::fence::message_of;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;

/// Work, which answers by itself; without a connection it answers why there is none.
type Job = Box<dyn FnOnce(Result<PooledConnection, PoolError>) + Send>;

/// A [`Pool`] for async code: blocks no thread of a runtime, whichever that is. Clones are handles of
/// the same pool.
///
/// # Example
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use bop_libsql::{AsyncPool, Options, Pool, Store};
///
/// let store = Store::open(dir.path(), Options::new())?;
/// let pool = AsyncPool::new(Pool::new(&store, "orders"));
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// pool.run(|connection| {
///     let transaction = connection.transaction()?;
///     transaction.execute_batch("CREATE TABLE line(amount); INSERT INTO line VALUES (7)")?;
///     transaction.commit()
/// })
/// .await??;
/// let sum: i64 = pool
///     .run(|connection| connection.query_row("SELECT sum(amount) FROM line", [], |row| row.get(0)))
///     .await??;
/// assert_eq!(sum, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AsyncPool(Arc<Handle>);

/// Goes with the last handle.
#[derive(Debug)]
struct Handle(Arc<Crew>);

struct Crew {
    pool: Pool,
    queue: Mutex<Queue>,
    work: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    /// Threads that wait for work, and were not woken for some.
    idle: usize,
    closed: bool,
}

impl AsyncPool {
    /// Work on the connections of `pool`, which others may use beside it.
    pub fn new(pool: Pool) -> Self {
        Self(Arc::new(Handle(Arc::new(Crew {
            pool,
            queue: Mutex::default(),
            work: Condvar::new(),
        }))))
    }

    /// Runs `work` with a connection on another thread. It is queued when the future is first polled; a
    /// future that is dropped before the work was begun takes it back, later it is done all the
    /// same. A transaction that the work leaves open is rolled back.
    ///
    /// # Errors
    /// [`PoolError`]; what the work itself answers is inside of that.
    pub fn run<T, F>(&self, work: F) -> Run<T>
    where
        F: FnOnce(&mut Connection) -> T + Send + 'static,
        T: Send + 'static,
    {
        let (answerer, asker) = answer::new();
        let job = move |connection: Result<PooledConnection, PoolError>| {
            if !answerer.is_wanted() {
                return;
            }
            answerer.send(connection.and_then(|connection| call(connection, work)));
        };
        Run {
            queued: Some((Arc::clone(&self.0.0), Box::new(job))),
            asker,
        }
    }

    /// The pool under it.
    pub fn pool(&self) -> &Pool {
        &self.0.0.pool
    }
}

/// Does the work; the connection is back in the pool when it is answered.
fn call<T>(
    mut connection: PooledConnection,
    work: impl FnOnce(&mut Connection) -> T,
) -> Result<T, PoolError> {
    // A panic unwinds through the connection's guard, which then does not take it back.
    let worked = catch_unwind(AssertUnwindSafe(move || work(&mut connection)));
    worked.map_err(|payload| PoolError::Panic {
        message: message_of(payload),
    })
}

/// The answer of [`AsyncPool::run`].
#[must_use = "nothing is done before it is polled"]
pub struct Run<T> {
    /// Until it is polled.
    queued: Option<(Arc<Crew>, Job)>,
    asker: Asker<T>,
}

impl<T> Future for Run<T> {
    type Output = Result<T, PoolError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some((crew, job)) = self.queued.take() {
            crew.queue_up(job);
        }
        self.asker.poll(context)
    }
}

impl<T> fmt::Debug for Run<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("begun", &self.queued.is_none())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

impl Crew {
    fn queue_up(self: &Arc<Self>, job: Job) {
        let mut queue = self.queue.lock();
        if queue.closed {
            drop(queue);
            return job(Err(PoolError::Closed));
        }
        queue.jobs.push_back(job);
        if queue.idle > 0 {
            queue.idle -= 1;
            self.work.notify_one();
            return;
        }
        if queue.threads == self.pool.connections_max() {
            return;
        }
        queue.threads += 1;
        drop(queue);
        let crew = Arc::clone(self);
        let started = thread::Builder::new()
            .name("bop-sql".to_owned())
            .spawn(move || crew.work_on());
        if let Err(error) = started {
            self.do_without(error);
        }
    }

    /// No thread could be started. Without any, nobody else does the work.
    fn do_without(&self, error: std::io::Error) {
        let mut queue = self.queue.lock();
        queue.threads -= 1;
        let left = match queue.threads {
            0 => std::mem::take(&mut queue.jobs),
            _ => VecDeque::new(),
        };
        drop(queue);
        let error = Arc::new(error);
        for job in left {
            job(Err(PoolError::Thread(Arc::clone(&error))));
        }
    }

    /// The life of a thread. What a job has captured, its answer, and the waker of whoever waits for that may panic where
    /// nobody is told of it: they take no thread from those who come later.
    fn work_on(&self) {
        while let Some(job) = self.next() {
            let done = catch_unwind(AssertUnwindSafe(|| job(self.pool.get())));
            if let Err(payload) = done {
                let message = message_of(payload);
                tracing::error!(message, "work of a pool panicked beside its answer");
            }
        }
    }

    /// The next work, once there is some; `None` when there will be none.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                queue.threads -= 1;
                return None;
            }
            queue.idle += 1;
            self.work.wait(&mut queue);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.queue.lock().closed = true;
        self.0.work.notify_all();
    }
}
