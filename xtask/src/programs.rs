//! Test programs: built by cargo, run by hand, with what cargo would not give them.
//!
//! Names: `PACKAGE` is a library's own tests, `PACKAGE/TEST` one of its test programs.
//!
//! Never: runs one.

use crate::bench::failed;
use crate::tasks::Failure;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A test program, and where it expects to run.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) executable: PathBuf,
    pub(crate) package: PathBuf,
}

/// Those that were built.
pub(crate) struct Programs(BTreeMap<String, Program>);

impl Programs {
    /// The one of that name.
    pub(crate) fn find(&self, name: &str) -> Result<&Program, Failure> {
        let found = self.0.get(name);
        found.ok_or_else(|| failed("find the program", name, "cargo built none"))
    }
}

/// What is to be built.
pub(crate) struct Wanted<'a> {
    /// By name.
    pub(crate) programs: &'a [&'a str],
    /// Another profile than that of tests.
    pub(crate) profile: Option<&'a str>,
    /// Called in the place of the compiler, for the workspace's own crates.
    pub(crate) wrapper: Option<&'a Path>,
}

/// Builds programs, of the whole workspace as the tests are, so that what they rest on is built once.
pub(crate) fn build(root: &Path, wanted: &Wanted<'_>) -> Result<Programs, Failure> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--workspace", "--no-run", "--message-format=json"]);
    cargo.arg("--quiet");
    if let Some(profile) = wanted.profile {
        cargo.args(["--profile", profile]);
    }
    let tests = wanted.programs.iter().map(|name| name.split_once('/'));
    let tests: BTreeSet<_> = tests.map(|test| test.map(|(_, test)| test)).collect();
    for test in tests {
        match test {
            Some(test) => cargo.args(["--test", test]),
            None => cargo.arg("--lib"),
        };
    }
    if let Some(wrapper) = wanted.wrapper {
        cargo.env("RUSTC_WORKSPACE_WRAPPER", wrapper);
    }
    cargo.current_dir(root).stderr(Stdio::inherit());
    let output = cargo
        .output()
        .map_err(|error| failed("run", "cargo test", error))?;
    if !output.status.success() {
        return Err(failed("build", "the test programs", output.status));
    }
    let told = String::from_utf8_lossy(&output.stdout);
    Ok(Programs(told.lines().filter_map(program).collect()))
}

/// What a message of cargo's says of a test program.
fn program(message: &str) -> Option<(String, Program)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let executable = PathBuf::from(message["executable"].as_str()?);
    if message["profile"]["test"] != true {
        return None;
    }
    let package = Path::new(message["manifest_path"].as_str()?).parent()?;
    let name = package.file_name()?.to_str()?;
    let name = match message["target"]["name"].as_str()? {
        test if message["target"]["kind"][0] == "test" => format!("{name}/{test}"),
        _ => name.to_owned(),
    };
    let package = package.to_owned();
    Some((
        name,
        Program {
            executable,
            package,
        },
    ))
}
