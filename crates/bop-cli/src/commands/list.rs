//! `bop list`: the databases of the store.

use super::Context;
use crate::errors::Failure;
use crate::output::render_table;
use crate::session::{WhenMissing, with_store};
use bop_storage::DatabaseInfo;
use serde_json::Value;

/// Runs the command.
pub(super) fn run(context: &Context) -> Result<u8, Failure> {
    let databases = with_store(&context.store, WhenMissing::Fail, |manager| {
        Ok(manager.databases())
    })?;
    let json = databases
        .iter()
        .map(super::info::to_json)
        .collect::<Vec<Value>>();
    if databases.is_empty() {
        context.answer("no databases", json.into())?;
    } else {
        context.answer(table(&databases), json.into())?;
    }
    Ok(0)
}

fn table(databases: &[DatabaseInfo]) -> String {
    let row = |info: &DatabaseInfo| {
        let page_size = info
            .page_size
            .map_or(String::new(), |size| size.get().to_string());
        let fork_of = info.fork_of.as_ref();
        let state = info.damage.as_ref().map_or("ok", |_| "damaged");
        vec![
            (info.name.clone(), false),
            (info.kind.name().to_owned(), false),
            (page_size, true),
            (info.page_count.to_string(), true),
            (info.head.to_string(), true),
            (
                fork_of.map_or(String::new(), |origin| origin.name.clone()),
                false,
            ),
            (info.snapshots.to_string(), true),
            (state.to_owned(), false),
        ]
    };
    render_table(
        &[
            "name",
            "kind",
            "page size",
            "pages",
            "head",
            "fork of",
            "snapshots",
            "state",
        ],
        databases.iter().map(row).collect(),
    )
}
