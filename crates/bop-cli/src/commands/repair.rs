//! `bop repair`: a lost or damaged manifest made anew.

use super::Context;
use bop_control::Failure;
use bop_storage::error::ErrorCode;
use bop_storage::{DbId, LostPoint, Manager, Options, RepairMode, RepairReport, RepairedDatabase};
use serde_json::{Value, json};
use std::fmt::Write;

/// Makes it, or says what would be made.
pub(super) fn run(context: &Context, force: bool, dry_run: bool) -> Result<u8, Failure> {
    let options = Options::new().create(false).io(context.store.io);
    let mode = RepairMode { force, dry_run };
    let report = Manager::repair(&context.store.path, &options, mode)?;
    context.answer(text(&report), to_json(&report))?;
    Ok(if report.is_whole() {
        0
    } else {
        ErrorCode::Unhealthy.exit_status()
    })
}

fn text(report: &RepairReport) -> String {
    let mut text = String::new();
    let mut line = |what: &str, said: &dyn std::fmt::Display| {
        // A string takes everything.
        let _ = writeln!(text, "{what:<10}{said}");
    };
    match &report.reason {
        Some(reason) => line("found", reason),
        None => line("found", &"a sound manifest"),
    }
    if let Some(kept) = &report.kept {
        line("kept", &kept.display());
    }
    let (live, dropped): (Vec<_>, Vec<_>) = report
        .databases
        .iter()
        .partition(|database| !database.dropped);
    let counted = format!("{}, and {} dropped ones", live.len(), dropped.len());
    line("databases", &counted);
    let (used, unused) = (report.chunks, report.chunks_unused);
    line(
        "chunks",
        &format!("{used}, and {unused} that nothing needs"),
    );
    let log = format!("{} segments, from lsn {}", report.segments, report.log_from);
    line("log", &log);
    for damage in &report.chunks_damaged {
        line("damaged", damage);
    }
    if let Some(why) = &report.catalogue_damage {
        line("closed", &format!("the catalogue: {why}"));
    }
    for database in live {
        if let Some(why) = &database.damage {
            line("closed", &format!("{}: {why}", database.name));
        }
    }
    for lost in &report.snapshots_lost {
        let LostPoint {
            database,
            snapshot,
            why,
            ..
        } = lost;
        let of = name_of(report, *database);
        line("lost", &format!("snapshot {snapshot} of {of}: {why}"));
    }
    let end = match (report.done, report.is_whole()) {
        (false, _) => "nothing was changed",
        (true, true) => {
            "the manifest is made anew; what the log holds is added when the store is opened"
        }
        (true, false) => {
            "the manifest is made anew; what is closed may be in the log or in chunks still"
        }
    };
    text.push_str(end);
    text
}

fn name_of(report: &RepairReport, id: DbId) -> String {
    let known = report.databases.iter().find(|one| one.id == id);
    known.map_or_else(|| format!("database {id}"), |one| one.name.clone())
}

fn to_json(report: &RepairReport) -> Value {
    let database = |database: &RepairedDatabase| {
        json!({
            "id": database.id.get(),
            "name": database.name,
            "kind": database.kind.name(),
            "dropped": database.dropped,
            "head": database.head.get(),
            "pages": database.page_count,
            "rolling_checksum": database.rolling_checksum.to_string(),
            "damage": database.damage,
        })
    };
    let lost = |lost: &LostPoint| {
        json!({
            "database": lost.database.get(),
            "snapshot": lost.snapshot,
            "source": lost.source.get(),
            "lsn": lost.lsn.get(),
            "why": lost.why,
        })
    };
    let damaged = report.chunks_damaged.iter();
    json!({
        "store": report.store.to_string(),
        "reason": report.reason,
        "done": report.done,
        "whole": report.is_whole(),
        "kept": report.kept.as_ref().map(|kept| kept.display().to_string()),
        "databases": report.databases.iter().map(database).collect::<Vec<_>>(),
        "snapshots_lost": report.snapshots_lost.iter().map(lost).collect::<Vec<_>>(),
        "catalogue_damage": report.catalogue_damage,
        "chunks": report.chunks,
        "chunks_unused": report.chunks_unused,
        "chunks_damaged": damaged.map(ToString::to_string).collect::<Vec<_>>(),
        "segments": report.segments,
        "segments_aside": report.segments_aside,
        "log_from": report.log_from.get(),
    })
}
