//! `bop create`: an empty database, in a new store where there is none.

use super::Call;
use crate::failure::Failure;
use bop_storage::ids::DbKind;
use serde_json::json;

/// Runs the command.
pub(super) fn run(call: &mut Call<'_>, name: &str, raw: bool) -> Result<u8, Failure> {
    let kind = if raw { DbKind::Raw } else { DbKind::Sqlite };
    let id = call.manager.create_database(name, kind)?.id();
    call.answer(
        format_args!("created {name}"),
        json!({ "created": name, "id": id.get(), "kind": kind.name() }),
    )?;
    Ok(0)
}
