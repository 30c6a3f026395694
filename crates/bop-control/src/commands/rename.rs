//! `bop rename`: another name for the same database.

use super::Call;
use crate::failure::Failure;
use serde_json::json;

/// Runs the command.
pub(super) fn run(call: &mut Call<'_>, from: &str, to: &str) -> Result<u8, Failure> {
    call.manager.rename_database(from, to)?;
    call.answer(
        format_args!("renamed {from} to {to}"),
        json!({ "renamed": from, "to": to }),
    )?;
    Ok(0)
}
