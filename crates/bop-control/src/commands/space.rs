//! `bop space`: where the bytes of a store are, and `bop log why`: what the log is kept for.

use super::Call;
use crate::failure::Failure;
use crate::output::render_table;
use bop_storage::{DatabaseSpace, LogNeed, LogNeeds, NeededLog, SpaceReport};
use serde_json::{Value, json};
use std::fmt::Write;

/// Shows what the databases need, or one of them.
pub(super) fn run(call: &mut Call<'_>, database: Option<&str>) -> Result<u8, Failure> {
    let report = match database {
        None => call.manager.space(),
        Some(name) => call.manager.space_of(name)?,
    };
    call.answer(space_text(&report), space_json(&report))?;
    Ok(0)
}

/// Shows what needs the log.
pub(super) fn why(call: &mut Call<'_>) -> Result<u8, Failure> {
    let needs = call.manager.log_needs();
    call.answer(why_text(&needs), why_json(&needs))?;
    Ok(0)
}

fn space_json(report: &SpaceReport) -> Value {
    let database = |one: &DatabaseSpace| {
        let snapshots = one.snapshots.iter().map(|snapshot| {
            json!({
                "name": snapshot.name,
                "lsn": snapshot.lsn.get(),
                "alone_bytes": snapshot.alone_bytes,
            })
        });
        json!({
            "name": one.name,
            "id": one.id.get(),
            "dropped": one.is_dropped,
            "newest_bytes": one.newest_bytes,
            "past_bytes": one.past_bytes,
            "forks_bytes": one.forks_bytes,
            "forks": one.forks,
            "snapshots": snapshots.collect::<Vec<_>>(),
        })
    };
    json!({
        "databases": report.databases.iter().map(database).collect::<Vec<_>>(),
        "chunks": report.chunks,
        "chunk_bytes": report.chunk_bytes,
        "live_bytes": report.live_bytes,
        "dead_bytes": report.dead_bytes,
        "catalogue_bytes": report.catalogue_bytes,
        "log_bytes": report.log_bytes,
        "reserve_bytes": report.reserve_bytes,
        "manifest_bytes": report.manifest_bytes,
    })
}

fn space_text(report: &SpaceReport) -> String {
    let mut rows = Vec::new();
    for one in &report.databases {
        let name = if one.is_dropped {
            format!("{} (dropped)", one.name)
        } else {
            one.name.clone()
        };
        rows.push(vec![
            (name, false),
            (one.newest_bytes.to_string(), true),
            (one.past_bytes.to_string(), true),
            (one.forks_bytes.to_string(), true),
        ]);
        for snapshot in &one.snapshots {
            rows.push(vec![
                (format!("  snapshot {}, alone", snapshot.name), false),
                (String::new(), true),
                (snapshot.alone_bytes.to_string(), true),
                (String::new(), true),
            ]);
        }
    }
    let mut text = render_table(&["database", "newest", "past", "for forks"], rows);
    let manifest = report.manifest_bytes.unwrap_or(0);
    let totals = [
        ("chunks", report.chunk_bytes),
        ("  read", report.live_bytes),
        ("  not read", report.dead_bytes),
        ("catalogue", report.catalogue_bytes),
        ("log", report.log_bytes),
        ("reserve", report.reserve_bytes),
        ("manifest", manifest),
    ];
    for (what, bytes) in totals {
        // Writing to a string does not fail.
        let _ = write!(text, "\n{what:<12}{bytes:>14} bytes");
    }
    text
}

fn who(need: &NeededLog) -> (&'static str, String) {
    let database = |id: bop_storage::DbId| match &need.database {
        Some(name) => name.clone(),
        None => format!("id {id}"),
    };
    match &need.by {
        LogNeed::Pages(id) => ("pages", database(*id)),
        LogNeed::Catalogue => ("catalogue", String::new()),
        LogNeed::Fragments(id) => ("commit", database(*id)),
        LogNeed::Records(id) => ("record log", database(*id)),
        LogNeed::Cursor(name) => ("cursor", name.clone()),
        LogNeed::Backup => ("backup", String::new()),
        // What a later engine may have.
        _ => ("other", String::new()),
    }
}

fn why_json(needs: &LogNeeds) -> Value {
    let need = |need: &NeededLog| {
        let (reason, name) = who(need);
        json!({
            "reason": reason,
            "name": Some(name).filter(|name| !name.is_empty()),
            "from": need.from.get(),
            "bytes": need.bytes,
            "until_checkpoint": need.until_checkpoint,
        })
    };
    json!({
        "truncated": needs.truncated.get(),
        "checkpointed": needs.checkpointed.get(),
        "published": needs.published.get(),
        "log_bytes": needs.log_bytes,
        "freed_by_checkpoint": needs.freed_by_checkpoint,
        "needs": needs.needs.iter().map(need).collect::<Vec<_>>(),
    })
}

fn why_text(needs: &LogNeeds) -> String {
    let row = |need: &NeededLog| {
        let (reason, name) = who(need);
        let until = if need.until_checkpoint {
            "a checkpoint"
        } else {
            ""
        };
        vec![
            (reason.to_owned(), false),
            (name, false),
            (need.from.to_string(), true),
            (need.bytes.to_string(), true),
            (until.to_owned(), false),
        ]
    };
    let mut text = String::new();
    if !needs.needs.is_empty() {
        let rows = needs.needs.iter().map(row).collect();
        text = render_table(&["needed by", "name", "from", "bytes", "until"], rows);
        text.push('\n');
    }
    let LogNeeds {
        log_bytes,
        freed_by_checkpoint,
        ..
    } = needs;
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "the log has {log_bytes} bytes, of which a checkpoint releases {freed_by_checkpoint}"
    );
    text
}
