//! The server on a real store: what any bytes do to it, what its end does to clients, and how many it has; and what
//! commands make of a store that changes under them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backup;
mod stranger;
mod verify;

use bop_control::{CLIENTS_MAX, Client, Failure, Feed, Options, Request, Server, Terminal};
use bop_storage::error::ErrorCode;
use bop_storage::{DbKind, Manager};
use proptest::prelude::*;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

struct Served {
    dir: tempfile::TempDir,
    store: Manager,
    server: Server,
}

impl Served {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Manager::open(dir.path(), bop_storage::Options::new()).unwrap();
        store.create_database("orders", DbKind::Raw).unwrap();
        let server = Server::start(&store, Options::new()).unwrap();
        Self { dir, store, server }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("control/control.sock")
    }
}

/// Says that something was written.
struct Telling(mpsc::Sender<()>);

impl Write for Telling {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.0.send(());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn ask(store: &Path, request: &Request) -> Result<String, Failure> {
    let client = Client::connect(store)?.unwrap();
    let mut answer = Terminal::into(Vec::new());
    client.run(request, true, &mut answer)?;
    Ok(String::from_utf8(answer.into_output()?).unwrap())
}

/// Sends bytes and reads to the end, which must come.
fn throw(socket: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut client = UnixStream::connect(socket).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    // The server may have had enough before it has all.
    let _ = client.write_all(bytes);
    let _ = client.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match client.read_to_end(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("it keeps a client"),
        _ => answer,
    }
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 1).unwrap();
    [&length.to_le_bytes()[..], &[0], payload].concat()
}

/// Frames of a conversation, of which any may be wrong, cut off or something else.
fn conversations() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        r#"{"hello":{"protocol":2}}"#,
        r#"{"hello":{"protocol":7}}"#,
        r#"{"run":{"json":true,"progress":false,"request":"list"}}"#,
        r#"{"run":{"json":true,"progress":false,"request":{"drop":{"database":"orders","yes":false,"now":true}}}}"#,
        r#"{"answer":{"code":"usage","message":"no"}}"#,
        r#"{"sql":{"database":"orders","at":"lsn:x","create":true,"write":true}}"#,
        r#"{"piece":{"sql":"select 1","mode":"list","header":false}}"#,
        r#"{"hello":[[[[[[[["#,
    ];
    let frame = prop_oneof![
        6 => prop::sample::select(words.to_vec()).prop_map(|word| framed(word.as_bytes())),
        1 => prop::collection::vec(any::<u8>(), 0..64).prop_map(|bytes| framed(&bytes)),
        1 => prop::collection::vec(any::<u8>(), 0..64),
        1 => any::<u32>().prop_map(|length| length.to_le_bytes().to_vec()),
    ];
    let frames = prop::collection::vec(frame, 0..5).prop_map(|frames| frames.concat());
    (frames, any::<prop::sample::Index>()).prop_map(|(mut bytes, cut)| {
        if cut.index(3) == 0 {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        bytes
    })
}

#[test]
fn whatever_a_client_sends_it_is_let_go_and_the_others_are_answered() {
    let served = Served::new();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let ran = runner.run(&conversations(), |bytes| {
        throw(&served.socket(), &bytes);
        let answer = ask(served.dir.path(), &Request::List).unwrap();
        // It was asked to be dropped, and nobody confirmed that.
        prop_assert!(answer.contains("orders"), "{}", answer);
        Ok(())
    });
    ran.unwrap();
    served.server.stop();
    served.store.close(LONG).unwrap();
}

#[test]
fn a_version_that_is_not_spoken_is_named() {
    let served = Served::new();
    let answer = throw(&served.socket(), &framed(br#"{"hello":{"protocol":7}}"#));
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.contains("version 7") && answer.contains("\"control\""),
        "{answer}"
    );
}

#[test]
fn who_comes_when_there_are_many_is_told_so() {
    let served = Served::new();
    let connect = || Client::connect(served.dir.path());
    let many: Vec<Client> = (0..CLIENTS_MAX)
        .map(|_| connect().unwrap().unwrap())
        .collect();
    let refused = connect().unwrap_err();
    assert_eq!(refused.code, ErrorCode::Control);
    assert!(refused.message.contains("32 clients"), "{refused}");
    drop(many);
    // Their threads see that they are gone, and there is room again.
    let until = std::time::Instant::now() + LONG;
    while connect().is_err() {
        assert!(std::time::Instant::now() < until);
        std::thread::yield_now();
    }
}

#[test]
fn the_end_of_the_store_is_the_end_of_its_clients_and_of_its_socket() {
    let served = Served::new();
    let client = Client::connect(served.dir.path()).unwrap().unwrap();
    let (told, hears) = mpsc::channel();
    let follower = std::thread::spawn(move || {
        let feed = Feed {
            from: Some(1),
            cursor: None,
            follow: true,
        };
        let mut lines = Terminal::into(Telling(told));
        client.run(&Request::Changes(feed), true, &mut lines)
    });
    // It has heard of a change, and waits for more.
    served.store.checkpoint().unwrap();
    hears.recv_timeout(LONG).unwrap();
    let idle = Client::connect(served.dir.path()).unwrap().unwrap();
    served.store.close(LONG).unwrap();
    assert!(!served.socket().exists());
    assert!(follower.join().unwrap().is_err());
    let answer = idle.run(&Request::List, true, &mut Terminal::into(Vec::new()));
    assert!(answer.is_err());
    assert!(Client::connect(served.dir.path()).unwrap().is_none());
    drop(served.server);
}

#[test]
fn a_store_without_sql_says_so() {
    let served = Served::new();
    let client = Client::connect(served.dir.path()).unwrap().unwrap();
    let spec = bop_control::SqlSpec {
        database: "orders".to_owned(),
        at: None,
        create: false,
        write: false,
    };
    assert_eq!(client.sql(&spec).unwrap_err().code, ErrorCode::NotSupported);
    let deep = Request::Verify {
        deep: true,
        database: None,
    };
    let refused = ask(served.dir.path(), &deep).unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotSupported);
}

#[test]
fn a_store_has_one_server() {
    let served = Served::new();
    let second = Server::start(&served.store, Options::new()).unwrap_err();
    assert!(second.to_string().contains("server already"), "{second}");
    assert!(
        ask(served.dir.path(), &Request::List)
            .unwrap()
            .contains("orders")
    );
    // One after the other it may have as many as it likes.
    served.server.stop();
    let second = Server::start(&served.store, Options::new()).unwrap();
    assert!(
        ask(served.dir.path(), &Request::List)
            .unwrap()
            .contains("orders")
    );
    served.store.close(LONG).unwrap();
    drop(second);
    assert!(!served.dir.path().join("control/control.sock").exists());
}
