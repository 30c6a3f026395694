//! `bop manifest`: the manifest as it is on disk, of a store that need not open.

use super::Context;
use bop_control::Failure;
use bop_control::output::render_table;
use bop_storage::error::ErrorCode;
use bop_storage::manifest::Table;
use bop_storage::{Manager, ManifestInspection, Options};
use serde_json::{Map, Value, json};
use std::io::{self, Write};

fn inspect(context: &Context) -> Result<ManifestInspection, Failure> {
    let options = Options::new().create(false).io(context.store.io);
    Ok(Manager::inspect_manifest(&context.store.path, &options)?)
}

/// Every row, a line each.
pub(super) fn dump(context: &Context) -> Result<u8, Failure> {
    let manifest = inspect(context)?;
    let mut out = io::stdout().lock();
    let mut damaged = false;
    for table in Table::ALL {
        for row in manifest.rows(table)? {
            damaged |= row.content.is_err();
            let written = if context.json {
                let (content, damage) = match &row.content {
                    Ok(content) => (Some(content), None),
                    Err(damage) => (None, Some(damage.to_string())),
                };
                let row = json!({
                    "table": table.name(),
                    "key": row.key,
                    "bytes": row.bytes,
                    "row": content,
                    "damage": damage,
                });
                writeln!(out, "{row}")
            } else {
                match &row.content {
                    Ok(content) => writeln!(out, "{} {} {content}", table.name(), row.key),
                    Err(damage) => writeln!(out, "{} {} DAMAGED {damage}", table.name(), row.key),
                }
            };
            written.map_err(|error| Failure::of_output(&error))?;
        }
    }
    out.flush().map_err(|error| Failure::of_output(&error))?;
    Ok(if damaged { unhealthy() } else { 0 })
}

/// What there is, in numbers.
pub(super) fn stat(context: &Context) -> Result<u8, Failure> {
    let manifest = inspect(context)?;
    let mut rows = Vec::new();
    for table in Table::ALL {
        let all = manifest.rows(table)?;
        let bytes: usize = all.iter().map(|row| row.bytes).sum();
        rows.push((table.name(), all.len(), bytes));
    }
    let state = manifest.state();
    let run = state.run().map(|run| {
        json!({
            "epoch": run.epoch.get(),
            "pid": run.pid,
            "opened_us": run.opened_us,
            "closed_us": run.closed_us,
        })
    });
    let tables = rows
        .iter()
        .map(|(name, rows, bytes)| ((*name).to_owned(), json!({ "rows": rows, "bytes": bytes })));
    let json = json!({
        "store": manifest.store().to_string(),
        "schema": state.schema_version(),
        "run": run,
        "tables": tables.collect::<Map<String, Value>>(),
    });
    let last = match state.run() {
        None => "none is known".to_owned(),
        Some(run) => {
            let ended = if run.closed_us.is_some() {
                "was closed"
            } else {
                "was not closed"
            };
            format!("epoch {} of process {}, which {ended}", run.epoch, run.pid)
        }
    };
    let lines = rows.into_iter().map(|(name, rows, bytes)| {
        vec![
            (name.to_owned(), false),
            (rows.to_string(), true),
            (bytes.to_string(), true),
        ]
    });
    let table = render_table(&["table", "rows", "bytes"], lines.collect());
    let text = format!(
        "store     {}\nschema    {}\nlast run  {last}\n{table}",
        manifest.store(),
        state.schema_version(),
    );
    context.answer(text, json)?;
    Ok(0)
}

/// Every row checked, each by itself and all together.
pub(super) fn verify(context: &Context) -> Result<u8, Failure> {
    let findings = inspect(context)?.verify()?;
    let damage: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let text = match damage.is_empty() {
        true => "ok".to_owned(),
        false => damage.join("\n"),
    };
    let json = json!({ "ok": damage.is_empty(), "damage": damage });
    context.answer(text, json)?;
    Ok(if findings.is_empty() { 0 } else { unhealthy() })
}

fn unhealthy() -> u8 {
    ErrorCode::Unhealthy.exit_status()
}
