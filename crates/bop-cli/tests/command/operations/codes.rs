//! Each error code has an entry in the document that people look it up in, and no other has.

use super::document::text_of;
use std::collections::BTreeSet;

/// The codes of a table, which stand in its first column.
fn of_table(text: &str) -> Vec<String> {
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `"));
    cells
        .map(|cell| cell.split('`').next().unwrap().to_owned())
        .collect()
}

/// The codes of headings, as in "### `busy`" and "### `a`, `b`".
fn of_headings(text: &str) -> Vec<String> {
    let headings = text.lines().filter_map(|line| line.strip_prefix("### `"));
    headings
        .flat_map(|heading| heading.trim_end_matches('`').split("`, `"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_error_code_says_what_to_type() {
    let codes: BTreeSet<String> = of_table(&text_of("errors.md")).into_iter().collect();
    assert!(codes.len() > 40, "{codes:?}");
    let entries = of_headings(&text_of("operations/troubleshooting.md"));
    let known: BTreeSet<String> = entries.iter().cloned().collect();
    assert_eq!(
        known.len(),
        entries.len(),
        "a code has two entries: {entries:?}"
    );
    assert_eq!(known, codes);
}

/// The alerts of a rule file: `- alert: NAME`.
fn alerts(rules: &str) -> BTreeSet<String> {
    let lines = rules.lines().map(str::trim_start);
    let names = lines.filter_map(|line| line.strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

#[test]
fn each_alert_has_its_section_in_the_runbook() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ops/alerts.yml");
    let Ok(rules) = std::fs::read_to_string(path) else {
        let required = std::env::var_os("BOP_REQUIRE_OPS").is_some_and(|value| value == "1");
        assert!(!required, "{path} is missing");
        eprintln!("SKIPPED: {path} is missing");
        return;
    };
    let rules = alerts(&rules);
    assert!(rules.len() > 15, "{rules:?}");
    let runbook = text_of("operations/runbook.md");
    let sections = runbook.lines().filter_map(|line| line.strip_prefix("## "));
    assert_eq!(sections.map(str::to_owned).collect::<BTreeSet<_>>(), rules);
}
