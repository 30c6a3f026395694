//! `bop undrop`: a database that was dropped comes back; and the list of those that can.

use super::Context;
use super::drop::dropped;
use crate::errors::Failure;
use crate::output::{render_table, utc};
use crate::session::{WhenMissing, with_store};
use bop_storage::DroppedDatabase;
use serde_json::{Value, json};

/// Brings one back.
pub(super) fn run(
    context: &Context,
    name: &str,
    id: Option<u64>,
    new_name: Option<&str>,
) -> Result<u8, Failure> {
    let back = with_store(&context.store, WhenMissing::Fail, |manager| {
        let one = dropped(manager, name, id)?;
        manager.undrop_database_id(one.id, new_name)?;
        Ok(one)
    })?;
    let name = new_name.unwrap_or(&back.name);
    let text = format!("{name} is back, with {} bytes", back.bytes);
    context.answer(text, json!({ "undropped": name, "id": back.id.get() }))?;
    Ok(0)
}

/// Lists those that can be brought back, the newest drop first.
pub(super) fn list(context: &Context) -> Result<u8, Failure> {
    let dropped = with_store(&context.store, WhenMissing::Fail, |manager| {
        Ok(manager.dropped_databases())
    })?;
    let json: Vec<Value> = dropped.iter().map(to_json).collect();
    if dropped.is_empty() {
        context.answer("no dropped databases", json.into())?;
    } else {
        context.answer(table(&dropped), json.into())?;
    }
    Ok(0)
}

fn to_json(one: &DroppedDatabase) -> Value {
    json!({
        "name": one.name,
        "id": one.id.get(),
        "kind": one.kind.name(),
        "bytes": one.bytes,
        "head": one.head.get(),
        "dropped_us": one.dropped_us,
        "until_us": one.until_us,
    })
}

fn table(dropped: &[DroppedDatabase]) -> String {
    let row = |one: &DroppedDatabase| {
        vec![
            (one.id.to_string(), true),
            (one.name.clone(), false),
            (one.kind.name().to_owned(), false),
            (one.bytes.to_string(), true),
            (utc(one.dropped_us), false),
            (utc(one.until_us), false),
        ]
    };
    render_table(
        &["id", "name", "kind", "bytes", "dropped", "until"],
        dropped.iter().map(row).collect(),
    )
}
