//! Jobs: what the store does in the background, once it was asked to, whatever becomes of the process.
//!
//! ```text
//!   scrub(..) --> in the queue --> the housekeeper takes it --> succeeds: done
//!                     ^                  |-- damage: failed, and not tried again
//!                     |                  |-- I/O error, panic: after a wait, or failed for the last time
//!                     '-- next opening --'-- the store is closed, or the process ends
//! ```
//! Owns the runner; the queue, and what may become of a job, is [`manifest::jobs`](crate::manifest).
//!
//! Invariants
//! - one job runs at a time, on the thread that keeps house, and lets everything else that is due go
//!   first after each piece that it reads;
//! - every attempt has an end in the manifest, or a lease that runs out;
//! - nobody who waits for a job is under a lock, or waits past his deadline.
//!
//! Never: retries by itself (a job is due again when its wait is over, a bounded number of times).

use super::attempt::{Attempt, LEASE, LOOK};
use super::engine::{Engine, OpenStore};
use super::manager::Manager;
use super::names::check_pages;
use crate::error::{CatalogueError, ErrorCode, JobError, ManifestError};
use crate::ids::{DbId, JobId};
use crate::manifest::{JobFailure, JobKind, JobRow, JobState, JobToken};
use crate::runtime::after;
use crate::runtime::sync::now;
use std::time::Duration;

/// After a refusal of the manifest the queue is left alone for so long.
const REFUSED_WAIT: Duration = Duration::from_secs(60);

/// A job, for people and programs.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct JobInfo {
    /// Its number.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// To which database; `None` for the whole store.
    pub database: Option<DbId>,
    /// That database's name, while it has one.
    pub name: Option<String>,
    /// Where it is.
    pub state: JobState,
    /// How often it was begun.
    pub attempts: u16,
    /// When it was asked for, in microseconds since the Unix epoch.
    pub created_us: u64,
    /// When it was heard of last.
    pub updated_us: u64,
    /// How the last attempt ended that did not succeed; of a failed job, why.
    pub failure: Option<JobFailure>,
}

impl Engine {
    /// Does the jobs that are due, one after the other.
    pub(super) fn run_jobs(&self) {
        self.ask_for_due_scrub();
        while self.has_free_job() && !self.lifecycle.is_closing() {
            // Whoever has it looks again when he has let go of it.
            let Some(alone) = self.housekeeper.jobs.try_lock() else {
                return;
            };
            if let Err(error) = self.run_next_job() {
                tracing::warn!(%error, "no job could be taken from the queue");
                // Not before the next opening, when that is so for good.
                if self.manifest.failure().is_none() {
                    self.signals.jobs_at(after(now(), REFUSED_WAIT));
                }
                return;
            }
            drop(alone);
        }
        self.arm_jobs();
    }

    fn has_free_job(&self) -> bool {
        let now_us = self.runtime.clock.wall_us();
        let next = self.manifest.state().next_job_from(self.epoch, now_us);
        next.is_some_and(|from| from <= now_us)
    }

    /// Says when the next job is due.
    fn arm_jobs(&self) {
        let now_us = self.runtime.clock.wall_us();
        let asked_for = self.manifest.state().next_job_from(self.epoch, now_us);
        let next = asked_for
            .into_iter()
            .chain(self.next_scrub_us(now_us))
            .min();
        if let Some(from) = next {
            let wait = Duration::from_micros(from.saturating_sub(now_us));
            self.signals.jobs_at(after(now(), wait));
        }
    }

    fn run_next_job(&self) -> Result<(), ManifestError> {
        let now_us = self.runtime.clock.wall_us();
        let patience = self.limits.io_deadline;
        let taken = self
            .manifest
            .lease_job(patience, self.epoch, LEASE, now_us)?;
        // Somebody may have cancelled it.
        let Some((lease, row)) = taken else {
            return Ok(());
        };
        let span = tracing::info_span!("job", job = %lease.job, kind = row.kind.name());
        let _span = span.entered();
        Attempt::new(self, lease).run(&row);
        Ok(())
    }

    pub(super) fn enqueue_scrub(
        &self,
        name: Option<&str>,
        token: JobToken,
    ) -> Result<JobId, JobError> {
        self.check_open().map_err(|_| JobError::Closed)?;
        let database = match name {
            None => DbId::CATALOGUE,
            Some(name) => self.scrubbed_database(name)?,
        };
        let (patience, now_us) = (self.limits.io_deadline, self.runtime.clock.wall_us());
        let kind = JobKind::Scrub;
        let job = self
            .manifest
            .enqueue_job(patience, kind, database, token, now_us)?;
        self.signals.want_jobs();
        Ok(job)
    }

    /// A record log has nothing in chunks.
    fn scrubbed_database(&self, name: &str) -> Result<DbId, CatalogueError> {
        let cell = self.catalogue.lock();
        let id = cell.catalogue.find(name)?;
        let kind = cell.catalogue.entry(id).map(|entry| entry.kind);
        kind.map_or(Ok(()), |kind| check_pages(name, kind))?;
        Ok(id)
    }

    /// Jobs that are not over.
    pub(super) fn jobs_waiting(&self) -> usize {
        let rows = self.manifest.state();
        rows.jobs().filter(|(_, row)| !row.state.is_over()).count()
    }

    pub(super) fn job_infos(&self) -> Vec<JobInfo> {
        let rows = self.manifest.state();
        rows.jobs()
            .map(|(id, row)| self.job_info(id, row))
            .collect()
    }

    fn job_info(&self, id: JobId, row: &JobRow) -> JobInfo {
        let database = (row.database != DbId::CATALOGUE).then_some(row.database);
        let name = database.and_then(|id| {
            let cell = self.catalogue.lock();
            cell.catalogue.entry(id).map(|entry| entry.name.to_string())
        });
        JobInfo {
            id,
            kind: row.kind,
            database,
            name,
            state: row.state,
            attempts: row.attempts,
            created_us: row.created_us,
            updated_us: row.updated_us,
            failure: row.failure.clone(),
        }
    }

    pub(super) fn cancel_job(&self, job: JobId) -> Result<bool, JobError> {
        self.check_open().map_err(|_| JobError::Closed)?;
        if self.manifest.state().job(job).is_none() {
            return Err(JobError::NotFound { job });
        }
        let failure = JobFailure::new(ErrorCode::Cancelled, "", "it was cancelled");
        let (patience, now_us) = (self.limits.io_deadline, self.runtime.clock.wall_us());
        let cancelled = self.manifest.cancel_job(patience, job, failure, now_us)?;
        Ok(cancelled)
    }

    /// Where nobody keeps house, whoever waits does the jobs that are due.
    pub(super) fn wait_for_job(&self, job: JobId, patience: Duration) -> Result<JobInfo, JobError> {
        let deadline = after(now(), patience);
        loop {
            if !self.is_housekeeping() {
                let _work = self.lifecycle.enter_work().ok_or(JobError::Closed)?;
                self.run_jobs();
            }
            let rows = self.manifest.state();
            let row = rows.job(job).ok_or(JobError::NotFound { job })?;
            if row.state.is_over() {
                return Ok(self.job_info(job, row));
            }
            if self.lifecycle.is_closing() {
                return Err(JobError::Closed);
            }
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                let waited = patience;
                return Err(JobError::Timeout { job, waited });
            }
            let step = if self.is_housekeeping() {
                left
            } else {
                left.min(LOOK)
            };
            self.manifest.wait_until(step, |rows| {
                let over = |row: &JobRow| row.state.is_over();
                rows.job(job).is_none_or(over) || self.lifecycle.is_closing()
            });
        }
    }
}

impl Manager {
    /// Asks for a scrub: the housekeeper reads what a database, or with `None` every database, has in
    /// chunks, at most `scrub_bytes_per_second_max` fast, and checks every byte of it. What is in the log
    /// alone is not read. It survives the process, and is done when the store is open again. While one of
    /// the same database waits to be begun, that is the one.
    ///
    /// # Errors
    /// [`JobError::Database`] for a name that is none, or a record log, which has no chunks;
    /// [`JobError::TooMany`]; what the manifest refuses.
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use bop_storage::{DbKind, JobState, Manager, Options};
    /// use std::time::Duration;
    ///
    /// let store = Manager::open(dir.path(), Options::new())?;
    /// store.create_database("orders", DbKind::Raw)?;
    /// let job = store.scrub(Some("orders"))?;
    /// let job = store.wait_for_job(job, Duration::from_secs(60))?;
    /// assert_eq!(job.state, JobState::Done);
    /// # Ok(())
    /// # }
    /// ```
    pub fn scrub(&self, database: Option<&str>) -> Result<JobId, JobError> {
        let mut token = JobToken::default();
        let drawn = self.engine().runtime.entropy.fill(&mut token);
        drawn.map_err(|error| JobError::Entropy(error.to_string()))?;
        self.scrub_once(database, token)
    }

    /// The same under a name that the caller gives it: asked again under that name, after an answer that
    /// did not come, it is the same job, for as long as it is known.
    ///
    /// # Errors
    /// As for [`Manager::scrub`].
    pub fn scrub_once(&self, database: Option<&str>, token: JobToken) -> Result<JobId, JobError> {
        let engine: &OpenStore = self.engine();
        engine.told(engine.enqueue_scrub(database, token))
    }

    /// The jobs that are not over, and the newest thousand of those that are, by their numbers.
    pub fn jobs(&self) -> Vec<JobInfo> {
        self.engine().job_infos()
    }

    /// Waits until a job is over, and says how it ended; of a store that keeps no house by itself, does it.
    ///
    /// # Errors
    /// [`JobError::Timeout`] when it is not by the end of `patience`, [`JobError::NotFound`],
    /// [`JobError::Closed`] when the store is closed first.
    pub fn wait_for_job(&self, job: JobId, patience: Duration) -> Result<JobInfo, JobError> {
        let engine = self.engine();
        engine.told(engine.wait_for_job(job, patience))
    }

    /// Ends a job that is not over: it is failed, with the code `cancelled`, and whoever works at it stops.
    /// `false` when it was over.
    ///
    /// # Errors
    /// [`JobError::NotFound`], or what the manifest refuses.
    pub fn cancel_job(&self, job: JobId) -> Result<bool, JobError> {
        let engine = self.engine();
        engine.told(engine.cancel_job(job))
    }
}
