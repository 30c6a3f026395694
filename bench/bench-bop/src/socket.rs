//! Commits of an application beside somebody who asks over its control socket, one command after the other.

use crate::ALLOCATOR;
use bench_work::{Args, CREATE, INSERT, Loop, ROW_BYTES, Result, Side};
use bop_control::{Client, Feed, Mode, Request, Server, SqlPiece, SqlSpec, Terminal};
use bop_libsql::control::Door;
use bop_libsql::{Options, Store};
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

/// Durable inserts of one row, a database and a connection each thread; with `beside` one more thread has each
/// command answered, in turn and without a pause, as `bop` in a second terminal does.
pub(crate) fn inserts(args: &Args, beside: bool) -> Result<()> {
    let path = args.dir.join("store");
    let store = Store::open(&path, Options::new())?;
    let options = bop_control::Options::new().sql(Arc::new(Door::new(&store)));
    // It is there on both sides: only whether anybody asks differs.
    let server = Server::start(store.manager(), options.allow_writes(true))?;
    let side = Side::new(match beside {
        true => format!("bop, defaults, beside commands over the socket, {ALLOCATOR}"),
        false => format!("bop, defaults, a socket that nobody uses, {ALLOCATOR}"),
    });
    let writers = args.threads;
    let crew = Args {
        threads: writers + usize::from(beside),
        ..args.clone()
    };
    side.serve(&crew, |post| {
        if post.thread() == writers {
            let mut turn = 0;
            return post.serve(Loop::COMPANY, |_| {
                command(&path, &args.dir.join("backups"), turn)?;
                turn += 1;
                Ok(())
            });
        }
        let connection = store.connect(&format!("db-{}", post.thread()))?;
        connection.execute_batch(CREATE)?;
        let (mut insert, mut row) = (connection.prepare(INSERT)?, [0; ROW_BYTES]);
        post.serve(Loop::TIMED, |random| {
            random.fill(&mut row);
            insert.execute([row.as_slice()])?;
            Ok(())
        })
    })?;
    server.stop();
    Ok(())
}

/// What the command number `turn` asks for. Each round has a name of its own, and leaves one database.
fn command(store: &Path, backups: &Path, turn: usize) -> Result<()> {
    let (round, which) = (turn / COMMANDS, turn % COMMANDS);
    let (name, of) = (format!("of-round-{round}"), "db-0".to_owned());
    let feed = Feed {
        from: None,
        cursor: None,
        follow: false,
    };
    let request = match which {
        0 => Request::List,
        1 => Request::Info { database: of },
        2 => Request::Stats,
        3 => Request::Status {
            every_ms: None,
            redraw: false,
        },
        4 => Request::Doctor,
        5 => Request::Space { database: None },
        6 => Request::LogWhy,
        7 => Request::Jobs,
        8 => Request::Cursors,
        9 => Request::Changes(feed),
        10 => Request::Commits {
            database: Some(of),
            feed,
        },
        11 => return sql(store, "select count(*) from entry where id < 100"),
        12 => Request::Snapshot {
            database: of,
            name,
            at: "now".parse()?,
        },
        13 => Request::Fork {
            database: of,
            new_name: name,
            at: "now".parse()?,
        },
        14 => Request::Restore {
            database: name,
            at: "now".parse()?,
        },
        15 => Request::Drop {
            database: name,
            yes: true,
            now: false,
        },
        16 => Request::Undrop {
            database: name,
            id: None,
            new_name: None,
        },
        17 => Request::Checkpoint,
        18 => Request::Scrub { database: Some(of) },
        19 => Request::Verify {
            deep: false,
            database: Some(name),
        },
        _ => Request::Backup {
            dir: backups.display().to_string(),
            keep: NonZeroUsize::MIN,
            copy: false,
        },
    };
    let client = Client::connect(store)?.ok_or("nobody listens")?;
    client.run(&request, true, &mut Terminal::into(io::sink()))?;
    Ok(())
}

/// The number of commands.
const COMMANDS: usize = 21;

fn sql(store: &Path, sql: &str) -> Result<()> {
    let spec = SqlSpec {
        database: "db-0".to_owned(),
        at: None,
        create: false,
        write: false,
    };
    let piece = SqlPiece {
        sql: sql.to_owned(),
        mode: Mode::List,
        header: false,
    };
    let client = Client::connect(store)?.ok_or("nobody listens")?;
    match client.sql(&spec)?.run(piece, &mut io::sink())? {
        None => Ok(()),
        Some(refused) => Err(Box::new(refused.failure)),
    }
}
