//! `cargo xtask canaries`: whether the tests find the bugs that `bop_storage::canary` plants.
//!
//! ```text
//! one build with all bugs, none of them planted -> every hunt: passes
//!   -> for each canary its hunt, which fails in time, and for the reason that is expected -> the table
//! ```
//! Invariants
//! - a hunt that fails without its bug, or by a time limit, is a failure: it proves nothing;
//! - a canary that there is not makes its hunt fail, with words that no hunt expects.
//!
//! Never: builds what an ordinary build would use.

use crate::bench::failed;
use crate::programs::{Program, Wanted, build};
use crate::tasks::Failure;
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

mod list;

use list::{CANARIES, Canary};

/// A hunt that takes longer has not found its bug.
const HUNT_SECONDS_MAX: u32 = 60;
/// One without a bug goes on to its end, and the machine may be busy.
const SOUND_SECONDS_MAX: u32 = 300;
/// Of the exit statuses of `timeout`.
const TIMED_OUT: i32 = 124;

/// How a hunt ended.
enum Hunted {
    Passed,
    Failed { output: String },
    TimedOut,
}

/// Plants each canary, or those called, and prints what found it.
pub(crate) fn hunt(root: &Path, only: &[String]) -> Result<(), Failure> {
    let known = |name: &&String| CANARIES.iter().any(|canary| canary.name == **name);
    if let Some(unknown) = only.iter().find(|name| !known(name)) {
        let names: Vec<_> = CANARIES.iter().map(|canary| canary.name).collect();
        return Err(failed("find the canary", unknown, names.join(", ")));
    }
    let wanted: Vec<&Canary> = CANARIES
        .iter()
        .filter(|canary| only.is_empty() || only.iter().any(|name| name == canary.name))
        .collect();
    let names: Vec<_> = wanted.iter().map(|canary| canary.program).collect();
    let programs = Wanted {
        programs: &names,
        profile: None,
        wrapper: Some(&root.join("xtask/canary-rustc")),
    };
    let programs = build(root, &programs)?;
    let mut sound: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["canary", "found by", "s", ""]);
    let mut bad = Vec::new();
    for canary in wanted {
        let key = (canary.program, canary.filter);
        let program = programs.find(canary.program)?;
        let passes = match sound.get(&key) {
            Some(passes) => *passes,
            None => {
                let passes = matches!(run(program, canary, false)?, Hunted::Passed);
                sound.insert(key, passes);
                passes
            }
        };
        let begun = Instant::now();
        let ended = match run(program, canary, true)? {
            _ if !passes => "fails without it, too",
            Hunted::Passed => "NOT FOUND",
            Hunted::TimedOut => "no answer in time",
            Hunted::Failed { output } if output.contains(canary.words) => "found",
            Hunted::Failed { output } => {
                eprintln!("{output}");
                "another failure"
            }
        };
        if ended != "found" {
            bad.push(canary.name);
        }
        let seconds = format!("{:.1}", begun.elapsed().as_secs_f64());
        let by = format!("{} {}", canary.program, canary.filter);
        eprintln!("{}: {ended}, {seconds} s, {by}", canary.name);
        table.add_row([canary.name, &by, &seconds, ended]);
    }
    println!("{table}");
    if bad.is_empty() {
        return Ok(());
    }
    Err(failed("find", bad.join(", "), "the tests do not notice"))
}

fn run(program: &Program, canary: &Canary, planted: bool) -> Result<Hunted, Failure> {
    let seconds_max = if planted {
        HUNT_SECONDS_MAX
    } else {
        SOUND_SECONDS_MAX
    };
    let mut hunt = Command::new("timeout");
    hunt.arg(seconds_max.to_string());
    hunt.arg(&program.executable).arg(canary.filter);
    hunt.current_dir(&program.package);
    hunt.env_remove("BOP_CANARY");
    if planted {
        hunt.env("BOP_CANARY", canary.name);
    }
    let output = hunt
        .output()
        .map_err(|error| failed("run", canary.program, error))?;
    let told = String::from_utf8_lossy(&output.stdout);
    if told.contains("running 0 tests") {
        return Err(failed("find tests", canary.filter, canary.program));
    }
    let output_text = format!("{told}{}", String::from_utf8_lossy(&output.stderr));
    Ok(match output.status.code() {
        Some(0) => Hunted::Passed,
        Some(TIMED_OUT) => Hunted::TimedOut,
        _ => Hunted::Failed {
            output: output_text,
        },
    })
}
