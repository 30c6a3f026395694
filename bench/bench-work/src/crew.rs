//! The threads of a side: each makes what it works with, then loops whenever a slice is begun.
//!
//! ```text
//!   thread: make connections, statements -> Post::serve -> ready
//!             '-> waits for a slice -> loops until its time is over -> tells its figures -> ...
//! ```
//!
//! Invariant: a thread that fails says so in place of "ready" or of its figures; nobody waits for
//! it for ever.

use crate::{Random, Result};
use hdrhistogram::Histogram;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

/// Three digits; a longer latency than a minute counts as a minute.
const LONGEST_US: u64 = 60_000_000;

/// How a thread's operations are counted.
#[derive(Clone, Copy, Debug)]
pub struct Loop {
    /// Whether operations and their latencies count at all; else they are company for others.
    pub counted: bool,
    /// A slice ends after so many operations, if its time is not over before.
    pub at_most: u64,
}

impl Loop {
    /// Everything counts, and the time alone ends a slice.
    pub const TIMED: Self = Self {
        counted: true,
        at_most: u64::MAX,
    };
    /// One operation is a slice.
    pub const ONCE: Self = Self {
        counted: true,
        at_most: 1,
    };
    /// Everything counts; a thread's slice ends after `at_most` operations, if not before.
    pub const fn of(at_most: usize) -> Self {
        Self {
            counted: true,
            at_most: at_most as u64,
        }
    }

    /// Nothing counts.
    pub const COMPANY: Self = Self {
        counted: false,
        at_most: u64::MAX,
    };
}

/// One slice, for one thread.
#[derive(Clone)]
pub(crate) struct Go {
    pub(crate) length: Duration,
    /// All threads begin together.
    pub(crate) start: Arc<Barrier>,
}

/// What one thread did in one slice.
pub(crate) struct Done {
    pub(crate) operations: u64,
    pub(crate) latencies_us: Histogram<u64>,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
}

/// What a thread says.
pub(crate) enum Word {
    Ready,
    Done(Done),
    Failed(crate::Error),
}

/// A thread's place in the crew.
pub struct Post {
    pub(crate) thread: usize,
    pub(crate) slices: Receiver<Go>,
    pub(crate) words: Sender<Word>,
}

impl Post {
    /// The number of this thread, from 0.
    pub fn thread(&self) -> usize {
        self.thread
    }

    /// Says that this thread is ready, and serves slices until there are no more.
    ///
    /// # Errors
    /// The first of `operation`.
    pub fn serve(
        &self,
        rule: Loop,
        operation: impl FnMut(&mut Random) -> Result<()>,
    ) -> Result<()> {
        self.serve_while(rule, || true, operation)
    }

    /// As [`Post::serve`]; a slice also ends when `goes_on` says so after an operation.
    ///
    /// # Errors
    /// The first of `operation`.
    pub fn serve_while(
        &self,
        rule: Loop,
        goes_on: impl Fn() -> bool,
        mut operation: impl FnMut(&mut Random) -> Result<()>,
    ) -> Result<()> {
        let mut random = Random::new(self.thread as u64);
        let mut latencies_us = empty()?;
        self.say(Word::Ready)?;
        while let Ok(go) = self.slices.recv() {
            latencies_us.reset();
            go.start.wait();
            let began = Instant::now();
            let (mut before, mut operations) = (began, 0);
            loop {
                operation(&mut random)?;
                let now = Instant::now();
                operations += 1;
                latencies_us.saturating_record(us(now - before));
                before = now;
                if now - began >= go.length || operations >= rule.at_most || !goes_on() {
                    break;
                }
            }
            let mut done = Done {
                operations,
                latencies_us: latencies_us.clone(),
                began,
                ended: before,
            };
            if !rule.counted {
                done.operations = 0;
                done.latencies_us.reset();
            }
            self.say(Word::Done(done))?;
        }
        Ok(())
    }

    /// Serves slices of one operation each, which prepares as it likes and says what of its time
    /// counts.
    ///
    /// # Errors
    /// The first of `operation`.
    pub fn serve_told(
        &self,
        mut operation: impl FnMut(&mut Random) -> Result<Duration>,
    ) -> Result<()> {
        let mut random = Random::new(self.thread as u64);
        self.say(Word::Ready)?;
        while let Ok(go) = self.slices.recv() {
            go.start.wait();
            let counts = operation(&mut random)?;
            let began = Instant::now();
            let mut latencies_us = empty()?;
            latencies_us.saturating_record(us(counts));
            self.say(Word::Done(Done {
                operations: 1,
                latencies_us,
                began,
                ended: began + counts,
            }))?;
        }
        Ok(())
    }

    fn say(&self, word: Word) -> Result<()> {
        self.words.send(word).map_err(|_| "nobody listens".into())
    }
}

/// A histogram of microseconds.
pub(crate) fn empty() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LONGEST_US, 3)?)
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(LONGEST_US).max(1)
}
