//! The files of `ops/` by themselves.

use crate::{is_installed, repository};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

fn text(name: &str) -> String {
    fs::read_to_string(repository(name)).unwrap()
}

/// The alerts of `ops/alerts.yml`, in its order.
pub(crate) fn alert_names() -> Vec<String> {
    let rules = text("ops/alerts.yml");
    let names = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

/// What is measured, by name: the table of `docs/metrics.md`, and what the exporter adds.
fn documented() -> BTreeSet<String> {
    let table = text("docs/metrics.md");
    let names = table.lines().filter_map(|line| {
        let (name, _) = line.strip_prefix("| `")?.split_once('`')?;
        Some(name.split('{').next().unwrap_or(name).to_owned())
    });
    names.chain(["bop_up".to_owned()]).collect()
}

/// Every word of a text that begins as a metric does.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("bop_") || word.starts_with("process_"))
        .collect()
}

/// The dashboard, and its panels but for the rows.
fn dashboard() -> (Value, Vec<Value>) {
    let board: Value = serde_json::from_str(&text("ops/grafana.json")).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let shown = panels.iter().filter(|panel| panel["type"] != "row");
    let shown = shown.cloned().collect();
    (board, shown)
}

fn promtool(arguments: &[&str], file: &Path) {
    let output = Command::new("promtool")
        .args(arguments)
        .arg(file)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{arguments:?}: {said}");
}

#[test]
fn rules_and_dashboard_speak_of_metrics_that_there_are() {
    let documented = documented();
    for file in ["ops/alerts.yml", "ops/alerts_test.yml", "ops/grafana.json"] {
        let text = text(file);
        let found = metrics_in(&text);
        assert!(20 < found.len(), "{file}: {found:?}");
        for name in found {
            // The two counts of a summary.
            let of_summary = ["_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end));
            let is_known = documented.contains(name)
                || of_summary.is_some_and(|name| documented.contains(name));
            assert!(is_known, "{file} has {name}, docs/metrics.md has not");
        }
    }
}

#[test]
fn each_alert_says_what_is_the_case_and_what_to_do() {
    let rules = text("ops/alerts.yml");
    let names = alert_names();
    let unique: BTreeSet<&String> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
    let each: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    for (name, rule) in names.iter().zip(each) {
        for key in [
            "expr:",
            "labels: {severity: ",
            "summary: \"",
            "description: \"",
            "command: \"",
        ] {
            let found = rule.matches(key).count();
            assert_eq!(found, 1, "{name} and {key}");
        }
        let anchor = name.to_ascii_lowercase();
        let page = format!("runbook_url: \"docs/operations/runbook.md#{anchor}\"");
        assert!(rule.contains(&page), "{name}");
    }
}

#[test]
fn each_alert_has_a_unit_test_in_which_it_fires_and_one_in_which_it_is_silent() {
    let tests = text("ops/alerts_test.yml");
    let checks: Vec<&str> = tests.split("alertname: ").skip(1).collect();
    for name in alert_names() {
        let of_name = checks
            .iter()
            .filter(|check| check.lines().next() == Some(&name));
        let (silent, firing): (Vec<&str>, Vec<&str>) =
            of_name.partition(|check| check.lines().nth(1).unwrap().ends_with("exp_alerts: []"));
        assert!(!firing.is_empty() && 1 < silent.len(), "{name}");
    }
}

#[test]
fn promtool_takes_the_rules_and_their_unit_tests_hold() {
    if is_installed("promtool") {
        promtool(&["check", "rules"], &repository("ops/alerts.yml"));
        promtool(&["test", "rules"], &repository("ops/alerts_test.yml"));
    }
}

#[test]
fn the_dashboard_is_what_grafana_takes() {
    let (board, panels) = dashboard();
    for (key, is_wanted) in [
        ("title", board["title"] == "bop"),
        ("uid", board["uid"].is_string()),
        (
            "schemaVersion",
            36 <= board["schemaVersion"].as_u64().unwrap(),
        ),
        ("time", board["time"]["from"].is_string()),
    ] {
        assert!(is_wanted, "{key}");
    }
    let variables = board["templating"]["list"].as_array().unwrap();
    let named: Vec<_> = variables
        .iter()
        .map(|one| (&one["name"], &one["type"]))
        .collect();
    let wanted = [("datasource", "datasource"), ("instance", "query")];
    let wanted = wanted.map(|(name, kind)| (Value::from(name), Value::from(kind)));
    assert_eq!(named, wanted.each_ref().map(|(name, kind)| (name, kind)));

    let all = board["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = all
        .iter()
        .map(|panel| panel["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len(), all.len(), "an id is there twice");
    let mut below = 0;
    for panel in all {
        let place = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        let [x, y, w, h] = place;
        assert!(below <= y + h && x + w <= 24 && 0 < w * h, "{panel}");
        below = below.max(y);
    }
    for panel in &panels {
        let title = panel["title"].as_str().unwrap();
        assert!(
            !panel["description"].as_str().unwrap().is_empty(),
            "{title}"
        );
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            assert!(
                target["expr"].as_str().unwrap().contains("$instance"),
                "{title}"
            );
        }
    }
}

#[test]
fn every_expression_of_the_dashboard_parses() {
    if !is_installed("promtool") {
        return;
    }
    let mut rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    let mut count = 0;
    for panel in dashboard().1 {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let expression = expression.replace("$__rate_interval", "5m");
            // A string of JSON is one of YAML.
            let expression = Value::from(expression);
            writeln!(rules, "  - record: panel:{count}\n    expr: {expression}").unwrap();
            count += 1;
        }
    }
    assert!(50 < count, "{count}");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dashboard.yml");
    fs::write(&file, rules).unwrap();
    promtool(&["check", "rules"], &file);
}
