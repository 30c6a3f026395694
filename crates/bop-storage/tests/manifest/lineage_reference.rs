//! The naive model of forks and snapshots: lists that are searched from end to end, and pages that are
//! there as long as the definition says so, asked anew each time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends by a panic, its helpers too"
)]

use bop_storage::Limits;
use bop_storage::catalogue::{DatabaseState, DbName, Entry, Point};
use bop_storage::checksum::RollingChecksum;
use bop_storage::ids::{DbId, DbKind, Lsn, PageSize};
use std::collections::BTreeSet;

pub(crate) const SNAPSHOTS_MAX: u32 = 3;
pub(crate) const DATABASES_MAX: u32 = 9;

/// Of databases and of snapshots; twins among them.
pub(crate) const NAMES: &[&str] = &["a", "A", "b", "stra\u{df}e", "STRASSE", "x/y"];

pub(crate) const KINDS: &[DbKind] = &[DbKind::Raw, DbKind::Raw, DbKind::Sqlite, DbKind::Log];

/// A database and one of its commits.
pub(crate) type At = (u64, u64);

/// The point there, each with contents of its own.
pub(crate) fn point((source, lsn): At) -> Point {
    Point {
        source: DbId::new(source),
        lsn: Lsn::new(lsn),
        time_us: source * 1000 + lsn,
        page_size: Some(PageSize::MIN),
        page_count: 7,
        rolling_checksum: RollingChecksum::new(lsn << 32 | source),
    }
}

pub(crate) fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.databases_max = DATABASES_MAX;
    limits.snapshots_max = SNAPSHOTS_MAX;
    limits
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create(&'static str, DbKind),
    Fork(&'static str, At),
    Snapshot(&'static str, &'static str, At),
    SnapshotDrop(&'static str, &'static str),
    /// With the name of the snapshot of what is there.
    Restore(&'static str, At, &'static str),
    /// With the microseconds for which its pages are kept.
    Drop(&'static str, u64),
    Undrop(u64, &'static str),
    Purge(u64),
    Quota(&'static str, u64),
    Forget(u64),
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Is {
    Live,
    Dropped,
    Gone,
}

#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub name: String,
    pub at: At,
    pub created_us: u64,
    pub lsn: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub id: u64,
    name: String,
    kind: DbKind,
    is: Is,
    quota: u64,
    pub origin: Option<At>,
    /// In the order in which they were made.
    pub snapshots: Vec<Named>,
}

impl Known {
    pub(crate) fn is(&self, entry: &Entry) -> bool {
        let is = match entry.state {
            DatabaseState::Live => Is::Live,
            DatabaseState::Dropped { .. } => Is::Dropped,
            DatabaseState::Tombstone { .. } => Is::Gone,
        };
        let found = (
            entry.name.as_str(),
            entry.kind,
            is,
            entry.policy.quota_bytes,
        );
        found == (self.name.as_str(), self.kind, self.is, self.quota)
    }
}

#[derive(Clone, Default)]
pub(crate) struct Model {
    /// By id.
    pub databases: Vec<Known>,
    created: u64,
}

fn same(one: &str, other: &str) -> bool {
    DbName::new(one).unwrap().folded() == DbName::new(other).unwrap().folded()
}

type Answer<T> = Result<T, &'static str>;

impl Model {
    pub(crate) fn get(&self, id: u64) -> Option<&Known> {
        self.databases.iter().find(|known| known.id == id)
    }

    /// It is there, or somebody who has pages starts from it, or somebody's snapshot is of it.
    pub(crate) fn has_pages(&self, id: u64) -> bool {
        let is_there = self.get(id).is_some_and(|known| known.is != Is::Gone);
        is_there || !self.points_of(id).is_empty()
    }

    pub(crate) fn forks_of(&self, id: u64) -> BTreeSet<u64> {
        let forks = self.databases.iter().filter(|known| {
            known.origin.is_some_and(|(source, _)| source == id) && self.has_pages(known.id)
        });
        forks.map(|known| known.id).collect()
    }

    pub(crate) fn points_of(&self, id: u64) -> BTreeSet<u64> {
        let forks = self.forks_of(id);
        let origins = self.databases.iter().filter(|one| forks.contains(&one.id));
        let origins = origins.filter_map(|known| known.origin);
        let named = self.databases.iter().flat_map(|known| &known.snapshots);
        let all = origins.chain(named.map(|named| named.at));
        let own = all.filter(|(source, _)| *source == id);
        own.map(|(_, lsn)| lsn).collect()
    }

    /// All that anybody points at.
    pub(crate) fn pointed_at(&self) -> Vec<At> {
        let ids = self.databases.iter().map(|known| known.id);
        ids.flat_map(|id| self.points_of(id).into_iter().map(move |lsn| (id, lsn)))
            .collect()
    }

    fn live(&self, name: &str) -> Answer<usize> {
        if name.contains('/') {
            return Err("invalid_name");
        }
        let mut all = self.databases.iter();
        let found = all.position(|known| known.is == Is::Live && same(&known.name, name));
        found.ok_or("database_not_found")
    }

    fn free(&self, name: &str) -> Answer<()> {
        match self.live(name) {
            Ok(_) => Err("database_exists"),
            Err("database_not_found") => Ok(()),
            Err(other) => Err(other),
        }
    }

    fn new_id(&self) -> Answer<u64> {
        let full = self.databases.len() >= DATABASES_MAX as usize;
        if full {
            Err("limit_reached")
        } else {
            Ok(self.created + 1)
        }
    }

    fn paged(&self, kind: DbKind) -> Answer<DbKind> {
        if kind == DbKind::Log {
            Err("wrong_kind")
        } else {
            Ok(kind)
        }
    }

    /// The kind of what is there.
    fn kind_at(&self, (id, lsn): At) -> Answer<DbKind> {
        let known = self.get(id).ok_or("database_dropped")?;
        if known.is == Is::Gone && !self.points_of(id).contains(&lsn) {
            return Err("database_dropped");
        }
        self.paged(known.kind)
    }

    fn of_kind(&self, at: At, kind: DbKind) -> Answer<()> {
        if self.kind_at(at)? == kind {
            Ok(())
        } else {
            Err("wrong_kind")
        }
    }

    fn free_snapshot(&self, owner: usize, name: &str) -> Answer<()> {
        let own = &self.databases[owner].snapshots;
        if name.contains('/') {
            Err("invalid_name")
        } else if own.iter().any(|named| same(&named.name, name)) {
            Err("snapshot_exists")
        } else if own.len() >= SNAPSHOTS_MAX as usize {
            Err("limit_reached")
        } else {
            Ok(())
        }
    }

    fn add(&mut self, id: u64, name: &str, kind: DbKind, origin: Option<At>) -> &mut Known {
        self.created = id;
        self.databases.push(Known {
            id,
            name: name.to_owned(),
            kind,
            is: Is::Live,
            quota: 0,
            origin,
            snapshots: Vec::new(),
        });
        self.databases.last_mut().unwrap()
    }

    fn dropped(&mut self, id: u64) -> Answer<usize> {
        let mut all = self.databases.iter();
        all.position(|known| known.id == id && known.is == Is::Dropped)
            .ok_or("database_not_found")
    }

    fn end(&mut self, at: usize) {
        self.databases[at].is = Is::Gone;
        self.databases[at].snapshots.clear();
    }

    /// What the catalogue must answer: `Err` with the name of the error.
    pub(crate) fn run(&mut self, op: &Op, lsn: u64) -> Answer<()> {
        match *op {
            Op::Create(name, kind) => {
                self.free(name)?;
                let id = self.new_id()?;
                self.add(id, name, kind, None);
            }
            Op::Fork(name, at) => {
                self.free(name)?;
                let kind = self.kind_at(at)?;
                let id = self.new_id()?;
                self.add(id, name, kind, Some(at));
            }
            Op::Snapshot(owner, name, at) => {
                let owner = self.live(owner)?;
                self.free_snapshot(owner, name)?;
                let kind = self.paged(self.databases[owner].kind)?;
                self.of_kind(at, kind)?;
                self.databases[owner].snapshots.push(named(name, at, lsn));
            }
            Op::SnapshotDrop(owner, name) => {
                let owner = self.live(owner)?;
                if name.contains('/') {
                    return Err("invalid_name");
                }
                let own = &mut self.databases[owner].snapshots;
                let found = own.iter().position(|named| same(&named.name, name));
                own.remove(found.ok_or("snapshot_not_found")?);
            }
            Op::Restore(name, at, kept) => self.restore(name, at, kept, lsn)?,
            Op::Drop(name, keep_us) => {
                let found = self.live(name)?;
                match keep_us {
                    0 => self.end(found),
                    _ => self.databases[found].is = Is::Dropped,
                }
            }
            Op::Undrop(id, name) => {
                if name.contains('/') {
                    return Err("invalid_name");
                }
                let found = self.dropped(id)?;
                self.free(name)?;
                self.databases[found].is = Is::Live;
                self.databases[found].name = name.to_owned();
            }
            Op::Purge(id) => {
                let found = self.dropped(id)?;
                self.end(found);
            }
            Op::Quota(name, bytes) => {
                let found = self.live(name)?;
                self.databases[found].quota = bytes;
            }
            Op::Forget(id) => {
                let forgettable = self.get(id).is_some() && !self.has_pages(id);
                self.databases
                    .retain(|known| known.id != id || !forgettable);
            }
        }
        Ok(())
    }

    fn restore(&mut self, name: &str, at: At, kept: &str, lsn: u64) -> Answer<()> {
        let old = self.live(name)?;
        self.free_snapshot(old, kept)?;
        let known = self.databases[old].clone();
        self.paged(known.kind)?;
        self.of_kind(at, known.kind)?;
        let id = self.new_id()?;
        self.end(old);
        let new = self.add(id, &known.name, known.kind, Some(at));
        new.quota = known.quota;
        new.snapshots = known.snapshots;
        new.snapshots.push(named(kept, (known.id, 9), lsn));
        Ok(())
    }
}

fn named(name: &str, at: At, lsn: u64) -> Named {
    Named {
        name: name.to_owned(),
        at,
        created_us: lsn,
        lsn,
    }
}
