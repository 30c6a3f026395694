//! One attempt at a job: the work, its pace, and how it ends.
//!
//! ```text
//!   taken --reads a piece--> others go first, waits for its pace --+--> reads the next piece
//!                                |- the store is closing --> handed back
//!                                |- cancelled, lost -------> nothing more
//!                                '- now and then: writes down what is done, and renews its lease
//! ```
//! Invariants
//! - what an attempt has proved is written down with its end, and every now and then before: the next
//!   attempt goes on behind it;
//! - damage ends a job for good; what could not be read, and a panic, may be tried again.
//!
//! Never: holds a lock between two pieces.

use super::engine::Engine;
use super::scrub::{LastChunk, Scrubbed};
use crate::error::{Damage, ErrorCode, Reject};
use crate::ids::DbId;
use crate::manifest::{JobFailure, JobKind, JobLease, JobRow, ScrubRow};
use crate::runtime::sync::now;
use crate::runtime::{Backoff, after, fence, jitter};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// A job is somebody's for so long, unless he says that he goes on.
pub(super) const LEASE: Duration = Duration::from_secs(5 * 60);

/// He does so often; what is done by then is not done again.
const RENEWAL: Duration = Duration::from_secs(30);

/// So often he looks whether it was cancelled.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// Databases whose scrubs are written down together at most.
const SCRUBS_MAX: usize = 1_000;

/// The waits before another attempt.
const WAITS: Backoff = Backoff {
    first: Duration::from_secs(1),
    cap: Duration::from_secs(10 * 60),
};

/// How an attempt ends.
enum Ended {
    Done,
    Failed(JobFailure, Again),
    /// The store is being closed.
    Closing,
    /// Somebody else has the job, or it was cancelled.
    Lost,
}

/// Whether the same may succeed later.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Again {
    Perhaps,
    Never,
}

/// An attempt that is going on.
pub(super) struct Attempt<'a> {
    engine: &'a Engine,
    lease: JobLease,
    /// Since when the bytes are counted that its pace follows from.
    paced_from: Instant,
    paced_bytes: u64,
    renewed: Instant,
    looked: Instant,
    /// Bytes since the last database was begun.
    bytes: u64,
    scrubbed: Vec<(DbId, ScrubRow)>,
    ended: Option<Ended>,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(engine: &'a Engine, lease: JobLease) -> Self {
        let now = now();
        Self {
            engine,
            lease,
            paced_from: now,
            paced_bytes: 0,
            renewed: now,
            looked: now,
            bytes: 0,
            scrubbed: Vec::new(),
            ended: None,
        }
    }

    /// Does the job, and writes down how that ended.
    pub(super) fn run(mut self, row: &JobRow) {
        let ran = fence("ran a job", || match row.kind {
            JobKind::Scrub => self.scrub(row.database),
        });
        let ended = ran.unwrap_or_else(|panic| {
            let failure = JobFailure::new(ErrorCode::Panic, &panic.location, &panic.message);
            Ended::Failed(failure, Again::Perhaps)
        });
        self.end(ended);
    }

    /// Reads the chunks of one database, or of all.
    fn scrub(&mut self, database: DbId) -> Ended {
        let (mut damage, mut unread) = (Worst::default(), Worst::default());
        let (all, mut last) = (database == DbId::CATALOGUE, LastChunk::default());
        let targets = if all {
            self.engine.scrub_targets()
        } else {
            vec![database]
        };
        for id in targets {
            let rows = self.engine.manifest.state();
            // An attempt before this one has done it.
            if rows.scrub(id).is_some_and(|row| row.job == self.lease.job) {
                continue;
            }
            self.bytes = 0;
            // Also where there is nothing to read.
            if self.read(0).is_break() {
                return self.broken_off();
            }
            let engine = self.engine;
            let mut paced = |bytes| self.read(bytes);
            let read = engine.scrub_database(id, &mut last, &mut paced);
            let ControlFlow::Continue(found) = read else {
                return self.broken_off();
            };
            if !engine.has_pages(id) {
                // Dropped meanwhile: what it had may be gone.
                if all {
                    continue;
                }
                return Ended::Failed(JobFailure::dropped(), Again::Never);
            }
            if found.findings.is_empty() {
                self.proved(id, found.pages);
            }
            sort_findings(found, &mut damage, &mut unread);
        }
        if all {
            let engine = self.engine;
            let read = engine.scrub_shared_chunks(&mut |bytes| self.read(bytes));
            let ControlFlow::Continue(found) = read else {
                return self.broken_off();
            };
            sort_findings(found, &mut damage, &mut unread);
        }
        match (damage.failure(), unread.failure()) {
            (Some(failure), _) => Ended::Failed(failure, Again::Never),
            (None, Some(failure)) => Ended::Failed(failure, Again::Perhaps),
            (None, None) => Ended::Done,
        }
    }

    fn broken_off(&mut self) -> Ended {
        self.ended.take().unwrap_or(Ended::Closing)
    }

    fn proved(&mut self, database: DbId, pages: u32) {
        let row = ScrubRow {
            job: self.lease.job,
            finished_us: self.engine.runtime.clock.wall_us(),
            pages,
            bytes: self.bytes,
        };
        self.scrubbed.push((database, row));
    }

    /// So many bytes more were read. Lets others go first, and says whether to go on.
    fn read(&mut self, bytes: u64) -> ControlFlow<()> {
        self.bytes += bytes;
        self.paced_bytes += bytes;
        self.engine.meters.scrub_read(bytes);
        self.keep_pace();
        let ended = self.look();
        if ended.is_some() {
            self.ended = ended;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Waits until the job is as slow as it has to be, and does meanwhile what else is due.
    fn keep_pace(&mut self) {
        let engine = self.engine;
        if !engine.is_housekeeping() {
            return;
        }
        let rate = engine.limits.scrub_bytes_per_second_max;
        let due = Duration::from_micros(self.paced_bytes.saturating_mul(1_000_000) / rate);
        let until = after(self.paced_from, due);
        loop {
            if let Some(due) = engine.signals.take_beside_jobs() {
                engine.keep_house(due);
            }
            let now = now();
            if engine.lifecycle.is_closing() || until <= now {
                break;
            }
            engine.signals.pause(until);
        }
        // What was not used up does not add up.
        let now = now();
        if self.paced_from + Duration::from_secs(1) <= now {
            (self.paced_from, self.paced_bytes) = (now, 0);
        }
    }

    /// Whether the attempt has to end.
    fn look(&mut self) -> Option<Ended> {
        if self.engine.lifecycle.is_closing() {
            return Some(Ended::Closing);
        }
        let (now, is_full) = (now(), SCRUBS_MAX <= self.scrubbed.len());
        if now < self.looked + LOOK && !is_full {
            return None;
        }
        self.looked = now;
        let rows = self.engine.manifest.state();
        let held = rows
            .job(self.lease.job)
            .filter(|row| row.is_held_by(self.lease));
        if held.is_none() {
            return Some(Ended::Lost);
        }
        let renews = self.renewed + RENEWAL <= now || is_full;
        (renews && !self.renew()).then_some(Ended::Lost)
    }

    /// Writes down what is done; `false` when the job is not ours any more. Without an answer of the
    /// manifest the job goes on, for as long as its lease does.
    fn renew(&mut self) -> bool {
        self.renewed = now();
        let engine = self.engine;
        let (patience, now_us) = (engine.limits.io_deadline, engine.runtime.clock.wall_us());
        let scrubbed = self.scrubbed.clone();
        let renewed = engine
            .manifest
            .renew_job(patience, self.lease, scrubbed, LEASE, now_us);
        match renewed {
            Ok(held) => {
                self.scrubbed.clear();
                held
            }
            Err(error) => {
                tracing::warn!(%error, "the lease of a job could not be renewed");
                true
            }
        }
    }

    /// Writes down how it ended.
    fn end(mut self, ended: Ended) {
        let engine = self.engine;
        let (manifest, lease) = (&engine.manifest, self.lease);
        let (patience, now_us) = (engine.limits.io_deadline, engine.runtime.clock.wall_us());
        let scrubbed = std::mem::take(&mut self.scrubbed);
        let told = match ended {
            Ended::Lost => return,
            Ended::Closing => manifest.release_job(patience, lease, scrubbed, now_us),
            Ended::Done => {
                engine.meters.job_done();
                manifest.complete_job(patience, lease, scrubbed, now_us)
            }
            Ended::Failed(failure, again) => {
                tracing::error!(job = %lease.job, attempt = lease.attempt, %failure, "a job failed");
                engine.meters.job_failed();
                let random = jitter(engine.runtime.clock.as_ref());
                let wait = WAITS.delay(u32::from(lease.attempt) - 1, random);
                let retry = (again == Again::Perhaps).then_some(wait);
                manifest.fail_job(patience, lease, scrubbed, failure, retry, now_us)
            }
        };
        if let Err(error) = told {
            tracing::warn!(%error, job = %lease.job, "the end of a job is not written down");
        }
    }
}

/// The first of the findings, and how many there are.
#[derive(Default)]
struct Worst {
    first: Option<JobFailure>,
    more: usize,
}

impl Worst {
    fn add(&mut self, damage: &Damage) {
        match self.first {
            None => self.first = Some(JobFailure::of_damage(damage)),
            Some(_) => self.more += 1,
        }
    }

    fn failure(self) -> Option<JobFailure> {
        let first = self.first?;
        Some(match self.more {
            0 => first,
            more => {
                let reason = format!("{more} more findings; {}", first.reason);
                JobFailure::new(first.code, &first.place, &reason)
            }
        })
    }
}

/// What the kernel could not read may be read later; damage stays.
fn sort_findings(found: Scrubbed, damage: &mut Worst, unread: &mut Worst) {
    for finding in found.findings {
        tracing::error!(%finding, "a scrub has found this");
        match finding.reason {
            Reject::Unreadable(_) => unread.add(&finding),
            _ => damage.add(&finding),
        }
    }
}
