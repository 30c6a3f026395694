//! Each dependency has its line of reason in `ARCHITECTURE.md`, and each line its dependency.

use super::Finding;
use std::path::Path;
use std::{fs, io};

const DOCUMENT: &str = "ARCHITECTURE.md";

/// Compares the workspace's manifest with the document.
pub(crate) fn check(root: &Path, all: &mut Vec<Finding>) -> io::Result<()> {
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let document = fs::read_to_string(root.join(DOCUMENT))?;
    all.extend(findings(&manifest, &document));
    Ok(())
}

/// Dependencies of `manifest` without a table row in `document`, then rows without dependency.
pub(crate) fn findings(manifest: &str, document: &str) -> Vec<Finding> {
    let used = dependencies(manifest);
    let section = document
        .split_once("## Dependencies")
        .map_or(document, |(_, section)| section);
    let explained: Vec<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    let missing = used.iter().filter(|name| !explained.contains(name));
    let superfluous = explained.iter().filter(|name| !used.contains(name));
    let finding = |what: String| Finding {
        path: DOCUMENT.to_owned(),
        line: 0,
        what,
    };
    missing
        .map(|name| finding(format!("dependency {name} has no line of reason")))
        .chain(superfluous.map(|name| finding(format!("{name} is explained but not used"))))
        .collect()
}

/// The names in `[workspace.dependencies]`, without the workspace's own crates.
fn dependencies(manifest: &str) -> Vec<&str> {
    let after = manifest
        .split_once("[workspace.dependencies]")
        .map_or("", |(_, after)| after);
    let section = after
        .split_once("\n[")
        .map_or(after, |(section, _)| section);
    section
        .lines()
        .filter(|line| !line.starts_with('#') && !line.contains("path = "))
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name.trim())
        .collect()
}
