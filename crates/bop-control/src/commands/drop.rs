//! `bop drop` and `bop purge`: a database goes, after asking.
//!
//! Invariants
//! - without `--yes` nothing goes that a person has not confirmed at a terminal;
//! - an id means a database only together with its name.

use super::Call;
use crate::failure::Failure;
use crate::output::utc;
use bop_storage::error::ErrorCode;
use bop_storage::{DbId, DroppedDatabase, Manager};
use serde_json::json;

/// Drops a database; `now`: without a way back.
pub(super) fn run(call: &mut Call<'_>, name: &str, yes: bool, now: bool) -> Result<u8, Failure> {
    let info = call.manager.info(name)?;
    if !yes {
        let (name, pages) = (&info.name, info.page_count);
        let end = if now { " for good" } else { "" };
        call.confirm(
            name,
            &format!("Drop database {name:?} ({pages} pages){end}?"),
        )?;
        // Whoever was asked took his time.
        if call.manager.info(name)?.id != info.id {
            let message = format!("not dropped: another database is called {name:?} by now");
            return Err(Failure::new(ErrorCode::Busy, message));
        }
    }
    if now {
        call.manager.drop_database_now(name)?;
    } else {
        call.manager.drop_database(name)?;
    }
    let mut dropped = call.manager.dropped_databases().into_iter();
    let kept = dropped.find(|one| one.id == info.id);
    let until_us = kept.map(|one| one.until_us);
    let text = match until_us {
        Some(us) => format!(
            "dropped {name}; until {} bop undrop brings it back",
            utc(us)
        ),
        None => format!("dropped {name}"),
    };
    call.answer(text, json!({ "dropped": name, "until_us": until_us }))?;
    Ok(0)
}

/// Gives up a database that was dropped: the newest drop of that name, or the one with that id.
pub(super) fn purge(
    call: &mut Call<'_>,
    name: &str,
    id: Option<u64>,
    yes: bool,
) -> Result<u8, Failure> {
    let gone = dropped(call.manager, name, id)?;
    if !yes {
        let (name, at) = (&gone.name, utc(gone.dropped_us));
        call.confirm(
            name,
            &format!("Give up {name:?}, dropped at {at}, for good?"),
        )?;
    }
    call.manager.purge_database(gone.id)?;
    let (name, id) = (gone.name, gone.id.get());
    call.answer(
        format_args!("gave up {name}"),
        json!({ "purged": name, "id": id }),
    )?;
    Ok(0)
}

/// The newest drop of that name, or the one with that id, if it has that name.
pub(super) fn dropped(
    manager: &Manager,
    name: &str,
    id: Option<u64>,
) -> Result<DroppedDatabase, Failure> {
    let same = |one: &DroppedDatabase| match id {
        Some(id) => one.id == DbId::new(id),
        None => one.is_named(name),
    };
    match manager.dropped_databases().into_iter().find(same) {
        Some(found) if found.is_named(name) => Ok(found),
        Some(other) => {
            let message = format!(
                "the dropped database with id {} is {:?}, not {name:?}",
                other.id, other.name
            );
            let failure = Failure::new(ErrorCode::DatabaseNotFound, message);
            Err(failure.with_hint("bop list --dropped shows names and ids"))
        }
        None => {
            let name = id.map_or(name.to_owned(), |id| format!("id {id}"));
            Err(bop_storage::CatalogueError::NotDropped { name }.into())
        }
    }
}
