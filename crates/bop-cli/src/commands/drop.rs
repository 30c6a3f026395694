//! `bop drop` and `bop purge`: a database goes, after asking.
//!
//! Invariant: without `--yes` nothing goes that a person has not confirmed at a terminal.

use super::Context;
use crate::errors::Failure;
use crate::output::utc;
use crate::session::{WhenMissing, with_store};
use bop_storage::error::ErrorCode;
use bop_storage::{DbId, DroppedDatabase, Manager};
use serde_json::json;
use std::io::{self, BufRead, IsTerminal, Write};

/// Drops a database; `now`: without a way back.
pub(super) fn run(context: &Context, name: &str, yes: bool, now: bool) -> Result<u8, Failure> {
    let kept = with_store(&context.store, WhenMissing::Fail, |manager| {
        let info = manager.info(name)?;
        if !yes {
            let (name, pages) = (&info.name, info.page_count);
            let end = if now { " for good" } else { "" };
            confirm(
                name,
                &format!("Drop database {name:?} ({pages} pages){end}?"),
            )?;
        }
        if now {
            manager.drop_database_now(name)?;
        } else {
            manager.drop_database(name)?;
        }
        let mut dropped = manager.dropped_databases().into_iter();
        Ok(dropped.find(|one| one.id == info.id))
    })?;
    let until_us = kept.map(|one| one.until_us);
    let text = match until_us {
        Some(us) => format!(
            "dropped {name}; until {} bop undrop brings it back",
            utc(us)
        ),
        None => format!("dropped {name}"),
    };
    context.answer(text, json!({ "dropped": name, "until_us": until_us }))?;
    Ok(0)
}

/// Gives up a database that was dropped: the newest drop of that name, or the one with that id.
pub(super) fn purge(
    context: &Context,
    name: &str,
    id: Option<u64>,
    yes: bool,
) -> Result<u8, Failure> {
    let gone = with_store(&context.store, WhenMissing::Fail, |manager| {
        let one = dropped(manager, name, id)?;
        if !yes {
            let (name, at) = (&one.name, utc(one.dropped_us));
            confirm(
                name,
                &format!("Give up {name:?}, dropped at {at}, for good?"),
            )?;
        }
        manager.purge_database(one.id)?;
        Ok(one)
    })?;
    let (name, id) = (gone.name, gone.id.get());
    context.answer(
        format_args!("gave up {name}"),
        json!({ "purged": name, "id": id }),
    )?;
    Ok(0)
}

/// The newest drop of that name, or the one with that id.
pub(super) fn dropped(
    manager: &Manager,
    name: &str,
    id: Option<u64>,
) -> Result<DroppedDatabase, Failure> {
    let same = |one: &DroppedDatabase| match id {
        Some(id) => one.id == DbId::new(id),
        None => one.is_named(name),
    };
    let found = manager.dropped_databases().into_iter().find(same);
    found.ok_or_else(|| {
        let name = id.map_or(name.to_owned(), |id| format!("id {id}"));
        Failure::from(bop_storage::CatalogueError::NotDropped { name })
    })
}

fn confirm(name: &str, question: &str) -> Result<(), Failure> {
    let refused = |message: String| {
        Failure::new(ErrorCode::Usage, message).with_hint("--yes does it without asking")
    };
    if !io::stdin().is_terminal() {
        return Err(refused(format!(
            "not dropped: there is no terminal to confirm that {name:?} is to go"
        )));
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    let asked = io::stderr()
        .flush()
        .and_then(|()| io::stdin().lock().read_line(&mut answer));
    match asked {
        Ok(_) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        _ => Err(refused(format!("not dropped: {name:?} was not confirmed"))),
    }
}
