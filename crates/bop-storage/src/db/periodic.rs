//! Scrubs that nobody has asked for: everything in chunks is read once in `scrub_interval`.
//!
//! ```text
//!   newest scrub of the whole store: asked for, or proved --scrub_interval--> due --> a job like any other
//!            '-- none yet: the oldest database was created
//! ```
//! Invariants
//! - one that failed, or still waits, counts: a store with damage is not read over and over;
//! - its token says when it was due: two openings that both find it due ask for one job.
//!
//! Never: reads anything; the queue of jobs does.

use super::engine::Engine;
use crate::ids::DbId;
use crate::manifest::{JobKind, JobToken};

impl Engine {
    /// Asks for a scrub of everything if one is due.
    pub(super) fn ask_for_due_scrub(&self) {
        let now_us = self.runtime.clock.wall_us();
        let Some(due_us) = self.next_scrub_us(now_us).filter(|due| *due <= now_us) else {
            return;
        };
        match self.enqueue_scrub(None, token(due_us)) {
            Ok(job) => tracing::info!(%job, "a scrub of everything is due"),
            Err(error) => tracing::warn!(%error, "a scrub is due and cannot be asked for"),
        }
    }

    /// When the next one is due, in microseconds since the Unix epoch; `None` when nobody wants any.
    pub(super) fn next_scrub_us(&self, now_us: u64) -> Option<u64> {
        let interval = self.limits.scrub_interval;
        if interval.is_zero() {
            return None;
        }
        let rows = self.manifest.state();
        let of_all = rows
            .jobs()
            .filter(|(_, row)| row.kind == JobKind::Scrub && row.database == DbId::CATALOGUE);
        let asked = of_all.map(|(_, row)| row.created_us).max();
        let proved = rows.scrub(DbId::CATALOGUE).map(|row| row.finished_us);
        let since = asked.max(proved).unwrap_or_else(|| {
            let cell = self.catalogue.lock();
            let created = cell.catalogue.entries().map(|(_, entry)| entry.created_us);
            created.min().unwrap_or(now_us)
        });
        let interval = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
        Some(since.saturating_add(interval))
    }
}

fn token(due_us: u64) -> JobToken {
    let mut token = *b"periodic........";
    token[8..].copy_from_slice(&due_us.to_be_bytes());
    token
}
