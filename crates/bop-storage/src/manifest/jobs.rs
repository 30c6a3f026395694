//! The durable queue of jobs: what is to be done in the background, once, whatever becomes of the
//! process.
//!
//! ```text
//!              .--------------- fails, attempts are left: after a wait ----.
//!              |  .-------- handed back: the store is closed -------------.|
//!              v  v                                                       ||
//!  asked --> pending --taken: one attempt more--> leased --succeeds--> done
//!              |                                  ^  | '--fails for good, or for the last time--.
//!              |                                  '--' by the next run, or when its time is over |
//!              '--cancelled, its database is gone--------------------------------------------> failed
//!                          (a leased one too)
//! ```
//! Invariants
//! - of one kind, for one database, at most one job is pending: who asks for it gets that one, and one
//!   that would be pending beside it gives way;
//! - who asks again under the same token gets the same job, for as long as it is kept;
//! - a lease of another run of the store is over; who has lost a lease changes nothing by it;
//! - a job is begun [`JOB_ATTEMPTS_MAX`] times at most, attempts that ended with the process included;
//! - [`JOBS_WAITING_MAX`] are not over at most, and of those that are the newest [`JOBS_KEPT`] are kept.
//!
//! Never: does what a job says, waits for its moment.

use super::edit::Edit;
use super::job_rows::{JobFailure, JobKind, JobRow, JobState, JobToken, ScrubRow};
use super::state::ManifestState;
use super::typed::Manifest;
use crate::error::{ErrorCode, JobError, ManifestError};
use crate::ids::{DbId, Epoch, JobId};
use std::time::Duration;

/// A job is begun so often at most.
pub const JOB_ATTEMPTS_MAX: u16 = 5;

/// Jobs that are not over at most.
pub const JOBS_WAITING_MAX: usize = 1_000;

/// Jobs that are over and still known.
pub const JOBS_KEPT: usize = 1_000;

/// Neither a wait nor a lease is longer: one that seems to be was given under a clock that has been
/// set back since.
pub const JOB_WAIT_MAX: Duration = Duration::from_secs(60 * 60);

/// A job that somebody works at.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct JobLease {
    /// The job.
    pub job: JobId,
    /// Which opening of the store works at it.
    pub holder: Epoch,
    /// The number of the attempt, from 1: an earlier one is over.
    pub attempt: u16,
}

impl JobRow {
    /// Whether somebody of the run `holder` may begin it at `now_us`.
    pub fn is_free(&self, holder: Epoch, now_us: u64) -> bool {
        self.free_from(holder, now_us)
            .is_some_and(|from| from <= now_us)
    }

    /// From when on that is so; `None` of one that is over.
    pub fn free_from(&self, holder: Epoch, now_us: u64) -> Option<u64> {
        let from = match self.state {
            JobState::Pending { from_us } => from_us,
            JobState::Leased { holder: other, .. } if other != holder => 0,
            JobState::Leased { until_us, .. } => until_us,
            JobState::Done | JobState::Failed => return None,
        };
        let latest = now_us.saturating_add(micros(JOB_WAIT_MAX));
        Some(if latest < from { now_us } else { from })
    }

    /// Whether the attempt that the lease is of goes on.
    pub fn is_held_by(&self, lease: JobLease) -> bool {
        let held = matches!(self.state, JobState::Leased { holder, .. } if holder == lease.holder);
        held && self.attempts == lease.attempt
    }
}

impl ManifestState {
    /// When the next job can be begun by the run `holder`; `None` when none is left.
    pub fn next_job_from(&self, holder: Epoch, now_us: u64) -> Option<u64> {
        let free = self
            .jobs()
            .filter_map(|(_, row)| row.free_from(holder, now_us));
        free.min()
    }
}

impl Manifest {
    /// Asks for a job: a new one, the one that has this token, or the one that is pending already.
    ///
    /// # Errors
    /// [`JobError::TooMany`]; [`JobError::NotThere`] before the first run; as for
    /// [`Manifest::transact`].
    pub fn enqueue_job(
        &self,
        patience: Duration,
        kind: JobKind,
        database: DbId,
        token: JobToken,
        now_us: u64,
    ) -> Result<JobId, JobError> {
        self.transact_or_leave(patience, move |edit| {
            let (rows, mut waiting, mut found) = (edit.state(), 0, None);
            for (id, row) in rows.jobs() {
                waiting += usize::from(!row.state.is_over());
                let pending = matches!(row.state, JobState::Pending { .. });
                if row.token == token {
                    return Ok(Ok(id));
                }
                if pending && (row.kind, row.database) == (kind, database) {
                    found = Some(id);
                }
            }
            if let Some(id) = found {
                return Ok(Ok(id));
            }
            if JOBS_WAITING_MAX <= waiting {
                let limit = JOBS_WAITING_MAX;
                return Ok(Err(JobError::TooMany { limit }));
            }
            let added = edit.add_job(JobRow {
                kind,
                database,
                token,
                state: JobState::Pending { from_us: 0 },
                attempts: 0,
                created_us: now_us,
                updated_us: now_us,
                failure: None,
            });
            Ok(added.ok_or(JobError::NotThere))
        })?
    }

    /// Takes the oldest job that is free, for `lease`. One that was begun too often is given up.
    ///
    /// # Errors
    /// As for [`Manifest::transact`].
    pub fn lease_job(
        &self,
        patience: Duration,
        holder: Epoch,
        lease: Duration,
        now_us: u64,
    ) -> Result<Option<(JobLease, JobRow)>, ManifestError> {
        self.transact_or_leave(patience, move |edit| {
            loop {
                let free = first_free(edit.state(), holder, now_us);
                let Some((id, row)) = free else {
                    return Ok(None);
                };
                if JOB_ATTEMPTS_MAX <= row.attempts {
                    let why = "it was begun as often as a job may be, and never came to an end";
                    give_up(
                        edit,
                        id,
                        now_us,
                        JobFailure::new(ErrorCode::Abandoned, "", why),
                    );
                    continue;
                }
                let taken = JobRow {
                    state: JobState::Leased {
                        holder,
                        until_us: until(lease, now_us),
                    },
                    attempts: row.attempts + 1,
                    updated_us: now_us.max(row.updated_us),
                    ..row
                };
                edit.put_job(id, taken.clone());
                let attempt = taken.attempts;
                let lease = JobLease {
                    job: id,
                    holder,
                    attempt,
                };
                return Ok(Some((lease, taken)));
            }
        })
    }

    /// Writes down what of a job is done, and goes on with it for another `lease`; `false` when
    /// somebody else has it, or it is over.
    ///
    /// # Errors
    /// As for [`Manifest::transact`].
    pub fn renew_job(
        &self,
        patience: Duration,
        held: JobLease,
        scrubbed: Vec<(DbId, ScrubRow)>,
        lease: Duration,
        now_us: u64,
    ) -> Result<bool, ManifestError> {
        self.change_held(patience, held, scrubbed, move |edit, row| {
            let state = JobState::Leased {
                holder: held.holder,
                until_us: until(lease, now_us),
            };
            put(edit, held.job, JobRow { state, ..row }, now_us);
        })
    }

    /// Says that a job has succeeded; `false` as for [`Manifest::renew_job`].
    ///
    /// # Errors
    /// As for [`Manifest::transact`].
    pub fn complete_job(
        &self,
        patience: Duration,
        held: JobLease,
        scrubbed: Vec<(DbId, ScrubRow)>,
        now_us: u64,
    ) -> Result<bool, ManifestError> {
        self.change_held(patience, held, scrubbed, move |edit, row| {
            let (state, failure) = (JobState::Done, None);
            end(
                edit,
                held.job,
                JobRow {
                    state,
                    failure,
                    ..row
                },
                now_us,
            );
        })
    }

    /// Says how an attempt failed: the job is tried again `retry` later if it may be, and never when
    /// that is `None`. `false` as for [`Manifest::renew_job`].
    ///
    /// # Errors
    /// As for [`Manifest::transact`].
    pub fn fail_job(
        &self,
        patience: Duration,
        held: JobLease,
        scrubbed: Vec<(DbId, ScrubRow)>,
        failure: JobFailure,
        retry: Option<Duration>,
        now_us: u64,
    ) -> Result<bool, ManifestError> {
        self.change_held(patience, held, scrubbed, move |edit, row| {
            let retry = retry.filter(|_| row.attempts < JOB_ATTEMPTS_MAX);
            match retry.filter(|_| !has_pending(edit.state(), &row)) {
                None => give_up(edit, held.job, now_us, failure),
                Some(wait) => {
                    let row = JobRow {
                        state: JobState::Pending {
                            from_us: until(wait, now_us),
                        },
                        failure: Some(failure),
                        ..row
                    };
                    put(edit, held.job, row, now_us);
                }
            }
        })
    }

    /// Hands a job back that somebody else may go on with at once: the attempt does not count.
    /// `false` as for [`Manifest::renew_job`].
    ///
    /// # Errors
    /// As for [`Manifest::transact`].
    pub fn release_job(
        &self,
        patience: Duration,
        held: JobLease,
        scrubbed: Vec<(DbId, ScrubRow)>,
        now_us: u64,
    ) -> Result<bool, ManifestError> {
        self.change_held(patience, held, scrubbed, move |edit, row| {
            if has_pending(edit.state(), &row) {
                let why = "another job of its kind is pending, which does all of it";
                return give_up(
                    edit,
                    held.job,
                    now_us,
                    JobFailure::new(ErrorCode::Cancelled, "", why),
                );
            }
            let row = JobRow {
                state: JobState::Pending { from_us: 0 },
                attempts: row.attempts.saturating_sub(1),
                ..row
            };
            put(edit, held.job, row, now_us);
        })
    }

    /// Ends a job that is not over, with `failure`; `false` when it is, or nobody knows it.
    ///
    /// # Errors
    /// As for [`Manifest::transact`].
    pub fn cancel_job(
        &self,
        patience: Duration,
        job: JobId,
        failure: JobFailure,
        now_us: u64,
    ) -> Result<bool, ManifestError> {
        self.transact_or_leave(patience, move |edit| {
            let row = edit.state().job(job);
            let ends = row.is_some_and(|row| !row.state.is_over());
            if ends {
                give_up(edit, job, now_us, failure);
            }
            Ok(ends)
        })
    }

    fn change_held(
        &self,
        patience: Duration,
        held: JobLease,
        scrubbed: Vec<(DbId, ScrubRow)>,
        change: impl FnOnce(&mut Edit<'_>, JobRow) + Send + 'static,
    ) -> Result<bool, ManifestError> {
        self.transact_or_leave(patience, move |edit| {
            let row = edit.state().job(held.job);
            let row = row.filter(|row| row.is_held_by(held)).cloned();
            let is_held = row.is_some();
            if let Some(row) = row {
                put_scrubs(edit, &scrubbed);
                change(edit, row);
            }
            Ok(is_held)
        })
    }
}

fn first_free(rows: &ManifestState, holder: Epoch, now_us: u64) -> Option<(JobId, JobRow)> {
    let found = rows.jobs().find(|(_, row)| row.is_free(holder, now_us));
    found.map(|(id, row)| (id, row.clone()))
}

impl Edit<'_> {
    /// The jobs of a database that is gone end.
    pub(super) fn end_jobs_of(&mut self, database: DbId, now_us: u64) {
        let of = |row: &JobRow| row.database == database && !row.state.is_over();
        let jobs = self.state().jobs();
        let jobs: Vec<JobId> = jobs.filter(|(_, row)| of(row)).map(|(id, _)| id).collect();
        for job in jobs {
            give_up(self, job, now_us, JobFailure::dropped());
        }
    }
}

impl JobFailure {
    /// Of a job whose database is gone.
    pub(crate) fn dropped() -> Self {
        let why = "the database was dropped";
        Self::new(ErrorCode::DatabaseDropped, "", why)
    }
}

fn give_up(edit: &mut Edit<'_>, job: JobId, now_us: u64, failure: JobFailure) {
    if let Some(row) = edit.state().job(job).cloned() {
        let (state, failure) = (JobState::Failed, Some(failure));
        end(
            edit,
            job,
            JobRow {
                state,
                failure,
                ..row
            },
            now_us,
        );
    }
}

/// Writes a job down as of now. A clock that was set back takes nothing back.
fn put(edit: &mut Edit<'_>, job: JobId, row: JobRow, now_us: u64) {
    let updated_us = now_us.max(row.updated_us);
    edit.put_job(job, JobRow { updated_us, ..row });
}

/// Writes down that a job is over, and forgets the oldest of those that are.
fn end(edit: &mut Edit<'_>, job: JobId, row: JobRow, now_us: u64) {
    put(edit, job, row, now_us);
    let over = edit.state().jobs();
    // Whoever waits for this one is to find it.
    let over = over.filter(|(id, row)| row.state.is_over() && *id != job);
    let mut over: Vec<(u64, JobId)> = over.map(|(id, row)| (row.updated_us, id)).collect();
    let excess = (over.len() + 1).saturating_sub(JOBS_KEPT);
    over.sort_unstable();
    for (_, id) in over.into_iter().take(excess) {
        edit.delete_job(id);
    }
}

/// Whether a job would be the second one that is pending.
fn has_pending(rows: &ManifestState, of: &JobRow) -> bool {
    rows.jobs().any(|(_, row)| {
        let pending = matches!(row.state, JobState::Pending { .. });
        pending && (row.kind, row.database) == (of.kind, of.database)
    })
}

/// A database that was dropped meanwhile is passed by.
fn put_scrubs(edit: &mut Edit<'_>, scrubbed: &[(DbId, ScrubRow)]) {
    for (database, row) in scrubbed {
        if *database == DbId::CATALOGUE || edit.state().database(*database).is_some() {
            edit.put_scrub(*database, *row);
        }
    }
}

fn until(wait: Duration, now_us: u64) -> u64 {
    now_us.saturating_add(micros(wait.min(JOB_WAIT_MAX)))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
