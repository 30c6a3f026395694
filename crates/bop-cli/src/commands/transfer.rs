//! `bop import` and `bop export`: a SQLite file in, a SQLite file out.
//!
//! Never: touches a file or a database of that name that is there already, unless told to.

use super::progress::Progress;
use super::{Context, check_name};
use crate::args::Source;
use crate::errors::Failure;
use crate::session::{WhenMissing, with_store};
use bop_libsql::Store;
use bop_libsql::transfer::{Overwrite, export_file_at, import_file};
use bop_storage::At;
use bop_storage::error::ErrorCode;
use serde_json::json;
use std::path::Path;

/// Runs `bop import`.
pub(super) fn import(
    context: &Context,
    database: &str,
    file: &Path,
    no_create: bool,
) -> Result<u8, Failure> {
    // Both before a store is made.
    check_name(database)?;
    let found = file
        .metadata()
        .map_err(|error| Failure::file("import", file, &error))?;
    if !found.is_file() {
        let message = format!("{} is not a regular file", file.display());
        return Err(
            Failure::new(ErrorCode::Io, message).with_hint("import takes a SQLite database file")
        );
    }
    let when_missing = if no_create {
        WhenMissing::Fail
    } else {
        WhenMissing::Create
    };
    let report = with_store(&context.store, when_missing, |manager| {
        let store = Store::new(manager.clone())?;
        let progress = Progress::new("import", context.json);
        let report = import_file(&store, database, file, &mut |done, total| {
            progress.set(done, total);
        });
        progress.finish();
        Ok(report?)
    })?;
    context.answer(
        format_args!("imported {} pages into {database}", report.pages),
        json!({
            "imported": database,
            "pages": report.pages,
            "page_size": report.page_size.map(|size| size.get()),
            "through_sqlite": report.through_sqlite,
        }),
    )?;
    Ok(0)
}

/// Runs `bop export`.
pub(super) fn export(
    context: &Context,
    source: &Source,
    file: &Path,
    force: bool,
) -> Result<u8, Failure> {
    let Source { database, at } = source;
    let state = at.as_ref().unwrap_or(&At::Now);
    let overwrite = if force { Overwrite::Yes } else { Overwrite::No };
    let report = with_store(&context.store, WhenMissing::Fail, |manager| {
        let store = Store::new(manager.clone())?;
        let progress = Progress::new("export", context.json);
        let report = export_file_at(
            &store,
            database,
            state,
            file,
            overwrite,
            &mut |done, total| progress.set(done, total),
        );
        progress.finish();
        Ok(report?)
    })?;
    context.answer(
        format_args!("exported {} pages to {}", report.pages, file.display()),
        json!({
            "exported": database,
            "at": at.as_ref().map(At::to_string),
            "file": file.to_string_lossy(),
            "pages": report.pages,
            "page_size": report.page_size.map(|size| size.get()),
            "rolling_checksum": report.rolling_checksum.to_string(),
        }),
    )?;
    Ok(0)
}
