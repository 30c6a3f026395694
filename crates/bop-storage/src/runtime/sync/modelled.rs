//! The same types for unit tests: inside a model the scheduler decides who goes on, outside they do
//! what they wrap.
//!
//! A model's threads are coroutines of one thread of the system, so whoever blocks that thread
//! blocks them all. Each lock is therefore two: the model's, which is asked first and hands over to
//! the scheduler, and the real one around the data, which is free once the first one is had.
//!
//! Time is not modelled. A wait whose end is [`FAR`] away ends by a notification alone, so that a
//! wake-up that is missing is a deadlock, which the model reports; a nearer one ends by chance.
//! Nor are modelled: what the kernel does when it parks a thread, and memory that is weaker than
//! sequential consistency, since the coroutines share one core.
//!
//! Never: used by a program.
#![allow(
    unreachable_pub,
    reason = "public as the types they stand for are, which public functions name"
)]

use super::super::gate;
use parking_lot::WaitTimeoutResult as RealTimeout;
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync as model;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::sync::atomic::{self, Ordering};
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
    FAR <= deadline.saturating_duration_since(Instant::now())
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

    pub fn try_lock_until(&self, deadline: Instant) -> Option<MutexGuard<'_, T>> {
        let turn = self.turn();
        Some(MutexGuard {
            data: Some(self.data.try_lock_until(deadline)?),
            turn,
            mutex: self,
        })
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
        MutexGuard::unlocked(guard, shuttle::thread::yield_now);
        WaitTimeoutResult(thread_rng().gen_bool(0.5))
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
}

/// [`gate::Gate`](super::super::gate::Gate).
#[derive(Debug, Default)]
pub struct Gate {
    real: gate::Gate,
    model: Mutex<ModelGate>,
    woken: Condvar,
}

/// The word, and how often each mark was woken.
#[derive(Debug, Default)]
struct ModelGate {
    word: u32,
    wakes: [u32; 32],
}

impl Gate {
    pub fn look(&self) -> u32 {
        if in_model() {
            self.model.lock().word
        } else {
            self.real.look()
        }
    }

    pub fn wait(&self, seen: u32, mark: gate::Mark, deadline: Instant) {
        if !in_model() {
            return self.real.wait(seen, mark, deadline);
        }
        let mut model = self.model.lock();
        if model.word != seen {
            return;
        }
        let bit = mark.bits().trailing_zeros() as usize;
        let before = model.wakes[bit];
        while model.wakes[bit] == before {
            if self.woken.wait_until(&mut model, deadline).timed_out() {
                return;
            }
        }
    }

    pub fn wake_all(&self) {
        self.wake_where(|_| true);
        self.real.wake_all();
    }

    pub fn wake(&self, mark: gate::Mark) {
        let bit = mark.bits().trailing_zeros() as usize;
        self.wake_where(|other| other == bit);
        self.real.wake(mark);
    }

    fn wake_where(&self, is_woken: impl Fn(usize) -> bool) {
        if in_model() {
            let mut model = self.model.lock();
            model.word += 1;
            let wakes = model.wakes.iter_mut().enumerate();
            wakes
                .filter(|(bit, _)| is_woken(*bit))
                .for_each(|(_, wakes)| *wakes += 1);
            drop(model);
            self.woken.notify_all();
        }
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
