//! `bop snapshot`: names for states of a database.

use super::Call;
use crate::failure::Failure;
use crate::output::render_table;
use bop_storage::{At, Moment, SnapshotInfo};
use serde_json::{Value, json};

/// Gives a state a name.
pub(super) fn create(
    call: &mut Call<'_>,
    database: &str,
    name: &str,
    at: &At,
) -> Result<u8, Failure> {
    let made = call.manager.snapshot_database(database, name, at)?;
    let mut json = to_json(&made);
    json["database"] = database.into();
    let text = format!("{database}@snapshot:{name} is {}", state(&made));
    call.answer(text, json)?;
    Ok(0)
}

/// Lists the snapshots of a database.
pub(super) fn list(call: &mut Call<'_>, database: &str) -> Result<u8, Failure> {
    let snapshots = call.manager.snapshots(database)?;
    let json: Vec<Value> = snapshots.iter().map(to_json).collect();
    if snapshots.is_empty() {
        call.answer("no snapshots", json.into())?;
    } else {
        call.answer(table(&snapshots), json.into())?;
    }
    Ok(0)
}

/// Forgets a snapshot.
pub(super) fn drop(call: &mut Call<'_>, database: &str, name: &str) -> Result<u8, Failure> {
    call.manager.drop_snapshot(database, name)?;
    call.answer(
        format_args!("dropped {database}@snapshot:{name}"),
        json!({ "dropped": name, "database": database }),
    )?;
    Ok(0)
}

/// What a snapshot shows, in words.
pub(super) fn state(info: &SnapshotInfo) -> String {
    let (lsn, pages) = (info.lsn, info.page_count);
    match info.page_size {
        Some(_) => format!("lsn:{lsn}, of {}, with {pages} pages", Moment(info.time_us)),
        None => "a database without a commit".to_owned(),
    }
}

/// A snapshot as an object.
pub(super) fn to_json(info: &SnapshotInfo) -> Value {
    json!({
        "name": info.name,
        "lsn": info.lsn.get(),
        "time_us": info.time_us,
        "created_us": info.created_us,
        "page_size": info.page_size.map(|size| size.get()),
        "page_count": info.page_count,
    })
}

fn table(snapshots: &[SnapshotInfo]) -> String {
    let row = |info: &SnapshotInfo| {
        vec![
            (info.name.clone(), false),
            (info.lsn.to_string(), true),
            (Moment(info.time_us).to_string(), false),
            (info.page_count.to_string(), true),
            (Moment(info.created_us).to_string(), false),
        ]
    };
    render_table(
        &["name", "lsn", "committed", "pages", "made"],
        snapshots.iter().map(row).collect(),
    )
}
