//! The manifest: typed rows over a store, many callers a transaction.
//!
//! Invariants
//! - a transaction is checked before a byte of it is written;
//! - what [`Manifest::state`] answers was durable in the store;
//! - no call unwinds: a panic in the store or in an edit is [`ManifestError::Panic`].
//!
//! Never: writes by itself (that is [`writer`](super::writer)).

use super::edit::{Edit, put};
use super::feed_rows::FeedRow;
use super::fenced::Fenced;
use super::invariants;
use super::job_rows::JobIdsRow;
use super::queue::{Answer, Queue, RequestId, request};
use super::rows::{MetaRow, Watermarks};
use super::schema::{Key, SCHEMA_VERSION, Single};
use super::state::ManifestState;
use super::store::{ManifestStore, Table, Write};
use super::writer::{Core, Worker, read_rows};
use crate::error::{Damage, ManifestError};
use crate::ids::{DbId, Generation, StoreId};
use crate::runtime::sync::{Mutex, RwLock, now};
use crate::runtime::{Bell, Clock, Spawn, SystemClock, Waited, after};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The manifest of an open store.
#[derive(Debug)]
pub struct Manifest {
    core: Arc<Core>,
    worker: Worker,
}

/// The answer to a change that was asked for, when its transaction is durable. Dropping it changes
/// nothing.
#[must_use = "the change is on its way whatever becomes of this; use `drop` to say so"]
pub struct ManifestFuture<T>(Answer<T>);

impl<T> Future for ManifestFuture<T> {
    type Output = Result<T, ManifestError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = self.0.poll(context);
        answer.map(|answer| answer.unwrap_or(Err(ManifestError::Closed)))
    }
}

impl<T> ManifestFuture<T> {
    /// Waits on this thread instead.
    ///
    /// # Errors
    /// As for [`Manifest::transact`].
    pub fn wait(self) -> Result<T, ManifestError> {
        wait(&self.0)
    }
}

impl<T> std::fmt::Debug for ManifestFuture<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ManifestFuture(over: {})", self.0.is_over())
    }
}

fn wait<T>(answer: &Answer<T>) -> Result<T, ManifestError> {
    match answer.wait(None) {
        Waited::Answer(answer) => answer,
        Waited::Lost | Waited::TimedOut => Err(ManifestError::Closed),
    }
}

impl Manifest {
    /// The first transaction of a new store's manifest.
    ///
    /// # Errors
    /// None in fact: the rows are constants but for the id.
    pub fn initial_writes(store_id: StoreId) -> Result<Vec<Write>, ManifestError> {
        let meta = MetaRow {
            schema_version: SCHEMA_VERSION,
            store: store_id,
        };
        let key = Single.encode();
        Ok(vec![
            put(store_id, key.clone(), &meta)?,
            put(store_id, key.clone(), &Watermarks::INITIAL)?,
            put(store_id, key.clone(), &FeedRow::INITIAL)?,
            put(store_id, key, &JobIdsRow::INITIAL)?,
        ])
    }

    /// Makes the manifest of a new store in an empty `store`.
    ///
    /// # Errors
    /// [`ManifestError::Invariant`] when `store` has a manifest already, or what it refuses.
    pub fn initialize(
        store: Arc<dyn ManifestStore>,
        store_id: StoreId,
    ) -> Result<Self, ManifestError> {
        let store = Fenced::new(store);
        for table in Table::ALL {
            if !store.scan(table, &[], 1)?.is_empty() {
                return Err(ManifestError::Invariant {
                    invariant: "initialized_once",
                    detail: format!("table {} has rows", table.name()),
                });
            }
        }
        store.commit(&Self::initial_writes(store_id)?)?;
        Self::load(store, store_id)
    }

    /// Reads and checks all rows. Damage of a row that one database or one segment needs is in
    /// [`ManifestState::damaged`]; nothing is written.
    ///
    /// # Errors
    /// [`ManifestError::Damaged`] when the manifest is missing, of another store, of a newer
    /// schema, or damaged where every database needs it; else what the store refuses.
    pub fn open(store: Arc<dyn ManifestStore>, store_id: StoreId) -> Result<Self, ManifestError> {
        Self::load(Fenced::new(store), store_id)
    }

    fn load(store: Fenced, store_id: StoreId) -> Result<Self, ManifestError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let state = read_rows(&store, store_id)?;
        let core = Core {
            store,
            store_id,
            clock,
            queue: Queue::new(),
            turn: Mutex::new(false),
            state: RwLock::new(state),
            bell: Bell::default(),
        };
        Ok(Self {
            core: Arc::new(core),
            worker: Worker::default(),
        })
    }

    /// With another clock, before anybody shares it.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        if let Some(core) = Arc::get_mut(&mut self.core) {
            core.clock = clock;
        }
        self
    }

    pub(super) fn store(&self) -> &dyn ManifestStore {
        &self.core.store
    }

    pub(super) fn store_id(&self) -> StoreId {
        self.core.store_id
    }

    pub(super) fn bell(&self) -> &Bell {
        &self.core.bell
    }

    /// Starts the writer's thread: from then on nobody writes who asks. A manifest without it is
    /// written by whoever asks.
    ///
    /// # Errors
    /// The operating system's, when it can start no more threads.
    pub fn start(&self, spawn: &dyn Spawn) -> std::io::Result<()> {
        self.worker.start(&self.core, spawn)
    }

    /// All rows, as of the last transaction. Takes constant time.
    pub fn state(&self) -> ManifestState {
        self.core.state.read().clone()
    }

    /// Changes rows in an atomic, durable transaction, with whoever else asks at the time. `edit`
    /// sees and changes a copy; what it answers is answered after the commit. An error of `edit`
    /// leaves everything as it was. Not to be called from within an `edit`, which would wait for
    /// itself.
    ///
    /// # Errors
    /// That of `edit`; [`ManifestError::Invariant`] for what must not be; what the store refuses;
    /// [`ManifestError::Panic`]. A panic of `edit` has changed nothing; after one of the store's
    /// commit, and after too many of the writer's own, every transaction fails until the store is
    /// opened again. [`ManifestError::Closed`] to whom the writer could not tell: it may have been
    /// changed.
    pub fn transact<T: Send + 'static>(
        &self,
        edit: impl FnOnce(&mut Edit<'_>) -> Result<T, ManifestError> + Send + 'static,
    ) -> Result<T, ManifestError> {
        let (request, answer) = request(edit);
        let id = self.core.queue.push(request, None)?;
        self.write_unless_served(id);
        wait(&answer)
    }

    /// The same for whoever must not wait for ever behind a transaction that does not come back from
    /// the device. This one's own commit takes as long as the device does.
    ///
    /// # Errors
    /// [`ManifestError::Stalled`] when `patience` was over before this transaction could begin; else
    /// as for [`Manifest::transact`].
    pub fn transact_within<T: Send + 'static>(
        &self,
        patience: Duration,
        edit: impl FnOnce(&mut Edit<'_>) -> Result<T, ManifestError> + Send + 'static,
    ) -> Result<T, ManifestError> {
        let deadline = after(now(), patience);
        let (id, answer) = self.ask_until(deadline, edit)?;
        match answer.wait(Some(deadline)) {
            Waited::Answer(answer) => answer,
            Waited::Lost => Err(ManifestError::Closed),
            Waited::TimedOut if self.core.queue.withdraw(id) => {
                Err(ManifestError::Stalled { waited: patience })
            }
            Waited::TimedOut => wait(&answer),
        }
    }

    /// The same for whoever can do without an answer: when `patience` is over the change may be made
    /// or not.
    pub(super) fn transact_or_leave<T: Send + 'static>(
        &self,
        patience: Duration,
        edit: impl FnOnce(&mut Edit<'_>) -> Result<T, ManifestError> + Send + 'static,
    ) -> Result<T, ManifestError> {
        let deadline = after(now(), patience);
        let (id, answer) = self.ask_until(deadline, edit)?;
        match answer.wait(Some(deadline)) {
            Waited::Answer(answer) => answer,
            Waited::Lost => Err(ManifestError::Closed),
            Waited::TimedOut => {
                self.core.queue.withdraw(id);
                Err(ManifestError::Stalled { waited: patience })
            }
        }
    }

    fn ask_until<T: Send + 'static>(
        &self,
        deadline: Instant,
        edit: impl FnOnce(&mut Edit<'_>) -> Result<T, ManifestError> + Send + 'static,
    ) -> Result<(RequestId, Answer<T>), ManifestError> {
        let (request, answer) = request(edit);
        let id = self.core.queue.push(request, Some(deadline))?;
        while !self.worker.is_running() && self.core.queue.is_waiting(id) {
            match self.core.turn.try_lock_until(deadline) {
                Some(unsure) => self.core.write_batch(unsure),
                None => break,
            }
        }
        Ok((id, answer))
    }

    /// Asks for a change and does not wait for it; see [`Manifest::transact`].
    ///
    /// # Errors
    /// [`ManifestError::Stalled`] at once when too many wait already; [`ManifestError::Closed`].
    pub fn submit<T: Send + 'static>(
        &self,
        edit: impl FnOnce(&mut Edit<'_>) -> Result<T, ManifestError> + Send + 'static,
    ) -> Result<ManifestFuture<T>, ManifestError> {
        let (request, answer) = request(edit);
        let id = self.core.queue.push(request, Some(now()))?;
        self.write_unless_served(id);
        Ok(ManifestFuture(answer))
    }

    /// Where no thread does it, whoever asks writes what waits, until his own is among it.
    fn write_unless_served(&self, id: RequestId) {
        while !self.worker.is_running() && self.core.queue.is_waiting(id) {
            self.core.write_batch(self.core.turn.lock());
        }
    }

    /// Waits until `holds` of the rows, which it is asked after each transaction; `false` when it
    /// does not by the end of `patience`.
    pub fn wait_until(
        &self,
        patience: Duration,
        mut holds: impl FnMut(&ManifestState) -> bool,
    ) -> bool {
        let deadline = after(now(), patience);
        loop {
            let seen = self.core.bell.count();
            if holds(&self.state()) {
                return true;
            }
            if !self.core.bell.wait_past(seen, deadline) {
                return false;
            }
        }
    }

    /// Waits until a generation of a database is published, or a newer one; `false` when none is by
    /// the end of `patience`.
    pub fn wait_for_generation(
        &self,
        database: DbId,
        generation: Generation,
        patience: Duration,
    ) -> bool {
        self.wait_until(patience, |rows| {
            let row = rows.database(database);
            row.is_some_and(|row| generation <= row.checkpointed.generation)
        })
    }

    /// Finds out what a transaction that failed has left: [`Manifest::state`] is all that the store
    /// has when this answers `true`. It cannot be told before the store is opened again when the
    /// store itself has failed, nor while another transaction does not return for as long as `wait`.
    pub fn settle(&self, wait: Duration) -> bool {
        let Some(mut unsure) = self.core.turn.try_lock_for(wait) else {
            return false;
        };
        !*unsure || (self.failure().is_none() && self.core.read_again(&mut unsure).is_ok())
    }

    /// Why no transaction can be made until the store is opened again, if so.
    pub fn failure(&self) -> Option<ManifestError> {
        let failed = self.core.store.failure();
        failed.or_else(|| self.core.queue.failure())
    }

    /// Whether [`Manifest::state`] is all that the store has: not after a commit that failed, until
    /// the next one.
    pub fn is_sure(&self) -> bool {
        !*self.core.turn.lock()
    }

    /// Reads every row again and checks all of it, each by itself and all together.
    ///
    /// # Errors
    /// As for [`Manifest::open`].
    pub fn verify(&self) -> Result<Vec<Damage>, ManifestError> {
        let _no_transaction = self.core.turn.lock();
        let state = self.core.read_rows()?;
        let mut findings: Vec<Damage> = state.damaged().iter().cloned().collect();
        findings.extend(invariants::check_all(&state));
        findings.extend(self.damaged_changes()?);
        // A damaged chunk stands with itself and with each database it touches.
        let mut seen = std::collections::HashSet::new();
        findings.retain(|finding| seen.insert(finding.clone()));
        Ok(findings)
    }

    /// Takes no more transactions, ends those that wait for the thread, and lets go of the store. `false`: one has
    /// not come back from the device by `deadline`, and the store is still open.
    pub fn close(&self, deadline: Instant) -> bool {
        self.core.queue.close();
        if !self.worker.join(deadline) {
            return false;
        }
        if self.core.turn.try_lock_until(deadline).is_none() {
            return false;
        }
        self.core.store.close();
        true
    }
}

impl Drop for Manifest {
    /// The thread ends by itself.
    fn drop(&mut self) {
        self.core.queue.close();
    }
}
