//! What is answered at which path.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::rig::{Rig, commit, get, raw, send};
use bop_control::Request;

#[test]
fn the_api_says_byte_for_byte_what_the_command_line_prints() {
    let rig = Rig::new();
    raw(&rig.store, "orders");
    rig.store
        .snapshot_database("orders", "before", &"now".parse().unwrap())
        .unwrap();
    rig.store
        .fork_database("orders", "trial", &"now".parse().unwrap())
        .unwrap();
    rig.store.checkpoint().unwrap();
    let space = Request::Space { database: None };
    for (path, request) in [("/api/list", Request::List), ("/api/space", space)] {
        let answer = rig.get(path);
        assert_eq!(answer.status, 200);
        assert!(
            answer.head.contains("content-type: application/json"),
            "{}",
            answer.head
        );
        assert_eq!(answer.body, rig.printed(&request), "{path}");
    }
    assert_eq!(rig.get("/api/list").json()[1]["fork_of"]["name"], "orders");
    assert_eq!(rig.get("/api/status").json()["databases"], 2);
    assert_eq!(rig.get("/api/stats").json()["metrics"]["bop_databases"], 2);
}

#[test]
fn a_scrape_has_every_metric_of_the_store_and_that_it_is_up() {
    let rig = Rig::new();
    commit(&raw(&rig.store, "orders"), 2);
    let answer = rig.get("/metrics");
    assert_eq!(answer.status, 200);
    assert!(
        answer.head.contains("text/plain; version=0.0.4"),
        "{}",
        answer.head
    );
    let types = |text: &str| -> Vec<String> {
        let types = text.lines().filter(|line| line.starts_with("# TYPE"));
        types.map(str::to_owned).collect()
    };
    let mut wanted = types(&rig.store.metrics_text());
    wanted.push("# TYPE bop_up gauge".to_owned());
    assert_eq!(types(&answer.body), wanted);
    assert!(
        answer.body.contains("\nbop_databases 1\n"),
        "{}",
        answer.body
    );
    assert!(answer.body.ends_with("\nbop_up 1\n"), "{}", answer.body);
}

#[test]
fn a_store_that_is_well_is_healthy_and_ready() {
    let rig = Rig::new();
    let (health, ready) = (rig.get("/healthz"), rig.get("/readyz"));
    assert_eq!((health.status, ready.status), (200, 200));
    assert_eq!(health.body, "{\"healthy\":true,\"reasons\":[]}\n");
    assert_eq!(ready.body, "{\"ready\":true,\"reasons\":[]}\n");
}

#[test]
fn a_query_changes_nothing_and_what_is_not_there_is_answered_with_what_is() {
    let rig = Rig::new();
    assert_eq!(rig.get("/healthz?verbose=1").status, 200);
    for path in [
        "/api",
        "/metrics/",
        "/../etc/passwd",
        "/favicon.ico",
        "/%2e",
    ] {
        let answer = rig.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(
            answer.body.contains("/metrics, /healthz"),
            "{}",
            answer.body
        );
    }
}

#[test]
fn nothing_but_reading_is_taken() {
    let rig = Rig::new();
    let address = rig.exporter.local_addr();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        let request =
            format!("{method} /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let answer = send(address, &request);
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
    }
    let head = "HEAD /api/list HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = send(address, head);
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert!(answer.head.contains("content-length: 3"), "{}", answer.head);
}

#[test]
fn a_page_of_elsewhere_that_has_this_machine_for_its_own_is_refused() {
    let rig = Rig::new();
    let address = rig.exporter.local_addr();
    let of_host = |host: &str| {
        send(
            address,
            &format!("GET /api/list HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"),
        )
    };
    assert_eq!(of_host("evil.example").status, 421);
    assert_eq!(of_host("evil.example:9497").status, 421);
    assert_eq!(of_host(&address.to_string()).status, 200);
    assert_eq!(of_host("localhost:1").status, 200);
    assert_eq!(send(address, "GET /healthz HTTP/1.0\r\n\r\n").status, 200);
}

#[test]
fn no_answer_may_be_kept_framed_or_taken_for_something_else() {
    let rig = Rig::new();
    for path in ["/", "/metrics", "/api/list", "/nothing"] {
        let head = get(rig.exporter.local_addr(), path).head;
        for line in [
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            "frame-ancestors 'none'",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(head.contains(line), "{path}: {head}");
        }
        assert!(!head.contains("access-control"), "{head}");
    }
}
