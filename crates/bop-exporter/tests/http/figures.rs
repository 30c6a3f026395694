//! That the page shows what the command line says, figure for figure.
//!
//! A figure that the store tells as a number has it on the page as told, beside what is shown of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::browser::Browser;
use crate::rig::Rig;
use bop_control::Request;
use serde_json::Value;
use std::collections::BTreeMap;

/// Figures of `bop status`.
const STATUS: [&str; 10] = [
    "path",
    "published",
    "checkpointed",
    "truncated",
    "lag_bytes",
    "lag_commits",
    "lag_us",
    "log_bytes",
    "last_checkpoint_us",
    "readers",
];

/// Latencies of `bop stats`.
const LATENCIES: [&str; 5] = [
    "bop_commit_seconds",
    "bop_log_write_seconds",
    "bop_log_flush_seconds",
    "bop_sync_seconds",
    "bop_checkpoint_seconds",
];

/// Rows of those who hold most.
const HOLDERS_MAX: usize = 12;

/// What the page has as the value of a figure.
fn shown(browser: &mut Browser, figure: &str) -> String {
    let expression = format!("document.querySelector('[data-figure=\"{figure}\"]').dataset.value");
    browser.value(&expression).as_str().unwrap().to_owned()
}

fn json(rig: &Rig, request: &Request) -> Value {
    serde_json::from_str(&rig.printed(request)).unwrap()
}

/// Compares all, when nothing changes any more.
pub(crate) fn check(browser: &mut Browser, rig: &Rig) {
    // The page has what was asked from now on.
    let answers = "document.body.dataset.answers";
    let before = browser.value(&format!("Number({answers})"));
    let before = before.as_u64().unwrap();
    browser.wait_for(&format!("{answers} >= {}", before + 2));
    check_status(browser, rig);
    check_latencies(browser, rig);
    let lists = browser.value("Number(document.body.dataset.lists)");
    browser.wait_for(&format!("document.body.dataset.lists > {lists}"));
    let space = json(rig, &Request::Space { database: None });
    check_space(browser, &space);
    check_sizes(browser, &json(rig, &Request::List), &space);
}

fn check_status(browser: &mut Browser, rig: &Rig) {
    let status = json(
        rig,
        &Request::Status {
            every_ms: None,
            redraw: false,
        },
    );
    for name in STATUS {
        let told = &status[name];
        let told = told
            .as_str()
            .map_or_else(|| told.to_string(), str::to_owned);
        assert_eq!(shown(browser, name), told, "{name}");
    }
    assert_ne!(status["last_checkpoint_us"], Value::Null);
    assert_eq!(status["oldest_reader"], Value::Null);
    assert_eq!(shown(browser, "oldest_reader"), "null");
    let newest = &status["backup"]["newest"]["backup"];
    assert_eq!(
        (shown(browser, "backup"), newest),
        ("1".to_owned(), &1.into())
    );
    assert_eq!(status["healthy"], true);
    let health = "[document.getElementById('health').textContent, document.getElementById('health').dataset.level, \
                  document.getElementById('reasons-card').hidden]";
    let told = match status["reasons"].as_array().unwrap().is_empty() {
        true => serde_json::json!(["healthy", "good", true]),
        false => serde_json::json!(["ok, with warnings", "warning", false]),
    };
    assert_eq!(browser.value(health), told);
}

fn check_latencies(browser: &mut Browser, rig: &Rig) {
    let metrics = &json(rig, &Request::Stats)["metrics"];
    assert_eq!(
        shown(browser, "commits"),
        metrics["bop_log_commits_total"].to_string()
    );
    for name in LATENCIES {
        for part in ["p50", "p95", "p99"] {
            let (told, own) = (
                shown(browser, &format!("{name}.{part}")),
                &metrics[name][part],
            );
            let is_told = match own.as_f64() {
                Some(own) => (told.parse::<f64>().unwrap() - own).abs() < 1e-12,
                None => told == "null",
            };
            assert!(is_told, "{name} {part}: {told} and {own}");
        }
    }
    assert_ne!(metrics["bop_commit_seconds"]["p99"], Value::Null);
}

fn check_space(browser: &mut Browser, space: &Value) {
    let parts = [
        "live_bytes",
        "dead_bytes",
        "log_bytes",
        "reserve_bytes",
        "manifest_bytes",
    ];
    let total: u64 = parts.iter().map(|part| space[part].as_u64().unwrap()).sum();
    assert_eq!(shown(browser, "total_bytes"), total.to_string());
    let mut held: Vec<(u64, String)> = space["databases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (in_chunks(one), one["name"].as_str().unwrap().to_owned()))
        .filter(|(bytes, _)| 0 < *bytes)
        .collect();
    held.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let rows = browser.value(
        "[...document.querySelectorAll('#holders li')].map((row) => \
         [Number(row.querySelector('b').dataset.value), row.querySelector('bdi').textContent])",
    );
    let rows: Vec<(u64, String)> = serde_json::from_value(rows).unwrap();
    assert_eq!(rows.len(), held.len().min(HOLDERS_MAX));
    // Of those that hold as much, any may be left out.
    let sizes = |rows: &[(u64, String)]| rows.iter().map(|(bytes, _)| *bytes).collect::<Vec<_>>();
    assert_eq!(sizes(&rows), sizes(&held[..rows.len()]));
    assert!(rows.iter().all(|row| held.contains(row)), "{rows:?}");
}

fn in_chunks(one: &Value) -> u64 {
    let parts = ["newest_bytes", "past_bytes", "forks_bytes"];
    parts.iter().map(|part| one[part].as_u64().unwrap()).sum()
}

/// Each row of the tree: its database's size, and what it has in chunks.
fn check_sizes(browser: &mut Browser, list: &Value, space: &Value) {
    let list = list.as_array().unwrap();
    assert_eq!(shown(browser, "databases"), list.len().to_string());
    let chunks: BTreeMap<u64, u64> = space["databases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["id"].as_u64().unwrap(), in_chunks(one)))
        .collect();
    let told: BTreeMap<u64, (u64, u64)> = list
        .iter()
        .map(|one| {
            let id = one["id"].as_u64().unwrap();
            (id, (one["bytes"].as_u64().unwrap(), chunks[&id]))
        })
        .collect();
    let rows = browser.value(
        "[...document.querySelectorAll('[role=treeitem]')].map((row) => [Number(row.dataset.id), \
         ...[...row.querySelectorAll('[data-value]')].map((cell) => Number(cell.dataset.value))])",
    );
    let rows: Vec<(u64, u64, u64)> = serde_json::from_value(rows).unwrap();
    assert!(100 < rows.len());
    for (id, bytes, in_chunks) in rows {
        assert_eq!((bytes, in_chunks), told[&id], "{id}");
    }
}
