//! What the owner of a store allows a session of SQL over its socket: so much time, so many bytes, so long without a word.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::beside::hostile::{HELLO, framed};
use bop_control::{
    Client, Failure, Mode, Options, Server, SqlClient, SqlPiece, SqlRefused, SqlSpec,
};
use bop_libsql::Store;
use bop_libsql::control::Door;
use bop_storage::error::ErrorCode;
use serde_json::json;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// It never ends by itself.
const ENDLESS: &str =
    "with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) from n";

/// Nothing that is waited for takes longer, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A store with a table, and its socket.
struct Owner {
    dir: tempfile::TempDir,
    store: Store,
    server: Server,
}

impl Owner {
    fn with(limits: impl FnOnce(Options) -> Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), bop_storage::Options::new()).unwrap();
        let db = store.connect("d").unwrap();
        db.execute_batch("create table t(x)").unwrap();
        drop(db);
        let options = Options::new()
            .sql(Arc::new(Door::new(&store)))
            .allow_writes(true);
        let server = Server::start(store.manager(), limits(options)).unwrap();
        Self { dir, store, server }
    }

    fn session(&self) -> Session {
        Session(connect(self.dir.path()))
    }

    fn end(self) {
        self.store.manager().close(PATIENCE).unwrap();
        self.server.stop();
    }
}

fn connect(store: &Path) -> SqlClient {
    let spec = SqlSpec {
        database: "d".to_owned(),
        at: None,
        create: false,
        write: true,
    };
    Client::connect(store).unwrap().unwrap().sql(&spec).unwrap()
}

struct Session(SqlClient);

impl Session {
    /// What a piece of SQL answers, and how it was refused, if it was; an error is the end of the session.
    fn run(&mut self, sql: &str) -> Result<(String, Option<SqlRefused>), Failure> {
        let piece = SqlPiece {
            sql: sql.to_owned(),
            mode: Mode::List,
            header: false,
        };
        let mut out = Vec::new();
        let refused = self.0.run(piece, &mut out)?;
        Ok((String::from_utf8(out).unwrap(), refused))
    }

    #[track_caller]
    fn answers(&mut self, sql: &str, answer: &str) {
        let (told, refused) = self.run(sql).unwrap();
        assert_eq!((told.as_str(), refused), (answer, None), "{sql}");
    }
}

#[test]
fn sql_that_runs_for_too_long_is_stopped_and_the_session_goes_on() {
    let owner = Owner::with(|options| options.sql_deadline(Duration::from_millis(300)));
    let mut session = owner.session();
    let begun = Instant::now();
    let (told, refused) = session.run(ENDLESS).unwrap();
    assert!(Duration::from_millis(300) <= begun.elapsed());
    let failure = refused.unwrap().failure;
    assert_eq!((told.as_str(), failure.code), ("", ErrorCode::Timeout));
    assert!(failure.message.contains("the owner's 0.3 s"), "{failure}");
    session.answers("select 40 + 2", "42\n");
    // The deadline is of one piece, and not of the session.
    while begun.elapsed() < Duration::from_millis(700) {
        session.answers("select 1", "1\n");
    }
    owner.end();
}

#[test]
fn sql_that_answers_too_much_ends_its_session_alone() {
    let owner = Owner::with(|options| options.sql_bytes_max(1000));
    let (mut session, mut other) = (owner.session(), owner.session());
    let ten_bytes = |rows: u32| {
        format!(
            "with recursive n(x) as (select 1 union all select x + 1 from n limit {rows}) \
             select 'ten bytes.' from n"
        )
    };
    // Each value takes a byte, too.
    session.answers(&ten_bytes(90), &"ten bytes.\n".repeat(90));
    session.answers(&ten_bytes(90), &"ten bytes.\n".repeat(90));
    let failure = session.run(&ten_bytes(91)).unwrap_err();
    assert_eq!(failure.code, ErrorCode::LimitReached, "{failure}");
    assert!(
        failure.message.contains("the owner's 1000 bytes"),
        "{failure}"
    );
    // One value that is as large is not even made.
    let (told, refused) = other.run("select zeroblob(2000)").unwrap();
    assert_eq!(told, "");
    assert!(refused.is_some());
    other.answers("select 1", "1\n");
    owner.end();
}

/// A session that says this and no more.
fn falls_silent(owner: &Owner, pieces: &[&str]) -> UnixStream {
    let socket = owner.dir.path().join("control/control.sock");
    let mut client = UnixStream::connect(socket).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(&framed(HELLO)).unwrap();
    let session = json!({ "sql": { "database": "d", "at": null, "create": false, "write": true } });
    client
        .write_all(&framed(session.to_string().as_bytes()))
        .unwrap();
    for sql in pieces {
        let piece = json!({ "piece": { "sql": sql, "mode": "list", "header": false } });
        client
            .write_all(&framed(piece.to_string().as_bytes()))
            .unwrap();
    }
    client
}

/// All that it was told, to its end.
fn told(mut client: UnixStream) -> String {
    let mut told = Vec::new();
    client.read_to_end(&mut told).unwrap();
    String::from_utf8_lossy(&told).into_owned()
}

#[test]
fn a_session_that_falls_silent_is_ended() {
    let owner = Owner::with(|options| options.sql_idle_max(Duration::from_millis(200)));
    let begun = Instant::now();
    let told = told(falls_silent(&owner, &["select 40 + 2"]));
    assert!(Duration::from_millis(200) <= begun.elapsed());
    assert!(told.contains("42\n"), "{told}");
    assert!(
        told.contains("\"timeout\"") && told.contains("the session was ended: idle for 0.2 s\""),
        "{told}"
    );
    owner.end();
}

#[test]
fn a_transaction_that_is_left_open_is_rolled_back_and_others_write() {
    let owner = Owner::with(|options| options.sql_transaction_idle_max(Duration::from_millis(200)));
    let mut other = owner.session();
    let silent = falls_silent(&owner, &["begin immediate; insert into t values (1)"]);
    let told = told(silent);
    assert!(
        told.contains("idle for 0.2 s: the transaction was rolled back"),
        "{told}"
    );
    // It has no transaction, and was silent for as long.
    other.answers("insert into t values (2); select x from t", "2\n");
    owner.end();
}
