//! `bop import` and `bop export`: a SQLite file in, a SQLite file out. Whoever has the store open does it; a directory of
//! files this process imports, which needs the store for itself.
//!
//! Never: touches a file or a database of that name that is there already, unless told to.

use super::progress::{Progress, WithBar};
use super::{Context, absolute};
use crate::args::{ImportArgs, Source};
use crate::session::{WhenMissing, ask_as, with_store};
use bop_control::{Failure, Request, check_name};
use bop_libsql::transfer::{FileToImport, ImportError, Imported, files_to_import, import_files};
use bop_storage::At;
use bop_storage::error::ErrorCode;
use serde_json::json;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs `bop import`.
pub(super) fn import(context: &Context, args: &ImportArgs) -> Result<u8, Failure> {
    match &args.file {
        Some(file) => import_one(context, &args.target, file, args.no_create),
        None => import_dir(context, Path::new(&args.target), args.no_create),
    }
}

fn import_one(
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
    let request = Request::Import {
        database: database.to_owned(),
        file: absolute(file)?,
    };
    let mut caller = WithBar::new(Progress::new("import", context.json));
    let when_missing = WhenMissing::create_unless(no_create);
    ask_as(context, when_missing, &request, &mut caller)
}

fn import_dir(context: &Context, dir: &Path, no_create: bool) -> Result<u8, Failure> {
    if !dir.is_dir() {
        let message = format!("{} is not a directory", dir.display());
        return Err(Failure::new(ErrorCode::Usage, message).with_hint(
            "bop import DB FILE imports one file, bop import DIR those of a directory",
        ));
    }
    let files = files_to_import(dir)?;
    let outcomes = with_store(
        &context.store,
        WhenMissing::create_unless(no_create),
        |store| {
            let progress = Progress::of_bytes("import", context.json);
            let (total, read) = (files.iter().map(|file| file.bytes).sum(), AtomicU64::new(0));
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            let outcomes = import_files(store, &files, threads, &|bytes| {
                let before = read.fetch_add(bytes, Ordering::Relaxed);
                progress.set(before + bytes, total);
            });
            progress.finish();
            Ok(outcomes)
        },
    )?;
    tell_outcomes(context, &files, outcomes)
}

/// Answers what became of each file. The first one that was refused is the error.
fn tell_outcomes(
    context: &Context,
    files: &[FileToImport],
    outcomes: Vec<Result<Imported, ImportError>>,
) -> Result<u8, Failure> {
    let (mut new, mut there, mut refused, mut told) = (0, 0, Vec::new(), Vec::new());
    for (file, outcome) in files.iter().zip(outcomes) {
        let became = match outcome {
            Ok(Imported::New(report)) => {
                new += 1;
                json!({ "imported": file.name, "pages": report.pages,
                    "rolling_checksum": report.rolling_checksum.to_string() })
            }
            Ok(_) => {
                there += 1;
                json!({ "there_already": file.name })
            }
            Err(error) => {
                let failure = Failure::from(error);
                let json = failure.to_json();
                refused.push(failure);
                json
            }
        };
        told.push(became);
    }
    let text = format!("imported {new} databases, {there} were there already");
    context.answer(text, told.into())?;
    let count = refused.len();
    let Some(first) = refused.into_iter().next() else {
        return Ok(0);
    };
    let message = match count {
        1 => first.message.clone(),
        _ => format!(
            "{count} files were not imported; the first: {}",
            first.message
        ),
    };
    Err(Failure { message, ..first })
}

/// Runs `bop export`.
pub(super) fn export(
    context: &Context,
    source: &Source,
    file: &Path,
    force: bool,
) -> Result<u8, Failure> {
    let request = Request::Export {
        database: source.database.clone(),
        at: source.at.as_ref().map(At::to_string),
        file: absolute(file)?,
        force,
    };
    let mut caller = WithBar::new(Progress::new("export", context.json));
    ask_as(context, WhenMissing::Fail, &request, &mut caller)
}
