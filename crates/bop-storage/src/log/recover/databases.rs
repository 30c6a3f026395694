//! Which databases replay can still vouch for.
//!
//! A *hole* is a part of the log that is lost. It suspects the databases that its directory names,
//! or, where no directory reads, every database. A suspect is cleared by proof that the hole had
//! none of its commits; without proof it is damaged.
//!
//! ```text
//!           hole that may touch it                 next commit names the head as its parent,
//! trusted ------------------------> suspect ---->  the close record names the head (or leaves
//!    |  ^                              |           the database out), or the chunks hold all
//!    |  `------------------------------+           that the hole can have had
//!    |                                 |
//!    | next commit names another parent, the close record another head, or the log ends
//!    `------------> damaged <----------'   (terminal)
//! ```
//! Never: delivers a commit whose parent was not delivered or checkpointed.

use crate::error::{Damage, Reject};
use crate::ids::{DbId, Lsn};
use std::collections::{BTreeMap, BTreeSet};

/// What the manifest says of a database's chunks.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Checkpointed {
    /// The newest commit that they hold; zero when they hold none.
    pub head: Lsn,
    /// Everything of the database below this Lsn is in them. Zero, or at least `head`, when nothing
    /// more than `head` is known.
    pub covered: Lsn,
}

impl Checkpointed {
    /// Known by its newest commit alone.
    pub const fn at(head: Lsn) -> Self {
        Self {
            head,
            covered: head,
        }
    }

    fn holds(&self, lsn: Lsn) -> bool {
        lsn <= self.head || lsn < self.covered
    }
}

/// A lost part of the log.
#[derive(Clone, Debug)]
pub(super) struct Hole {
    /// What is reported.
    pub(super) damage: Damage,
    /// The first Lsn behind it.
    pub(super) end: Lsn,
    /// The databases it can have touched with the last position of each; `None` for any.
    pub(super) named: Option<BTreeMap<DbId, Lsn>>,
    /// Databases whose name or being it changed: no commit of theirs can clear them.
    pub(super) renamed: BTreeMap<DbId, Lsn>,
}

#[derive(Debug, Default)]
struct Track {
    checkpointed: Checkpointed,
    /// Its newest commit, as far as replay has come.
    head: Lsn,
    /// Holes that it is cleared of, counted from the first.
    cleared: usize,
}

/// How a commit fits its database.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Fit {
    /// The chunks hold it.
    Covered,
    /// It is the next one.
    Next,
    /// Its database is damaged.
    Refused,
}

/// All databases that are known of.
#[derive(Debug)]
pub(super) struct Databases {
    tracks: BTreeMap<DbId, Track>,
    holes: Vec<Hole>,
    damaged: BTreeMap<DbId, Damage>,
    /// Everything below was released.
    truncated: Lsn,
    /// The first and the last record of each database that its chunks do not hold.
    spans: BTreeMap<DbId, (Lsn, Lsn)>,
}

impl Databases {
    /// Those that the manifest knows, the catalogue among them.
    pub(super) fn new(
        known: &BTreeMap<DbId, Checkpointed>,
        catalogue: Checkpointed,
        truncated: Lsn,
    ) -> Self {
        let track = |checkpointed: Checkpointed| Track {
            checkpointed,
            head: checkpointed.head,
            cleared: 0,
        };
        let mut tracks: BTreeMap<DbId, Track> = known
            .iter()
            .map(|(database, checkpointed)| (*database, track(*checkpointed)))
            .collect();
        tracks.insert(DbId::CATALOGUE, track(catalogue));
        Self {
            tracks,
            holes: Vec::new(),
            damaged: BTreeMap::new(),
            truncated,
            spans: BTreeMap::new(),
        }
    }

    /// A part of the log is lost.
    pub(super) fn hole(&mut self, hole: Hole) {
        let catalogue = self.checkpointed(DbId::CATALOGUE);
        for (database, lsn) in &hole.renamed {
            if !catalogue.holds(*lsn) {
                self.fail(*database, hole.damage.clone());
            }
        }
        self.holes.push(hole);
    }

    /// There is a record of the database at `lsn`, whether or not it can be applied.
    pub(super) fn seen(&mut self, database: DbId, lsn: Lsn) {
        if !self.checkpointed(database).holds(lsn) {
            let span = self.spans.entry(database).or_insert((lsn, lsn));
            span.1 = lsn;
        }
    }

    /// A new database: no hole before can have touched it.
    pub(super) fn created(&mut self, database: DbId) {
        let cleared = self.holes.len();
        self.tracks.entry(database).or_insert_with(|| Track {
            checkpointed: Checkpointed::default(),
            head: Lsn::ZERO,
            cleared,
        });
    }

    /// How a commit at `lsn` that follows `parent` fits. One that does not makes its database
    /// damaged.
    pub(super) fn fit(&mut self, database: DbId, lsn: Lsn, parent: Lsn, at: &Damage) -> Fit {
        if self.damaged.contains_key(&database) {
            return Fit::Refused;
        }
        let cleared = self.holes.len();
        let track = self.tracks.entry(database).or_default();
        if lsn <= track.checkpointed.head {
            return Fit::Covered;
        }
        if parent == track.head {
            track.head = lsn;
            track.cleared = cleared;
            return Fit::Next;
        }
        let broken = Reject::BrokenChain {
            expected_parent: parent,
            found_head: track.head,
        };
        self.blame(database, Damage::new(at.place.clone(), broken));
        Fit::Refused
    }

    /// How a record of a record log fits. Nothing of these is in chunks, and what was released was
    /// not needed any more, so the oldest record that is left may name one that is gone.
    pub(super) fn fit_log(&mut self, database: DbId, lsn: Lsn, parent: Lsn, at: &Damage) -> Fit {
        let truncated = self.truncated;
        let track = self.tracks.entry(database).or_default();
        if track.head == Lsn::ZERO && parent < truncated {
            track.head = parent;
        }
        self.fit(database, lsn, parent, at)
    }

    /// The database is damaged: by the hole that it is suspect for, if there is one, else by
    /// `damage`.
    pub(super) fn blame(&mut self, database: DbId, damage: Damage) {
        let hole = self.suspected_by(database).map(|hole| hole.damage.clone());
        self.fail(database, hole.unwrap_or(damage));
    }

    /// The store was closed cleanly with these heads; a database that is not among them had no
    /// commit that its chunks do not hold.
    pub(super) fn closed(&mut self, heads: &[(DbId, Lsn)], at: &Damage) {
        for (database, head) in heads {
            let track = self.tracks.entry(*database).or_default();
            let found_head = track.head;
            // One that was released was not needed any more: a record log has moved since.
            let needed = track.checkpointed.head < *head && self.truncated <= *head;
            if *head != found_head && needed {
                let broken = Reject::BrokenChain {
                    expected_parent: *head,
                    found_head,
                };
                self.blame(*database, Damage::new(at.place.clone(), broken));
            }
        }
        let cleared = self.holes.len();
        for track in self.tracks.values_mut() {
            track.cleared = cleared;
        }
    }

    /// The damaged databases, now that no more proof can come, and the records of each database: it
    /// may be whoever replays them that finds one damaged.
    pub(super) fn finish(mut self) -> (BTreeMap<DbId, Damage>, BTreeMap<DbId, (Lsn, Lsn)>) {
        let mut all: BTreeSet<DbId> = self.tracks.keys().copied().collect();
        let named = self.holes.iter().filter_map(|hole| hole.named.as_ref());
        all.extend(named.flat_map(|named| named.keys().copied()));
        for database in all {
            if let Some(hole) = self.suspected_by(database) {
                let damage = hole.damage.clone();
                self.fail(database, damage);
            }
        }
        (self.damaged, self.spans)
    }

    fn fail(&mut self, database: DbId, damage: Damage) {
        self.damaged.entry(database).or_insert(damage);
    }

    fn checkpointed(&self, database: DbId) -> Checkpointed {
        let track = self.tracks.get(&database);
        track.map_or_else(Checkpointed::default, |track| track.checkpointed)
    }

    /// The first hole that may have touched the database and was not disproved.
    fn suspected_by(&self, database: DbId) -> Option<&Hole> {
        let cleared = self.tracks.get(&database).map_or(0, |track| track.cleared);
        let checkpointed = self.checkpointed(database);
        self.holes.iter().skip(cleared).find(|hole| {
            let last = match &hole.named {
                Some(named) => match named.get(&database) {
                    Some(last) => *last,
                    None => return false,
                },
                // Anything below its end.
                None => Lsn::new(hole.end.get().saturating_sub(1)),
            };
            !checkpointed.holds(last)
        })
    }
}
