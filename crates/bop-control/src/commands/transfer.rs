//! `bop import` of a file and `bop export`: a SQLite file in, a SQLite file out, by the front end's hands.
//!
//! Never: replaces a file or a database that is there already, unless told to.

use super::Call;
use crate::failure::Failure;
use crate::sql::ExportWanted;
use bop_storage::At;
use bop_storage::error::ErrorCode;
use serde_json::json;
use std::path::Path;

/// Runs `bop import`. `file` is absolute.
pub(super) fn import(call: &mut Call<'_>, database: &str, file: &str) -> Result<u8, Failure> {
    let (door, caller) = (call.sql()?, &mut call.caller);
    let report = door.import(database, Path::new(file), &mut |done, total| {
        caller.progress(done, total);
    })?;
    call.answer(
        format_args!("imported {} pages into {database}", report.pages),
        json!({
            "imported": database,
            "pages": report.pages,
            "page_size": report.page_bytes,
            "through_sqlite": report.through_sqlite,
            "rolling_checksum": report.rolling_checksum,
        }),
    )?;
    Ok(0)
}

/// Runs `bop export`. `file` is absolute.
pub(super) fn export(
    call: &mut Call<'_>,
    database: &str,
    at: Option<&str>,
    file: &str,
    force: bool,
) -> Result<u8, Failure> {
    let state = at.map(str::parse::<At>).transpose();
    let state = state.map_err(|error| Failure::new(ErrorCode::Usage, error))?;
    let wanted = ExportWanted {
        database,
        at: state.as_ref().unwrap_or(&At::Now),
        file: Path::new(file),
        force,
    };
    let (door, caller) = (call.sql()?, &mut call.caller);
    let report = door.export(&wanted, &mut |done, total| caller.progress(done, total))?;
    call.answer(
        format_args!("exported {} pages to {file}", report.pages),
        json!({
            "exported": database,
            "at": state.as_ref().map(At::to_string),
            "file": file,
            "pages": report.pages,
            "page_size": report.page_bytes,
            "rolling_checksum": report.rolling_checksum,
        }),
    )?;
    Ok(0)
}
