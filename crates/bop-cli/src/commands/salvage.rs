//! `bop salvage`: the databases of a damaged store, each at its last provable commit, in a new one. What
//! was lost is an answer, not an error: it goes to standard output, and the exit status is 3.

use super::Context;
use bop_control::Failure;
use bop_storage::error::ErrorCode;
use bop_storage::{DbKind, Lsn, Manager, Options, SalvageLoss, SalvageReport, SalvagedDatabase};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// Runs the command.
pub(super) fn run(
    context: &Context,
    from: &Path,
    to: &Path,
    only: Option<&str>,
) -> Result<u8, Failure> {
    let options = Options::new()
        .io(context.store.io)
        .compression(context.store.compression);
    let report = Manager::salvage(from, to, &options, only)?;
    context.answer(text(&report, to), to_json(&report, to))?;
    Ok(if report.is_whole() {
        0
    } else {
        ErrorCode::Unhealthy.exit_status()
    })
}

fn text(report: &SalvageReport, to: &Path) -> String {
    let mut text = String::new();
    let mut line = |what: &str, said: &dyn std::fmt::Display| {
        // A string takes everything.
        let _ = writeln!(text, "{what:<10}{said}");
    };
    if let Some(why) = &report.manifest {
        line("manifest", &format!("of no use: {why}"));
    }
    if let Some(loss) = &report.catalogue {
        line("catalogue", &lost(loss));
    }
    for one in &report.databases {
        let what = match (one.saved, &one.lost) {
            (false, _) => "not saved",
            (true, None) => "whole",
            (true, Some(_)) => "in part",
        };
        line(what, &database(one));
    }
    let saved = report.databases.iter().filter(|one| one.saved).count();
    let all = report.databases.len();
    let end = if report.is_whole() {
        "nothing was lost"
    } else {
        "what was lost is said above"
    };
    let _ = write!(
        text,
        "{saved} of {all} databases are in {}; {end}",
        to.display()
    );
    text
}

fn database(one: &SalvagedDatabase) -> String {
    let mut said = format!("{} (id {}, {})", one.name, one.id, one.kind.name());
    if one.nameless {
        said.push_str(", whose own name is lost");
    }
    if one.saved && one.head != Lsn::ZERO {
        let unit = if one.kind == DbKind::Log {
            "entries"
        } else {
            "pages"
        };
        // A string takes everything.
        let _ = write!(said, ", at lsn {}: {} {unit}", one.head, one.size);
        if one.time_us != 0 {
            let _ = write!(said, ", committed at {} us", one.time_us);
        }
    }
    if let Some(loss) = &one.lost {
        let _ = write!(said, "; {}", lost(loss));
    }
    said
}

fn lost(loss: &SalvageLoss) -> String {
    let damage = &loss.damage;
    if let Some(index) = loss.entries_from {
        return format!("lost its entries from {index} on: {damage}");
    }
    match (loss.first, loss.last) {
        (Some(first), Some(last)) => format!(
            "lost {} commits that are known of, from lsn {first} to {last}: {damage}",
            loss.commits
        ),
        _ => format!("no commit is known to be lost, but nothing proves it: {damage}"),
    }
}

fn to_json(report: &SalvageReport, to: &Path) -> Value {
    let loss = |loss: &SalvageLoss| {
        json!({
            "damage": loss.damage.to_string(),
            "first": loss.first.map(Lsn::get),
            "last": loss.last.map(Lsn::get),
            "commits": loss.commits,
            "entries_from": loss.entries_from,
        })
    };
    let database = |one: &SalvagedDatabase| {
        json!({
            "id": one.id.get(),
            "name": one.name,
            "nameless": one.nameless,
            "kind": one.kind.name(),
            "saved": one.saved,
            "head": one.head.get(),
            "time_us": (one.time_us != 0).then_some(one.time_us),
            "size": one.size,
            "rolling_checksum": one.rolling_checksum.to_string(),
            "lost": one.lost.as_ref().map(loss),
        })
    };
    json!({
        "store": report.store.to_string(),
        "new": to.display().to_string(),
        "whole": report.is_whole(),
        "manifest_damage": report.manifest,
        "catalogue_lost": report.catalogue.as_ref().map(loss),
        "databases": report.databases.iter().map(database).collect::<Vec<_>>(),
    })
}
