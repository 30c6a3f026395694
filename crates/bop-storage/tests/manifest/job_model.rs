//! The queue of jobs against a list, with transactions that fail, kills and reopenings inside the
//! sequences.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use crate::gates::power_cut;
use bop_storage::error::{ErrorCode, JobError};
use bop_storage::ids::{DbId, Epoch, JobId, StoreId};
use bop_storage::manifest::{
    JOB_ATTEMPTS_MAX, JobFailure, JobKind, JobLease, JobRow, JobState, Manifest, MemoryManifest,
    RunRow,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const STORE: StoreId = StoreId::new([5; 16]);
const LONG: Duration = Duration::from_secs(50);
const LEASE_US: u64 = 1_000;
const WAIT_US: u64 = 300;
const LEASE: Duration = Duration::from_micros(LEASE_US);
const WAIT: Duration = Duration::from_micros(WAIT_US);

#[derive(Clone, Copy, Debug)]
enum Op {
    Ask(u64, u8),
    Take,
    /// With one of the leases that were ever had.
    Renew(usize),
    Complete(usize),
    FailAndRetry(usize),
    FailForGood(usize),
    Release(usize),
    Cancel(u64),
    /// Time passes.
    Pass(u64),
    /// The process ends; the next one begins a run.
    Reopen,
}

/// What becomes of the commit of an operation.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Cut {
    No,
    /// It is not applied, and the process ends.
    Before,
    /// It is applied, and the process ends before it is told so.
    After,
}

fn op() -> impl Strategy<Value = (Op, Cut)> {
    // Mostly the newest lease.
    let lease = || prop_oneof![5 => Just(0_usize), 1 => 0_usize..6];
    let op = prop_oneof![
        5 => (0_u64..3, 0_u8..12).prop_map(|(database, token)| Op::Ask(database, token)),
        6 => Just(Op::Take),
        1 => lease().prop_map(Op::Renew),
        2 => lease().prop_map(Op::Complete),
        5 => lease().prop_map(Op::FailAndRetry),
        1 => lease().prop_map(Op::FailForGood),
        2 => lease().prop_map(Op::Release),
        1 => (1_u64..9).prop_map(Op::Cancel),
        4 => (1_u64..900).prop_map(Op::Pass),
        1 => Just(Op::Reopen),
    ];
    let cut = prop_oneof![10 => Just(Cut::No), 1 => Just(Cut::Before), 1 => Just(Cut::After)];
    (op, cut)
}

/// A job as the model has it: database, token, state, attempts, code of its failure.
type Job = (u64, u8, JobState, u16, Option<ErrorCode>);

#[derive(Clone, Default)]
struct Model {
    jobs: BTreeMap<u64, Job>,
    asked: u64,
}

/// What an operation answers.
#[derive(Clone, PartialEq, Debug)]
enum Answer {
    Job(u64),
    Taken(Option<(u64, u16)>),
    Held(bool),
    Nothing,
}

impl Model {
    fn pending(&self, database: u64) -> Option<u64> {
        let waits = |job: &Job| job.0 == database && matches!(job.2, JobState::Pending { .. });
        let found = self.jobs.iter().find(|(_, job)| waits(job));
        found.map(|(id, _)| *id)
    }

    fn ask(&mut self, database: u64, token: u8) -> Answer {
        let same = self.jobs.iter().find(|(_, job)| job.1 == token);
        let same = same.map(|(id, _)| *id).or_else(|| self.pending(database));
        Answer::Job(same.unwrap_or_else(|| {
            self.asked += 1;
            let new = (database, token, JobState::Pending { from_us: 0 }, 0, None);
            self.jobs.insert(self.asked, new);
            self.asked
        }))
    }

    fn take(&mut self, holder: Epoch, now_us: u64) -> Answer {
        for (id, job) in &mut self.jobs {
            let free = match job.2 {
                JobState::Pending { from_us } => from_us <= now_us,
                JobState::Leased {
                    holder: other,
                    until_us,
                } => other != holder || until_us <= now_us,
                JobState::Done | JobState::Failed => false,
            };
            if free && job.3 == JOB_ATTEMPTS_MAX {
                (job.2, job.4) = (JobState::Failed, Some(ErrorCode::Abandoned));
            } else if free {
                let until_us = now_us + LEASE_US;
                (job.2, job.3) = (JobState::Leased { holder, until_us }, job.3 + 1);
                return Answer::Taken(Some((*id, job.3)));
            }
        }
        Answer::Taken(None)
    }

    /// With a lease that is still had.
    fn change(&mut self, lease: Option<JobLease>, change: impl FnOnce(&mut Job, bool)) -> Answer {
        let Some(lease) = lease else {
            return Answer::Nothing;
        };
        let other = self.jobs.get(&lease.job.get()).map(|job| job.0);
        let other = other.and_then(|database| self.pending(database)).is_some();
        let Some(job) = self.jobs.get_mut(&lease.job.get()) else {
            return Answer::Held(false);
        };
        let held = matches!(job.2, JobState::Leased { holder, .. } if holder == lease.holder);
        let held = held && job.3 == lease.attempt;
        if held {
            change(job, other);
        }
        Answer::Held(held)
    }
}

struct World {
    store: MemoryManifest,
    manifest: Manifest,
    epoch: u64,
    now_us: u64,
    leases: Vec<JobLease>,
}

impl World {
    fn new() -> Self {
        let store = MemoryManifest::new();
        let manifest = Manifest::initialize(Arc::new(store.clone()), STORE).unwrap();
        Self {
            store,
            manifest,
            epoch: 1,
            now_us: 1_000_000,
            leases: Vec::new(),
        }
    }

    fn reopen(&mut self) {
        self.store = self.store.snapshot();
        self.manifest = Manifest::open(Arc::new(self.store.clone()), STORE).unwrap();
        self.epoch += 1;
        let run = RunRow {
            epoch: Epoch::new(self.epoch),
            boot: [0; 16],
            pid: 1,
            opened_us: 1,
            closed_us: None,
        };
        self.manifest.begin_run(run).unwrap();
    }

    /// One of the leases that were ever had, the newest first.
    fn lease(&self, nth: usize) -> Option<JobLease> {
        self.leases.iter().rev().nth(nth).copied()
    }

    /// What the manifest does and answers.
    fn run(&mut self, op: Op) -> Result<Answer, JobError> {
        let (manifest, now_us) = (&self.manifest, self.now_us);
        let failure = |code| JobFailure::new(code, "somewhere", "for some reason");
        let held = |lease: Option<JobLease>, ask: &dyn Fn(JobLease) -> Result<bool, _>| {
            let Some(lease) = lease else {
                return Ok(Answer::Nothing);
            };
            Ok(Answer::Held(ask(lease)?))
        };
        match op {
            Op::Ask(database, token) => {
                let (database, token) = (DbId::new(database), [token; 16]);
                let job = manifest.enqueue_job(LONG, JobKind::Scrub, database, token, now_us)?;
                Ok(Answer::Job(job.get()))
            }
            Op::Take => {
                let taken = manifest.lease_job(LONG, Epoch::new(self.epoch), LEASE, now_us)?;
                self.leases.extend(taken.as_ref().map(|(lease, _)| *lease));
                let taken = taken.map(|(lease, row)| {
                    assert_eq!(row.attempts, lease.attempt);
                    (lease.job.get(), lease.attempt)
                });
                Ok(Answer::Taken(taken))
            }
            Op::Renew(nth) => held(self.lease(nth), &|lease| {
                manifest.renew_job(LONG, lease, Vec::new(), LEASE, now_us)
            }),
            Op::Complete(nth) => held(self.lease(nth), &|lease| {
                manifest.complete_job(LONG, lease, Vec::new(), now_us)
            }),
            Op::FailAndRetry(nth) => held(self.lease(nth), &|lease| {
                let failure = failure(ErrorCode::Io);
                manifest.fail_job(LONG, lease, Vec::new(), failure, Some(WAIT), now_us)
            }),
            Op::FailForGood(nth) => held(self.lease(nth), &|lease| {
                let failure = failure(ErrorCode::Corrupt);
                manifest.fail_job(LONG, lease, Vec::new(), failure, None, now_us)
            }),
            Op::Release(nth) => held(self.lease(nth), &|lease| {
                manifest.release_job(LONG, lease, Vec::new(), now_us)
            }),
            Op::Cancel(id) => {
                let failure = failure(ErrorCode::Cancelled);
                let ended = manifest.cancel_job(LONG, JobId::new(id), failure, now_us)?;
                Ok(Answer::Held(ended))
            }
            Op::Pass(us) => {
                self.now_us += us;
                Ok(Answer::Nothing)
            }
            Op::Reopen => {
                self.reopen();
                Ok(Answer::Nothing)
            }
        }
    }

    /// What the model does and answers.
    fn expect(&self, op: Op, model: &mut Model) -> Answer {
        let now_us = self.now_us;
        match op {
            Op::Ask(database, token) => model.ask(database, token),
            Op::Take => model.take(Epoch::new(self.epoch), now_us),
            Op::Renew(nth) => model.change(self.lease(nth), |job, _| {
                if let JobState::Leased { until_us, .. } = &mut job.2 {
                    *until_us = now_us + LEASE_US;
                }
            }),
            Op::Complete(nth) => model.change(self.lease(nth), |job, _| {
                (job.2, job.4) = (JobState::Done, None);
            }),
            Op::FailAndRetry(nth) => model.change(self.lease(nth), |job, other| {
                let from_us = now_us + WAIT_US;
                let again = job.3 < JOB_ATTEMPTS_MAX && !other;
                job.2 = if again {
                    JobState::Pending { from_us }
                } else {
                    JobState::Failed
                };
                job.4 = Some(ErrorCode::Io);
            }),
            Op::FailForGood(nth) => model.change(self.lease(nth), |job, _| {
                (job.2, job.4) = (JobState::Failed, Some(ErrorCode::Corrupt));
            }),
            Op::Release(nth) => model.change(self.lease(nth), |job, other| {
                if other {
                    (job.2, job.4) = (JobState::Failed, Some(ErrorCode::Cancelled));
                } else {
                    (job.2, job.3) = (JobState::Pending { from_us: 0 }, job.3 - 1);
                }
            }),
            Op::Cancel(id) => {
                let job = model.jobs.get_mut(&id).filter(|job| !job.2.is_over());
                let ends = job.is_some();
                if let Some(job) = job {
                    (job.2, job.4) = (JobState::Failed, Some(ErrorCode::Cancelled));
                }
                Answer::Held(ends)
            }
            Op::Pass(_) | Op::Reopen => Answer::Nothing,
        }
    }

    fn check(&self, model: &Model) {
        let rows = self.manifest.state();
        let job = |row: &JobRow| {
            let code = row.failure.as_ref().map(|failure| failure.code);
            let (database, token) = (row.database.get(), row.token[0]);
            (database, token, row.state, row.attempts, code)
        };
        let found: BTreeMap<u64, Job> = rows.jobs().map(|(id, row)| (id.get(), job(row))).collect();
        assert_eq!(found, model.jobs);
        let again = Manifest::open(Arc::new(self.store.snapshot()), STORE).unwrap();
        assert!(again.state().jobs().eq(rows.jobs()), "what is on disk");
        assert_eq!(self.manifest.verify().unwrap(), []);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_queue_is_the_list_of_what_was_asked_for(ops in prop::collection::vec(op(), 1..60)) {
        let (mut world, mut model) = (World::new(), Model::default());
        for (op, cut) in ops {
            match cut {
                Cut::No => {}
                Cut::Before => world.store.set_gate(Some(power_cut())),
                Cut::After => world.store.set_gate_after(Some(power_cut())),
            }
            let mut after = model.clone();
            let expected = world.expect(op, &mut after);
            let answered = world.run(op);
            world.store.set_gate(None);
            world.store.set_gate_after(None);
            match answered {
                Ok(answer) => {
                    prop_assert_eq!(answer, expected);
                    model = after;
                }
                Err(error) => {
                    prop_assert!(cut != Cut::No, "{error}");
                    if cut == Cut::After {
                        model = after;
                    }
                    world.reopen();
                }
            }
            world.check(&model);
        }
    }
}
