//! A store, an exporter, and a client that speaks as little HTTP as it can.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bop_control::{Call, Request, Terminal};
use bop_exporter::{Exporter, Options, Source};
use bop_storage::{Db, DbKind, Manager, PageNo};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Any port that is free, and answers that are never given again.
pub(crate) fn anew() -> Options {
    Options::new()
        .listen(([127, 0, 0, 1], 0).into())
        .fresh_for(Duration::ZERO)
}

/// What an exporter answered.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answered {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    client.set_write_timeout(Some(LONG)).unwrap();
    client
}

/// Sends a request as it is and reads to the end.
pub(crate) fn send(address: SocketAddr, request: &str) -> Answered {
    let mut client = connect(address);
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap();
    Answered {
        status: status.parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Answered {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    send(address, &request)
}

/// A store that this process has open, and its exporter.
pub(crate) struct Rig {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Manager,
    pub(crate) exporter: Exporter,
}

impl Rig {
    pub(crate) fn new() -> Self {
        // The page shows the path, and pictures are made of it.
        let dir = tempfile::Builder::new().prefix("shop-").tempdir().unwrap();
        let store = open(dir.path());
        let exporter = Exporter::start(store.clone(), anew()).unwrap();
        Self {
            dir,
            store,
            exporter,
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answered {
        get(self.exporter.local_addr(), path)
    }

    /// What `bop ... --json` prints for a request.
    pub(crate) fn printed(&self, request: &Request) -> String {
        let mut printed = Terminal::into(Vec::new());
        bop_control::run(Call::new(&self.store, None, true, &mut printed), request).unwrap();
        String::from_utf8(printed.into_output().unwrap()).unwrap()
    }
}

pub(crate) fn open(dir: &Path) -> Manager {
    Manager::open(dir, bop_storage::Options::new()).unwrap()
}

pub(crate) fn raw(store: &Manager, name: &str) -> Db {
    let db = store.create_database(name, DbKind::Raw).unwrap();
    commit(&db, 1);
    db
}

/// One page, which has `byte` in it.
pub(crate) fn commit(db: &Db, byte: u8) {
    let mut write = db.begin_write(LONG).unwrap();
    write
        .write_page(PageNo::new(1).unwrap(), &[byte; 4096])
        .unwrap();
    write.commit().unwrap();
}

/// An exporter of a source of the test's own.
pub(crate) fn of(source: impl Source) -> Exporter {
    let options = anew().patience(Duration::from_millis(200));
    Exporter::start(source, options).unwrap()
}
