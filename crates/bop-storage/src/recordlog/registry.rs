//! All record logs of an open store: their states, what they cost together, and their room.
//!
//! Invariants
//! - a log has at most one state at a time;
//! - the totals are those of all logs that are not retired or closed: they change with the index that they
//!   count, under its lock;
//! - whoever waits for room holds no log's writer: what makes room may need it.
//!
//! Never: writes to the log.

use super::index::{Change, LogIndex};
use super::pending::PendingAppends;
use super::state::{Inner, RecordState};
use crate::error::Damage;
use crate::ids::{DbId, Lsn};
use crate::log::{LogHolds, Placed};
use crate::runtime::sync::{Condvar, Mutex, now};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The record logs.
#[derive(Debug)]
pub(crate) struct RecordLogs {
    logs: Mutex<BTreeMap<DbId, Arc<RecordState>>>,
    holds: Arc<LogHolds>,
    /// Appends that are visible and not durable, of those logs that have any: an idle log is to cost
    /// nothing for them. Locked behind the log's own lock.
    pending: Mutex<BTreeMap<DbId, PendingAppends>>,
    /// Bytes of the log that what is live needs.
    live_bytes: AtomicU64,
    /// Live entries.
    entries: AtomicU64,
    /// What was found damaged since the store was opened.
    damaged: Mutex<BTreeMap<DbId, Damage>>,
    room: Mutex<Room>,
    room_made: Condvar,
}

#[derive(Debug, Default)]
struct Room {
    /// Bytes of the records that are on their way.
    under_way: u64,
    closed: bool,
}

/// Why there is no room for a record.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum NoRoom {
    /// Not in time.
    Timeout,
    /// The store closes.
    Closed,
}

/// Bytes on their way into the log, until dropped.
#[derive(Debug)]
pub(crate) struct UnderWay<'a> {
    logs: &'a RecordLogs,
    bytes: u64,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.logs.room.lock().under_way -= self.bytes;
        self.logs.room_made.notify_all();
    }
}

impl RecordLogs {
    /// The logs as recovery found them.
    pub(crate) fn new(found: BTreeMap<DbId, LogIndex>, holds: Arc<LogHolds>) -> Self {
        let all = Self {
            logs: Mutex::default(),
            holds,
            pending: Mutex::default(),
            live_bytes: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            damaged: Mutex::default(),
            room: Mutex::default(),
            room_made: Condvar::new(),
        };
        for (id, index) in found {
            let state = Arc::new(RecordState::new(id, LogIndex::default()));
            all.change(&state, |inner| inner.index = index);
            all.refresh_hold(&state);
            all.logs.lock().insert(id, state);
        }
        all
    }

    /// The state of a log, made when there is none and `is_live` says that there may be one.
    pub(crate) fn load(
        &self,
        id: DbId,
        is_live: impl FnOnce() -> bool,
    ) -> Option<Arc<RecordState>> {
        let mut logs = self.logs.lock();
        if let Some(state) = logs.get(&id) {
            return Some(Arc::clone(state));
        }
        // Asked under the lock: a drop takes the state away after the catalogue has the tombstone.
        is_live().then(|| {
            let state = Arc::new(RecordState::new(id, LogIndex::default()));
            logs.insert(id, Arc::clone(&state));
            state
        })
    }

    /// The state of a log that has one.
    pub(crate) fn get(&self, id: DbId) -> Option<Arc<RecordState>> {
        self.logs.lock().get(&id).cloned()
    }

    /// All states.
    pub(crate) fn all(&self) -> Vec<Arc<RecordState>> {
        self.logs.lock().values().cloned().collect()
    }

    /// Bytes of the log that what is live needs.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes.load(Ordering::Relaxed)
    }

    /// Live entries of all logs.
    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// Applies what stands durable in the log. What it keeps of the log is registered before.
    pub(crate) fn publish(&self, state: &RecordState, change: &Change, at: Placed) {
        self.change(state, |inner| {
            // Records become durable in order.
            self.settle_up_to(state.id(), at.lsn);
            if inner.is_dropped() {
                return;
            }
            self.keep_from(state, inner, at.lsn);
            inner.index.apply(change, at.lsn);
        });
    }

    /// Applies an append that has its place and is not durable yet; `parent` is the newest record of
    /// the index that it was made for.
    pub(crate) fn expose(&self, state: &RecordState, change: &Change, at: Placed, parent: Lsn) {
        self.change(state, |inner| {
            let mut pending = self.pending.lock();
            let pending = pending.entry(state.id()).or_default();
            if pending.expose(&mut inner.index, change, at.lsn, parent) {
                self.keep_from(state, inner, at.lsn);
            }
        });
    }

    /// An append that was exposed is durable.
    pub(crate) fn settle(&self, state: &RecordState, at: Lsn) {
        let _inner = state.look();
        self.settle_up_to(state.id(), at);
    }

    /// The log's lock is held.
    fn settle_up_to(&self, id: DbId, at: Lsn) {
        let mut all = self.pending.lock();
        if let Some(pending) = all.get_mut(&id) {
            pending.settle(at);
            if pending.is_empty() {
                all.remove(&id);
            }
        }
    }

    /// An append that was exposed has failed.
    pub(crate) fn undo(&self, state: &RecordState, at: Lsn) {
        self.change(state, |inner| {
            let mut all = self.pending.lock();
            if let Some(pending) = all.get_mut(&state.id()) {
                pending.undo(&mut inner.index, at);
                if pending.is_empty() {
                    all.remove(&state.id());
                }
            }
        });
        self.refresh_hold(state);
    }

    fn keep_from(&self, state: &RecordState, inner: &mut Inner, at: Lsn) {
        if inner.held == Lsn::ZERO {
            self.holds.hold_records(state.id(), Lsn::ZERO, at);
            inner.held = at;
        }
    }

    /// Lets go of what the log does not need any more. Answers the oldest position that it needs.
    pub(crate) fn refresh_hold(&self, state: &RecordState) -> Option<Lsn> {
        let mut inner = state.look();
        let needs_none = inner.is_dropped() || inner.closed;
        let needed = inner.index.oldest().filter(|_| !needs_none);
        let needed_or_none = needed.unwrap_or(Lsn::ZERO);
        if inner.held != needed_or_none {
            self.holds
                .hold_records(state.id(), inner.held, needed_or_none);
            inner.held = needed_or_none;
        }
        needed
    }

    /// Takes logs that were dropped out of use: they keep and cost nothing any more.
    pub(crate) fn retire_dropped(&self) {
        let mut logs = self.logs.lock();
        let is_dropped = |_: &DbId, state: &mut Arc<RecordState>| state.look().is_dropped();
        let dropped: Vec<_> = logs.extract_if(.., is_dropped).collect();
        drop(logs);
        for (id, state) in dropped {
            self.change(&state, |inner| {
                inner.index = LogIndex::default();
                self.pending.lock().remove(&id);
            });
            self.refresh_hold(&state);
            self.damaged.lock().remove(&id);
        }
    }

    /// A part of a log cannot be read: it takes no more writes. The first damage stays.
    pub(crate) fn set_damaged(&self, state: &RecordState, damage: Damage) {
        self.damaged.lock().entry(state.id()).or_insert(damage);
        state.look().damaged = true;
    }

    /// A damaged log is kept elsewhere from now on: it holds and costs nothing here. Its index stays,
    /// for those that have it open.
    pub(crate) fn close_log(&self, state: &RecordState) {
        self.change(state, |inner| inner.closed = true);
        self.refresh_hold(state);
    }

    /// The logs of which something was found damaged since the store was opened.
    pub(crate) fn damaged(&self) -> Vec<DbId> {
        self.damaged.lock().keys().copied().collect()
    }

    /// What was found damaged of a log since the store was opened.
    pub(crate) fn damage(&self, id: DbId) -> Option<Damage> {
        self.damaged.lock().get(&id).cloned()
    }

    fn change(&self, state: &RecordState, change: impl FnOnce(&mut Inner)) {
        let mut inner = state.look();
        let counted = |inner: &Inner| match inner.closed {
            true => (0, 0),
            false => (inner.index.live_bytes(), inner.index.len() as u64),
        };
        let before = counted(&inner);
        change(&mut inner);
        let after = counted(&inner);
        // Wraps where it shrinks: the sum is right all the same.
        let count = |total: &AtomicU64, before: u64, after: u64| {
            total.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        };
        count(&self.live_bytes, before.0, after.0);
        count(&self.entries, before.1, after.1);
    }

    /// Waits until a record of `bytes` may be appended: until `is_full`, asked with all bytes that
    /// are on their way, says no.
    pub(crate) fn wait_for_room(
        &self,
        bytes: u64,
        deadline: Instant,
        is_full: impl Fn(u64) -> bool,
    ) -> Result<UnderWay<'_>, NoRoom> {
        let mut room = self.room.lock();
        loop {
            if room.closed {
                return Err(NoRoom::Closed);
            }
            if !is_full(room.under_way) {
                room.under_way += bytes;
                return Ok(UnderWay { logs: self, bytes });
            }
            if deadline <= now() {
                return Err(NoRoom::Timeout);
            }
            self.room_made.wait_until(&mut room, deadline);
        }
    }

    /// The log was shortened: whoever waits for room looks again.
    pub(crate) fn room_made(&self) {
        let _room = self.room.lock();
        self.room_made.notify_all();
    }

    /// The store closes: whoever waits for room is told.
    pub(crate) fn close(&self) {
        self.room.lock().closed = true;
        self.room_made.notify_all();
    }
}
