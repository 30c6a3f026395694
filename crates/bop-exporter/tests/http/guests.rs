//! What no client can do to the others.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::rig::{LONG, Rig, connect, get, raw};
use bop_exporter::CONNECTIONS_MAX;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

/// Whether the exporter has closed this connection; waits for that.
fn is_closed(mut client: &TcpStream) -> bool {
    matches!(client.read(&mut [0; 1]), Ok(0) | Err(_))
}

#[test]
fn clients_that_say_nothing_or_half_a_request_keep_nobody_out() {
    let rig = Rig::new();
    let at = rig.exporter.local_addr();
    let silent: Vec<TcpStream> = (0..CONNECTIONS_MAX + 20)
        .map(|number| {
            let mut client = connect(at);
            let half: &[u8] = match number % 3 {
                0 => b"",
                1 => b"GET /metr",
                _ => b"GET /metrics HTTP/1.1\r\nhost: loc",
            };
            client.write_all(half).unwrap();
            client
        })
        .collect();
    for _ in 0..5 {
        assert_eq!(get(at, "/healthz").status, 200);
    }
    // The oldest gave way: there are never more than the bound.
    for client in silent.iter().take(20) {
        assert!(is_closed(client));
    }
}

#[test]
fn a_client_that_takes_nothing_keeps_nobody_out() {
    let rig = Rig::new();
    for number in 0..200 {
        raw(&rig.store, &format!("{number:0>200}"));
    }
    let at = rig.exporter.local_addr();
    let slow: Vec<TcpStream> = (0..CONNECTIONS_MAX)
        .map(|_| {
            let mut client = connect(at);
            // More answers than fit what the kernel keeps for it.
            let many = "GET /api/list HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(50);
            client.write_all(many.as_bytes()).unwrap();
            client
        })
        .collect();
    assert_eq!(get(at, "/healthz").status, 200);
    drop(slow);
    assert_eq!(get(at, "/healthz").status, 200);
}

#[test]
fn what_is_no_request_ends_its_connection_alone() {
    let rig = Rig::new();
    let at = rig.exporter.local_addr();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(64 * 1024));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5000));
    let hostile: [&[u8]; 8] = [
        b"\0\0\0\0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET  / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\nhost: localhost\r\n\r\nffffffffffffffff1\r\n",
        long.as_bytes(),
        many.as_bytes(),
    ];
    for bytes in hostile {
        let mut client = connect(at);
        // It may have had enough before it has all.
        let _ = client.write_all(bytes);
        let _ = client.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        assert_eq!(get(at, "/healthz").status, 200);
    }
    let refused = |request: &[u8]| {
        let mut client = connect(at);
        client.write_all(request).unwrap();
        let mut head = [0; 12];
        client.read_exact(&mut head).unwrap();
        String::from_utf8_lossy(&head).into_owned()
    };
    let large = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "a".repeat(20 * 1024));
    assert_eq!(refused(large.as_bytes()), "HTTP/1.1 431");
}

#[test]
fn a_connection_is_kept_between_requests() {
    let rig = Rig::new();
    let mut client = connect(rig.exporter.local_addr());
    for _ in 0..3 {
        client
            .write_all(b"HEAD /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
}

#[test]
fn the_end_does_not_wait_for_who_is_silent() {
    let rig = Rig::new();
    let silent = connect(rig.exporter.local_addr());
    (&silent).write_all(b"GET /he").unwrap();
    let begun = std::time::Instant::now();
    rig.exporter.stop();
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    assert!(is_closed(&silent));
}

#[test]
fn who_is_silent_or_sends_a_byte_now_and_then_is_let_go_after_a_while() {
    let rig = Rig::new();
    let at = rig.exporter.local_addr();
    let (silent, idle, mut slow) = (connect(at), connect(at), connect(at));
    (&idle)
        .write_all(b"HEAD /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let begun = std::time::Instant::now();
    // It has its answer at most, and then nothing more is listened to.
    while slow.write_all(b"a: b\r\n").is_ok() {
        assert!(begun.elapsed() < LONG, "it is still listened to");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(is_closed(&silent));
    let mut answer = Vec::new();
    (&idle).read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}
