//! `bop status`: whether the store is well, and what is to be known of it at a glance; `bop doctor`: what is wrong
//! with it, and what to do. Exit status 3 where something does not work.
//!
//! Never: waits for a device, also not for that of the backups: it is asked while one may be the trouble.

use super::Call;
use super::health::{Reason, is_healthy, reasons, takes_commits};
use crate::failure::Failure;
use crate::output::utc;
use bop_storage::error::ErrorCode;
use bop_storage::{BackupInfo, KnownBackups, Lag, LastBackup, Manager, SpaceReport, StoreStatus};
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;

/// Databases of which the space is shown: those that have most.
const HOLDERS_MAX: usize = 5;

/// The shortest time between two looks.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Home, and the screen cleared from there on.
const REDRAW: &str = "\x1b[H\x1b[2J";

/// What is known at one moment.
struct Look {
    status: StoreStatus,
    lag: Lag,
    space: SpaceReport,
    readers: usize,
    backup: KnownBackups,
    reasons: Vec<Reason>,
}

impl Look {
    fn at(manager: &Manager) -> Self {
        let (status, lag) = (manager.status(), manager.lag());
        let databases = manager.databases();
        Self {
            space: manager.space(),
            readers: databases.iter().map(|info| info.readers).sum(),
            backup: manager.known_backups(),
            reasons: reasons(manager, &status, &lag, &databases),
            status,
            lag,
        }
    }

    fn exit_status(&self) -> u8 {
        match is_healthy(&self.reasons) {
            true => 0,
            false => ErrorCode::Unhealthy.exit_status(),
        }
    }
}

/// Runs `bop status`.
pub(super) fn run(call: &mut Call<'_>, every_ms: Option<u64>, redraw: bool) -> Result<u8, Failure> {
    let Some(every_ms) = every_ms else {
        let look = Look::at(call.manager);
        call.answer(to_text(&look), to_json(&look))?;
        return Ok(look.exit_status());
    };
    let pause = Duration::from_millis(every_ms).max(PAUSE_MIN);
    loop {
        let look = Look::at(call.manager);
        let place = if redraw && !call.json { REDRAW } else { "" };
        call.answer(format_args!("{place}{}", to_text(&look)), to_json(&look))?;
        call.flush()?;
        call.caller.pause(pause);
        call.check_wanted()?;
    }
}

/// Runs `bop doctor`.
pub(super) fn doctor(call: &mut Call<'_>) -> Result<u8, Failure> {
    let look = Look::at(call.manager);
    let mut text = String::new();
    for reason in &look.reasons {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}: {}\n  {}",
            reason.code, reason.what, reason.advice
        );
    }
    if look.reasons.is_empty() {
        text.push_str("nothing is wrong");
    }
    let json: Vec<Value> = look.reasons.iter().map(Reason::to_json).collect();
    call.answer(text.trim_end(), json.into())?;
    Ok(look.exit_status())
}

fn to_json(look: &Look) -> Value {
    let (status, lag) = (&look.status, &look.lag);
    let reader = lag.oldest_reader.as_ref().map(|reader| {
        json!({
            "database": reader.database,
            "lsn": reader.lsn.get(),
            "time_us": reader.time_us,
            "log_bytes": reader.log_bytes,
        })
    });
    let holders = holders(&look.space).into_iter();
    let holders = holders.map(|(name, bytes)| json!({ "name": name, "bytes": bytes }));
    json!({
        "healthy": is_healthy(&look.reasons),
        "ready": takes_commits(&look.reasons),
        "reasons": look.reasons.iter().map(Reason::to_json).collect::<Vec<_>>(),
        "path": status.path.display().to_string(),
        "store": status.store.to_string(),
        "databases": status.databases,
        "published": status.published.get(),
        "checkpointed": status.checkpointed.get(),
        "truncated": status.truncated.get(),
        "lag_bytes": lag.bytes,
        "lag_commits": lag.commits,
        "lag_us": lag.us,
        "last_checkpoint_us": lag.last_checkpoint_us,
        "readers": look.readers,
        "oldest_reader": reader,
        "log_bytes": status.log_bytes,
        "chunk_bytes": look.space.chunk_bytes,
        "dead_bytes": look.space.dead_bytes,
        "reserve_bytes": lag.reserve_bytes,
        "reserve_missing_bytes": lag.reserve_missing_bytes,
        "holders": holders.collect::<Vec<_>>(),
        "backup": backup_json(&look.backup),
    })
}

/// What is known, and why that may be old.
fn backup_json(backup: &KnownBackups) -> Value {
    let info = |info: &BackupInfo| {
        json!({
            "backup": info.number,
            "state_us": info.state_us,
            "verified_us": info.verified_us,
        })
    };
    let mut json = match (&backup.last, &backup.doubt) {
        (None, None) => return Value::Null,
        (None, Some(_)) => json!({}),
        (Some(last), _) => json!({
            "dir": last.dir.display().to_string(),
            "newest": last.newest.as_ref().map(info),
            "verified": last.verified.as_ref().map(info),
        }),
    };
    if let Some(doubt) = &backup.doubt {
        json["error"] = doubt.to_string().into();
    }
    json
}

/// The databases that have most in chunks, the largest first.
fn holders(space: &SpaceReport) -> Vec<(&str, u64)> {
    let of = |one: &bop_storage::DatabaseSpace| one.newest_bytes + one.past_bytes + one.forks_bytes;
    let all = space.databases.iter();
    let mut all: Vec<(&str, u64)> = all.map(|one| (one.name.as_str(), of(one))).collect();
    all.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    all.truncate(HOLDERS_MAX);
    all
}

fn to_text(look: &Look) -> String {
    let (status, lag) = (&look.status, &look.lag);
    let health = match (is_healthy(&look.reasons), look.reasons.is_empty()) {
        (true, true) => "ok",
        (true, false) => "ok, with warnings",
        (false, _) => "unhealthy",
    };
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<14}{value}");
    };
    line("health", health.to_owned());
    for reason in &look.reasons {
        line("", format!("{}: {}", reason.code, reason.what));
    }
    line("store", status.path.display().to_string());
    line("databases", status.databases.to_string());
    line("published", format!("lsn {}", status.published));
    line("checkpointed", format!("lsn {}", status.checkpointed));
    line("truncated", format!("lsn {}", status.truncated));
    line("lag", lag_text(lag));
    line("checkpoint", checkpoint_text(lag));
    line("readers", readers_text(look));
    line("backup", backup_text(&look.backup));
    line("log", format!("{} bytes", status.log_bytes));
    line("reserve", format!("{} bytes", lag.reserve_bytes));
    let (chunks, dead) = (look.space.chunk_bytes, look.space.dead_bytes);
    line("chunks", format!("{chunks} bytes, {dead} of them not read"));
    for (name, bytes) in holders(&look.space) {
        line("", format!("{bytes} bytes of {name:?}"));
    }
    text.trim_end().to_owned()
}

fn lag_text(lag: &Lag) -> String {
    let commits = lag.commits.map_or_else(
        || "commits not counted".to_owned(),
        |commits| format!("{commits} commits"),
    );
    let seconds = Duration::from_micros(lag.us).as_secs_f64();
    format!("{} bytes, {commits}, {seconds:.3} s", lag.bytes)
}

fn checkpoint_text(lag: &Lag) -> String {
    match lag.last_checkpoint_us {
        Some(us) => format!("last at {}", utc(us)),
        None => "none since the store was opened".to_owned(),
    }
}

fn readers_text(look: &Look) -> String {
    let readers = look.readers;
    match &look.lag.oldest_reader {
        Some(oldest) => format!(
            "{readers}; the oldest reads {:?} as of lsn {}, {}, and keeps {} bytes of log",
            oldest.database,
            oldest.lsn,
            utc(oldest.time_us),
            oldest.log_bytes
        ),
        None => format!("{readers}; none reads an old state"),
    }
}

fn backup_text(backup: &KnownBackups) -> String {
    match (&backup.last, &backup.doubt) {
        (None, None) => "none was ever made".to_owned(),
        (None, Some(doubt)) => format!("not known: {doubt}"),
        (Some(last), None) => last_text(last),
        (Some(last), Some(doubt)) => format!("{}; this may be old: {doubt}", last_text(last)),
    }
}

fn last_text(last: &LastBackup) -> String {
    let newest = last.newest.as_ref().map_or_else(
        || "none is there".to_owned(),
        |info| format!("{} of {}", info.number, utc(info.state_us)),
    );
    let verified = last.verified.as_ref().and_then(|info| {
        let when = info.verified_us?;
        Some(format!("{} was verified at {}", info.number, utc(when)))
    });
    let verified = verified.unwrap_or_else(|| "none was verified".to_owned());
    format!("{newest} in {}; {verified}", last.dir.display())
}
