//! Which request a command line means.

use crate::args::{
    ChangesCommand, Command, CommitsCommand, CursorCommand, ForkArgs, LogCommand, PastCommand,
    RestoreArgs, RestorePointsArgs, RetentionArgs, SnapshotCommand,
};
use crate::session::WhenMissing;
use bop_control::{Feed, Request, RetentionChange};
use bop_storage::Retention;
use std::io::IsTerminal;

/// Whether a request may make a store where there is none.
pub(super) fn when_missing(request: &Request) -> WhenMissing {
    match request {
        Request::Create { .. } => WhenMissing::Create,
        _ => WhenMissing::Fail,
    }
}

/// The request that a command means; the command, if it is none that the owner of a store answers.
pub(super) fn request_of(command: Command) -> Result<Request, Command> {
    Ok(match command {
        Command::List { dropped: false } => Request::List,
        Command::List { dropped: true } => Request::Dropped,
        Command::Info { database } => Request::Info { database },
        Command::Create { database, raw } => Request::Create { database, raw },
        Command::Rename { from, to } => Request::Rename { from, to },
        Command::Drop { database, yes, now } => Request::Drop { database, yes, now },
        Command::Undrop {
            database,
            id,
            new_name,
        } => Request::Undrop {
            database,
            id,
            new_name,
        },
        Command::Purge { database, id, yes } => Request::Purge { database, id, yes },
        Command::Past(command) => return of_past(command).map_err(Command::Past),
        Command::Quota {
            database,
            size,
            none,
        } => Request::Quota {
            database,
            bytes: size.map(|size| size.as_u64()),
            none,
        },
        Command::Space { database } => Request::Space { database },
        Command::Log(LogCommand::Why) => Request::LogWhy,
        Command::Stats { prometheus: false } => Request::Stats,
        Command::Stats { prometheus: true } => Request::Metrics,
        Command::Status { watch, every } => Request::Status {
            every_ms: watch.then(|| u64::try_from(every.as_millis()).unwrap_or(u64::MAX)),
            redraw: std::io::stdout().is_terminal(),
        },
        Command::Doctor => Request::Doctor,
        Command::Checkpoint => Request::Checkpoint,
        Command::Changes(command) => of_changes(command),
        Command::Commits(command) => of_commits(command),
        Command::Cursor(CursorCommand::List) => Request::Cursors,
        Command::Cursor(CursorCommand::Drop { cursor }) => Request::DropCursor { name: cursor },
        Command::Jobs { cancel: None } => Request::Jobs,
        Command::Jobs { cancel: Some(job) } => Request::CancelJob { job },
        Command::Scrub { database } => Request::Scrub { database },
        Command::Verify { deep, database } => Request::Verify { deep, database },
        other => return Err(other),
    })
}

/// A store that is made of a backup is nobody's yet.
fn of_past(command: PastCommand) -> Result<Request, PastCommand> {
    Ok(match command {
        PastCommand::Snapshot(SnapshotCommand::Create {
            database,
            snapshot,
            at,
        }) => Request::Snapshot {
            database,
            name: snapshot,
            at,
        },
        PastCommand::Snapshot(SnapshotCommand::List { database }) => {
            Request::Snapshots { database }
        }
        PastCommand::Snapshot(SnapshotCommand::Drop { database, snapshot }) => {
            Request::DropSnapshot {
                database,
                name: snapshot,
            }
        }
        PastCommand::Fork(ForkArgs {
            database,
            new_name,
            at,
        })
        | PastCommand::Restore(RestoreArgs {
            database: Some(database),
            at: Some(at),
            new_name: Some(new_name),
            ..
        }) => Request::Fork {
            database,
            new_name,
            at,
        },
        PastCommand::Restore(RestoreArgs {
            database: Some(database),
            at: Some(at),
            ..
        }) => Request::Restore { database, at },
        other @ PastCommand::Restore(_) => return Err(other),
        PastCommand::RestorePoints(RestorePointsArgs { database, limit }) => {
            Request::RestorePoints { database, limit }
        }
        PastCommand::Retention(RetentionArgs {
            database,
            window,
            bytes,
            default,
        }) => Request::Retention {
            database,
            change: RetentionChange {
                window_us: window.map(|window| Retention::window(window.into()).window_us),
                bytes: bytes.map(|bytes| bytes.as_u64()),
                default,
            },
        },
    })
}

fn of_changes(command: ChangesCommand) -> Request {
    let ChangesCommand::Tail {
        from,
        cursor,
        follow,
    } = command;
    Request::Changes(Feed {
        from,
        cursor,
        follow,
    })
}

fn of_commits(command: CommitsCommand) -> Request {
    let CommitsCommand::Tail {
        db,
        from,
        cursor,
        follow,
    } = command;
    let feed = Feed {
        from,
        cursor,
        follow,
    };
    Request::Commits { database: db, feed }
}
