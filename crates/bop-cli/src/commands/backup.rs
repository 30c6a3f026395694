//! `bop backup`, `bop backup verify`, `bop backup list`, `bop restore --from`.

use super::progress::{Progress, WithBar};
use super::{Context, absolute};
use crate::args::{BackupArgs, BackupCommand};
use crate::session::{WhenMissing, ask_as};
use bop_control::output::render_table;
use bop_control::{Failure, Request};
use bop_storage::{
    BackupInfo, BackupOptions, BackupProgress, Manager, Moment, Options, RestoredStore,
    VerifiedBackup,
};
use serde_json::{Value, json};
use std::path::Path;

/// Runs the command.
pub(super) fn run(context: &Context, args: &BackupArgs) -> Result<u8, Failure> {
    match (&args.command, &args.dir) {
        (Some(BackupCommand::List { dir }), _) => list(context, dir),
        (
            Some(BackupCommand::Verify {
                dir,
                number,
                scratch,
            }),
            _,
        ) => verify(context, dir, *number, scratch.as_deref()),
        (None, Some(dir)) => make(context, dir, args),
        // The arguments' own rule.
        (None, None) => Ok(0),
    }
}

fn options(context: &Context, number: Option<u64>) -> BackupOptions {
    let options = BackupOptions::new().io(context.store.io);
    match number {
        None => options,
        Some(number) => options.number(number),
    }
}

/// Shows how far it is, while `work` is done.
fn shown<T>(
    context: &Context,
    what: &'static str,
    work: impl FnOnce(&mut dyn FnMut(BackupProgress)) -> T,
) -> T {
    let bar = Progress::of_bytes(what, context.json);
    let done = work(&mut |progress| bar.set(progress.done_bytes, progress.total_bytes));
    bar.finish();
    done
}

/// Whoever has the store open backs it up: this process, which shows how far it is, or another one.
fn make(context: &Context, dir: &Path, args: &BackupArgs) -> Result<u8, Failure> {
    let request = Request::Backup {
        dir: absolute(dir)?,
        keep: args.keep,
        copy: args.copy,
    };
    let mut caller = WithBar::new(Progress::of_bytes("backup", context.json));
    ask_as(context, WhenMissing::Fail, &request, &mut caller)
}

fn verify(
    context: &Context,
    dir: &Path,
    number: Option<u64>,
    scratch: Option<&Path>,
) -> Result<u8, Failure> {
    let backup = options(context, number);
    let store = Options::new().io(context.store.io);
    let verified = shown(context, "verify", |told| {
        Manager::verify_backup(dir, scratch, &store, &backup, told)
    })?;
    let VerifiedBackup {
        number,
        databases,
        snapshots,
        pages,
        chunks,
        entries,
        recorded,
        ..
    } = verified;
    let noted = match recorded {
        true => "",
        false => "; that could not be recorded there",
    };
    context.answer(
        format_args!(
            "backup {number} restores: {databases} databases and {snapshots} snapshots are what they were; \
             {pages} pages, {entries} entries and {chunks} chunks read{noted}"
        ),
        json!({
            "verified": number,
            "dir": dir.display().to_string(),
            "lsn": verified.lsn.get(),
            "state_us": verified.state_us,
            "made_us": verified.made_us,
            "verified_us": verified.verified_us,
            "recorded": recorded,
            "bytes": verified.bytes,
            "pages": pages,
            "entries": entries,
            "chunks": chunks,
            "databases": databases,
            "snapshots": snapshots,
        }),
    )?;
    Ok(0)
}

fn list(context: &Context, dir: &Path) -> Result<u8, Failure> {
    let infos = Manager::backups(dir, &options(context, None))?;
    let json: Vec<Value> = infos.iter().map(info_json).collect();
    let when = |us: u64| Moment(us).to_string();
    let rows = infos.iter().map(|info| {
        vec![
            (info.number.to_string(), true),
            (when(info.state_us), false),
            (info.lsn.to_string(), true),
            (info.bytes.to_string(), true),
            (info.databases.to_string(), true),
            (info.verified_us.map_or("never".to_owned(), when), false),
        ]
    });
    let heads = [
        "backup",
        "state of",
        "lsn",
        "bytes",
        "databases",
        "verified",
    ];
    context.answer(render_table(&heads, rows.collect()), json.into())?;
    Ok(0)
}

fn info_json(info: &BackupInfo) -> Value {
    json!({
        "backup": info.number,
        "lsn": info.lsn.get(),
        "state_us": info.state_us,
        "made_us": info.made_us,
        "bytes": info.bytes,
        "chunks": info.chunks,
        "databases": info.databases,
        "snapshots": info.snapshots,
        "verified_us": info.verified_us,
    })
}

/// Makes the store that `--store` names of a backup.
pub(super) fn restore(context: &Context, dir: &Path, number: Option<u64>) -> Result<u8, Failure> {
    let (new, backup) = (&context.store.path, options(context, number));
    let store = Options::new()
        .io(context.store.io)
        .compression(context.store.compression);
    let restored = shown(context, "restore", |told| {
        Manager::restore_backup(dir, new, &store, &backup, told)
    })?;
    let RestoredStore {
        number,
        databases,
        snapshots,
        ..
    } = restored;
    context.answer(
        format_args!(
            "{} has the {databases} databases and {snapshots} snapshots of backup {number}, as they were at {}",
            new.display(),
            Moment(restored.state_us)
        ),
        json!({
            "restored": new.display().to_string(),
            "from": dir.display().to_string(),
            "backup": number,
            "lsn": restored.lsn.get(),
            "state_us": restored.state_us,
            "bytes": restored.bytes,
            "databases": databases,
            "snapshots": snapshots,
        }),
    )?;
    Ok(0)
}
