//! `cargo mutants` itself: what it finds to change, and what became of some of that.
//!
//! Never: writes results, judges them.

use super::groups::{EXCLUDED, Group, Tests};
use super::results::{MutantId, Outcome};
use super::tree;
use crate::bench::failed;
use crate::tasks::Failure;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const PACKAGE: &str = "bop-storage";
const PROFILE: &str = "mutants";
/// Of the group's files.
pub(super) const SOURCES: &str = "crates/bop-storage/src";

/// A mutant's tests end in this, or in four times what they take without one.
const TESTS_SECONDS_MIN: u64 = 6;
/// A build takes some seconds, and the machine may be busy.
const BUILD_SECONDS_MAX: u64 = 600;

/// Where mutants are planted, built and told of.
pub(super) struct Place {
    pub(super) root: PathBuf,
    /// Shared with all builds of the workspace.
    pub(super) target: PathBuf,
    /// Of the lines and logs of `cargo mutants`.
    pub(super) output: PathBuf,
}

impl Tests {
    fn program(&self) -> Vec<String> {
        match self.program {
            None => vec!["--lib".to_owned()],
            // One word: each is an argument of its own of `cargo mutants`.
            Some(program) => vec![format!("--test={program}")],
        }
    }

    fn arguments(&self) -> impl Iterator<Item = &'static str> {
        let skipped = self.skipped.iter().flat_map(|name| ["--skip", name]);
        self.filters.iter().copied().chain(skipped)
    }
}

impl Place {
    fn cargo(&self, tree: &Path) -> Command {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(tree);
        cargo.env("CARGO_TARGET_DIR", &self.target);
        // That a test failed is enough: neither where, nor with how little of its input.
        cargo.env("RUST_BACKTRACE", "0");
        cargo.env("PROPTEST_MAX_SHRINK_ITERS", "0");
        cargo
    }

    /// All mutants of a group, in the order of the sources.
    pub(super) fn list(&self, group: &Group) -> Result<Vec<MutantId>, Failure> {
        let mut cargo = self.cargo(&self.root);
        cargo.args(["mutants", "--list", "--colors=never", "-p", PACKAGE]);
        for file in group.files {
            cargo.args(["--file", &format!("{SOURCES}/{file}")]);
        }
        for pattern in EXCLUDED {
            cargo.args(["--exclude-re", pattern]);
        }
        let output = cargo
            .output()
            .map_err(|error| failed("run", "cargo mutants", error))?;
        if !output.status.success() {
            const WHAT: &str = "the mutants (cargo install cargo-mutants --locked)";
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(failed("list", WHAT, said));
        }
        let told = String::from_utf8_lossy(&output.stdout);
        let mut mutants = Vec::new();
        for line in told.lines() {
            let id = MutantId::parse(line);
            mutants.push(id.ok_or_else(|| failed("read", line, "no name of a mutant"))?);
        }
        mutants.sort();
        Ok(mutants)
    }

    /// How long the tests take without a mutant, with which they must pass.
    pub(super) fn without(&self, tests: &Tests) -> Result<Duration, Failure> {
        let tree = tree::copy(&self.root, tests.part)?;
        let mut build = self.cargo(&tree);
        build.args(["test", "--quiet", "-p", PACKAGE, "--profile", PROFILE]);
        build.arg("--all-features").args(tests.program());
        build.arg("--no-run");
        let mut run = self.cargo(&tree);
        run.args(build.get_args().filter(|word| *word != "--no-run"));
        run.arg("--").args(tests.arguments());
        let mut took = Duration::ZERO;
        for mut command in [build, run] {
            let begun = Instant::now();
            let output = command
                .output()
                .map_err(|error| failed("run", "cargo test", error))?;
            if !output.status.success() {
                let said = [output.stdout, output.stderr].concat();
                eprintln!("{}", String::from_utf8_lossy(&said));
                return Err(failed("test without a mutant", tests.name, output.status));
            }
            took = begun.elapsed();
        }
        Ok(took)
    }

    /// What became of these mutants.
    pub(super) fn run(
        &self,
        tests: &Tests,
        took: Duration,
        mutants: &[MutantId],
    ) -> Result<Vec<(MutantId, Outcome)>, Failure> {
        let tree = tree::copy(&self.root, tests.part)?;
        let names: Vec<String> = mutants.iter().map(|id| literal(&id.name())).collect();
        let seconds_max = TESTS_SECONDS_MIN.max(4 * took.as_secs() + 4);
        let mut cargo = self.cargo(&tree);
        cargo.args(["mutants", "--in-place", "--colors=never", "--no-shuffle"]);
        cargo.args(["-p", PACKAGE, "--profile", PROFILE, "--all-features"]);
        for file in mutants.iter().map(|id| &id.file) {
            cargo.args(["--file", file]);
        }
        cargo.args(["--re", &format!("^({})$", names.join("|"))]);
        cargo.args(["--baseline=skip", "--caught", "--unviable"]);
        cargo.args(["--timeout", &seconds_max.to_string()]);
        cargo.args(["--build-timeout", &BUILD_SECONDS_MAX.to_string()]);
        cargo.arg("--output").arg(&self.output);
        for word in tests.program() {
            cargo.arg(format!("--cargo-arg={word}"));
        }
        cargo.args(["--", "--"]).args(tests.arguments());
        // That some survive is no failure of the program: its list of outcomes says all.
        let status = cargo
            .status()
            .map_err(|error| failed("run", "cargo mutants", error))?;
        let mut outcomes = outcomes(&self.output.join("mutants.out/outcomes.json"))?;
        // Mutants that leave out a field of a struct are tried whatever is asked for.
        outcomes.retain(|(id, _)| mutants.contains(id));
        let missing = mutants
            .iter()
            .find(|id| !outcomes.iter().any(|(done, _)| done == *id));
        match missing {
            Some(id) => Err(failed("try", id.name(), status)),
            None => Ok(outcomes),
        }
    }
}

/// A regular expression for that text alone.
fn literal(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

fn outcomes(path: &Path) -> Result<Vec<(MutantId, Outcome)>, Failure> {
    let told = |why: String| failed("read", path.display(), why);
    let text = std::fs::read_to_string(path).map_err(|error| told(error.to_string()))?;
    let all: Value = serde_json::from_str(&text).map_err(|error| told(error.to_string()))?;
    let all = all["outcomes"].as_array().cloned().unwrap_or_default();
    all.iter()
        .map(|one| outcome(one).ok_or_else(|| told(one.to_string())))
        .collect()
}

fn outcome(one: &Value) -> Option<(MutantId, Outcome)> {
    let name = one["scenario"]["Mutant"]["name"].as_str()?;
    let outcome = match one["summary"].as_str()? {
        "CaughtMutant" => Outcome::Killed,
        "Timeout" => Outcome::TimedOut,
        "MissedMutant" => Outcome::Survived,
        "Unviable" => Outcome::Unviable,
        _ => return None,
    };
    Some((MutantId::parse(name)?, outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcomes_of_cargo_mutants_are_read() {
        let one = |summary: &str| {
            let text = format!(
                r#"{{"scenario": {{"Mutant": {{"name": "a/b.rs:1:2: replace f -> bool with true"}}}},
                     "summary": "{summary}"}}"#
            );
            let value: Value = serde_json::from_str(&text).unwrap();
            outcome(&value)
        };
        let (id, killed) = one("CaughtMutant").unwrap();
        assert_eq!((id.line, id.column), (1, 2));
        assert_eq!(killed, Outcome::Killed);
        assert_eq!(one("MissedMutant").unwrap().1, Outcome::Survived);
        assert_eq!(one("Success"), None, "no outcome of a mutant");
    }

    #[test]
    fn a_name_is_no_pattern() {
        assert_eq!(
            literal("a<'_>::b -> Option<(u8)>"),
            r"a<'_>::b \-> Option<\(u8\)>"
        );
    }
}
