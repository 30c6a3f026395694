//! What the store must hold, by the announcements of its writers.
//!
//! Invariants
//! - a writer has at most one commit between "pending" and "done"; it is in flight from
//!   "committing" on;
//! - every acknowledged commit is in `alive`, unless an acknowledged commit removed it;
//! - a commit that was pending when its writer died is found whole or not at all, and what is found
//!   is the truth from then on.

use crate::child::payload;
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// The databases of the store.
pub(crate) const DATABASES: [&str; 4] = ["north", "east", "south", "west"];

/// One transaction of a writer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Commit {
    pub(crate) writer: u64,
    pub(crate) number: u64,
    pub(crate) database: String,
    /// Rows that it inserts.
    pub(crate) rows: u64,
    /// Bytes of each row's payload.
    pub(crate) row_bytes: u64,
    /// The earlier commit of the same writer whose rows it deletes; 0 for none.
    pub(crate) removes: u64,
}

impl Commit {
    /// As it is announced.
    pub(crate) fn announcement(&self) -> String {
        let Self {
            writer,
            number,
            database,
            rows,
            row_bytes,
            removes,
        } = self;
        format!("pending {writer} {number} {database} {rows} {row_bytes} {removes}")
    }

    fn parse(words: &[&str]) -> Self {
        let [writer, number, database, rows, row_bytes, removes] = words else {
            panic!("pending {words:?}");
        };
        Self {
            writer: parsed(writer),
            number: parsed(number),
            database: (*database).to_owned(),
            rows: parsed(rows),
            row_bytes: parsed(row_bytes),
            removes: parsed(removes),
        }
    }

    fn apply(&self, alive: &mut Alive) {
        alive.remove(&self.removes);
        alive.insert(self.number, (self.rows, self.row_bytes));
    }
}

/// Commits of one writer in one database: number to rows and bytes of each.
type Alive = BTreeMap<u64, (u64, u64)>;

/// The state of all databases.
#[derive(Default)]
pub(crate) struct Model {
    alive: BTreeMap<(String, u64), Alive>,
    pending: BTreeMap<u64, Commit>,
    /// The writers that are inside their COMMIT.
    committing: BTreeSet<u64>,
    last_number: BTreeMap<u64, u64>,
    checkpoints: usize,
    acknowledged: u64,
}

impl Model {
    /// Takes in one announcement.
    pub(crate) fn hear(&mut self, what: &str) {
        let words: Vec<&str> = what.split(' ').collect();
        match words[..] {
            ["opening" | "open"] => {}
            ["checkpoint", "begins"] => self.checkpoints += 1,
            ["checkpoint", "ended"] => self.checkpoints -= 1,
            ["pending", ref rest @ ..] => {
                let commit = Commit::parse(rest);
                self.last_number.insert(commit.writer, commit.number);
                assert_eq!(self.pending.insert(commit.writer, commit), None);
            }
            ["committing", writer, number] => {
                let writer = parsed(writer);
                assert_eq!(self.pending[&writer].number, parsed::<u64>(number));
                assert!(self.committing.insert(writer));
            }
            ["done", writer, number] => {
                assert!(self.committing.remove(&parsed(writer)));
                let commit = self.pending.remove(&parsed(writer)).unwrap();
                assert_eq!(commit.number, parsed::<u64>(number));
                commit.apply(self.alive_of(&commit.database, commit.writer));
                self.acknowledged += 1;
            }
            _ => panic!("unknown announcement: {what}"),
        }
    }

    /// The number of each writer's next commit, separated by commas.
    pub(crate) fn next_numbers(&self) -> String {
        let next = |writer| self.last_number.get(&writer).map_or(1, |last| last + 1);
        let numbers: Vec<String> = (0..crate::WRITERS)
            .map(|writer| next(writer).to_string())
            .collect();
        numbers.join(",")
    }

    /// Writers that were not told how their COMMIT ended.
    pub(crate) fn committing_count(&self) -> usize {
        self.committing.len()
    }

    /// Checkpoints that were not told to have ended; forgotten by asking.
    pub(crate) fn take_checkpoints(&mut self) -> usize {
        std::mem::take(&mut self.checkpoints)
    }

    /// Commits that were acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Compares a database with what it must hold, and returns how many pending commits it has.
    pub(crate) fn compare(&mut self, name: &str, connection: &Connection) -> u32 {
        let mut found = rows_of(connection);
        let mut pending_found = 0;
        for writer in 0..crate::WRITERS {
            let found = found.remove(&writer).unwrap_or_default();
            let pending = self.pending.get(&writer).cloned();
            let before = self.alive_of(name, writer);
            let mut after = before.clone();
            if let Some(pending) = pending.filter(|pending| pending.database == name) {
                pending.apply(&mut after);
            }
            if found == after && found != *before {
                *before = after;
                pending_found += 1;
            }
            assert_eq!(found, *before, "rows of writer {writer} in {name}");
        }
        assert!(
            found.is_empty(),
            "rows of writers that never were: {found:?}"
        );
        pending_found
    }

    /// All databases were compared: what was pending is settled.
    pub(crate) fn settled(&mut self) {
        self.pending.clear();
        self.committing.clear();
    }

    fn alive_of(&mut self, name: &str, writer: u64) -> &mut Alive {
        self.alive.entry((name.to_owned(), writer)).or_default()
    }
}

/// The commits that a database has, each row checked.
fn rows_of(connection: &Connection) -> BTreeMap<u64, Alive> {
    let mut found: BTreeMap<u64, Alive> = BTreeMap::new();
    let mut statement = connection
        .prepare("SELECT writer, number, position, payload FROM entry ORDER BY 1, 2, 3")
        .unwrap();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let number_in = |column| u64::try_from(row.get::<_, i64>(column).unwrap()).unwrap();
        let (writer, number, position) = (number_in(0), number_in(1), number_in(2));
        let bytes = row.get_ref(3).unwrap().as_blob().unwrap();
        let row_bytes = bytes.len() as u64;
        assert!(
            *bytes == payload(writer, number, position, row_bytes)[..],
            "payload of row {position} of commit {number} of writer {writer}"
        );
        let commits = found.entry(writer).or_default();
        let (rows, first_bytes) = commits.entry(number).or_insert((0, row_bytes));
        assert_eq!((*rows, *first_bytes), (position, row_bytes));
        *rows += 1;
    }
    found
}

fn parsed<T: FromStr<Err: std::fmt::Debug>>(word: &str) -> T {
    word.parse().unwrap()
}
