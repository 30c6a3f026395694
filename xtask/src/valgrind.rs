//! `cargo xtask valgrind`: the tests of what crosses into SQLite's C code, under valgrind's memcheck.
//!
//! ```text
//! the usual test programs -> each under memcheck, one test at a time -> its errors, and what it lost
//! ```
//! Invariants
//! - a program in which memcheck finds anything fails, whatever its tests say;
//! - nothing is excused: there are no suppressions.
//!
//! Never: runs a test that measures, or waits for a clock: all is twenty times slower here.

use crate::bench::failed;
use crate::programs::{Programs, Wanted, build};
use crate::tasks::Failure;
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Of a program in which memcheck found something. No test program ends with it by itself.
const FOUND: i32 = 99;

/// Some tests of a program: all, or those whose names begin so.
struct Checked {
    program: &'static str,
    filters: &'static [&'static str],
}

/// Both doors' callbacks with faults and panics behind them, what they share, and SQL that uses the pager in as
/// many ways as there are. LMDB's C code is under all of it.
const CHECKED: [Checked; 4] = [
    Checked {
        program: "bop-libsql",
        filters: &[],
    },
    Checked {
        program: "bop-libsql/sql",
        filters: &[
            "attach::",
            "features::",
            "in_place::",
            "opening::",
            "past::",
            "pragmas::",
            "transactions::",
        ],
    },
    Checked {
        program: "bop-sqlite",
        filters: &[],
    },
    Checked {
        program: "bop-sqlite-common",
        filters: &[],
    },
];

/// Runs all of them.
pub(crate) fn check(root: &Path) -> Result<(), Failure> {
    let names = CHECKED.map(|checked| checked.program);
    let wanted = Wanted {
        programs: &names,
        profile: None,
        wrapper: None,
    };
    let programs = build(root, &wanted)?;
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["program", "tests", "s", "errors"]);
    let mut bad = Vec::new();
    for checked in &CHECKED {
        let begun = Instant::now();
        let (tests, outcome) = run(&programs, checked)?;
        let seconds = begun.elapsed().as_secs().to_string();
        if outcome != "none" {
            bad.push(checked.program);
        }
        table.add_row([checked.program, &tests.to_string(), &seconds, outcome]);
    }
    println!("{table}");
    if bad.is_empty() {
        return Ok(());
    }
    Err(failed("check the memory of", bad.join(", "), "see above"))
}

/// How many tests passed, and what memcheck found.
fn run(programs: &Programs, checked: &Checked) -> Result<(usize, &'static str), Failure> {
    let program = programs.find(checked.program)?;
    let output = Command::new("valgrind")
        .args(["--quiet", "--fair-sched=yes", "--num-callers=30"])
        .args(["--leak-check=full", "--show-leak-kinds=definite"])
        .args(["--errors-for-leak-kinds=definite"])
        .arg(format!("--error-exitcode={FOUND}"))
        .arg(&program.executable)
        .args(checked.filters)
        .arg("--test-threads=1")
        .current_dir(&program.package)
        .output()
        .map_err(|error| failed("run", "valgrind", error))?;
    let told = String::from_utf8_lossy(&output.stdout);
    let passed = told.lines().filter(|line| line.ends_with("... ok"));
    let passed = passed.count();
    let outcome = match output.status.code() {
        Some(0) if passed == 0 => return Err(failed("find tests", checked.program, "none ran")),
        Some(0) => return Ok((passed, "none")),
        Some(FOUND) => "found",
        _ => "a test failed",
    };
    eprintln!("{told}{}", String::from_utf8_lossy(&output.stderr));
    Ok((passed, outcome))
}
