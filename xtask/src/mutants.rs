//! `cargo xtask mutants`: changes one thing in what decides, and sees that a test fails; thousands of times.
//!
//! ```text
//! copy of the workspace -> the group's mutants, by `cargo mutants` -> those of the shard without a result
//!   -> its quick tests --survived--> its slower ones -> docs/mutation/GROUP.tsv
//! ```
//! A result is of a mutant and of the text of its file without its tests, so a run goes on where the last one
//! stopped, and only files that changed are tried again. Who has written a test for a survivor tries those
//! again with `--survivors`.
//!
//! Invariants
//! - tests fail for a mutant alone: without one they pass, or nothing is tried;
//! - results name the commit whose tests they are of: there is one.
//!
//! Never: leaves a mutant in the sources.

use crate::bench::failed;
use crate::tasks::Failure;
use clap::Args;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::str::FromStr;

mod groups;
mod results;
mod runs;
mod tree;

use groups::{GROUPS, Group};
use results::{Found, MutantId, Outcome, Results};
use runs::Place;

/// Of those that can be built, so many percent are killed.
const KILLED_PERCENT_MIN: f64 = 90.0;
/// After so many the results are written.
const BATCH: usize = 48;

/// What is tried.
#[derive(Args)]
pub(crate) struct Wanted {
    /// These parts alone
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Each N-th mutant alone, from the K-th on, which is less than N
    #[arg(long, value_name = "K/N")]
    shard: Option<Shard>,
    /// Try those again that survived, and no others
    #[arg(long)]
    survivors: bool,
    /// Try nothing, print what is known
    #[arg(long)]
    table: bool,
}

/// A share of the mutants.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Shard {
    index: usize,
    count: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shard = text.split_once('/').and_then(|(index, count)| {
            let (index, count) = (index.parse().ok()?, count.parse().ok()?);
            (index < count).then_some(Self { index, count })
        });
        shard.ok_or_else(|| format!("{text:?} is not K/N with K less than N"))
    }
}

/// A group with what is known of it.
struct Tried {
    group: &'static Group,
    /// Each with the text of its file.
    mutants: Vec<(MutantId, String)>,
    results: Results,
}

/// Tries what has no result yet, and prints what all came to.
pub(crate) fn mutants(root: &Path, wanted: &Wanted) -> Result<(), Failure> {
    let is_known = |name: &&String| GROUPS.iter().any(|group| group.name == **name);
    if let Some(unknown) = wanted.groups.iter().find(|name| !is_known(name)) {
        let names: Vec<_> = GROUPS.iter().map(|group| group.name).collect();
        return Err(failed("find the group", unknown, names.join(", ")));
    }
    let place = Place {
        root: root.to_path_buf(),
        target: root.join("target"),
        output: root.join("target/mutation"),
    };
    let mut all = Vec::new();
    for group in GROUPS {
        if wanted.groups.is_empty() || wanted.groups.iter().any(|name| name == group.name) {
            let mut tried = Tried::read(root, &place, group)?;
            if !wanted.table {
                tried.go_on(root, &place, wanted)?;
            }
            all.push(tried);
        }
    }
    let bad = print(&all);
    // A shard says nothing of the whole.
    if bad.is_empty() || wanted.shard.is_some() {
        return Ok(());
    }
    Err(failed(
        "kill the mutants of",
        bad.join("; "),
        "see the table",
    ))
}

impl Tried {
    fn read(root: &Path, place: &Place, group: &'static Group) -> Result<Self, Failure> {
        let mut texts = BTreeMap::new();
        let mut mutants = Vec::new();
        for id in place.list(group)? {
            let text = match texts.get(&id.file) {
                Some(text) => String::clone(text),
                None => {
                    let text = text_of(root, &id.file)?;
                    texts.insert(id.file.clone(), text.clone());
                    text
                }
            };
            mutants.push((id, text));
        }
        let path = root.join(format!("docs/mutation/{}.tsv", group.name));
        let mut results = Results::read(path)?;
        let present: BTreeMap<_, _> = mutants.iter().map(|(id, text)| (id, text)).collect();
        results.retain(|id, found| present.get(id).is_some_and(|text| **text == found.text));
        Ok(Self {
            group,
            mutants,
            results,
        })
    }

    /// Tries what is to be tried, and writes each batch of results.
    fn go_on(&mut self, root: &Path, place: &Place, wanted: &Wanted) -> Result<(), Failure> {
        let shard = wanted.shard.unwrap_or(Shard { index: 0, count: 1 });
        let share = self.mutants.iter().skip(shard.index).step_by(shard.count);
        let to_try: Vec<(MutantId, String)> = share
            .filter(|(id, text)| match self.results.find(id, text) {
                Some(found) => wanted.survivors && found.outcome == Outcome::Survived,
                None => !wanted.survivors,
            })
            .cloned()
            .collect();
        if to_try.is_empty() {
            return Ok(());
        }
        eprintln!("--- {}: {} mutants", self.group.name, to_try.len());
        let commit = commit(root)?;
        let mut took = BTreeMap::new();
        for batch in to_try.chunks(BATCH) {
            let texts: BTreeMap<_, _> = batch.iter().cloned().collect();
            let mut left: Vec<MutantId> = batch.iter().map(|(id, _)| id.clone()).collect();
            for tests in self.group.tests {
                if left.is_empty() {
                    break;
                }
                let took = match took.get(tests.name) {
                    Some(took) => *took,
                    None => *took.entry(tests.name).or_insert(place.without(tests)?),
                };
                let outcomes = place.run(tests, took, &left)?;
                left.clear();
                for (id, outcome) in outcomes {
                    if outcome == Outcome::Survived {
                        left.push(id.clone());
                    }
                    let text = texts.get(&id).cloned().unwrap_or_default();
                    let found = Found {
                        outcome,
                        by: tests.name.to_owned(),
                        commit: commit.clone(),
                        text,
                        reason: String::new(),
                    };
                    self.results.add(id, found);
                }
                self.results.save()?;
            }
        }
        Ok(())
    }

    fn count(&self, outcome: Outcome) -> usize {
        let found = self.found();
        found.filter(|found| found.outcome == outcome).count()
    }

    fn found(&self) -> impl Iterator<Item = &Found> {
        let found = self.mutants.iter();
        found.filter_map(|(id, text)| self.results.find(id, text))
    }
}

/// The commit whose tests are asked: what is tried is what it has.
fn commit(root: &Path) -> Result<String, Failure> {
    let changed = tree::git(root, &["status", "--porcelain", "--", "crates"])?;
    if !changed.is_empty() {
        let why = "commit first: results name the commit whose tests they are of";
        return Err(failed("try mutants of", changed.trim_end(), why));
    }
    let commit = tree::git(root, &["rev-parse", "--short=10", "HEAD"])?;
    Ok(commit.trim().to_owned())
}

/// Git's hash of the part of a source that is no test.
fn text_of(root: &Path, file: &str) -> Result<String, Failure> {
    let told = |error: std::io::Error| failed("read", file, error);
    let text = fs::read_to_string(root.join(file)).map_err(told)?;
    let own = text
        .split("\n#[cfg(test)]\nmod tests {\n")
        .next()
        .unwrap_or_default();
    let mut git = Command::new("git");
    git.args(["hash-object", "--stdin"]);
    git.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = git.spawn().map_err(told)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(own.as_bytes()).map_err(told)?;
    }
    let output = child.wait_with_output().map_err(told)?;
    let hash = String::from_utf8_lossy(&output.stdout);
    match hash.get(..10) {
        Some(hash) if output.status.success() => Ok(hash.to_owned()),
        _ => Err(failed("hash", file, output.status)),
    }
}

/// The table, and what is wrong with it.
fn print(all: &[Tried]) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "group",
        "mutants",
        "killed",
        "timed out",
        "survived",
        "without reason",
        "unviable",
        "not tried",
        "killed %",
    ]);
    let mut bad = Vec::new();
    for tried in all {
        let name = tried.group.name;
        let [killed, timed_out, survived, unviable] = [
            Outcome::Killed,
            Outcome::TimedOut,
            Outcome::Survived,
            Outcome::Unviable,
        ]
        .map(|outcome| tried.count(outcome));
        let is_open =
            |found: &&Found| found.outcome == Outcome::Survived && found.reason.is_empty();
        let open = tried.found().filter(is_open).count();
        let missing = tried.mutants.len() - tried.found().count();
        let viable = killed + timed_out + survived;
        let percent = 100.0 * (killed + timed_out) as f64 / viable.max(1) as f64;
        let mut row = vec![name.to_owned(), tried.mutants.len().to_string()];
        let numbers = [killed, timed_out, survived, open, unviable, missing];
        row.extend(numbers.map(|number| number.to_string()));
        row.push(format!("{percent:.1}"));
        table.add_row(row);
        if percent < KILLED_PERCENT_MIN {
            bad.push(format!("{name}: {percent:.1}% are killed"));
        }
        if open > 0 {
            bad.push(format!("{name}: {open} survive without a reason"));
        }
        if missing > 0 {
            bad.push(format!("{name}: {missing} were not tried"));
        }
    }
    for column in 1..9 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{table}");
    bad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_a_part_of_a_whole() {
        assert_eq!("0/4".parse(), Ok(Shard { index: 0, count: 4 }));
        for bad in ["4/4", "1", "1/0", "a/b"] {
            let refused = bad.parse::<Shard>().unwrap_err();
            assert!(refused.contains(bad), "{refused}");
        }
    }

    #[test]
    fn each_file_of_a_group_is_there_and_in_no_other_group() {
        let mut seen = BTreeMap::new();
        for group in GROUPS {
            for file in group.files {
                let path = crate::workspace_root().join(runs::SOURCES).join(file);
                assert!(path.is_file(), "{}", path.display());
                assert_eq!(seen.insert(file, group.name), None, "{file}");
            }
        }
    }
}
