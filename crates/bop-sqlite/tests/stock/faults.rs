//! The kernel kills the process, or refuses what it asks for, at every step of commits over two databases:
//! both or neither, and whoever lives on can go on.

use crate::run::{Place, has, python, script, written};
use bop_storage::{Manager, Options};
use std::collections::BTreeSet;
use std::process::{Command, Output};

const TRANSFERS: &str = "transfers.py";

/// Runs a command of the script, under `strace` if it is given arguments.
fn transfers(place: &Place, python: &str, arguments: &[&str], inject: Option<&str>) -> Output {
    let mut command = match inject {
        None => Command::new(python),
        Some(inject) => {
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-o", "/dev/null", "-e", inject, python]);
            strace
        }
    };
    // One kind of write, and one call for each.
    command.env("BOP_IO", "std");
    let command = place.tell(&mut command).arg(script(TRANSFERS));
    command.args(arguments).output().unwrap()
}

/// The numbers behind `word` in what a run said.
fn numbers(said: &str, word: &str) -> BTreeSet<u32> {
    let lines = said.lines().filter_map(|line| line.strip_prefix(word));
    lines
        .filter_map(|rest| rest.split_whitespace().next()?.parse().ok())
        .collect()
}

/// Checks that the store is sound, and that it has what `acknowledged` said.
fn check(place: &Place, python: &str, acknowledged: &str) {
    let found = written(&transfers(place, python, &["check"], None));
    for (said, kept) in [("done ", "moved "), ("alone ", "alone ")] {
        let list = found.lines().find_map(|line| line.strip_prefix(kept));
        let list: BTreeSet<u32> = list
            .unwrap()
            .split(',')
            .filter_map(|n| n.trim().parse().ok())
            .collect();
        let said = numbers(acknowledged, said);
        assert!(said.is_subset(&list), "{acknowledged}: {kept}{list:?}");
    }
}

fn ready() -> Option<&'static str> {
    has("strace", &["-V"]).then(python).flatten()
}

#[test]
fn killed_at_every_write_and_sync_of_a_commit_both_have_it_or_neither() {
    let Some(python) = ready() else {
        return;
    };
    for call in ["pwrite64", "fdatasync"] {
        let place = Place::new();
        written(&transfers(&place, python, &["setup"], None));
        let (mut acknowledged, mut killed) = (String::new(), 0);
        for nth in 1..=12 {
            let inject = format!("inject={call}:signal=KILL:when={nth}");
            let run = transfers(&place, python, &["run", "4"], Some(&inject));
            let said = String::from_utf8_lossy(&run.stdout);
            killed += u32::from(!said.contains("end"));
            acknowledged.push_str(&format!("{inject}\n{said}"));
            check(&place, python, &acknowledged);
        }
        assert!(killed >= 6, "{call}: {killed} of 12 runs were killed");
    }
}

#[test]
fn refused_at_every_write_and_sync_of_a_commit_nothing_is_half_done_and_reading_goes_on() {
    let Some(python) = ready() else {
        return;
    };
    let mut failures = 0;
    for (call, errno) in [
        ("pwrite64", "ENOSPC"),
        ("pwrite64", "EIO"),
        ("fdatasync", "EIO"),
    ] {
        for nth in 1..=8 {
            let place = Place::new();
            written(&transfers(&place, python, &["setup"], None));
            let inject = format!("inject={call}:error={errno}:when={nth}+");
            let run = transfers(&place, python, &["run", "4"], Some(&inject));
            let said = String::from_utf8_lossy(&run.stdout).into_owned();
            let complaint = String::from_utf8_lossy(&run.stderr).into_owned();
            // A store that cannot be opened is told so; else the run comes to its end.
            let opened = said.contains("begin");
            assert_eq!(opened, said.contains("end"), "{inject}: {said}{complaint}");
            failures += numbers(&said, "failed ").len();
            // The first one says what the kernel said; it is not covered by what followed from it.
            let first = said.lines().find(|line| line.starts_with("failed "));
            assert!(first.is_none_or(|line| !line.contains("| begin")), "{said}");
            check(&place, python, &format!("{inject}\n{said}"));
        }
    }
    assert!(failures >= 12, "{failures} commits failed");
}

/// A database at its quota is full for SQLite. Nothing is lost but the transaction.
#[test]
fn a_full_database_says_so_and_takes_smaller_transactions() {
    let Some(python) = python() else {
        return;
    };
    let place = Place::new();
    let manager = Manager::open(place.store(), Options::new()).unwrap();
    let kind = bop_storage::DbKind::Sqlite;
    manager.create_database("app", kind).unwrap();
    manager.set_quota("app", Some(1 << 20)).unwrap();
    manager.close(std::time::Duration::from_secs(5)).unwrap();
    let mut command = Command::new(python);
    let command = place.tell(&mut command).arg(script("full.py"));
    let out = written(&command.output().unwrap());
    assert!(out.ends_with("done\n"), "{out}");
}
