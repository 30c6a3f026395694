//! `bop jobs` and `bop scrub`: what is done in the background, and having it done now. Jobs that wait are
//! gone on with for as long as any command has the store open.

use super::Context;
use crate::errors::Failure;
use crate::output::render_table;
use crate::output::utc;
use crate::session::{WhenMissing, with_store};
use bop_storage::{JobError, JobId, JobInfo, JobState, Manager};
use serde_json::{Value, json};
use std::time::Duration;

/// As long as it takes: a job is slow on purpose, and ends by itself.
const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// Lists the jobs.
pub(super) fn list(context: &Context) -> Result<u8, Failure> {
    let jobs = with_store(&context.store, WhenMissing::Fail, |manager| {
        Ok(manager.jobs())
    })?;
    let json: Vec<Value> = jobs.iter().map(to_json).collect();
    if jobs.is_empty() {
        context.answer("no jobs", json.into())?;
    } else {
        context.answer(table(&jobs), json.into())?;
    }
    Ok(0)
}

/// Ends a job.
pub(super) fn cancel(context: &Context, job: u64) -> Result<u8, Failure> {
    let cancelled = with_store(&context.store, WhenMissing::Fail, |manager| {
        Ok(manager.cancel_job(JobId::new(job))?)
    })?;
    let answer = if cancelled {
        format!("cancelled job {job}")
    } else {
        format!("job {job} was over")
    };
    context.answer(answer, json!({ "job": job, "cancelled": cancelled }))?;
    Ok(0)
}

/// Scrubs one database, or all.
pub(super) fn scrub(context: &Context, database: Option<&str>) -> Result<u8, Failure> {
    let job = with_store(&context.store, WhenMissing::Fail, |manager| {
        let job = manager.scrub(database)?;
        Ok(wait(manager, job)?)
    })?;
    if let Some(failure) = &job.failure {
        let message = format!("the scrub of {} failed: {failure}", what(&job));
        return Err(Failure::new(failure.code, message));
    }
    let answer = format!("scrubbed {}: no damage", what(&job));
    context.answer(answer, to_json(&job))?;
    Ok(0)
}

fn wait(manager: &Manager, job: JobId) -> Result<JobInfo, JobError> {
    loop {
        match manager.wait_for_job(job, PATIENCE) {
            Err(JobError::Timeout { .. }) => {}
            ended => return ended,
        }
    }
}

/// What a job is about.
fn what(info: &JobInfo) -> String {
    match (&info.name, info.database) {
        (Some(name), _) => format!("{name:?}"),
        (None, Some(id)) => format!("database id {id}"),
        (None, None) => "all databases".to_owned(),
    }
}

fn to_json(info: &JobInfo) -> Value {
    let failure = info.failure.as_ref().map(|failure| {
        json!({
            "code": failure.code.as_str(),
            "place": failure.place,
            "reason": failure.reason,
        })
    });
    let due_us = match info.state {
        JobState::Pending { from_us } => Some(from_us),
        _ => None,
    };
    json!({
        "job": info.id.get(),
        "kind": info.kind.name(),
        "database": info.name,
        "database_id": info.database.map(|id| id.get()),
        "state": info.state.name(),
        "due_us": due_us,
        "attempts": info.attempts,
        "created_us": info.created_us,
        "updated_us": info.updated_us,
        "error": failure,
    })
}

fn table(jobs: &[JobInfo]) -> String {
    let row = |info: &JobInfo| {
        let failure = info.failure.as_ref().map(|failure| {
            let code = failure.code;
            format!("{code}: {failure}")
        });
        vec![
            (info.id.to_string(), true),
            (info.kind.name().to_owned(), false),
            (what(info), false),
            (info.state.name().to_owned(), false),
            (info.attempts.to_string(), true),
            (utc(info.updated_us), false),
            (failure.unwrap_or_default(), false),
        ]
    };
    render_table(
        &[
            "job", "kind", "database", "state", "attempts", "since", "error",
        ],
        jobs.iter().map(row).collect(),
    )
}
