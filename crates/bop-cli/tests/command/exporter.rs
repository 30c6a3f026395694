//! `bop exporter` beside a process that has the store open, and beside none.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::control::Owner;
use crate::store::Store;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

/// A running exporter, ended when dropped.
struct Exporter {
    child: Child,
    address: String,
}

impl Exporter {
    fn of(store: &Store) -> Self {
        let mut command = store.command(&["exporter", "--listen", "127.0.0.1:0", "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let told: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = told["listening"].as_str().unwrap().to_owned();
        Self { child, address }
    }

    /// The status and the body of what is at a path.
    fn get(&self, path: &str) -> (u16, String) {
        let mut client = TcpStream::connect(&self.address).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        write!(
            client,
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (
            head.split(' ').nth(1).unwrap().parse().unwrap(),
            body.to_owned(),
        )
    }

    /// Asks until the answer is another one than that of half a second ago.
    fn wait_until_up(&self, up: &str) -> String {
        let until = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            let (status, body) = self.get("/metrics");
            assert_eq!(status, 200);
            if body.ends_with(&format!("\nbop_up {up}\n")) {
                return body;
            }
            assert!(std::time::Instant::now() < until, "{body}");
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // It ends in no other way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_finds_who_has_the_store_open_and_says_what_the_command_line_says() {
    let store = Store::new();
    let exporter = Exporter::of(&store);
    exporter.wait_until_up("0");
    assert_eq!(exporter.get("/healthz").0, 503);

    // It has no lock, and made no store.
    assert!(!store.store().exists());
    let owner = Owner::of(&store, &[]);
    store.ok(&[
        "sql",
        "d",
        "--write",
        "create table t(x); insert into t values (1)",
    ]);
    store.ok(&["fork", "d", "e"]);
    store.ok(&["checkpoint"]);
    let metrics = exporter.wait_until_up("1");
    assert!(metrics.contains("\nbop_databases 2\n"), "{metrics}");
    assert_eq!(exporter.get("/healthz").0, 200);
    assert_eq!(exporter.get("/readyz").0, 200);
    assert_eq!(exporter.get("/api/list").1, store.ok(&["--json", "list"]));
    assert_eq!(exporter.get("/api/space").1, store.ok(&["--json", "space"]));
    let (status, page) = exporter.get("/");
    assert!(status == 200 && page.contains("<title>bop</title>"));

    owner.end();
    exporter.wait_until_up("0");
    // The store is free for whoever needs it alone.
    store.ok(&["sql", "d", "select count(*) from t"]);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let store = Store::new();
    let first = Exporter::of(&store);
    let refused = store.fails(1, &["exporter", "--listen", &first.address]);
    assert!(
        refused.contains(&first.address) && refused.contains("port 0"),
        "{refused}"
    );
    let nonsense = store.fails(2, &["exporter", "--listen", "9497"]);
    assert!(nonsense.contains("--listen"), "{nonsense}");
}
