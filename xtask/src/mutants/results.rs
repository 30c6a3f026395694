//! The committed results of a group: `docs/mutation/GROUP.tsv`, a mutant a line.
//!
//! Invariants
//! - a line is of the file's text that it names: when that changes, the line counts for nothing;
//! - lines stand in the order of the sources, so that a change of one is a small difference.
//!
//! Never: runs a test.

use crate::bench::failed;
use crate::tasks::Failure;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const HEADER: &str = "file\tline\tcolumn\tmutant\toutcome\tby\tcommit\ttext\treason\n";

/// What identifies a mutant of a text: where it is, and what is other there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct MutantId {
    /// From the root of the workspace on.
    pub(super) file: String,
    pub(super) line: u32,
    pub(super) column: u32,
    /// `replace ... with ...`
    pub(super) change: String,
}

impl MutantId {
    /// As `cargo mutants` calls it: `FILE:LINE:COLUMN: CHANGE`.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (place, change) = name.split_once(": ")?;
        let mut place = place.rsplitn(3, ':');
        let (column, line) = (place.next()?.parse().ok()?, place.next()?.parse().ok()?);
        Some(Self {
            file: place.next()?.to_owned(),
            line,
            column,
            change: change.to_owned(),
        })
    }

    pub(super) fn name(&self) -> String {
        let Self {
            file,
            line,
            column,
            change,
        } = self;
        format!("{file}:{line}:{column}: {change}")
    }
}

/// What became of a mutant.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// A test failed.
    Killed,
    /// A test did not end, in several times what all of them take.
    TimedOut,
    /// No test noticed.
    Survived,
    /// The compiler refused it.
    Unviable,
}

impl Outcome {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Killed, "killed"),
        (Self::TimedOut, "timed out"),
        (Self::Survived, "survived"),
        (Self::Unviable, "unviable"),
    ];

    fn word(self) -> &'static str {
        let found = Self::ALL.iter().find(|(one, _)| *one == self);
        found.map_or("", |(_, word)| word)
    }

    fn of_word(word: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, one)| *one == word);
        found.map(|(outcome, _)| *outcome)
    }
}

/// How it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) outcome: Outcome,
    /// The last tests that were asked: `lib`, or a test program.
    pub(super) by: String,
    /// Whose tests they were.
    pub(super) commit: String,
    /// Of the file's text without its tests.
    pub(super) text: String,
    /// Why a survivor is none: written by hand, kept as long as the text is the same.
    pub(super) reason: String,
}

/// A group's results.
pub(super) struct Results {
    path: PathBuf,
    rows: BTreeMap<MutantId, Found>,
}

impl Results {
    /// Those that are committed; none when the file is not there.
    pub(super) fn read(path: PathBuf) -> Result<Self, Failure> {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed("read", path.display(), error)),
        };
        let mut rows = BTreeMap::new();
        for (index, line) in text.lines().enumerate().skip(1) {
            let Some((id, found)) = parse(line) else {
                let place = format!("{}:{}", path.display(), index + 1);
                return Err(failed("read", place, "no line of results"));
            };
            rows.insert(id, found);
        }
        Ok(Self { path, rows })
    }

    /// What is known of a mutant of that text.
    pub(super) fn find(&self, id: &MutantId, text: &str) -> Option<&Found> {
        self.rows.get(id).filter(|found| found.text == text)
    }

    /// Adds a result; the reason of a survivor that survives again stays.
    pub(super) fn add(&mut self, id: MutantId, mut found: Found) {
        let before = self.find(&id, &found.text);
        if let Some(before) = before.filter(|_| found.outcome == Outcome::Survived) {
            found.reason.clone_from(&before.reason);
        }
        self.rows.insert(id, found);
    }

    /// Leaves out what is of no present mutant.
    pub(super) fn retain(&mut self, is_present: impl Fn(&MutantId, &Found) -> bool) {
        self.rows.retain(|id, found| is_present(id, found));
    }

    /// Writes the file anew.
    pub(super) fn save(&self) -> Result<(), Failure> {
        let mut text = HEADER.to_owned();
        for (id, found) in &self.rows {
            let _ = writeln!(
                text,
                "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
                id.file,
                id.line,
                id.column,
                id.change,
                found.outcome.word(),
                found.by,
                found.commit,
                found.text,
                found.reason
            );
        }
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let fresh = self.path.with_extension("tsv.new");
        fs::create_dir_all(dir)
            .and_then(|()| fs::write(&fresh, text))
            .and_then(|()| fs::rename(&fresh, &self.path))
            .map_err(|error| failed("write", self.path.display(), error))
    }
}

fn parse(line: &str) -> Option<(MutantId, Found)> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [
        file,
        line,
        column,
        change,
        outcome,
        by,
        commit,
        text,
        reason,
    ] = fields[..]
    else {
        return None;
    };
    let id = MutantId {
        file: file.to_owned(),
        line: line.parse().ok()?,
        column: column.parse().ok()?,
        change: change.to_owned(),
    };
    let found = Found {
        outcome: Outcome::of_word(outcome)?,
        by: by.to_owned(),
        commit: commit.to_owned(),
        text: text.to_owned(),
        reason: reason.to_owned(),
    };
    Some((id, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "crates/a/src/b.rs:12:9: replace < with <= in C<'_>::d: e";

    fn found(outcome: Outcome, text: &str, reason: &str) -> Found {
        Found {
            outcome,
            by: "lib".to_owned(),
            commit: "0123abc".to_owned(),
            text: text.to_owned(),
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn results_are_read_as_they_were_written_and_count_for_their_text_alone() {
        let id = MutantId::parse(NAME).unwrap();
        assert_eq!(
            (id.line, id.column, id.name()),
            (12, 9, NAME.to_owned()),
            "the name is whole again"
        );
        let path = std::env::temp_dir().join(format!("bop-mutants-{}.tsv", std::process::id()));
        let mut results = Results::read(path.clone()).unwrap();
        results.add(id.clone(), found(Outcome::Survived, "aa", "equal"));
        results.save().unwrap();
        let mut again = Results::read(path.clone()).unwrap();
        fs::remove_file(path).unwrap();
        let known = found(Outcome::Survived, "aa", "equal");
        assert_eq!(again.find(&id, "aa"), Some(&known));
        assert_eq!(again.find(&id, "bb"), None, "another text");
        again.add(id.clone(), found(Outcome::Survived, "aa", ""));
        assert_eq!(again.find(&id, "aa"), Some(&known), "its reason stays");
        again.add(id.clone(), found(Outcome::Killed, "aa", ""));
        assert_eq!(again.find(&id, "aa").unwrap().reason, "");
        again.retain(|_, found| found.text == "bb");
        assert_eq!(again.find(&id, "aa"), None);
    }
}
