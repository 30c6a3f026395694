//! A gate of a model's threads.
//!
//! Never: wakes a thread that nobody woke, but for one whose time is over.

use super::super::super::gate;
use super::{Condvar, Mutex, in_model};
use std::time::Instant;

/// [`gate::Gate`](super::super::super::gate::Gate).
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
