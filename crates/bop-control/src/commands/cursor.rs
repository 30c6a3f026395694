//! `bop cursor`: who subscribes to changes and commits, and how far each has come.

use super::Call;
use crate::failure::Failure;
use crate::output::render_table;
use bop_storage::{CursorInfo, CursorPosition, DbId};
use serde_json::{Value, json};

/// Where a cursor is, for people and programs.
struct Place {
    feed: &'static str,
    position: u64,
    database: Option<DbId>,
    /// What the distance to the end is counted in.
    unit: &'static str,
}

/// Lists them.
pub(super) fn list(call: &mut Call<'_>) -> Result<u8, Failure> {
    let cursors = call.manager.cursors();
    let json: Vec<Value> = cursors.iter().map(to_json).collect();
    if cursors.is_empty() {
        call.answer("no cursors", json.into())?;
    } else {
        call.answer(table(&cursors), json.into())?;
    }
    Ok(0)
}

/// Forgets one.
pub(super) fn drop(call: &mut Call<'_>, name: &str) -> Result<u8, Failure> {
    call.manager.drop_cursor(name)?;
    call.answer(format_args!("dropped {name}"), json!({ "dropped": name }))?;
    Ok(0)
}

fn place(info: &CursorInfo) -> Place {
    match info.position {
        CursorPosition::Changes(number) => Place {
            feed: "changes",
            position: number.get(),
            database: None,
            unit: "changes",
        },
        CursorPosition::Commits { lsn, database } => Place {
            feed: "commits",
            position: lsn.get(),
            database,
            unit: "bytes",
        },
        // What a later engine may have.
        _ => Place {
            feed: "unknown",
            position: 0,
            database: None,
            unit: "",
        },
    }
}

fn state(info: &CursorInfo) -> &'static str {
    match (info.lost, info.alive) {
        (true, _) => "lost its place",
        (false, true) => "alive",
        (false, false) => "lease over",
    }
}

fn to_json(info: &CursorInfo) -> Value {
    let place = place(info);
    json!({
        "name": info.name,
        "feed": place.feed,
        "database": place.database.map(DbId::get),
        "position": place.position,
        "behind": info.behind,
        "unit": place.unit,
        "alive": info.alive,
        "lost": info.lost,
        "created_us": info.created_us,
        "seen_us": info.seen_us,
    })
}

fn table(cursors: &[CursorInfo]) -> String {
    let row = |info: &CursorInfo| {
        let place = place(info);
        let feed = match place.database {
            Some(id) => format!("{} of id {id}", place.feed),
            None => place.feed.to_owned(),
        };
        vec![
            (info.name.clone(), false),
            (feed, false),
            (place.position.to_string(), true),
            (format!("{} {}", info.behind, place.unit), true),
            (state(info).to_owned(), false),
        ]
    };
    render_table(
        &["name", "feed", "position", "behind", "state"],
        cursors.iter().map(row).collect(),
    )
}
