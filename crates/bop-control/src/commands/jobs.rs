//! `bop jobs` and `bop scrub`: what is done in the background, and having it done now. Jobs that wait are
//! gone on with for as long as any command has the store open.

use super::Call;
use crate::failure::Failure;
use crate::output::render_table;
use crate::output::utc;
use bop_storage::{JobError, JobId, JobInfo, JobState};
use serde_json::{Value, json};
use std::time::Duration;

/// How long it waits before it looks whether anybody still wants to know. The job goes on by itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// Lists the jobs.
pub(super) fn list(call: &mut Call<'_>) -> Result<u8, Failure> {
    let jobs = call.manager.jobs();
    let json: Vec<Value> = jobs.iter().map(to_json).collect();
    if jobs.is_empty() {
        call.answer("no jobs", json.into())?;
    } else {
        call.answer(table(&jobs), json.into())?;
    }
    Ok(0)
}

/// Ends a job.
pub(super) fn cancel(call: &mut Call<'_>, job: u64) -> Result<u8, Failure> {
    let cancelled = call.manager.cancel_job(JobId::new(job))?;
    let answer = if cancelled {
        format!("cancelled job {job}")
    } else {
        format!("job {job} was over")
    };
    call.answer(answer, json!({ "job": job, "cancelled": cancelled }))?;
    Ok(0)
}

/// Scrubs one database, or all.
pub(super) fn scrub(call: &mut Call<'_>, database: Option<&str>) -> Result<u8, Failure> {
    let job = call.manager.scrub(database)?;
    let job = wait(call, job)?;
    if let Some(failure) = &job.failure {
        let message = format!("the scrub of {} failed: {failure}", what(&job));
        return Err(Failure::new(failure.code, message));
    }
    let answer = format!("scrubbed {}: no damage", what(&job));
    call.answer(answer, to_json(&job))?;
    Ok(0)
}

fn wait(call: &mut Call<'_>, job: JobId) -> Result<JobInfo, Failure> {
    loop {
        match call.manager.wait_for_job(job, PATIENCE) {
            Err(JobError::Timeout { .. }) => call.check_wanted()?,
            ended => return Ok(ended?),
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
