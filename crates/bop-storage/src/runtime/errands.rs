//! Threads that do something meanwhile for somebody who wants it soon: a read ahead, a write behind.
//!
//! ```text
//!   not there --an errand, and none is free--> at work --done--> free --an errand--> at work
//!                                                                  '--idle for long, or nobody left--> gone
//! ```
//! Invariants
//! - an errand is taken only when a thread is free for it, or can be had: nothing queues, and who is
//!   refused has the errand back and does it himself;
//! - whoever waits for an errand hears of its end, of a panic too.
//!
//! Never: more threads than it was made for; waits for an errand.

use super::{Pending, Spawn, Waited, fence, promise};
use crate::runtime::sync::{Condvar, Mutex, now};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a thread waits for its next errand.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// What is moved at a time where somebody else waits for the device.
const GENTLE_BYTES: usize = 256 << 10;

type Errand = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    /// For threads that wait: as many of them are not free any more.
    given: Vec<Errand>,
    /// Threads that wait for nothing in particular.
    free: usize,
    /// All of them.
    threads: usize,
    over: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// What will be had soon: of an errand, or of whoever waits for it, where nobody was free.
pub(crate) enum Soon<T> {
    Sent(Pending<T>),
    Here(Box<dyn FnOnce() -> T + Send>),
}

impl<T> Soon<T> {
    /// Waits for it; `None` when the errand panicked. What nobody was free for is done here, and panics here.
    pub(crate) fn wait(self) -> Option<T> {
        match self {
            Self::Here(errand) => Some(errand()),
            Self::Sent(sent) => match sent.wait(None) {
                Waited::Answer(answer) => Some(answer),
                Waited::Lost | Waited::TimedOut => None,
            },
        }
    }
}

/// A few threads, made when they are needed.
pub(crate) struct Errands {
    shared: Arc<Shared>,
    spawn: Arc<dyn Spawn>,
    threads_max: usize,
    gentle: AtomicBool,
}

impl Errands {
    pub(crate) fn new(spawn: Arc<dyn Spawn>, threads_max: usize) -> Arc<Self> {
        Arc::new(Self {
            shared: Arc::default(),
            spawn,
            threads_max,
            gentle: AtomicBool::new(false),
        })
    }

    /// How many bytes those who copy in the background should move at a time: `most`, or little, since somebody else
    /// waits for the device behind each transfer of theirs. They ask before each, or each few; nothing that is on its
    /// way changes.
    pub(crate) fn at_once(&self, most: usize) -> usize {
        match self.gentle.load(Ordering::Relaxed) {
            true => most.min(GENTLE_BYTES),
            false => most,
        }
    }

    /// Has them move little at a time from now on, or as much as is best for them.
    pub(crate) fn be_gentle(&self, gentle: bool) {
        self.gentle.store(gentle, Ordering::Relaxed);
    }

    /// Has `errand` done on another thread.
    ///
    /// # Errors
    /// The errand, when no thread is free and none can be had.
    pub(crate) fn send<T, F>(&self, errand: F) -> Result<Pending<T>, F>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        if !self.claim() {
            return Err(errand);
        }
        let (give, take) = promise();
        let shared = Arc::clone(&self.shared);
        let errand = move || {
            let done = fence("did something for another thread", errand);
            // Before the answer: whoever has that finds this thread free.
            shared.state.lock().free += 1;
            match done {
                Ok(done) => give.give(done),
                // Whoever waits finds that the promise is gone.
                Err(panic) => tracing::error!(%panic, "an errand panicked"),
            }
        };
        self.shared.state.lock().given.push(Box::new(errand));
        self.shared.changed.notify_one();
        Ok(take)
    }

    /// The same for whoever does `errand` when he wants its answer, if nobody has.
    pub(crate) fn send_or_keep<T, F>(&self, errand: F) -> Soon<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        match self.send(errand) {
            Ok(sent) => Soon::Sent(sent),
            Err(errand) => Soon::Here(Box::new(errand)),
        }
    }

    /// Takes one thread out of those that are free, or makes one.
    fn claim(&self) -> bool {
        let mut state = self.shared.state.lock();
        if state.free > 0 {
            state.free -= 1;
            return true;
        }
        if self.threads_max <= state.threads {
            return false;
        }
        state.threads += 1;
        drop(state);
        let shared = Arc::clone(&self.shared);
        let body = Box::new(move || shared.serve());
        let started = self.spawn.spawn("bop-errand", body);
        if let Err(error) = &started {
            tracing::debug!(%error, "no thread for errands can be started");
            self.shared.state.lock().threads -= 1;
        }
        started.is_ok()
    }
}

impl Shared {
    /// A thread's life. Its first errand is on its way.
    fn serve(&self) {
        while let Some(errand) = self.next() {
            errand();
        }
    }

    fn next(&self) -> Option<Errand> {
        let idle_until = now() + IDLE_MAX;
        let mut state = self.state.lock();
        loop {
            if let Some(errand) = state.given.pop() {
                return Some(errand);
            }
            let is_idle = state.free > 0 && idle_until <= now();
            if state.over || is_idle {
                state.free = state.free.saturating_sub(1);
                state.threads -= 1;
                return None;
            }
            self.changed.wait_until(&mut state, idle_until);
        }
    }
}

impl Drop for Errands {
    /// Its threads end by themselves: one may be in a call that hangs.
    fn drop(&mut self) {
        self.shared.state.lock().over = true;
        self.shared.changed.notify_all();
    }
}

impl fmt::Debug for Errands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock();
        write!(f, "Errands({} free of {})", state.free, state.threads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Joiner, SystemSpawn};
    use std::panic::AssertUnwindSafe;

    fn errands(threads_max: usize) -> Arc<Errands> {
        Errands::new(Arc::new(SystemSpawn), threads_max)
    }

    #[test]
    fn an_errand_is_done_on_another_thread_and_its_answer_waited_for() {
        let errands = errands(1);
        let here = std::thread::current().id();
        let there = errands.send(|| std::thread::current().id()).ok().unwrap();
        let Waited::Answer(there) = there.wait(None) else {
            panic!("no answer");
        };
        assert_ne!(here, there);
    }

    #[test]
    fn who_finds_nobody_free_has_the_errand_back() {
        let errands = errands(1);
        let (release, held) = promise::<()>();
        let busy = errands.send(move || held.wait(None)).ok().unwrap();
        let refused = errands.send(|| 7).err().unwrap();
        assert_eq!(refused(), 7);
        let kept = errands.send_or_keep(|| std::thread::current().id());
        assert_eq!(kept.wait(), Some(std::thread::current().id()));
        let kept = errands.send_or_keep::<(), _>(|| panic!("on purpose"));
        let waited = std::panic::catch_unwind(AssertUnwindSafe(|| kept.wait()));
        assert!(waited.is_err(), "it panics here");
        release.give(());
        assert_eq!(busy.wait(None), Waited::Answer(Waited::Answer(())));
    }

    #[test]
    fn a_panic_is_heard_of_and_the_thread_is_used_again() {
        let errands = errands(1);
        let lost = errands.send(|| panic!("on purpose")).ok().unwrap();
        assert_eq!(lost.wait(None), Waited::<()>::Lost);
        let lost = errands.send_or_keep(|| panic!("on purpose"));
        assert_eq!(lost.wait(), None::<()>);
        let next = errands.send(|| 7).ok().unwrap();
        assert_eq!(next.wait(None), Waited::Answer(7));
        assert_eq!(errands.shared.state.lock().threads, 1);
    }

    #[test]
    fn threads_end_with_their_owner() {
        let errands = errands(2);
        let shared = Arc::downgrade(&errands.shared);
        let done = errands.send(|| ()).ok().unwrap();
        assert_eq!(done.wait(None), Waited::Answer(()));
        drop(errands);
        while shared.strong_count() > 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn where_no_thread_can_be_had_the_errand_comes_back() {
        #[derive(Debug)]
        struct NoThreads;
        impl Spawn for NoThreads {
            fn spawn(
                &self,
                _: &str,
                _: Box<dyn FnOnce() + Send>,
            ) -> std::io::Result<Box<dyn Joiner>> {
                Err(std::io::Error::other("none"))
            }
        }
        let errands = Errands::new(Arc::new(NoThreads), 4);
        assert!(errands.send(|| ()).is_err());
        assert!(errands.send(|| ()).is_err());
        assert_eq!(errands.shared.state.lock().threads, 0);
    }
}
