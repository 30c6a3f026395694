//! Who is asked, and what becomes of an answer that does not come.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::rig::{LONG, anew, connect, get, of, open, raw};
use bop_control::{CONTROL_DIR, Failure, Request, SOCKET, Server};
use bop_exporter::{CONNECTIONS_MAX, Exporter, Source, StoreSocket};
use bop_storage::manifest::MemoryManifest;
use bop_storage::testing::{Fault, SimDisk};
use bop_storage::{BackupOptions, Housekeeping, Manager};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

#[test]
fn an_application_that_starts_later_is_found_and_missed_again() {
    let dir = tempfile::tempdir().unwrap();
    let exporter = Exporter::start(StoreSocket::of(dir.path()), anew()).unwrap();
    let at = exporter.local_addr();
    let nobody = |path: &str| {
        let answer = get(at, path);
        assert_eq!(answer.status, 503, "{path}: {}", answer.body);
        answer.json()
    };
    assert!(get(at, "/metrics").body.ends_with("\nbop_up 0\n"));
    assert_eq!(nobody("/healthz")["reasons"][0]["reason"], "unreachable");
    assert_eq!(nobody("/readyz")["ready"], false);
    assert_eq!(nobody("/api/list")["error"]["code"], "control");

    // The exporter has no lock.
    let store = open(dir.path());
    let server = Server::start(&store, bop_control::Options::new()).unwrap();
    raw(&store, "orders");
    assert!(get(at, "/metrics").body.ends_with("\nbop_up 1\n"));
    assert_eq!(get(at, "/healthz").status, 200);
    assert_eq!(get(at, "/api/list").json()[0]["name"], "orders");

    server.stop();
    store.close(LONG).unwrap();
    assert!(get(at, "/metrics").body.ends_with("\nbop_up 0\n"));
    exporter.stop();
}

#[test]
fn an_owner_that_hangs_does_not_hang_the_exporter() {
    let dir = tempfile::tempdir().unwrap();
    let control = dir.path().join(CONTROL_DIR);
    std::fs::create_dir(&control).unwrap();
    // The kernel takes clients for him; he never does.
    let _owner = UnixListener::bind(control.join(SOCKET)).unwrap();
    let exporter = of(StoreSocket::of(dir.path()));
    let answer = get(exporter.local_addr(), "/healthz");
    assert_eq!(answer.status, 503);
    assert!(
        answer.body.contains("nothing came in time"),
        "{}",
        answer.body
    );
    assert!(
        get(exporter.local_addr(), "/metrics")
            .body
            .ends_with("bop_up 0\n")
    );
}

#[test]
fn the_exporter_ends_before_its_store_is_closed_and_keeps_it_open_until_then() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let exporter = Exporter::start(store.clone(), anew()).unwrap();
    let at = exporter.local_addr();
    assert_eq!(get(at, "/healthz").status, 200);
    store.close(LONG).unwrap();
    let until = Instant::now() + LONG;
    while std::net::TcpStream::connect(at).is_ok() {
        assert!(Instant::now() < until, "it still listens");
        std::thread::yield_now();
    }
    drop(exporter);
    drop(open(dir.path()));
}

/// A store that says what the test has it say: a line for each request, when it comes.
struct Scripted {
    asked: Arc<AtomicUsize>,
    lines: Mutex<Receiver<String>>,
}

impl Scripted {
    /// With what it is told the lines by.
    fn new() -> (Sender<String>, Self) {
        let (say, lines) = channel();
        let scripted = Self {
            asked: Arc::default(),
            lines: Mutex::new(lines),
        };
        (say, scripted)
    }
}

impl Source for Scripted {
    fn answer(&self, _: &Request, _: bool, _: Instant) -> Result<Vec<u8>, Failure> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        // Without a line it panics.
        Ok(self.lines.lock().unwrap().recv().unwrap().into_bytes())
    }
}

#[test]
fn many_who_ask_at_once_are_one_ask() {
    let (say, source) = Scripted::new();
    let asked = Arc::clone(&source.asked);
    let exporter = Exporter::start(source, anew().patience(LONG).fresh_for(LONG)).unwrap();
    let (at, all) = (exporter.local_addr(), Barrier::new(21));
    std::thread::scope(|scope| {
        let many = || {
            all.wait();
            get(at, "/metrics").body
        };
        let many: Vec<_> = (0..20).map(|_| scope.spawn(many)).collect();
        all.wait();
        say.send("told 7\n".to_owned()).unwrap();
        for one in many {
            assert!(one.join().unwrap().starts_with("told 7\n"));
        }
    });
    // And whoever comes soon after is told the same.
    assert!(get(at, "/metrics").body.starts_with("told 7\n"));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

/// The server's side of the connections to an address that it has accepted; of each, whether all that came has been read
/// (proc_net_tcp(5)).
fn accepted(at: SocketAddr) -> Vec<bool> {
    let (port, established, not_accepted) = (format!(":{:04X}", at.port()), "01", "0");
    let all = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let fields = all.lines().map(|line| line.split_whitespace().collect());
    fields
        .filter(|of: &Vec<&str>| {
            of[1].ends_with(&port) && of[3] == established && of[9] != not_accepted
        })
        .map(|of| of[4].ends_with(":00000000"))
        .collect()
}

#[test]
fn who_comes_while_all_are_being_answered_waits_for_a_place() {
    let (say, source) = Scripted::new();
    let exporter = Exporter::start(source, anew().patience(LONG).fresh_for(LONG)).unwrap();
    let at = exporter.local_addr();
    let ask = || {
        let mut client = connect(at);
        let request = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        client.write_all(request.as_bytes()).unwrap();
        client
    };
    let wait_until = |what: &str, holds: &dyn Fn(Vec<bool>) -> bool| {
        let until = Instant::now() + LONG;
        while !holds(accepted(at)) {
            assert!(Instant::now() < until, "{what}: {:?}", accepted(at));
            std::thread::yield_now();
        }
    };
    let mut all: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| ask()).collect();
    // The thread that has read a request does not accept anybody before it asks for the answer.
    wait_until("not all are being answered", &|of| {
        of.iter().filter(|is_read| **is_read).count() == CONNECTIONS_MAX
    });
    all.push(ask());
    wait_until("the last is turned away", &|of| of.len() == all.len());
    say.send("told 7\n".to_owned()).unwrap();
    for client in &mut all {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("bop_up 1\n"), "{answer}");
    }
}

#[test]
fn a_store_that_hangs_is_given_up_and_the_end_does_not_wait_for_it() {
    let (_say, source) = Scripted::new();
    let exporter = of(source);
    let answer = get(exporter.local_addr(), "/api/status");
    assert_eq!(answer.status, 503);
    assert!(
        answer.body.contains("did not answer within 0.2 s"),
        "{}",
        answer.body
    );
    // Now it is known that it does, and nobody waits.
    let begun = Instant::now();
    assert_eq!(get(exporter.local_addr(), "/healthz").status, 503);
    assert!(
        begun.elapsed() < Duration::from_millis(500),
        "{:?}",
        begun.elapsed()
    );
    exporter.stop();
    assert!(begun.elapsed() < LONG / 3, "{:?}", begun.elapsed());
}

#[test]
fn a_directory_of_backups_that_hangs_keeps_no_judgement_from_who_asks() {
    let disk = SimDisk::new(1);
    let options = bop_storage::Options::new()
        .housekeeping(Housekeeping::Manual)
        .disk(Arc::new(disk.clone()), Arc::new(MemoryManifest::new()));
    let store = Manager::open("simulated", options).unwrap();
    raw(&store, "orders");
    let kept = tempfile::tempdir().unwrap();
    let made = store.backup(kept.path(), &BackupOptions::new(), &mut |_| ());
    made.unwrap();
    let exporter = Exporter::start(store.clone(), anew()).unwrap();
    let at = exporter.local_addr();
    disk.fail_read_at(disk.read_count(), Fault::Hang);
    let status = get(at, "/api/status");
    disk.wait_until_hung(1);
    assert_eq!(status.status, 200, "{}", status.body);
    let doubt = status.json()["backup"]["error"].to_string();
    assert!(doubt.contains("no answer for"), "{doubt}");
    for path in ["/healthz", "/readyz", "/api/status"] {
        let answer = get(at, path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    }
    disk.release_hung();
    let until = Instant::now() + LONG;
    while get(at, "/api/status").json()["backup"]["newest"]["backup"] != 1 {
        assert!(Instant::now() < until, "it is not found");
        std::thread::yield_now();
    }
}

#[test]
fn a_store_that_panics_is_a_store_that_does_not_answer() {
    let (say, source) = Scripted::new();
    let exporter = of(source);
    drop(say);
    for _ in 0..5 {
        let answer = get(exporter.local_addr(), "/api/status");
        assert_eq!(answer.status, 503);
        assert!(answer.body.contains("panicked"), "{}", answer.body);
    }
}

#[test]
fn health_is_the_judgement_of_the_store_and_readiness_is_whether_it_takes_commits() {
    let (say, source) = Scripted::new();
    let exporter = of(source);
    let judged = |told: &str, path: &str| {
        say.send(told.to_owned()).unwrap();
        let answer = get(exporter.local_addr(), path);
        (answer.status, answer.json())
    };
    let damaged = r#"{"healthy":false,"ready":true,"reasons":[{"reason":"damaged"}]}"#;
    let (status, health) = judged(damaged, "/healthz");
    assert_eq!(
        (status, &health["reasons"][0]["reason"]),
        (503, &"damaged".into())
    );
    assert_eq!(judged(damaged, "/readyz").0, 200);
    let poisoned = r#"{"healthy":false,"ready":false,"reasons":[{"reason":"poisoned"}]}"#;
    assert_eq!(judged(poisoned, "/readyz").0, 503);
    // What an owner of another version may say.
    for strange in ["{}", "[]", "", r#"{"ready":"yes"}"#] {
        let (status, ready) = judged(strange, "/readyz");
        assert_eq!((status, &ready["ready"]), (503, &false.into()), "{strange}");
    }
}
