//! The copies of the workspace in which mutants are planted: `target/mutation/PART`.
//!
//! Nothing of a run that was interrupted is ever left in the sources, and the engine does not depend on
//! itself there: for the feature `testing` of its test programs it does, and each mutant would be compiled
//! twice for its own tests. Modules of the engine that have nothing to do with what is tried are left out.
//!
//! A copy's part is in the engine's version there: to cargo packages in the same place of a workspace are the
//! same, and it would take what was built of one part for that of another.
//!
//! Invariant: a file that is as it was keeps its time, so that cargo builds what has changed alone.
//!
//! Never: writes outside of the copy.

use super::groups::Part;
use crate::bench::failed;
use crate::tasks::Failure;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The line that makes the engine depend on itself, in the file where it stands.
const ITSELF: (&str, &str) = (
    "crates/bop-storage/Cargo.toml",
    "bop-storage = { path = \".\", features = [\"testing\"] }\n",
);

/// The lists of modules: the engine's, its log's, and those of a program that can be had without some of its
/// tests.
const MODULES: [&str; 4] = [
    "crates/bop-storage/src/lib.rs",
    "crates/bop-storage/src/log/mod.rs",
    "crates/bop-storage/tests/formats/main.rs",
    "crates/bop-storage/tests/manifest/main.rs",
];

/// A part has much that nothing uses there: said with each mutant, that is a good share of its time.
const LINTED: &str = "#![deny(unsafe_code)]\n";
const NOT_LINTED: &str = "#![allow(warnings)]\n";

/// Brings a copy up to date; where it is.
pub(super) fn copy(root: &Path, part: &Part) -> Result<PathBuf, Failure> {
    let tree = root.join("target/mutation").join(part.name);
    let listed = git(root, &["ls-files"])?;
    let files: BTreeSet<PathBuf> = listed.lines().map(PathBuf::from).collect();
    for file in &files {
        copy_file(root, &tree, file, part)?;
    }
    remove_others(&tree, Path::new(""), &files)
        .map_err(|error| failed("clear", tree.display(), error))?;
    Ok(tree)
}

/// What a command of git's says.
pub(super) fn git(root: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let mut git = Command::new("git");
    git.arg("-C").arg(root).args(arguments);
    let output = git
        .output()
        .map_err(|error| failed("run git", arguments.join(" "), error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(failed("run git", arguments.join(" "), said));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn copy_file(root: &Path, tree: &Path, file: &Path, part: &Part) -> Result<(), Failure> {
    let (from, to) = (root.join(file), tree.join(file));
    let told = |error| failed("copy", from.display(), error);
    let mut bytes = fs::read(&from).map_err(told)?;
    if file == Path::new(ITSELF.0) {
        let text = String::from_utf8_lossy(&bytes).replace(ITSELF.1, "");
        let version = format!(
            "\nversion = \"{}+{}\"",
            env!("CARGO_PKG_VERSION"),
            part.name
        );
        let text = text.replace("\nversion.workspace = true", &version);
        bytes = text.into_bytes();
    }
    if MODULES.iter().any(|list| file == Path::new(list)) {
        let text = String::from_utf8_lossy(&bytes).replace(LINTED, NOT_LINTED);
        bytes = without(&text, &part.without.concat()).into_bytes();
    }
    if fs::read(&to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir).map_err(told)?;
    }
    fs::write(&to, bytes).map_err(told)
}

/// A list of modules, without some of them and what is exported of those.
fn without(list: &str, modules: &[&str]) -> String {
    const ITEMS: [&str; 4] = ["pub mod ", "pub(crate) mod ", "mod ", "pub use "];
    const FOR_TESTS: &str = "#[cfg(test)]\n";
    let mut kept = String::new();
    let mut dropping = false;
    for line in list.lines() {
        let starts = ITEMS.iter().any(|item| {
            let path = line.strip_prefix(item).unwrap_or_default();
            let end = path.find([':', ';']).unwrap_or_default();
            modules.contains(&&path[..end])
        });
        if starts && kept.ends_with(FOR_TESTS) {
            kept.truncate(kept.len() - FOR_TESTS.len());
        }
        dropping |= starts;
        if !dropping {
            kept.push_str(line);
            kept.push('\n');
        }
        dropping &= !line.ends_with(';');
    }
    kept
}

/// Removes what the workspace does not have, but for cargo's own directories and lock.
fn remove_others(tree: &Path, under: &Path, files: &BTreeSet<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(tree.join(under))? {
        let entry = entry?;
        let path = under.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            remove_others(tree, &path, files)?;
        } else if !files.contains(&path) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_left_out_with_what_is_exported_of_it() {
        let list = "pub mod a;\n#[cfg(test)]\nmod b;\npub use a::{\n    One, b,\n};\npub use b::Two;\npub(crate) mod bc;\n";
        assert_eq!(without(list, &[]), list);
        assert_eq!(
            without(list, &["a"]),
            "#[cfg(test)]\nmod b;\npub use b::Two;\npub(crate) mod bc;\n"
        );
        assert_eq!(without(list, &["a", "b", "bc"]), "");
        let left = without(list, &["b"]);
        assert_eq!(
            left,
            "pub mod a;\npub use a::{\n    One, b,\n};\npub(crate) mod bc;\n"
        );
    }
}
