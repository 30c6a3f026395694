//! The same types for unit tests: inside a model the scheduler decides who goes on, outside they do
//! what they wrap.
//!
//! A model's threads are coroutines of one thread of the system, so whoever blocks that thread
//! blocks them all. Each lock is therefore two: the model's, which is asked first and hands over to
//! the scheduler, and the real one around the data, which is free once the first one is had.
//!
//! Time is the model's own ([`time`]). A wait whose end is [`FAR`] away ends by a notification alone, so
//! that a wake-up that is missing is a deadlock, which the model reports; a nearer one ends by chance,
//! and it is that late then.
//! Not modelled are: what the kernel does when it parks a thread, and memory that is weaker than
//! sequential consistency, since the coroutines share one core.
//!
//! Never: used by a program.
#![allow(
    unreachable_pub,
    reason = "public as the types they stand for are, which public functions name"
)]

mod gate;
mod rwlock;
pub(crate) mod time;

pub use gate::Gate;
pub use rwlock::RwLock;

use parking_lot::WaitTimeoutResult as RealTimeout;
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync as model;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{self, Ordering};
use std::sync::{PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// A wait this long or longer is not ended by its deadline in a model.
const FAR: Duration = Duration::from_secs(10);

/// Whether this is a thread of a model.
fn in_model() -> bool {
    shuttle::current::try_get_current_task().is_some()
}

/// Another thread may go on here.
fn point() {
    if in_model() {
        shuttle::thread::sleep(Duration::ZERO);
    }
}

fn is_far(deadline: Instant) -> bool {
    FAR <= deadline.saturating_duration_since(time::now())
}

/// Whether a wait of a model's thread that ends at `deadline`, which is near, is over. Others go on meanwhile.
fn is_over(deadline: Instant) -> bool {
    shuttle::thread::yield_now();
    let is_over = thread_rng().gen_bool(0.5);
    if is_over {
        time::it_is(deadline);
    }
    is_over
}

/// `parking_lot::Mutex`.
#[derive(Default)]
pub struct Mutex<T: ?Sized> {
    turn: model::Mutex<()>,
    data: parking_lot::Mutex<T>,
}

impl<T> Mutex<T> {
    pub const fn new(data: T) -> Self {
        Self {
            turn: model::Mutex::new(()),
            data: parking_lot::Mutex::new(data),
        }
    }
}

impl<T: ?Sized> Mutex<T> {
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let turn = self.turn();
        MutexGuard {
            data: Some(self.data.lock()),
            turn,
            mutex: self,
        }
    }

    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let turn = match in_model().then(|| self.turn.try_lock()) {
            None => None,
            Some(Ok(turn)) => Some(turn),
            Some(Err(TryLockError::Poisoned(poisoned))) => Some(poisoned.into_inner()),
            Some(Err(TryLockError::WouldBlock)) => return None,
        };
        Some(MutexGuard {
            data: Some(self.data.try_lock()?),
            turn,
            mutex: self,
        })
    }

    pub fn try_lock_until(&self, deadline: Instant) -> Option<MutexGuard<'_, T>> {
        if !in_model() {
            return Some(MutexGuard {
                data: Some(self.data.try_lock_until(deadline)?),
                turn: None,
                mutex: self,
            });
        }
        if is_far(deadline) {
            return Some(self.lock());
        }
        loop {
            let locked = self.try_lock();
            if locked.is_some() || is_over(deadline) {
                return locked;
            }
        }
    }

    pub fn try_lock_for(&self, patience: Duration) -> Option<MutexGuard<'_, T>> {
        self.try_lock_until(time::now() + patience)
    }

    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    fn turn(&self) -> Option<model::MutexGuard<'_, ()>> {
        in_model().then(|| self.turn.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.data.fmt(f)
    }
}

/// `parking_lot::MutexGuard`.
pub struct MutexGuard<'a, T: ?Sized> {
    // Before the turn: it is dropped first.
    data: Option<parking_lot::MutexGuard<'a, T>>,
    turn: Option<model::MutexGuard<'a, ()>>,
    mutex: &'a Mutex<T>,
}

/// Takes the lock again, also when what was done without it panics.
struct Relock<'g, 'a, T: ?Sized>(&'g mut MutexGuard<'a, T>);

impl<T: ?Sized> Drop for Relock<'_, '_, T> {
    fn drop(&mut self) {
        self.0.turn = self.0.mutex.turn();
        self.0.data = Some(self.0.mutex.data.lock());
    }
}

impl<T: ?Sized> MutexGuard<'_, T> {
    pub fn unlocked<U>(guard: &mut Self, body: impl FnOnce() -> U) -> U {
        guard.data = None;
        guard.turn = None;
        let _relock = Relock(guard);
        body()
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.data.as_deref().expect("locked")
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.data.as_deref_mut().expect("locked")
    }
}

/// `parking_lot::WaitTimeoutResult`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub fn timed_out(self) -> bool {
        self.0
    }
}

impl From<RealTimeout> for WaitTimeoutResult {
    fn from(real: RealTimeout) -> Self {
        Self(real.timed_out())
    }
}

/// `parking_lot::Condvar`.
#[derive(Default)]
pub struct Condvar {
    turn: model::Condvar,
    real: parking_lot::Condvar,
}

impl Condvar {
    pub const fn new() -> Self {
        Self {
            turn: model::Condvar::new(),
            real: parking_lot::Condvar::new(),
        }
    }

    pub fn wait<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>) {
        match guard.turn.take() {
            Some(turn) => {
                guard.data = None;
                let turn = self.turn.wait(turn);
                guard.turn = Some(turn.unwrap_or_else(PoisonError::into_inner));
                guard.data = Some(guard.mutex.data.lock());
            }
            None => self.real.wait(guard.data.as_mut().expect("locked")),
        }
    }

    pub fn wait_until<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        deadline: Instant,
    ) -> WaitTimeoutResult {
        if guard.turn.is_none() {
            let data = guard.data.as_mut().expect("locked");
            return self.real.wait_until(data, deadline).into();
        }
        if is_far(deadline) {
            self.wait(guard);
            return WaitTimeoutResult(false);
        }
        WaitTimeoutResult(MutexGuard::unlocked(guard, || is_over(deadline)))
    }

    pub fn wait_for<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        patience: Duration,
    ) -> WaitTimeoutResult {
        self.wait_until(guard, time::now() + patience)
    }

    pub fn notify_one(&self) {
        if in_model() {
            self.turn.notify_one();
        }
        self.real.notify_one();
    }

    pub fn notify_all(&self) {
        if in_model() {
            self.turn.notify_all();
        }
        self.real.notify_all();
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.real.fmt(f)
    }
}

/// `std::sync::atomic::AtomicU64`.
#[derive(Debug, Default)]
pub struct AtomicU64(atomic::AtomicU64);

impl AtomicU64 {
    pub const fn new(value: u64) -> Self {
        Self(atomic::AtomicU64::new(value))
    }

    pub fn load(&self, order: Ordering) -> u64 {
        point();
        self.0.load(order)
    }

    pub fn store(&self, value: u64, order: Ordering) {
        point();
        self.0.store(value, order);
    }

    pub fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        point();
        self.0.fetch_add(value, order)
    }

    pub fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
        point();
        self.0.fetch_sub(value, order)
    }
}

/// `std::thread::yield_now`.
pub fn yield_now() {
    if in_model() {
        shuttle::thread::yield_now();
    } else {
        std::thread::yield_now();
    }
}

/// A thread of a model that is blocked by a library would block all the others.
pub fn patience_outside() -> Option<Duration> {
    in_model().then_some(Duration::ZERO)
}

/// Which thread it is, of the system or of the model.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ThreadId(std::thread::ThreadId, Option<shuttle::current::TaskId>);

pub fn thread_id() -> ThreadId {
    let task = shuttle::current::try_get_current_task();
    ThreadId(std::thread::current().id(), task)
}
