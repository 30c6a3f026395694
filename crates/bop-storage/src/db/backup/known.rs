//! When a store was backed up and a backup verified last, as far as is known, for whoever asks often.
//!
//! ```text
//!   nothing known --looked--> known --the look is old, and somebody asks--> known, and being looked at
//!                               ^--found, or failed: what was known stays --'
//! ```
//! The directory of the backups may be on a device that does not answer. So it is looked at on a thread of
//! its own, one at a time, and whoever asks is told what was found last.
//!
//! Invariants
//! - nobody waits for the directory but the first who asks, and he for a moment;
//! - one thread looks, at most: one that does not come back stays the only one;
//! - of two looks at the same time the one that began later counts.
//!
//! Never: forgets what it knew because a look failed.

use super::super::engine::Engine;
use super::last::{LastBackup, last_backup};
use crate::error::BackupError;
use crate::runtime::{Waited, fence, promise};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How old a look may be. It reads the index of every backup there.
const AGE_MAX: Duration = Duration::from_secs(10);

/// How long the first who asks waits.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// What is known, in seconds since the Unix epoch; 0 where nothing is.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct BackupTimes {
    /// When the newest backup was finished.
    pub(crate) made_s: u64,
    /// When one was verified last.
    pub(crate) verified_s: u64,
}

/// What is known of one store's backups.
#[derive(Debug, Default)]
pub(crate) struct KnownBackups(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    times: BackupTimes,
    /// When the look began that found them.
    found: Option<Instant>,
    /// When the newest look in the background began.
    looked: Option<Instant>,
    is_being_looked_at: bool,
}

impl KnownBackups {
    /// Takes what somebody has found whose look began at `since`, unless a newer one found something.
    pub(super) fn found(&self, since: Instant, last: &Result<Option<LastBackup>, BackupError>) {
        match last {
            Ok(last) => {
                let mut state = self.0.lock();
                if state.found.is_none_or(|newest| newest <= since) {
                    state.found = Some(since);
                    state.times = BackupTimes::of(last.as_ref());
                }
            }
            Err(error) => tracing::debug!(%error, "the backups cannot be looked at"),
        }
    }

    /// There is a new one: whoever asks next looks, and waits for a moment.
    pub(super) fn have_changed(&self) {
        self.0.lock().looked = None;
    }

    /// Whether whoever asks is to look now; then he says when he has.
    fn begin(&self, now: Instant) -> Option<IsFirst> {
        let mut state = self.0.lock();
        let is_new = |looked: Instant| now.saturating_duration_since(looked) < AGE_MAX;
        if state.is_being_looked_at || state.looked.is_some_and(is_new) {
            return None;
        }
        state.is_being_looked_at = true;
        Some(IsFirst(state.looked.replace(now).is_none()))
    }

    fn end(&self) {
        self.0.lock().is_being_looked_at = false;
    }
}

struct IsFirst(bool);

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
    /// What is known; looks again in the background when that is old.
    pub(crate) fn backup_times(&self) -> BackupTimes {
        if let Some(IsFirst(is_first)) = self.backing_up.known.begin(Instant::now()) {
            self.look_at_backups(is_first);
        }
        self.backing_up.known.0.lock().times
    }

    fn look_at_backups(&self, is_first: bool) {
        let (known, disk) = (Arc::clone(&self.backing_up.known), Arc::clone(&self.disk));
        let (give, take) = promise();
        let look = Box::new(move || {
            let looked = fence("looked at the backups", || {
                known.found(Instant::now(), &last_backup(disk.as_ref()));
            });
            if let Err(panic) = looked {
                tracing::error!(%panic, "a look at the backups panicked");
            }
            known.end();
            give.give(());
        });
        if let Err(error) = self.runtime.spawn.spawn("bop-backups", look) {
            tracing::debug!(%error, "no thread can look at the backups");
            self.backing_up.known.end();
        } else if is_first && take.wait(Some(Instant::now() + FIRST_WAIT)) == Waited::TimedOut {
            tracing::debug!("the backups are not known yet");
        }
    }
}
