//! `bop fork`, `bop restore` and `bop restore-points`: what a database was, as another one or again as
//! itself.

use super::snapshot::{state, to_json};
use super::{Context, backup, check_name, output_failure, settings, snapshot};
use crate::args::{ForkArgs, PastCommand, RestoreArgs, RestorePointsArgs};
use crate::errors::Failure;
use crate::session::{WhenMissing, with_store};
use bop_storage::{At, Moment, RestorePoint};
use serde_json::{Value, json};
use std::io::{self, BufWriter, Write};

/// Runs what has to do with the past.
pub(super) fn run(context: &Context, command: &PastCommand) -> Result<u8, Failure> {
    match command {
        PastCommand::Snapshot(command) => snapshot::run(context, command),
        PastCommand::Fork(ForkArgs {
            database,
            new_name,
            at,
        }) => fork(context, database, new_name, at),
        PastCommand::Restore(args) => restore(context, args),
        PastCommand::RestorePoints(args) => points(context, args),
        PastCommand::Retention(args) => settings::retention(context, args),
    }
}

/// Makes a database that begins as a state of another one.
fn fork(context: &Context, database: &str, new: &str, at: &At) -> Result<u8, Failure> {
    check_name(new)?;
    let (id, pages) = with_store(&context.store, WhenMissing::Fail, |manager| {
        manager.fork_database(database, new, at)?;
        let info = manager.info(new)?;
        Ok((info.id, info.page_count))
    })?;
    context.answer(
        format_args!("{new} is what {database} is at {at}, with {pages} pages"),
        json!({
            "forked": database,
            "as": new,
            "id": id.get(),
            "at": at.to_string(),
            "page_count": pages,
        }),
    )?;
    Ok(0)
}

/// Makes a database again what it was, or a new one of it.
fn restore(context: &Context, args: &RestoreArgs) -> Result<u8, Failure> {
    let RestoreArgs {
        database,
        at,
        new_name,
        from,
        number,
    } = args;
    if let Some(dir) = from {
        return backup::restore(context, dir, *number);
    }
    // The arguments' own rule: both are there when no backup is named.
    let (Some(database), Some(at)) = (database, at) else {
        return Ok(0);
    };
    if let Some(new) = new_name {
        return fork(context, database, new, at);
    }
    let kept = with_store(&context.store, WhenMissing::Fail, |manager| {
        Ok(manager.restore_database(database, at)?)
    })?;
    let (name, was) = (&kept.name, state(&kept));
    context.answer(
        format_args!("{database} is again what it was at {at}\nuntil now it was {was}: that stays as the snapshot {name:?}"),
        json!({ "restored": database, "at": at.to_string(), "kept": to_json(&kept) }),
    )?;
    Ok(0)
}

/// Shows the states that can be had, the newest first.
fn points(context: &Context, args: &RestorePointsArgs) -> Result<u8, Failure> {
    let points = with_store(&context.store, WhenMissing::Fail, |manager| {
        Ok(manager.restore_points(&args.database)?)
    })?;
    let newest_first = points.iter().rev().take(args.limit.unwrap_or(usize::MAX));
    if context.json {
        let json: Vec<Value> = newest_first.map(point_json).collect();
        context.answer("", json.into())?;
        return Ok(0);
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    for point in newest_first {
        written = written.and_then(|()| writeln!(out, "{}", point_text(point)));
    }
    written
        .and_then(|()| out.flush())
        .map_err(|error| output_failure(&error))?;
    Ok(0)
}

fn point_json(point: &RestorePoint) -> Value {
    json!({
        "lsn": point.lsn.get(),
        "time_us": point.time_us,
        "time": Moment(point.time_us).to_string(),
        "page_count": point.page_count,
        "rolling_checksum": point.rolling_checksum.to_string(),
    })
}

/// Both are as `--at` takes them.
fn point_text(point: &RestorePoint) -> String {
    let (lsn, time) = (At::Lsn(point.lsn), At::Time(point.time_us));
    let (pages, checksum) = (point.page_count, point.rolling_checksum);
    format!("{lsn} {time} {pages} pages checksum {checksum}")
}
