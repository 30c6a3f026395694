//! `bop rename`: another name for the same database.

use super::Context;
use crate::errors::Failure;
use crate::session::{WhenMissing, with_store};
use serde_json::json;

/// Runs the command.
pub(super) fn run(context: &Context, from: &str, to: &str) -> Result<u8, Failure> {
    with_store(&context.store, WhenMissing::Fail, |manager| {
        Ok(manager.rename_database(from, to)?)
    })?;
    context.answer(
        format_args!("renamed {from} to {to}"),
        json!({ "renamed": from, "to": to }),
    )?;
    Ok(0)
}
