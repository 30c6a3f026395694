//! `bop cursor`: who subscribes to the changes, and how far each has come.

use super::Context;
use crate::errors::Failure;
use crate::output::render_table;
use crate::session::{WhenMissing, with_store};
use bop_storage::CursorInfo;
use serde_json::{Value, json};

/// Lists them.
pub(super) fn list(context: &Context) -> Result<u8, Failure> {
    let cursors = with_store(&context.store, WhenMissing::Fail, |manager| {
        Ok(manager.cursors())
    })?;
    let json: Vec<Value> = cursors.iter().map(to_json).collect();
    if cursors.is_empty() {
        context.answer("no cursors", json.into())?;
    } else {
        context.answer(table(&cursors), json.into())?;
    }
    Ok(0)
}

/// Forgets one.
pub(super) fn drop(context: &Context, name: &str) -> Result<u8, Failure> {
    with_store(&context.store, WhenMissing::Fail, |manager| {
        Ok(manager.drop_cursor(name)?)
    })?;
    context.answer(format_args!("dropped {name}"), json!({ "dropped": name }))?;
    Ok(0)
}

fn state(info: &CursorInfo) -> &'static str {
    match (info.lost, info.alive) {
        (true, _) => "lost its place",
        (false, true) => "alive",
        (false, false) => "lease over",
    }
}

fn to_json(info: &CursorInfo) -> Value {
    json!({
        "name": info.name,
        "position": info.position.get(),
        "behind": info.behind,
        "alive": info.alive,
        "lost": info.lost,
        "created_us": info.created_us,
        "seen_us": info.seen_us,
    })
}

fn table(cursors: &[CursorInfo]) -> String {
    let row = |info: &CursorInfo| {
        vec![
            (info.name.clone(), false),
            (info.position.to_string(), true),
            (info.behind.to_string(), true),
            (state(info).to_owned(), false),
        ]
    };
    render_table(
        &["name", "position", "behind", "state"],
        cursors.iter().map(row).collect(),
    )
}
