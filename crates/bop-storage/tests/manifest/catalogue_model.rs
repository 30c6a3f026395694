//! The catalogue against a naive model, through the log's records, the section and the rows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends by a panic, its helpers too"
)]

use bop_storage::catalogue::{
    Catalogue, CatalogueChange, DatabaseState, DbName, Replayed, decode_section, encode_section,
};
use bop_storage::error::{CatalogueError, Damage, Place, Reject};
use bop_storage::ids::{DbId, DbKind, Lsn, StoreId};
use bop_storage::manifest::{Manifest, ManifestStore, MemoryManifest};
use proptest::prelude::*;
use std::sync::Arc;

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
    Drop(&'static str),
    Forget(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let name = || prop::sample::select(NAMES);
    let kind = prop::sample::select(&[DbKind::Sqlite, DbKind::Raw][..]);
    prop_oneof![
        4 => (name(), kind).prop_map(|(name, kind)| Op::Create(name, kind)),
        2 => (name(), name()).prop_map(|(from, to)| Op::Rename(from, to)),
        3 => name().prop_map(Op::Drop),
        1 => (1..20_u64).prop_map(Op::Forget),
    ]
}

/// A list of databases that is searched from end to end.
#[derive(Default)]
struct Model {
    databases: Vec<(DbId, String, DbKind, bool)>,
    created: u64,
}

impl Model {
    fn find(&self, name: &str) -> Option<usize> {
        let same = |other: &str| {
            DbName::new(other).unwrap().folded() == DbName::new(name).unwrap().folded()
        };
        let mut all = self.databases.iter();
        all.position(|(_, other, _, live)| *live && same(other))
    }

    /// What the catalogue must answer: `Err` with the name of the error.
    fn run(&mut self, op: &Op) -> Result<(), &'static str> {
        match op {
            Op::Create(name, _) if name.contains('/') => Err("invalid_name"),
            Op::Create(name, _) if self.find(name).is_some() => Err("database_exists"),
            Op::Create(..) if self.databases.len() == DATABASES_MAX as usize => {
                Err("limit_reached")
            }
            Op::Create(name, kind) => {
                self.created += 1;
                let id = DbId::new(self.created);
                self.databases.push((id, (*name).to_owned(), *kind, true));
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
            Op::Drop(name) if name.contains('/') => Err("invalid_name"),
            Op::Drop(name) => {
                let at = self.find(name).ok_or("database_not_found")?;
                self.databases[at].3 = false;
                Ok(())
            }
            Op::Forget(id) => {
                self.databases
                    .retain(|(other, _, _, live)| *live || other.get() != *id);
                Ok(())
            }
        }
    }
}

fn plan(catalogue: &Catalogue, op: &Op) -> Result<Option<CatalogueChange>, CatalogueError> {
    match op {
        Op::Create(name, kind) => catalogue.plan_create(name, *kind, DATABASES_MAX).map(Some),
        Op::Rename(from, to) => catalogue.plan_rename(from, to).map(Some),
        Op::Drop(name) => catalogue.plan_drop(name).map(Some),
        Op::Forget(_) => Ok(None),
    }
}

fn check_same(catalogue: &Catalogue, model: &Model) {
    let found: Vec<_> = catalogue
        .entries()
        .map(|(id, entry)| {
            let live = entry.state == DatabaseState::Live;
            (id, entry.name.to_string(), entry.kind, live)
        })
        .collect();
    assert_eq!(found, model.databases);
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
        let store_id = StoreId::new([1; 16]);
        let store: Arc<dyn ManifestStore> = Arc::new(MemoryManifest::new());
        let manifest = Manifest::initialize(Arc::clone(&store), store_id).unwrap();
        let (mut live, mut model) = (Catalogue::new(), Model::default());
        let (mut replayed, mut lsn) = (Catalogue::new(), 0);
        for (n, op) in ops.iter().enumerate() {
            let planned = plan(&live, op);
            let wanted = model.run(op);
            let answer = planned.as_ref().map(|_| ()).map_err(|error| error.code().as_str());
            prop_assert_eq!(answer, wanted, "{:?}", op);
            if let Ok(Some(change)) = planned {
                lsn += 100;
                let parent = live.last_lsn();
                live.apply(&change, Lsn::new(lsn), n as u64).unwrap();
                let read = CatalogueChange::from_record(
                    change.kind(), change.database(), change.name(), change.arguments(),
                ).unwrap();
                for wanted in [Replayed::Applied, Replayed::Known] {
                    let became = replayed.replay(std::slice::from_ref(&read), parent, Lsn::new(lsn), n as u64);
                    prop_assert_eq!(became, Ok(wanted));
                }
            }
            if let Op::Forget(id) = op {
                prop_assert_eq!(live.forget(DbId::new(*id)), replayed.forget(DbId::new(*id)));
            }
            // The rows follow the log at any distance.
            if n % 7 == 3 {
                let rows = live.clone();
                manifest.transact(move |edit| rows.write_rows(edit)).unwrap();
            }
            check_same(&live, &model);
        }
        prop_assert_eq!(&replayed, &live);
        prop_assert_eq!(&decode_section(&encode_section(&live)).unwrap(), &live);
        let rows = live.clone();
        manifest.transact(move |edit| rows.write_rows(edit)).unwrap();
        let reopened = Manifest::open(store, store_id).unwrap();
        prop_assert_eq!(&Catalogue::from_rows(&reopened.state()), &live);
        prop_assert_eq!(reopened.verify().unwrap(), []);
    }

    #[test]
    fn a_damaged_section_is_refused(at in any::<prop::sample::Index>(), bits in 1..=255_u8, cut in any::<bool>()) {
        let mut bytes = encode_section(&sample());
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= bits;
        }
        prop_assert!(decode_section(&bytes).is_err());
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
    let drop = CatalogueChange::Drop { id: DbId::new(1) };
    for (n, change) in [create(1, "one"), create(2, "two"), drop]
        .iter()
        .enumerate()
    {
        let n = n as u64 + 1;
        catalogue.apply(change, Lsn::new(n * 10), n).unwrap();
    }
    catalogue
}

#[test]
fn impossible_records_are_refused_and_change_nothing() {
    let catalogue = sample();
    let (one, two) = (DbId::new(1), DbId::new(2));
    let name = DbName::new("TWO").unwrap();
    for (change, why) in [
        (create(2, "three"), "an id that was given out"),
        (create(3, "Two"), "a name that is taken"),
        (CatalogueChange::Drop { id: one }, "a tombstone"),
        (CatalogueChange::Drop { id: DbId::new(9) }, "an unknown id"),
        (CatalogueChange::Rename { id: one, name }, "a tombstone"),
    ] {
        let mut hit = catalogue.clone();
        let answer = hit.apply(&change, Lsn::new(100), 9);
        assert!(matches!(answer, Err(Reject::Invalid(_))), "{why}");
        assert_eq!(hit, catalogue, "{why}");
    }
    let mut hit = catalogue.clone();
    let lost_one_between = hit.replay(
        &[CatalogueChange::Drop { id: two }],
        Lsn::new(35),
        Lsn::new(40),
        9,
    );
    assert_eq!(
        lost_one_between,
        Err(Reject::BrokenChain {
            expected_parent: Lsn::new(35),
            found_head: Lsn::new(30),
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
        catalogue.plan_drop("two"),
    ] {
        assert!(matches!(refused, Err(CatalogueError::Damaged(_))));
    }
}

#[test]
fn an_unknown_name_comes_with_the_nearest() {
    let error = sample().plan_drop("tow").unwrap_err();
    let CatalogueError::NotFound { name, nearest } = error else {
        panic!("{error}");
    };
    assert_eq!((name.as_str(), nearest.as_deref()), ("tow", Some("two")));
}
