//! The one background thread of a store: notes, spares, checkpoints, release of the log, jobs.
//!
//! Invariants
//! - it holds the engine only while it does one piece of work, and never the users' handle to it;
//! - a panic in a piece of work is caught, reported and ends nothing but that piece;
//! - what failed several times in a row is left alone for a while, then tried once: see
//!   [`guards`](super::guards).
//!
//! Never: retries what failed once; the next event does.

use super::engine::Engine;
use super::guards::Work;
use super::signals::{Due, Signals};
use crate::log::format::encode_note;
use crate::log::format::record::NoteKind;
use crate::log::{LogEvents, LogSegment, Priority, Silent};
use crate::runtime::sync::{Condvar, Mutex, now};
use crate::runtime::{Joiner, Spawn, after, fence};
use std::sync::{Arc, Weak};
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
    /// Held while jobs are done, on whatever thread that is.
    pub(super) jobs: Mutex<()>,
}

struct Running {
    joiner: Box<dyn Joiner>,
    life: Arc<Life>,
}

/// What the thread tells of itself.
#[derive(Default)]
struct Life {
    ended: Mutex<bool>,
    changed: Condvar,
}

/// Says that the thread has ended, however it did.
struct EndGuard(Arc<Life>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        *self.0.ended.lock() = true;
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

    /// Whether the thread was started and not stopped.
    fn is_running(&self) -> bool {
        self.running.lock().is_some()
    }

    /// Ends the thread and waits for it until `deadline`; `false` when it has not ended by then.
    pub(super) fn stop(&self, signals: &Signals, deadline: Instant) -> bool {
        signals.stop();
        let Some(running) = self.running.lock().take() else {
            return true;
        };
        let mut ended = running.life.ended.lock();
        while !*ended {
            if running
                .life
                .changed
                .wait_until(&mut ended, deadline)
                .timed_out()
                && !*ended
            {
                return false;
            }
        }
        drop(ended);
        if running.joiner.join().is_err() {
            tracing::error!("the housekeeper panicked outside its work");
        }
        true
    }
}

impl Engine {
    /// Does what is due, one piece after the other.
    pub(super) fn keep_house(&self, due: Due) {
        let piece = |is_due: bool, stage: &'static str, work: fn(&Self)| {
            if is_due && let Err(panic) = fence(stage, || work(self)) {
                tracing::error!(%panic, "the housekeeper panicked");
            }
        };
        // Before spares are made, so that what is released is what they are made of.
        piece(
            due.spares || due.checkpoint,
            "released what cursors held",
            Self::shorten_for_cursors,
        );
        piece(due.spares, "made spare segments", Self::make_spares);
        piece(due.note, "wrote a note", Self::write_note);
        piece(due.spares, "wrote an index", Self::write_gathered_indexes);
        piece(
            due.purge,
            "gave dropped databases up",
            Self::purge_in_background,
        );
        piece(
            due.checkpoint,
            "made a checkpoint",
            Self::checkpoint_in_background,
        );
        piece(
            due.checkpoint_check,
            "made a checkpoint",
            Self::checkpoint_if_long,
        );
        piece(
            due.checkpoint_check,
            "wrote an index",
            Self::write_all_indexes,
        );
        piece(
            due.past,
            "freed what is past",
            Self::free_past_in_background,
        );
        piece(due.jobs, "took jobs", Self::run_jobs);
    }

    /// What must not wait for the end of a checkpoint: the note that closes the window in which the
    /// loss of the newest batch cannot be told from its never having been written, and spares.
    pub(super) fn keep_house_between_pages(&self) {
        if self.housekeeper.is_running()
            && let Some(due) = self.signals.take_urgent()
        {
            self.keep_house(due);
        }
    }

    /// Whether this thread may be the store's own housekeeper.
    pub(super) fn is_housekeeping(&self) -> bool {
        self.housekeeper.is_running()
    }

    /// What an opening leaves to do. After a crash it has added a segment to the log, so a process
    /// that is killed again and again, each time before the housekeeper's checkpoint is done, would
    /// fill the disk: at twice the log that starts one, the opening itself checkpoints.
    pub(super) fn catch_up(&self) {
        if self.log_is_long(2) {
            self.checkpoint_in_background();
        }
        // None is taken for granted.
        self.signals.segment_sealed(0);
        self.expect_past(false);
    }

    /// Whoever makes spares already may not come back from the device: a checkpoint does not wait
    /// for that.
    fn make_spares(&self) {
        let wanted = self.limits.segments_spare_min as usize;
        let deadline = after(now(), self.limits.io_deadline);
        let spares = self.log.spares();
        // No spare was made, whatever the reason: both count against the breaker.
        let make = || match spares.ensure_until(wanted, deadline) {
            Ok(true) => Ok(()),
            Ok(false) => Err(None),
            Err(error) => Err(Some(error)),
        };
        match self.guarded(Work::Spares, make) {
            None | Some(Ok(())) => {}
            Some(Err(None)) => {
                tracing::warn!("another thread makes spare segments, and does not return");
            }
            Some(Err(Some(error))) => {
                tracing::warn!(%error, "no spare segment could be made");
                self.make_room(error.code());
            }
        }
    }

    /// Puts the indexes behind sealed segments that were gathered while they were written.
    fn write_gathered_indexes(&self) {
        self.write_indexes(true);
    }

    /// Those too for which a segment has to be read, unless a checkpoint has just released it.
    fn write_all_indexes(&self) {
        self.write_indexes(false);
    }

    fn write_indexes(&self, gathered_only: bool) {
        let ring = self.log.ring();
        let is_sealed = |segment: &LogSegment| ring.is_sealed(segment.id);
        ring.seals().run(self.store, gathered_only, is_sealed);
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

    fn checkpoint_if_long(&self) {
        if self.log_is_long(1) {
            self.checkpoint_in_background();
        }
    }

    /// Whether the log has grown to so many times its target, or consists of so many times the
    /// segments that a checkpoint allows.
    pub(super) fn log_is_long(&self, times: u32) -> bool {
        self.log_exceeds(4 * u64::from(times))
    }

    /// Whether the log is longer than relocation leaves it, so that the next one is not due soon.
    pub(super) fn log_is_longish(&self) -> bool {
        self.log_exceeds(3)
    }

    /// Whether the log has so many quarters of its target, or of the segments that a checkpoint
    /// allows beside those that record logs need.
    fn log_exceeds(&self, quarters: u64) -> bool {
        let ring = self.log.ring();
        let target = self.log_bytes_target();
        let needed = 2 * self.records.live_bytes() / self.log.spares().next_capacity_bytes();
        let segments = needed + u64::from(self.limits.log_sealed_segments_max);
        let (bytes, sealed) = (ring.held_bytes(), ring.sealed_count() as u64);
        4 * bytes >= quarters.saturating_mul(target)
            || 4 * sealed >= quarters.saturating_mul(segments)
    }

    pub(super) fn checkpoint_in_background(&self) {
        let made = self.guarded(Work::Checkpoint, || self.checkpoint());
        if let Some(Err(error)) = made {
            tracing::warn!(%error, "checkpoint failed, the log keeps what it has");
        }
    }
}
