//! The one background thread of a store: notes, spares, checkpoints, release of the log.
//!
//! Invariants
//! - it holds the engine only while it does one piece of work, so the last handle of a user ends
//!   the store;
//! - a panic in a piece of work is caught, reported and ends nothing but that piece.
//!
//! Never: retries by itself; the next event does.

use super::engine::Engine;
use super::signals::{Due, Signals};
use crate::log::format::encode_note;
use crate::log::format::record::NoteKind;
use crate::log::{Priority, Silent};
use crate::runtime::{Joiner, Spawn};
use parking_lot::{Condvar, Mutex};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread::ThreadId;
use std::time::Instant;

/// Whether a thread keeps house, or whoever owns the store asks for it.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Housekeeping {
    /// A thread of the store's own.
    #[default]
    Background,
    /// [`Manager::keep_house`](crate::Manager::keep_house), for tests that must be repeatable.
    Manual,
}

/// The thread, while it runs.
#[derive(Default)]
pub(super) struct Housekeeper {
    running: Mutex<Option<Running>>,
}

struct Running {
    joiner: Box<dyn Joiner>,
    life: Arc<Life>,
}

/// What the thread tells of itself.
#[derive(Default)]
struct Life {
    state: Mutex<LifeState>,
    changed: Condvar,
}

#[derive(Default)]
struct LifeState {
    thread: Option<ThreadId>,
    ended: bool,
}

/// Says that the thread has ended, however it did.
struct EndGuard(Arc<Life>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.state.lock().ended = true;
        self.0.changed.notify_all();
    }
}

impl std::fmt::Debug for Housekeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Housekeeper(running: {})", self.running.lock().is_some())
    }
}

impl Housekeeper {
    /// Starts the thread.
    pub(super) fn start(
        &self,
        spawn: &dyn Spawn,
        signals: Arc<Signals>,
        engine: Weak<Engine>,
    ) -> std::io::Result<()> {
        let life = Arc::new(Life::default());
        let own = Arc::clone(&life);
        let body = move || {
            own.state.lock().thread = Some(std::thread::current().id());
            let _end = EndGuard(own);
            loop {
                let due = signals.wait();
                if due.stop {
                    return;
                }
                let Some(engine) = engine.upgrade() else {
                    return;
                };
                engine.keep_house(due);
            }
        };
        let joiner = spawn.spawn("bop-housekeeper", Box::new(body))?;
        *self.running.lock() = Some(Running { joiner, life });
        Ok(())
    }

    /// Ends the thread and waits for it until `deadline`; `false` when it has not ended by then.
    /// The thread itself, when it dropped the last handle, does not wait.
    pub(super) fn stop(&self, signals: &Signals, deadline: Instant) -> bool {
        signals.stop();
        let Some(running) = self.running.lock().take() else {
            return true;
        };
        let mut state = running.life.state.lock();
        if state.thread == Some(std::thread::current().id()) {
            return true;
        }
        while !state.ended {
            if running
                .life
                .changed
                .wait_until(&mut state, deadline)
                .timed_out()
                && !state.ended
            {
                return false;
            }
        }
        drop(state);
        if running.joiner.join().is_err() {
            tracing::error!("the housekeeper panicked outside its work");
        }
        true
    }
}

impl Engine {
    /// Does what is due, one piece after the other.
    pub(super) fn keep_house(&self, due: Due) {
        let pieces: [(bool, &'static str, fn(&Self)); 4] = [
            (due.spares, "making spare segments", Self::make_spares),
            (due.note, "writing a note", Self::write_note),
            (
                due.checkpoint,
                "a checkpoint",
                Self::checkpoint_in_background,
            ),
            (
                due.checkpoint_check,
                "a checkpoint",
                Self::checkpoint_if_long,
            ),
        ];
        for (_, stage, piece) in pieces.into_iter().filter(|(due, _, _)| *due) {
            if catch_unwind(AssertUnwindSafe(|| piece(self))).is_err() {
                tracing::error!(stage, "the housekeeper panicked");
            }
        }
    }

    fn make_spares(&self) {
        if let Err(error) = self
            .log
            .spares()
            .ensure(self.limits.segments_spare_min as usize)
        {
            tracing::warn!(%error, "no spare segment could be made");
        }
    }

    fn write_note(&self) {
        let note = encode_note(NoteKind::Idle)
            .map_err(Into::into)
            .and_then(|note| {
                self.log
                    .append(note, Priority::Housekeeping, Box::new(Silent))
            });
        if let Err(error) = note {
            tracing::warn!(%error, "no note could be written");
        }
    }

    /// A checkpoint when the log has grown to half its cap, or consists of many segments.
    fn checkpoint_if_long(&self) {
        let ring = self.log.ring();
        let long = ring.held_bytes() >= self.limits.log_bytes_max / 2
            || ring.sealed_count() >= self.limits.log_sealed_segments_max as usize;
        if long {
            self.checkpoint_in_background();
        }
    }

    fn checkpoint_in_background(&self) {
        if let Err(error) = self.checkpoint() {
            tracing::warn!(%error, "checkpoint failed, the log keeps what it has");
        }
    }
}
