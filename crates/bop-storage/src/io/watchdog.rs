//! Tells of I/O calls that do not come back.
//!
//! ```text
//!   slot:  free --call--> in flight --returns--------------------> free
//!                            | deadline, seen by a look               ^
//!                            v                                        |
//!                         stalled (told: `stalled`) --returns (told: `resumed`)
//! ```
//! A call takes a slot of its own, writes where it goes and when it began, and gives the slot back:
//! no lock, and nobody is woken. A thread looks when the oldest call can have reached the deadline,
//! and once a deadline where there is none, so a call is told of when it is late, not when a period
//! ends. Calls that move no bytes, and those that find no slot, stand in a list behind a lock.
//!
//! Invariants
//! - each stalled call is told of once, and once more when it returns, in this order;
//! - a sink is called by whoever looks, one at a time, without a lock that a call may need.
//!
//! Never: does anything about a call. Its memory and its place in the file stay its own until it
//! returns; whoever listens decides what else must not wait for it.

use super::IoOp;
use crate::runtime::Clock;
use crate::runtime::sync::{Condvar, Mutex, RwLock};
use slots::{Seen, Slots};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Duration;

mod slots;
mod thread;

pub use thread::WatchThread;

/// One call that the kernel has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InFlight {
    /// Tells calls apart: no two of one watchdog have the same.
    pub id: u64,
    /// What was asked.
    pub op: IoOp,
    /// The file or directory, relative to the store's.
    pub path: PathBuf,
    /// Where in the file, in bytes, for a transfer.
    pub offset: Option<u64>,
    /// When it began, in microseconds of the monotonic clock.
    pub start_us: u64,
}

impl fmt::Display for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.op, self.path.display())?;
        match self.offset {
            Some(offset) => write!(f, " at byte {offset}"),
            None => Ok(()),
        }
    }
}

/// Who wants to hear of calls that stall. Called on the watchdog's thread, or on that of whoever
/// calls [`Watchdog::look`]. It returns soon, since meanwhile nobody looks, and touches no file.
pub trait StallSink: Send + Sync {
    /// The call has not returned by its deadline.
    fn stalled(&self, call: &InFlight);

    /// It has returned after all, well or not.
    fn resumed(&self, call: &InFlight);
}

/// What a file is known by in a slot.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct FileKey(u32);

#[derive(Default)]
struct Late {
    /// Stalled calls that have not returned, by id.
    calls: BTreeMap<u64, InFlight>,
    /// Those that have, and were not told of yet.
    returned: Vec<InFlight>,
    stopping: bool,
    /// The looking thread, when one was started.
    thread: Option<ThreadId>,
}

/// Watches the calls of one disk.
pub struct Watchdog {
    clock: Arc<dyn Clock>,
    deadline_us: u64,
    slots: Slots,
    files: Mutex<Files>,
    /// Calls without a slot, by id.
    listed: Mutex<Listed>,
    late: Mutex<Late>,
    /// A stalled call returned, or the end.
    changed: Condvar,
    sinks: RwLock<Vec<Arc<dyn StallSink>>>,
    /// Held for a look, so that what is told is told in order.
    looking: Mutex<()>,
}

#[derive(Default)]
struct Files {
    paths: HashMap<u32, Arc<Path>>,
    last: u32,
}

#[derive(Default)]
struct Listed {
    calls: BTreeMap<u64, InFlight>,
    last: u64,
}

/// Ids of listed calls have this bit, those of slots do not.
const LISTED: u64 = 1 << 63;

impl Watchdog {
    /// Watches for calls that take longer than `deadline`. Nobody looks yet: see
    /// [`Watchdog::start`].
    pub fn new(clock: Arc<dyn Clock>, deadline: Duration) -> Arc<Self> {
        Arc::new(Self {
            clock,
            deadline_us: u64::try_from(deadline.as_micros()).unwrap_or(u64::MAX),
            slots: Slots::new(),
            files: Mutex::default(),
            listed: Mutex::default(),
            late: Mutex::default(),
            changed: Condvar::new(),
            sinks: RwLock::default(),
            looking: Mutex::default(),
        })
    }

    /// Tells `sink` of every call that stalls from now on.
    pub fn subscribe(&self, sink: Arc<dyn StallSink>) {
        self.sinks.write().push(sink);
    }

    /// The calls that are past their deadline now, oldest first, whether anybody was told or not.
    pub fn stalled(&self) -> Vec<InFlight> {
        let now_us = self.clock.monotonic_us();
        let mut calls = Vec::new();
        self.slots.visit(|seen| {
            if self.is_late(seen.start_us, now_us) {
                let call = self.call_of(&seen);
                if self.slots.is_still(&seen) {
                    calls.push(call);
                }
            }
        });
        let listed = self.listed.lock();
        let late = listed.calls.values();
        calls.extend(
            late.filter(|call| self.is_late(call.start_us, now_us))
                .cloned(),
        );
        drop(listed);
        calls.sort_by_key(|call| (call.start_us, call.id));
        calls
    }

    fn is_late(&self, start_us: u64, now_us: u64) -> bool {
        self.deadline_us <= now_us.saturating_sub(start_us)
    }

    /// Finds the calls that are late now and tells of them, and of late ones that returned. When
    /// the next one can be late, in microseconds of the monotonic clock.
    pub fn look(&self) -> u64 {
        let _in_order = self.looking.lock();
        let now_us = self.clock.monotonic_us();
        let mut next_start = now_us;
        let mut stalled = Vec::new();
        let returned = {
            // Under this lock, so that a call which returns meanwhile finds itself in the list.
            let mut late = self.late.lock();
            self.slots.visit(|seen| {
                if !self.is_late(seen.start_us, now_us) {
                    next_start = next_start.min(seen.start_us);
                } else if !seen.is_late && self.slots.mark_late(&seen) {
                    stalled.push(self.call_of(&seen));
                }
            });
            for call in self.listed.lock().calls.values() {
                if !self.is_late(call.start_us, now_us) {
                    next_start = next_start.min(call.start_us);
                } else if !late.calls.contains_key(&call.id) {
                    stalled.push(call.clone());
                }
            }
            let told = stalled.iter().map(|call| (call.id, call.clone()));
            late.calls.extend(told);
            std::mem::take(&mut late.returned)
        };
        self.tell(&stalled, &returned, now_us);
        next_start.saturating_add(self.deadline_us)
    }

    /// Those that returned were told of as stalled by an earlier look.
    fn tell(&self, stalled: &[InFlight], returned: &[InFlight], now_us: u64) {
        let sinks = self.sinks.read().clone();
        let seconds = |call: &InFlight| Duration::from_micros(now_us.saturating_sub(call.start_us));
        let all = |body: &dyn Fn(&dyn StallSink)| {
            for sink in &sinks {
                // One that panics keeps the others, and the next look, from nothing.
                if catch_unwind(AssertUnwindSafe(|| body(sink.as_ref()))).is_err() {
                    tracing::error!("who hears of stalled calls panicked");
                }
            }
        };
        for call in returned {
            tracing::warn!(%call, since = ?seconds(call), "a stalled call has returned");
            all(&|sink| sink.resumed(call));
        }
        for call in stalled {
            tracing::error!(%call, since = ?seconds(call), "a call has not returned");
            all(&|sink| sink.stalled(call));
        }
    }

    fn call_of(&self, seen: &Seen) -> InFlight {
        let path = self.files.lock().paths.get(&seen.file).cloned();
        InFlight {
            id: seen.id,
            op: seen.op,
            path: path.map_or_else(PathBuf::new, |path| path.to_path_buf()),
            offset: seen.offset,
            start_us: seen.start_us,
        }
    }

    /// Learns of a file that was opened.
    pub(super) fn add_file(&self, path: &Path) -> FileKey {
        let mut files = self.files.lock();
        loop {
            files.last = files.last.wrapping_add(1);
            let key = files.last;
            if let Entry::Vacant(free) = files.paths.entry(key) {
                free.insert(path.into());
                return FileKey(key);
            }
        }
    }

    /// Forgets a file; none of its calls is in flight.
    pub(super) fn remove_file(&self, file: FileKey) {
        self.files.lock().paths.remove(&file.0);
    }

    /// A call of a file begins. It ends when what is returned is dropped.
    pub(super) fn transfer(&self, op: IoOp, file: FileKey, offset: Option<u64>) -> Watched<'_> {
        let start_us = self.clock.monotonic_us();
        if let Some(slot) = self.slots.enter(op, file.0, offset, start_us) {
            return Watched {
                watchdog: self,
                place: Place::Slot(slot),
            };
        }
        let path = self.files.lock().paths.get(&file.0).cloned();
        let path = path.map_or_else(PathBuf::new, |path| path.to_path_buf());
        self.list(op, path, offset, start_us)
    }

    /// A call that moves no bytes begins.
    pub(super) fn name_call(&self, op: IoOp, path: &Path) -> Watched<'_> {
        self.list(op, path.to_owned(), None, self.clock.monotonic_us())
    }

    fn list(&self, op: IoOp, path: PathBuf, offset: Option<u64>, start_us: u64) -> Watched<'_> {
        let mut listed = self.listed.lock();
        listed.last += 1;
        let id = listed.last | LISTED;
        listed.calls.insert(
            id,
            InFlight {
                id,
                op,
                path,
                offset,
                start_us,
            },
        );
        Watched {
            watchdog: self,
            place: Place::List(id),
        }
    }

    fn end(&self, place: Place) {
        let late_id = match place {
            Place::Slot(slot) => self.slots.leave(slot),
            Place::List(id) => {
                // In this order, as `look` does: a call is marked late under both.
                let mut late = self.late.lock();
                self.listed.lock().calls.remove(&id);
                if let Some(call) = late.calls.remove(&id) {
                    late.returned.push(call);
                    self.changed.notify_all();
                }
                return;
            }
        };
        if let Some(id) = late_id {
            let mut late = self.late.lock();
            if let Some(call) = late.calls.remove(&id) {
                late.returned.push(call);
                self.changed.notify_all();
            }
        }
    }
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watchdog({} stalled)", self.late.lock().calls.len())
    }
}

#[derive(Copy, Clone)]
enum Place {
    Slot(usize),
    List(u64),
}

/// A call in flight, from its beginning to its drop.
pub(super) struct Watched<'a> {
    watchdog: &'a Watchdog,
    place: Place,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.watchdog.end(self.place);
    }
}

#[cfg(test)]
mod tests;
