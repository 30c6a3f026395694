//! `bop drop`: deletes a database, after asking.
//!
//! Invariant: without `--yes` nothing is deleted that a person has not confirmed at a terminal.

use super::Context;
use crate::errors::Failure;
use crate::session::{WhenMissing, with_store};
use bop_storage::DatabaseInfo;
use bop_storage::error::ErrorCode;
use serde_json::json;
use std::io::{self, BufRead, IsTerminal, Write};

/// Runs the command.
pub(super) fn run(context: &Context, name: &str, yes: bool) -> Result<u8, Failure> {
    with_store(&context.store, WhenMissing::Fail, |manager| {
        let info = manager.info(name)?;
        if !yes {
            confirm(&info)?;
        }
        Ok(manager.drop_database(name)?)
    })?;
    context.answer(format_args!("dropped {name}"), json!({ "dropped": name }))?;
    Ok(0)
}

fn confirm(info: &DatabaseInfo) -> Result<(), Failure> {
    let refused = |message: String| {
        Failure::new(ErrorCode::Usage, message).with_hint("--yes drops it without asking")
    };
    if !io::stdin().is_terminal() {
        return Err(refused(format!(
            "not dropped: there is no terminal to confirm that {:?} is to go",
            info.name
        )));
    }
    eprint!(
        "Drop database {:?} ({} pages) for good? [y/N] ",
        info.name, info.page_count
    );
    let mut answer = String::new();
    let asked = io::stderr()
        .flush()
        .and_then(|()| io::stdin().lock().read_line(&mut answer));
    match asked {
        Ok(_) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        _ => Err(refused(format!(
            "not dropped: {:?} was not confirmed",
            info.name
        ))),
    }
}
