//! `bop changes tail`: what the manifest did, oldest first.

use super::Call;
use crate::failure::Failure;
use bop_storage::{Change, ChangeNo, FeedStart, Manager};
use serde_json::{Value, json};
use std::time::Duration;

/// Changes shown when nobody says from where.
const TAIL: u64 = 10;

/// Changes read at a time.
const PAGE: usize = 500;

/// How long a follower waits before it looks whether it is still wanted.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs the command.
pub(super) fn tail(call: &mut Call<'_>, from: Option<u64>, follow: bool) -> Result<u8, Failure> {
    let manager = call.manager;
    let mut next = match from {
        Some(number) => ChangeNo::new(number),
        None => newest(manager)?,
    };
    loop {
        let page = manager.changes(next, PAGE)?;
        show(call, &page.changes)?;
        next = page.next;
        if !page.changes.is_empty() {
            continue;
        }
        if !follow {
            return Ok(0);
        }
        call.check_wanted()?;
        manager.wait_for_changes(next, PATIENCE);
    }
}

/// The same for what the cursor of that name has not seen.
pub(super) fn tail_cursor(
    call: &mut Call<'_>,
    name: &str,
    from: Option<u64>,
    follow: bool,
) -> Result<u8, Failure> {
    let manager = call.manager;
    let start = from.map_or(FeedStart::Oldest, |from| FeedStart::At(ChangeNo::new(from)));
    let cursor = manager.subscribe_changes(name, start)?;
    loop {
        let page = cursor.read(PAGE)?;
        show(call, &page.changes)?;
        // Whoever reads has it.
        cursor.acknowledge(page.next)?;
        if !page.changes.is_empty() {
            continue;
        }
        if !follow {
            cursor.flush()?;
            return Ok(0);
        }
        call.check_wanted()?;
        cursor.wait(PATIENCE)?;
    }
}

/// Where the last few changes begin.
fn newest(manager: &Manager) -> Result<ChangeNo, Failure> {
    let (first, next) = manager.change_bounds()?;
    let last = next.get().saturating_sub(TAIL);
    Ok(ChangeNo::new(last.max(first.get())))
}

fn show(call: &mut Call<'_>, changes: &[(ChangeNo, Change)]) -> Result<(), Failure> {
    for (number, change) in changes {
        if call.json {
            call.line(to_json(*number, change))?;
        } else {
            call.line(to_text(*number, change))?;
        }
    }
    call.flush()
}

fn to_json(number: ChangeNo, change: &Change) -> Value {
    let positive = |number: u64| (number != 0).then_some(number);
    json!({
        "change": number.get(),
        "kind": change.kind.name(),
        "time_us": change.time_us,
        "database": change.database.map(|id| id.get()),
        "name": change.name.as_ref().map(|name| name.as_str()),
        "number": positive(change.number),
        "lsn": positive(change.lsn.get()),
    })
}

fn to_text(number: ChangeNo, change: &Change) -> String {
    let mut text = format!("{number} {}", change.kind.name());
    if let Some(id) = change.database {
        text += &format!(" database id {id}");
    }
    if let Some(name) = &change.name {
        text += &format!(" {:?}", name.as_str());
    }
    if change.number != 0 {
        text += &format!(" number {}", change.number);
    }
    if change.lsn.get() != 0 {
        text += &format!(" lsn {}", change.lsn);
    }
    text
}
