//! The commands that the alerts of `ops/alerts.yml` name.

use super::stages;
use std::collections::BTreeSet;

/// What they name beside `bop`.
const OTHERS: [&str; 5] = ["df", "dmesg", "iostat", "ls", "ulimit"];

#[test]
fn the_command_of_each_alert_is_one_that_can_be_typed() {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ops/alerts.yml");
    let rules = std::fs::read_to_string(rules).unwrap();
    let lines = rules.lines().map(str::trim);
    let named = lines.filter_map(|line| line.strip_prefix("command: \"")?.strip_suffix('"'));
    let commands: BTreeSet<&str> = named.flat_map(|line| line.split("; ")).collect();
    assert!(10 < commands.len(), "{commands:?}");
    let stage = stages::backed_up();
    let backups = stage.backups();
    for command in commands {
        let words: Vec<&str> = command.split(' ').collect();
        let (program, arguments) = words.split_first().unwrap();
        if *program != "bop" {
            assert!(OTHERS.contains(program), "{command}");
            continue;
        }
        let placed = arguments.iter().map(|word| match *word {
            "DB" => "orders",
            "DIR" => backups.to_str().unwrap(),
            word => word,
        });
        // Nothing is wrong here, so each of them ends well.
        stage.bop(&placed.collect::<Vec<_>>());
    }
}
