//! Two cursors over commits, of all databases and of one, against the list of what was committed, with
//! checkpoints, kills and reopenings inside the sequences.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use crate::feed_rig::{Rig, write};
use bop_storage::{CommitsCursor, CommitsFrom, DbKind, Limits, Lsn, Manager};
use proptest::prelude::*;

const DATABASES: [&str; 2] = ["a", "b"];
/// What the cursors want.
const FILTERS: [Option<&str>; 2] = [None, Some("b")];

#[derive(Clone, Debug)]
enum Op {
    /// So many commits to a database.
    Commit(usize, u8),
    /// A cursor reads about so many.
    Read(usize, usize),
    /// It acknowledges up to the nth of those that it has read and not acknowledged.
    Acknowledge(usize, usize),
    /// It makes durable what it acknowledged.
    Flush(usize),
    /// Its owner lets it go, and opens it again.
    Again(usize),
    Checkpoint,
    /// The process is killed.
    Kill,
}

fn op() -> impl Strategy<Value = Op> {
    let (cursor, database) = (0..FILTERS.len(), 0..DATABASES.len());
    prop_oneof![
        4 => (database, 1_u8..25).prop_map(|(database, count)| Op::Commit(database, count)),
        4 => (cursor.clone(), 1_usize..40).prop_map(|(cursor, limit)| Op::Read(cursor, limit)),
        3 => (cursor.clone(), 0_usize..30).prop_map(|(cursor, nth)| Op::Acknowledge(cursor, nth)),
        2 => cursor.clone().prop_map(Op::Flush),
        1 => cursor.prop_map(Op::Again),
        2 => Just(Op::Checkpoint),
        1 => Just(Op::Kill),
    ]
}

/// What a cursor has to do.
#[derive(Copy, Clone, Debug, Default)]
struct Place {
    /// It reads on from here.
    read: Lsn,
    acknowledged: Lsn,
    /// At least so much of that is durable.
    durable: Lsn,
}

struct World {
    rig: Rig,
    store: Manager,
    cursors: Vec<CommitsCursor>,
    places: [Place; FILTERS.len()],
    /// What was committed: where, and to which database.
    committed: Vec<(Lsn, usize)>,
}

fn open(rig: &Rig) -> Manager {
    let mut limits = Limits::tiny();
    // Room for all that is written, whether or not it is acknowledged.
    limits.log_bytes_max = 16 << 20;
    limits.cursor_log_bytes_max = 8 << 20;
    rig.open_with(limits)
}

fn subscribe(store: &Manager, cursor: usize) -> CommitsCursor {
    let (name, from) = (format!("cursor-{cursor}"), CommitsFrom::Oldest);
    let opened = store.subscribe_commits(&name, from, FILTERS[cursor]);
    opened.unwrap()
}

impl World {
    fn new() -> Self {
        let rig = Rig::new();
        let store = open(&rig);
        for name in DATABASES {
            store.create_database(name, DbKind::Raw).unwrap();
        }
        let cursors = (0..FILTERS.len()).map(|cursor| subscribe(&store, cursor));
        Self {
            cursors: cursors.collect(),
            rig,
            store,
            places: Default::default(),
            committed: Vec::new(),
        }
    }

    /// What a cursor has to read from a position on.
    fn wanted(&self, cursor: usize, from: Lsn, to: Lsn) -> Vec<Lsn> {
        let wants =
            |database: usize| FILTERS[cursor].is_none_or(|filter| filter == DATABASES[database]);
        let all = self.committed.iter();
        all.filter(|(lsn, database)| from <= *lsn && *lsn < to && wants(*database))
            .map(|(lsn, _)| *lsn)
            .collect()
    }

    fn read(&mut self, cursor: usize, limit: usize) {
        let place = self.places[cursor];
        let page = self.cursors[cursor].read(limit).unwrap();
        let found: Vec<Lsn> = page.commits.iter().map(|commit| commit.lsn).collect();
        assert_eq!(found, self.wanted(cursor, place.read, page.next));
        let end = self.store.status().published;
        if found.is_empty() {
            assert_eq!(page.next, end.max(place.read), "nothing, and not the end");
        }
        self.places[cursor].read = page.next;
        assert_eq!(self.cursors[cursor].position(), page.next);
    }

    fn acknowledge(&mut self, cursor: usize, nth: usize) {
        let place = &self.places[cursor];
        let open = self.wanted(cursor, place.acknowledged, place.read);
        // Behind one of them, or all that was read.
        let next = match open.get(nth) {
            Some(lsn) => Lsn::new(lsn.get() + 1),
            None => place.read,
        };
        self.cursors[cursor].acknowledge(next).unwrap();
        let place = &mut self.places[cursor];
        place.acknowledged = place.acknowledged.max(next);
    }

    /// The cursor passes by nothing that was not acknowledged, and repeats nothing that was durably so.
    fn went_on(&mut self, cursor: usize) {
        let (place, position) = (self.places[cursor], self.cursors[cursor].position());
        assert_eq!(self.wanted(cursor, place.acknowledged, position), []);
        assert_eq!(self.wanted(cursor, position, place.durable), []);
        self.places[cursor] = Place {
            read: position,
            acknowledged: position,
            durable: position,
        };
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Commit(database, count) => {
                for byte in 0..count {
                    let lsn = write(&self.store, DATABASES[database], byte);
                    self.committed.push((lsn, database));
                    self.store.keep_house();
                }
            }
            Op::Read(cursor, limit) => self.read(cursor, limit),
            Op::Acknowledge(cursor, nth) => self.acknowledge(cursor, nth),
            Op::Flush(cursor) => {
                self.cursors[cursor].flush().unwrap();
                self.places[cursor].durable = self.places[cursor].acknowledged;
            }
            Op::Again(cursor) => {
                // Its drop makes durable what was acknowledged; nobody else may have it meanwhile.
                drop(self.cursors.remove(cursor));
                self.places[cursor].durable = self.places[cursor].acknowledged;
                self.cursors.insert(cursor, subscribe(&self.store, cursor));
                self.went_on(cursor);
            }
            Op::Checkpoint => drop(self.store.checkpoint().unwrap()),
            Op::Kill => {
                self.rig = self.rig.killed();
                self.store = open(&self.rig);
                let cursors = (0..FILTERS.len()).map(|cursor| subscribe(&self.store, cursor));
                self.cursors = cursors.collect();
                (0..FILTERS.len()).for_each(|cursor| self.went_on(cursor));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_commit_is_read_in_order_from_what_was_acknowledged_on(
        ops in prop::collection::vec(op(), 1..60),
    ) {
        let mut world = World::new();
        for op in ops {
            world.run(&op);
            for info in world.store.cursors() {
                prop_assert!(!info.lost && info.alive, "{info:?}");
            }
        }
        for cursor in 0..FILTERS.len() {
            while world.places[cursor].read < world.store.status().published {
                world.read(cursor, 10);
            }
        }
    }
}
