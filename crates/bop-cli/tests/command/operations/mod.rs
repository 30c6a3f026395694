//! The documents for operators: each command in them is run, in the situation that it is written for, and ends and
//! prints as the document says; each error code has its entry, and the command of each alert is one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alerts;
mod application;
mod codes;
mod damages;
mod document;
mod faulty_disk;
mod stages;

use document::{Block, Command, blocks, is_shown, text_of};
use stages::Stage;
use std::collections::BTreeSet;
use std::path::Path;

/// What a command of a document may begin with.
const PROGRAMS: [&str; 6] = ["bop", "df", "du", "ls", "rm", "mv"];

/// Runs all commands of a document.
#[track_caller]
fn run_document(name: &str, at_least: usize) {
    let blocks = blocks(&text_of(name));
    let mut stage: Option<Stage> = None;
    let (mut ran, mut skipped, mut wrong) = (0, 0, Vec::new());
    for block in &blocks {
        match (block.stage.as_str(), &mut stage) {
            ("same", _) | ("then-stopped" | "then-started", None) => {}
            ("then-stopped", Some(stage)) => stage.stop(),
            ("then-started", Some(stage)) => stage.start(),
            (new, _) => {
                // The one before ends first: it may have a device mounted.
                drop(stage.take());
                stage = stages::set(new)
                    .unwrap_or_else(|| panic!("{name}:{}: no stage {new:?}", block.line));
            }
        }
        match &stage {
            Some(stage) => ran += run_block(name, block, stage, &mut wrong),
            None => skipped += block.commands.len(),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(
        at_least <= ran + skipped,
        "{name} has {} commands, of at least {at_least}",
        ran + skipped
    );
}

fn run_block(name: &str, block: &Block, stage: &Stage, wrong: &mut Vec<String>) -> usize {
    for command in &block.commands {
        if let Err(why) = run_command(command, stage) {
            let (line, text, stage) = (command.line, &command.text, &block.stage);
            wrong.push(format!("{name}:{line}: {text}\nin stage {stage:?}: {why}"));
        }
    }
    block.commands.len()
}

fn run_command(command: &Command, stage: &Stage) -> Result<(), String> {
    let program = command.text.split(' ').next().unwrap();
    if !PROGRAMS.contains(&program) {
        return Err(format!("{program} is not one of {PROGRAMS:?}"));
    }
    let real = stage.to_real(&command.text);
    let is_elsewhere =
        |word: &&str| word.starts_with('/') && !Path::new(word).starts_with(stage.dir());
    if let Some(path) = real.split(' ').find(is_elsewhere) {
        return Err(format!("{path} is outside of the stage"));
    }
    let bin = Path::new(env!("CARGO_BIN_EXE_bop")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let output = std::process::Command::new("sh")
        .args(["-c", &real])
        .env("PATH", path)
        .env("BOP_STORE", stage.store())
        .current_dir(stage.dir())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    let printed = stage.to_shown(&printed.concat());
    if output.status.code() != Some(command.status) {
        return Err(format!(
            "it ended with {}, and printed\n{printed}",
            output.status
        ));
    }
    match is_shown(&command.shown, &printed) {
        true => Ok(()),
        false => Err(format!("it printed\n{printed}")),
    }
}

#[test]
fn each_command_of_the_runbook_does_what_it_says() {
    run_document("operations/runbook.md", 50);
}

#[test]
fn each_command_about_a_fault_does_what_it_says() {
    run_document("operations/faults.md", 50);
}

#[test]
fn each_command_about_a_symptom_does_what_it_says() {
    run_document("operations/troubleshooting.md", 15);
}

#[test]
fn each_command_of_the_other_documents_does_what_it_says() {
    run_document("operations/monitoring.md", 3);
    run_document("operations/upgrade.md", 7);
    run_document("operations/capacity.md", 5);
}

/// The documents with commands that are run.
const RUN: [&str; 6] = [
    "runbook.md",
    "faults.md",
    "troubleshooting.md",
    "monitoring.md",
    "upgrade.md",
    "capacity.md",
];

#[test]
fn no_document_has_a_command_that_is_not_run_and_none_names_one_that_is_not_there() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations");
    let (mut documents, mut named) = (0, BTreeSet::new());
    for entry in std::fs::read_dir(docs).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let text = text_of(&format!("operations/{name}"));
        let is_run = RUN.contains(&name.as_str());
        assert!(is_run || blocks(&text).is_empty(), "{name} is not run");
        let inline = text.split('`').filter_map(|span| span.strip_prefix("bop "));
        let commands = inline.filter_map(|span| span.split_whitespace().next());
        // Neither options of all commands, nor what stands for any.
        let commands = commands.filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()));
        named.extend(commands.map(str::to_owned));
        documents += 1;
    }
    assert!(RUN.len() < documents);
    assert!(15 < named.len(), "{named:?}");
    for command in named {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_bop"))
            .args([&command, "--help"])
            .output()
            .unwrap();
        assert!(output.status.success(), "bop {command}: {output:?}");
    }
}
