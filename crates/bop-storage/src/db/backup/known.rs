//! What is known of a store's backups, for whoever asks often.
//!
//! ```text
//!   nothing known --looked--> known --somebody asks for something newer--> known, and being looked at
//!                               ^--found, or failed: what was known stays --'
//! ```
//! The directory of the backups may be on a device that does not answer. So it is looked at on a thread of
//! its own, one at a time, and whoever asks is told what was found last.
//!
//! Invariants
//! - nobody waits for the directory but who has it looked at, and he for a moment;
//! - one thread looks, at most: one that does not come back stays the only one;
//! - whoever is told what is known is told, too, when the newest look found nothing, and why.
//!
//! Never: forgets what it knew because a look failed.

use super::super::engine::Engine;
use super::last::{LastBackup, last_backup};
use crate::error::BackupError;
use crate::runtime::sync::{Mutex, now};
use crate::runtime::{fence, promise};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How old what a scrape is told may be. A look reads the index of every backup there.
const SCRAPE_AGE_MAX: Duration = Duration::from_secs(10);

/// How long a scrape waits that has the directory looked at.
const SCRAPE_WAIT: Duration = Duration::from_millis(200);

/// How long anybody else waits who does: enough for the indexes on a slow disk, and little for one who asks at night.
const LOOK_WAIT: Duration = Duration::from_secs(1);

/// A look that takes longer is told.
const LOOK_PATIENCE: Duration = Duration::from_secs(5);

/// What is known of a store's backups at one moment. Neither field is set: none was ever made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KnownBackups {
    /// What was found by the newest look that found something.
    pub last: Option<LastBackup>,
    /// Why that may be old, or not be known at all: the newest look failed, or its directory does not answer.
    pub doubt: Option<BackupError>,
}

/// When there was a backup, in seconds since the Unix epoch; 0 where nothing is known.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct BackupTimes {
    /// When the newest backup was finished.
    pub(crate) made_s: u64,
    /// When one was verified last.
    pub(crate) verified_s: u64,
}

/// Looks at one store's backups.
#[derive(Debug, Default)]
pub(crate) struct BackupWatch(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<LastBackup>,
    /// Whether that was found since the newest backup was made here.
    is_known: bool,
    /// Of the newest look that ended.
    error: Option<BackupError>,
    /// When the newest look began, if nothing has changed since.
    looked: Option<Instant>,
    /// Since when it is being looked at.
    looking: Option<Instant>,
}

impl BackupWatch {
    /// There is a new one: whoever asks next has it looked up.
    pub(super) fn have_changed(&self) {
        let mut state = self.0.lock();
        (state.looked, state.is_known) = (None, false);
    }

    /// Whether whoever asks for what is not older than that is to look.
    fn begin(&self, now: Instant, age_max: Duration) -> bool {
        let mut state = self.0.lock();
        let is_new = |looked: Instant| now.saturating_duration_since(looked) < age_max;
        if state.looking.is_some() || state.looked.is_some_and(is_new) {
            return false;
        }
        (state.looked, state.looking) = (Some(now), Some(now));
        true
    }

    fn end(&self, found: Result<Option<LastBackup>, BackupError>) {
        let mut state = self.0.lock();
        state.looking = None;
        match found {
            Ok(last) => {
                (state.last, state.error) = (last, None);
                state.is_known = true;
            }
            Err(error) => {
                tracing::debug!(%error, "the backups cannot be looked at");
                state.error = Some(error);
            }
        }
    }

    fn known(&self, now: Instant) -> KnownBackups {
        let state = self.0.lock();
        let waited = |since| now.saturating_duration_since(since);
        let is_late = |waited: &Duration| !state.is_known || LOOK_PATIENCE < *waited;
        let late = state.looking.map(waited).filter(is_late).map(|waited| {
            let why = format!("no answer for {:.1} s", waited.as_secs_f64());
            BackupError::NotLookedAt { why }
        });
        KnownBackups {
            last: state.last.clone(),
            doubt: late.or_else(|| state.error.clone()),
        }
    }
}

impl BackupTimes {
    fn of(last: Option<&LastBackup>) -> Self {
        let seconds = |us: u64| us / 1_000_000;
        let newest = last.and_then(|last| last.newest.as_ref());
        Self {
            made_s: newest.map_or(0, |info| seconds(info.made_us)),
            verified_s: last.map_or(0, |last| seconds(last.last_verified_us)),
        }
    }
}

impl Engine {
    /// What is known. It is as new as now, unless the directory does not answer at once.
    pub(super) fn known_backups(&self) -> KnownBackups {
        self.backups_not_older_than(Duration::ZERO, LOOK_WAIT)
    }

    /// The times, for whoever asks again and again.
    pub(crate) fn backup_times(&self) -> BackupTimes {
        let known = self.backups_not_older_than(SCRAPE_AGE_MAX, SCRAPE_WAIT);
        BackupTimes::of(known.last.as_ref())
    }

    fn backups_not_older_than(&self, age_max: Duration, wait: Duration) -> KnownBackups {
        let watch = &self.backing_up.watch;
        if watch.begin(now(), age_max) {
            self.look_at_backups(wait);
        }
        watch.known(now())
    }

    fn look_at_backups(&self, wait: Duration) {
        let (watch, disk) = (Arc::clone(&self.backing_up.watch), Arc::clone(&self.disk));
        let (give, take) = promise();
        let look = Box::new(move || {
            let looked = fence("looked at the backups", || last_backup(disk.as_ref()));
            watch.end(looked.unwrap_or_else(|panic| {
                tracing::error!(%panic, "a look at the backups panicked");
                let why = panic.to_string();
                Err(BackupError::NotLookedAt { why })
            }));
            give.give(());
        });
        match self.runtime.spawn.spawn("bop-backups", look) {
            // One who did not wait long enough is told so by what is known.
            Ok(_) => drop(take.wait(Some(now() + wait))),
            Err(error) => {
                let why = format!("no thread for it: {error}");
                let failed = Err(BackupError::NotLookedAt { why });
                self.backing_up.watch.end(failed);
            }
        }
    }
}
