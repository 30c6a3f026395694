//! The manifest's one writer: requests of many callers, one transaction.
//!
//! ```text
//! take -> edit a copy of the rows -> its invariants -+-> the next request, on top, while the budget lasts
//!           '- an error, a panic: nothing of it     '-> store commits -> the copy is the state -> all answered
//!                                                          '-> failed: all answered, the next batch
//!                                                              first reads all rows again
//! ```
//! A worker thread takes turns with nobody; while there is none (before it is started, after it was
//! stopped, in a store that keeps no threads) whoever asks takes the turn and writes what waits.
//!
//! Invariants
//! - nobody is answered before the rows are durable, also not with an error that rests on rows of the
//!   same batch;
//! - each request is checked by itself: one that breaks an invariant takes nobody with it;
//! - a batch ends by its size and by its time: whoever is first does not wait for thousands;
//! - a panic fails its request, or its batch when it is the writer's own: the worker outlives it, and
//!   the next batch first reads all rows again. Nothing is tried twice, so there is no limit to that;
//! - a panic outside of that, as of whatever writes the log down, begins the worker's loop anew,
//!   [`WORKER_RESTARTS_MAX`] times; then everybody who waits, or comes, is answered with it;
//! - answers, the bell, and the wakers of tasks behind both, run outside the turn and inside a fence: a
//!   task may ask for the next change at once, and one that panics fails nobody else.
//!
//! Never: retries a commit that failed, or makes another one behind one that panicked.

use super::change::changes;
use super::edit::{Edit, RowKey, writes};
use super::feed;
use super::fenced::{Fenced, fenced};
use super::invariants::{self, Change};
use super::queue::{Queue, Request};
use super::state::ManifestState;
use super::store::{ManifestStore, Write};
use crate::error::ManifestError;
use crate::ids::StoreId;
use crate::runtime::sync::{Condvar, Mutex, MutexGuard, RwLock};
use crate::runtime::{Bell, Clock, Joiner, Spawn, fence};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows that one transaction changes, unless its first request alone changes more.
const BATCH_ROWS_MAX: usize = 4096;

/// How long requests are taken into one transaction, in microseconds.
const BATCH_TIME_US_MAX: u64 = 10_000;

/// How often the worker's loop is begun anew while the store is open.
const WORKER_RESTARTS_MAX: u32 = 8;

/// How long the worker sleeps when nothing happens. It is woken by what does.
const IDLE: Duration = Duration::from_secs(60);

/// What the writer and its callers share.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) store: Fenced,
    pub(super) store_id: StoreId,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) queue: Queue,
    /// Held for the whole of a transaction. `true` when a commit failed: its writes may be there.
    pub(super) turn: Mutex<bool>,
    pub(super) state: RwLock<ManifestState>,
    /// Rung by each transaction.
    pub(super) bell: Bell,
}

/// A request, and what became of its edit.
type Edited = (Box<dyn Request>, Result<(), ManifestError>);

impl Core {
    /// Writes what waits, in one transaction, and answers it.
    pub(super) fn write_batch(&self, mut unsure: MutexGuard<'_, bool>) {
        let mut asked = Vec::new();
        let written = fenced("wrote the manifest", || {
            self.collect_and_commit(&mut unsure, &mut asked)
        });
        if matches!(written, Err(ManifestError::Panic(_))) {
            *unsure = true;
        }
        drop(unsure);
        for (request, edited) in asked {
            // Where it panics, whoever waits is told by the promise that went.
            tell(|| match written.clone().and(edited) {
                Ok(()) => request.done(),
                Err(error) => request.failed(error),
            });
        }
        tell(|| self.bell.ring());
    }

    fn collect_and_commit(
        &self,
        unsure: &mut bool,
        asked: &mut Vec<Edited>,
    ) -> Result<(), ManifestError> {
        if let Err(error) = self.read_again(unsure) {
            asked.extend(self.queue.take().map(|request| (request, Ok(()))));
            return Err(error);
        }
        let before = self.state.read().clone();
        let mut after = before.clone();
        let mut touched = BTreeSet::new();
        let until_us = self.clock.monotonic_us().saturating_add(BATCH_TIME_US_MAX);
        while touched.len() < BATCH_ROWS_MAX && self.clock.monotonic_us() < until_us {
            let Some(request) = self.queue.take() else {
                break;
            };
            asked.push((request, Ok(())));
            if let Some((request, outcome)) = asked.last_mut() {
                *outcome = edit_one(&mut after, &mut touched, request.as_mut());
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        let mut writes = self.told(&before, &mut after, &mut touched)?;
        writes.extend(self::writes(self.store_id, &before, &after, &touched)?);
        if !writes.is_empty() {
            *unsure = true;
            self.store.commit(&writes)?;
            *unsure = false;
            let (writes, requests) = (writes.len(), asked.len());
            tracing::debug!(requests, writes, "manifest transaction");
        }
        *self.state.write() = after;
        Ok(())
    }

    /// Tells the subscribers what the transaction does. A feed that begins with it starts empty.
    fn told(
        &self,
        before: &ManifestState,
        after: &mut ManifestState,
        touched: &mut BTreeSet<RowKey>,
    ) -> Result<Vec<Write>, ManifestError> {
        if before.feed.is_none() {
            return Ok(Vec::new());
        }
        let now_us = self.clock.wall_us();
        let changes = changes(before, after, touched, now_us);
        let writes = feed::append(self.store_id, after, &changes, now_us)?;
        touched.insert(RowKey::Feed);
        Ok(writes)
    }

    /// Writes what waits, until no more will come. Where a panic gets this far nobody knows what it
    /// has left: the rows are read again, as after a commit that failed.
    fn serve(&self) {
        for restarts in 0..=WORKER_RESTARTS_MAX {
            let served = fence("served the manifest's queue", || {
                while self.queue.wait_for_work(IDLE) {
                    self.write_batch(self.turn.lock());
                }
            });
            let Err(panic) = served else {
                return;
            };
            *self.turn.lock() = true;
            // What writes it down may be what fell.
            tell(|| tracing::error!(%panic, restarts, "the manifest's writer fell"));
            if restarts == WORKER_RESTARTS_MAX {
                let error = ManifestError::Panic(Box::new(panic));
                for request in self.queue.give_up(&error) {
                    tell(|| request.failed(error.clone()));
                }
                tell(|| self.bell.ring());
            }
        }
    }

    /// Finds out what a commit that failed has left.
    pub(super) fn read_again(&self, unsure: &mut bool) -> Result<(), ManifestError> {
        if *unsure {
            let state = self.read_rows()?;
            *self.state.write() = state;
            *unsure = false;
        }
        Ok(())
    }

    /// All rows. A panic in what they are believed to be is an error, too.
    pub(super) fn read_rows(&self) -> Result<ManifestState, ManifestError> {
        read_rows(&self.store, self.store_id)
    }
}

pub(super) fn read_rows(store: &Fenced, store_id: StoreId) -> Result<ManifestState, ManifestError> {
    fenced("read the manifest's rows", || {
        ManifestState::load(store, store_id)
    })
}

/// Tells somebody who may panic; that is logged, if whatever writes the log down does not panic, too.
fn tell(told: impl FnOnce()) {
    let logged = fence("wrote down a panic", || {
        let fenced: Result<(), ManifestError> = fenced("told of a change of the manifest", || {
            told();
            Ok(())
        });
        drop(fenced);
    });
    drop(logged);
}

/// One request, on top of those before it.
fn edit_one(
    after: &mut ManifestState,
    touched: &mut BTreeSet<RowKey>,
    request: &mut dyn Request,
) -> Result<(), ManifestError> {
    fenced("changed the manifest", || {
        let mut edited = Edit::new(after);
        request.edit(&mut edited)?;
        let (state, rows) = edited.finish();
        let change = Change {
            before: after,
            after: &state,
            touched: &rows,
        };
        invariants::check(&change)?;
        *after = state;
        touched.extend(rows);
        Ok(())
    })
}

/// The worker, while it runs.
#[derive(Default)]
pub(super) struct Worker(Mutex<Option<Running>>);

struct Running {
    joiner: Box<dyn Joiner>,
    ended: Arc<(Mutex<bool>, Condvar)>,
}

/// Says that the worker has ended, however it did.
struct EndGuard(Arc<(Mutex<bool>, Condvar)>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        *self.0.0.lock() = true;
        self.0.1.notify_all();
    }
}

impl Worker {
    /// Starts it, once.
    pub(super) fn start(&self, core: &Arc<Core>, spawn: &dyn Spawn) -> std::io::Result<()> {
        let mut running = self.0.lock();
        if running.is_none() {
            let ended = Arc::default();
            let (core, guard) = (Arc::clone(core), EndGuard(Arc::clone(&ended)));
            let body = move || {
                let _guard = guard;
                core.serve();
            };
            let joiner = spawn.spawn("bop-manifest", Box::new(body))?;
            *running = Some(Running { joiner, ended });
        }
        Ok(())
    }

    /// Whether somebody else writes what waits.
    pub(super) fn is_running(&self) -> bool {
        self.0.lock().is_some()
    }

    /// Waits for its end, after the queue was closed; `false` when it has not ended by `deadline`.
    pub(super) fn join(&self, deadline: Instant) -> bool {
        let Some(Running { joiner, ended }) = self.0.lock().take() else {
            return true;
        };
        let mut has_ended = ended.0.lock();
        while !*has_ended {
            if ended.1.wait_until(&mut has_ended, deadline).timed_out() && !*has_ended {
                return false;
            }
        }
        drop(has_ended);
        if joiner.join().is_err() {
            tracing::error!("the manifest's writer panicked outside its work");
        }
        true
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Worker(running: {})", self.is_running())
    }
}
