//! The catalogue against a naive model, through the log's records, the section and the rows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends by a panic, its helpers too"
)]

use crate::catalogue_rows::{CatalogueRows, Cut};
use bop_storage::catalogue::{
    Catalogue, CatalogueChange, DatabaseState, DbName, Replayed, Retention, decode_section,
    encode_delta, encode_section,
};
use bop_storage::error::{CatalogueError, Damage, Place, Reject};
use bop_storage::ids::{CursorId, DbId, DbKind, Lsn};
use bop_storage::manifest::{CursorPlace, CursorRow};
use proptest::prelude::*;
use std::time::Duration;

const DATABASES_MAX: u32 = 8;

/// Twins among them: case, composition, and the letters that fold to two.
const NAMES: &[&str] = &[
    "a",
    "A",
    "my-db",
    "my_db",
    "caf\u{e9}",
    "CAFE\u{301}",
    "stra\u{df}e",
    "STRASSE",
    "x/y",
];

#[derive(Clone, Debug)]
enum Op {
    Create(&'static str, DbKind),
    Rename(&'static str, &'static str),
    /// With the microseconds for which its pages are kept.
    Drop(&'static str, u64),
    /// The newest drop of that name, under another name.
    Undrop(&'static str, &'static str),
    /// A drop without a way back, of a database that was dropped.
    Purge(u64),
    Retention(&'static str, u64),
    Quota(&'static str, u64),
    Forget(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let name = || prop::sample::select(NAMES);
    let kind = prop::sample::select(&[DbKind::Sqlite, DbKind::Raw][..]);
    prop_oneof![
        4 => (name(), kind).prop_map(|(name, kind)| Op::Create(name, kind)),
        2 => (name(), name()).prop_map(|(from, to)| Op::Rename(from, to)),
        3 => (name(), 0..3_u64).prop_map(|(name, keep_us)| Op::Drop(name, keep_us)),
        2 => (name(), name()).prop_map(|(name, new)| Op::Undrop(name, new)),
        1 => (1..20_u64).prop_map(Op::Purge),
        1 => (name(), 0..9_u64).prop_map(|(name, us)| Op::Retention(name, us)),
        1 => (name(), 0..9_u64).prop_map(|(name, bytes)| Op::Quota(name, bytes)),
        1 => (1..20_u64).prop_map(Op::Forget),
    ]
}

/// Whether a database is there.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Is {
    Live,
    /// It can be brought back; its drop was that operation.
    Dropped(usize),
    Gone,
}

/// Its id, name, kind, whether it is there, window and quota.
type Known = (DbId, String, DbKind, Is, Option<u64>, u64);

/// A list of databases that is searched from end to end.
#[derive(Default)]
struct Model {
    databases: Vec<Known>,
    created: u64,
    ops: usize,
}

impl Model {
    fn find(&self, name: &str) -> Option<usize> {
        let mut all = self.databases.iter();
        all.position(|known| known.3 == Is::Live && same(&known.1, name))
    }

    /// The newest drop of that name.
    fn find_dropped(&self, name: &str) -> Option<usize> {
        let dropped = self.databases.iter().enumerate().filter_map(|(at, known)| {
            let Is::Dropped(op) = known.3 else {
                return None;
            };
            same(&known.1, name).then_some((op, at))
        });
        dropped.max().map(|(_, at)| at)
    }

    fn set(&mut self, name: &str, set: impl FnOnce(&mut Known)) -> Result<(), &'static str> {
        if name.contains('/') {
            return Err("invalid_name");
        }
        let at = self.find(name).ok_or("database_not_found")?;
        set(&mut self.databases[at]);
        Ok(())
    }

    /// What the catalogue must answer: `Err` with the name of the error.
    fn run(&mut self, op: &Op) -> Result<(), &'static str> {
        self.ops += 1;
        match op {
            Op::Create(name, _) if name.contains('/') => Err("invalid_name"),
            Op::Create(name, _) if self.find(name).is_some() => Err("database_exists"),
            Op::Create(..) if self.databases.len() == DATABASES_MAX as usize => {
                Err("limit_reached")
            }
            Op::Create(name, kind) => {
                self.created += 1;
                let id = DbId::new(self.created);
                let name = (*name).to_owned();
                self.databases.push((id, name, *kind, Is::Live, None, 0));
                Ok(())
            }
            Op::Rename(from, to) => {
                if from.contains('/') || to.contains('/') {
                    return Err("invalid_name");
                }
                let at = self.find(from).ok_or("database_not_found")?;
                match self.find(to) {
                    Some(other) if other != at || self.databases[at].1 == *to => {
                        Err("database_exists")
                    }
                    _ => {
                        self.databases[at].1 = (*to).to_owned();
                        Ok(())
                    }
                }
            }
            Op::Drop(name, keep_us) => {
                let dropped = match keep_us {
                    0 => Is::Gone,
                    _ => Is::Dropped(self.ops),
                };
                self.set(name, |known| known.3 = dropped)
            }
            Op::Undrop(name, new) => {
                if name.contains('/') || new.contains('/') {
                    return Err("invalid_name");
                }
                let at = self.find_dropped(name).ok_or("database_not_found")?;
                if self.find(new).is_some() {
                    return Err("database_exists");
                }
                self.databases[at].1 = (*new).to_owned();
                self.databases[at].3 = Is::Live;
                Ok(())
            }
            Op::Purge(id) => {
                let mut all = self.databases.iter_mut();
                let known = all.find(|known| known.0.get() == *id);
                let known = known.filter(|known| matches!(known.3, Is::Dropped(_)));
                known.ok_or("database_not_found")?.3 = Is::Gone;
                Ok(())
            }
            Op::Retention(name, us) => self.set(name, |known| known.4 = Some(*us)),
            Op::Quota(name, bytes) => self.set(name, |known| known.5 = *bytes),
            Op::Forget(id) => {
                self.databases
                    .retain(|known| known.3 != Is::Gone || known.0.get() != *id);
                Ok(())
            }
        }
    }
}

fn same(one: &str, other: &str) -> bool {
    DbName::new(one).unwrap().folded() == DbName::new(other).unwrap().folded()
}

fn plan(catalogue: &Catalogue, op: &Op) -> Result<Option<CatalogueChange>, CatalogueError> {
    match op {
        Op::Create(name, kind) => catalogue.plan_create(name, *kind, DATABASES_MAX).map(Some),
        Op::Rename(from, to) => catalogue.plan_rename(from, to).map(Some),
        Op::Drop(name, keep_us) => catalogue.plan_drop(name, *keep_us).map(Some),
        Op::Undrop(name, new) => {
            // The name that is wanted is looked at first, as a caller's argument.
            DbName::given(new).map_err(|reason| CatalogueError::InvalidName {
                name: (*new).to_owned(),
                reason,
            })?;
            let id = catalogue.find_dropped(name)?;
            catalogue.plan_undrop(id, new).map(Some)
        }
        Op::Purge(id) => catalogue.plan_purge(DbId::new(*id)).map(Some),
        Op::Retention(name, us) => {
            let retention = Retention::window(Duration::from_micros(*us));
            let change = |id| CatalogueChange::Retention { id, retention };
            catalogue.plan_setting(name, change).map(Some)
        }
        Op::Quota(name, bytes) => {
            let change = |id| CatalogueChange::Quota { id, bytes: *bytes };
            catalogue.plan_setting(name, change).map(Some)
        }
        Op::Forget(_) => Ok(None),
    }
}

fn check_same(catalogue: &Catalogue, model: &Model) {
    let found: Vec<_> = catalogue
        .entries()
        .map(|(id, entry)| {
            let (name, kind, policy) = (entry.name.to_string(), entry.kind, entry.policy);
            let window_us = Some(policy.retention.window_us);
            let window_us = window_us.filter(|us| *us != Retention::DEFAULT_WINDOW_US);
            (id, name, kind, entry.state, window_us, policy.quota_bytes)
        })
        .collect();
    let mut drops: Vec<(usize, DbId)> = Vec::new();
    assert_eq!(found.len(), model.databases.len());
    for (found, known) in found.into_iter().zip(&model.databases) {
        let is = match (found.3, known.3) {
            (DatabaseState::Live, Is::Live) | (DatabaseState::Tombstone { .. }, Is::Gone) => true,
            (DatabaseState::Dropped { .. }, Is::Dropped(op)) => {
                drops.push((op, known.0));
                true
            }
            _ => false,
        };
        assert!(is, "{found:?} is not {known:?}");
        let found = (found.0, found.1, found.2, known.3, found.4, found.5);
        assert_eq!(found, *known);
    }
    drops.sort_unstable();
    let drops: Vec<DbId> = drops.into_iter().map(|(_, id)| id).collect();
    let dropped: Vec<DbId> = catalogue.dropped().map(|(id, _)| id).collect();
    assert_eq!(dropped, drops, "in the order of their drops");
    for name in NAMES.iter().filter(|name| !name.contains('/')) {
        let wanted = model.find(name).map(|at| model.databases[at].0);
        assert_eq!(catalogue.find(name).ok(), wanted, "{name}");
    }
    assert_eq!(catalogue.next_id().get(), model.created + 1);
    assert_eq!(catalogue.live_count(), catalogue.live().count());
}

proptest! {
    #[test]
    fn the_catalogue_is_the_model(ops in prop::collection::vec(op(), 0..60)) {
        let mut rows = CatalogueRows::new();
        let (mut live, mut model) = (Catalogue::new(), Model::default());
        let (mut replayed, mut lsn) = (Catalogue::new(), 0);
        let mut sections: Vec<Vec<u8>> = Vec::new();
        let (mut since, mut forgotten) = (Lsn::ZERO, Vec::new());
        for (n, op) in ops.iter().enumerate() {
            let planned = plan(&live, op);
            let wanted = model.run(op);
            let answer = planned.as_ref().map(|_| ()).map_err(|error| error.code().as_str());
            prop_assert_eq!(answer, wanted, "{:?}", op);
            if let Ok(Some(change)) = planned {
                lsn += 100;
                let parent = live.last_lsn();
                let gone = live.apply(&change, Lsn::new(lsn), n as u64).unwrap();
                let read = CatalogueChange::from_op(change.database(), &change.op()).unwrap();
                for wanted in [Replayed::Applied(gone), Replayed::Known] {
                    let became = replayed.replay(std::slice::from_ref(&read), parent, Lsn::new(lsn), n as u64);
                    prop_assert_eq!(became, Ok(wanted));
                }
            }
            if let Op::Forget(id) = op {
                let id = DbId::new(*id);
                let forgot = live.forget(id);
                prop_assert_eq!(forgot, replayed.forget(id));
                // A base has nothing below it to forget.
                forgotten.extend((forgot && since != Lsn::ZERO).then_some(id));
            }
            // So does what is newer of the catalogue, section upon section.
            if n % 5 == 4 && live.last_lsn() != Lsn::ZERO {
                forgotten.sort_unstable();
                sections.push(encode_delta(&live, since, &forgotten, &[]));
                since = live.last_lsn();
                forgotten.clear();
            }
            // The rows follow the log at any distance.
            if n % 7 == 3 {
                rows.follow(&live, Cut::nth(n / 7));
            }
            check_same(&live, &model);
        }
        prop_assert_eq!(&replayed, &live);
        forgotten.sort_unstable();
        if live.last_lsn() != Lsn::ZERO {
            sections.push(encode_delta(&live, since, &forgotten, &[]));
            let mut sections = sections.iter().map(|bytes| decode_section(bytes).unwrap());
            let base = sections.next().unwrap();
            let whole = sections.try_fold(base, |below, delta| delta.on(below)).unwrap();
            prop_assert_eq!(&whole.catalogue, &live);
        }
        prop_assert_eq!(&decode_section(&encode_section(&live, &[])).unwrap().catalogue, &live);
        rows.follow(&live, Cut::Reopened);
    }

    #[test]
    fn a_damaged_section_is_refused(at in any::<prop::sample::Index>(), bits in 1..=255_u8, cut in any::<bool>(), whole in any::<bool>()) {
        let cursors = [(CursorId::new(7), cursor())];
        let mut bytes = match whole {
            true => encode_section(&sample(), &cursors),
            false => encode_delta(&sample(), Lsn::new(20), &[DbId::new(1)], &cursors),
        };
        prop_assert!(decode_section(&bytes).is_ok());
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= bits;
        }
        prop_assert!(decode_section(&bytes).is_err());
    }
}

fn cursor() -> CursorRow {
    CursorRow {
        name: DbName::new("a subscriber").unwrap(),
        place: CursorPlace::Commits {
            position: Lsn::new(9),
            database: None,
        },
        created_us: 1,
        seen_us: 2,
        lease_us: 3,
    }
}

fn create(id: u64, name: &str) -> CatalogueChange {
    CatalogueChange::Create {
        id: DbId::new(id),
        name: DbName::new(name).unwrap(),
        kind: DbKind::Sqlite,
    }
}

fn sample() -> Catalogue {
    let mut catalogue = Catalogue::new();
    let drop = |id, keep_us| CatalogueChange::Drop {
        id: DbId::new(id),
        keep_us,
    };
    let three = [create(1, "one"), create(2, "two"), create(3, "three")];
    for (n, change) in three
        .into_iter()
        .chain([drop(1, 0), drop(3, 7)])
        .enumerate()
    {
        let n = n as u64 + 1;
        catalogue.apply(&change, Lsn::new(n * 10), n).unwrap();
    }
    catalogue
}

#[test]
fn impossible_records_are_refused_and_change_nothing() {
    let catalogue = sample();
    let (one, two, three) = (DbId::new(1), DbId::new(2), DbId::new(3));
    let name = DbName::new("TWO").unwrap();
    let drop = |id, keep_us| CatalogueChange::Drop { id, keep_us };
    let rename = |id| CatalogueChange::Rename {
        id,
        name: name.clone(),
    };
    let undrop = |id| CatalogueChange::Undrop {
        id,
        name: name.clone(),
    };
    for (change, why) in [
        (create(2, "four"), "an id that was given out"),
        (create(4, "Two"), "a name that is taken"),
        (drop(one, 0), "a tombstone"),
        (drop(one, 5), "a tombstone"),
        (drop(three, 5), "dropped already, and kept"),
        (drop(DbId::new(9), 0), "an unknown id"),
        (rename(one), "a tombstone"),
        (rename(three), "dropped"),
        (undrop(one), "a tombstone"),
        (undrop(two), "live"),
        (undrop(three), "brought back under a name that is taken"),
        (
            CatalogueChange::Quota {
                id: three,
                bytes: 1,
            },
            "dropped",
        ),
    ] {
        let mut hit = catalogue.clone();
        let answer = hit.apply(&change, Lsn::new(100), 9);
        assert!(matches!(answer, Err(Reject::Invalid(_))), "{why}");
        assert_eq!(hit, catalogue, "{why}");
    }
    let mut hit = catalogue.clone();
    let lost_one_between = hit.replay(&[drop(two, 0)], Lsn::new(55), Lsn::new(60), 9);
    assert_eq!(
        lost_one_between,
        Err(Reject::BrokenChain {
            expected_parent: Lsn::new(55),
            found_head: Lsn::new(50),
        })
    );
    assert_eq!(hit, catalogue);
}

#[test]
fn a_damaged_catalogue_finds_names_but_gives_none_out() {
    let mut catalogue = sample();
    let place = Place::Page {
        database: DbId::CATALOGUE,
        page: bop_storage::ids::PageNo::FIRST,
    };
    catalogue.set_damaged(Damage::new(place, Reject::Checksum));
    assert_eq!(catalogue.find("TWO").unwrap(), DbId::new(2));
    for refused in [
        catalogue.plan_create("new", DbKind::Raw, 10),
        catalogue.plan_rename("two", "new"),
        catalogue.plan_drop("two", 0),
    ] {
        assert!(matches!(refused, Err(CatalogueError::Damaged(_))));
    }
}

#[test]
fn an_unknown_name_comes_with_the_nearest() {
    let error = sample().plan_drop("tow", 0).unwrap_err();
    let CatalogueError::NotFound { name, nearest } = error else {
        panic!("{error}");
    };
    assert_eq!((name.as_str(), nearest.as_deref()), ("tow", Some("two")));
}

#[test]
fn what_is_newer_stands_on_the_section_before_it_and_on_no_other() {
    let before = decode_section(&encode_section(&sample(), &[])).unwrap();
    let mut later = sample();
    let rename = CatalogueChange::Rename {
        id: DbId::new(2),
        name: DbName::new("deux").unwrap(),
    };
    later.apply(&rename, Lsn::new(60), 9).unwrap();
    let newer = |since| decode_section(&encode_delta(&later, Lsn::new(since), &[], &[])).unwrap();
    let whole = newer(50).on(before.clone()).unwrap();
    assert_eq!(whole.catalogue, later);
    let elsewhere = newer(40).on(before).unwrap_err();
    assert_eq!(
        elsewhere,
        Reject::BrokenChain {
            expected_parent: Lsn::new(40),
            found_head: Lsn::new(50),
        }
    );
}
