//! `bop create`: an empty database, in a new store where there is none.

use super::{Context, check_name};
use crate::errors::Failure;
use crate::session::{WhenMissing, with_store};
use bop_storage::ids::DbKind;
use serde_json::json;

/// Runs the command.
pub(super) fn run(context: &Context, name: &str, raw: bool) -> Result<u8, Failure> {
    let kind = if raw { DbKind::Raw } else { DbKind::Sqlite };
    check_name(name)?;
    let id = with_store(&context.store, WhenMissing::Create, |manager| {
        Ok(manager.create_database(name, kind)?.id())
    })?;
    context.answer(
        format_args!("created {name}"),
        json!({ "created": name, "id": id.get(), "kind": kind.name() }),
    )?;
    Ok(0)
}
