//! `bop undrop`: a database that was dropped comes back; and the list of those that can.

use super::Call;
use super::drop::dropped;
use crate::failure::Failure;
use crate::output::{render_table, utc};
use bop_storage::DroppedDatabase;
use serde_json::{Value, json};

/// Brings one back.
pub(super) fn run(
    call: &mut Call<'_>,
    name: &str,
    id: Option<u64>,
    new_name: Option<&str>,
) -> Result<u8, Failure> {
    let back = dropped(call.manager, name, id)?;
    call.manager.undrop_database_id(back.id, new_name)?;
    let name = new_name.unwrap_or(&back.name);
    let text = format!("{name} is back, with {} bytes", back.bytes);
    call.answer(text, json!({ "undropped": name, "id": back.id.get() }))?;
    Ok(0)
}

/// Lists those that can be brought back, the newest drop first.
pub(super) fn list(call: &mut Call<'_>) -> Result<u8, Failure> {
    let dropped = call.manager.dropped_databases();
    let json: Vec<Value> = dropped.iter().map(to_json).collect();
    if dropped.is_empty() {
        call.answer("no dropped databases", json.into())?;
    } else {
        call.answer(table(&dropped), json.into())?;
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
