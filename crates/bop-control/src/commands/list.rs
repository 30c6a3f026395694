//! `bop list`: the databases of the store.

use super::Call;
use crate::failure::Failure;
use crate::output::render_table;
use bop_storage::{DatabaseInfo, DbId};
use serde_json::Value;

/// Databases that are asked for at once: a store of very many is not held up, and whoever does not wait
/// any more is not answered to the end.
const PAGE: usize = 1_000;

/// Runs the command.
pub(super) fn run(call: &mut Call<'_>) -> Result<u8, Failure> {
    let mut databases = Vec::new();
    let mut from = Some(DbId::default());
    while let Some(first) = from {
        call.check_wanted()?;
        let page = call.manager.databases_from(first, PAGE);
        from = page.last().and_then(|last| last.id.next());
        databases.extend(page);
    }
    databases.sort_by(|one, other| one.name.cmp(&other.name));
    let json = databases
        .iter()
        .map(super::info::to_json)
        .collect::<Vec<Value>>();
    if databases.is_empty() {
        call.answer("no databases", json.into())?;
    } else {
        call.answer(table(&databases), json.into())?;
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
