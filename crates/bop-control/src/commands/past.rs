//! `bop fork`, `bop restore` and `bop restore-points`: what a database was, as another one or again as
//! itself.

use super::Call;
use super::snapshot::{state, to_json};
use crate::failure::Failure;
use bop_storage::{At, Moment, RestorePoint};
use serde_json::{Value, json};

/// Makes a database that begins as a state of another one.
pub(super) fn fork(call: &mut Call<'_>, database: &str, new: &str, at: &At) -> Result<u8, Failure> {
    call.manager.fork_database(database, new, at)?;
    let info = call.manager.info(new)?;
    let (id, pages) = (info.id, info.page_count);
    call.answer(
        format_args!("{new} is what {database} is at {at}, with {pages} pages"),
        json!({
            "forked": database,
            "as": new,
            "id": id.get(),
            "at": at.to_string(),
            "page_count": pages,
        }),
    )?;
    Ok(0)
}

/// Makes a database again what it was.
pub(super) fn restore(call: &mut Call<'_>, database: &str, at: &At) -> Result<u8, Failure> {
    let kept = call.manager.restore_database(database, at)?;
    let (name, was) = (&kept.name, state(&kept));
    call.answer(
        format_args!("{database} is again what it was at {at}\nuntil now it was {was}: that stays as the snapshot {name:?}"),
        json!({ "restored": database, "at": at.to_string(), "kept": to_json(&kept) }),
    )?;
    Ok(0)
}

/// Shows the states that can be had, the newest first.
pub(super) fn points(
    call: &mut Call<'_>,
    database: &str,
    limit: Option<usize>,
) -> Result<u8, Failure> {
    let points = call.manager.restore_points(database)?;
    let newest_first = points.iter().rev().take(limit.unwrap_or(usize::MAX));
    if call.json {
        let json: Vec<Value> = newest_first.map(point_json).collect();
        call.answer("", json.into())?;
        return Ok(0);
    }
    for point in newest_first {
        call.line(point_text(point))?;
    }
    Ok(0)
}

fn point_json(point: &RestorePoint) -> Value {
    json!({
        "lsn": point.lsn.get(),
        "time_us": point.time_us,
        "time": Moment(point.time_us).to_string(),
        "page_count": point.page_count,
        "rolling_checksum": point.rolling_checksum.to_string(),
    })
}

/// Both are as `--at` takes them.
fn point_text(point: &RestorePoint) -> String {
    let (lsn, time) = (At::Lsn(point.lsn), At::Time(point.time_us));
    let (pages, checksum) = (point.page_count, point.rolling_checksum);
    format!("{lsn} {time} {pages} pages checksum {checksum}")
}
