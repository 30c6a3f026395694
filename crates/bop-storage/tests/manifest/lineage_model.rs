//! Forks, snapshots and restores against a naive model, through the log's records, the sections and the
//! rows: databases are dropped in any order, and nothing that is pointed at goes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends by a panic, its helpers too"
)]

use super::catalogue_rows::{CatalogueRows, Cut};
use super::lineage_reference::{At, KINDS, Model, NAMES, Op, SNAPSHOTS_MAX, limits, point};
use bop_storage::catalogue::{
    Catalogue, CatalogueChange, Replayed, Restore, decode_section, encode_delta, encode_section,
};
use bop_storage::error::CatalogueError;
use bop_storage::ids::{DbId, Lsn};
use bop_storage::log::format::{CatalogueEntry, RawRecord, Record, encode_catalogue};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn op() -> impl Strategy<Value = Op> {
    let name = || prop::sample::select(NAMES);
    let kind = prop::sample::select(KINDS);
    let at = || (1..9_u64, 1..4_u64);
    prop_oneof![
        3 => (name(), kind).prop_map(|(name, kind)| Op::Create(name, kind)),
        5 => (name(), at()).prop_map(|(name, at)| Op::Fork(name, at)),
        5 => (name(), name(), at()).prop_map(|(owner, name, at)| Op::Snapshot(owner, name, at)),
        2 => (name(), name()).prop_map(|(owner, name)| Op::SnapshotDrop(owner, name)),
        3 => (name(), at(), name()).prop_map(|(name, at, kept)| Op::Restore(name, at, kept)),
        5 => (name(), 0..2_u64).prop_map(|(name, keep_us)| Op::Drop(name, keep_us)),
        2 => (1..9_u64, name()).prop_map(|(id, name)| Op::Undrop(id, name)),
        2 => (1..9_u64).prop_map(Op::Purge),
        1 => (name(), 0..9_u64).prop_map(|(name, bytes)| Op::Quota(name, bytes)),
        2 => (1..20_u64).prop_map(Op::Forget),
    ]
}

fn plan(catalogue: &Catalogue, op: &Op) -> Result<Vec<CatalogueChange>, CatalogueError> {
    let limits = limits();
    let one = |change| vec![change];
    match op {
        Op::Create(name, kind) => catalogue
            .plan_create(name, *kind, limits.databases_max)
            .map(one),
        Op::Fork(name, at) => catalogue
            .plan_fork(name, &point(*at), limits.databases_max)
            .map(one),
        Op::Snapshot(owner, name, at) => catalogue
            .plan_snapshot(owner, name, &point(*at), SNAPSHOTS_MAX)
            .map(one),
        Op::SnapshotDrop(owner, name) => catalogue.plan_snapshot_drop(owner, name).map(one),
        Op::Restore(name, at, kept) => {
            let id = catalogue.find(name)?;
            let restore = Restore {
                database: name,
                target: point(*at),
                kept,
                head: point((id.get(), 9)),
            };
            catalogue.plan_restore(&restore, &limits)
        }
        Op::Drop(name, keep_us) => catalogue.plan_drop(name, *keep_us).map(one),
        Op::Undrop(id, name) => catalogue.plan_undrop(DbId::new(*id), name).map(one),
        Op::Purge(id) => catalogue.plan_purge(DbId::new(*id)).map(one),
        Op::Quota(name, bytes) => {
            let change = |id| CatalogueChange::Quota { id, bytes: *bytes };
            catalogue.plan_setting(name, change).map(one)
        }
        Op::Forget(_) => Ok(Vec::new()),
    }
}

/// The changes as a reader of their record finds them.
fn through_the_log(changes: &[CatalogueChange], parent: Lsn) -> Vec<CatalogueChange> {
    let entry = |change| CatalogueEntry {
        database: CatalogueChange::database(change),
        parent,
        op: change.op(),
    };
    let entries: Vec<_> = changes.iter().map(entry).collect();
    let record = encode_catalogue(&entries).unwrap();
    let read = RawRecord(&record.bytes).verify(record.checksum).unwrap();
    let Record::Catalogue(read) = read else {
        panic!("{read:?}");
    };
    let change = |entry: &CatalogueEntry<'_>| CatalogueChange::from_op(entry.database, &entry.op);
    read.iter().map(|entry| change(entry).unwrap()).collect()
}

/// After each change of a record, whatever is pointed at before and after it can be had; a restore ends
/// nothing that was pointed at.
fn check_steps(rig: &Rig, op: &Op, changes: &[CatalogueChange], before: &Model) {
    let after: BTreeSet<At> = rig.model.pointed_at().into_iter().collect();
    let before: BTreeSet<At> = before.pointed_at().into_iter().collect();
    assert!(!matches!(op, Op::Restore(..)) || before.is_subset(&after));
    let mut stepwise = rig.live.clone();
    for change in changes {
        let lsn = Lsn::new(stepwise.last_lsn().get() + 1);
        stepwise.apply(change, lsn, 0).unwrap();
        for at in before.intersection(&after) {
            let wanted = point(*at);
            assert!(stepwise.has_point(&wanted), "{wanted:?} after {change:?}");
        }
    }
}

fn check_same(catalogue: &Catalogue, model: &Model) {
    let ids: Vec<u64> = catalogue.entries().map(|(id, _)| id.get()).collect();
    let wanted: Vec<u64> = model.databases.iter().map(|known| known.id).collect();
    assert_eq!(ids, wanted);
    for known in &model.databases {
        let id = DbId::new(known.id);
        let entry = catalogue.entry(id).unwrap();
        assert!(known.is(entry), "{entry:?} is not {known:?}");
        let has_pages = model.has_pages(known.id);
        assert_eq!(catalogue.has_pages(id), has_pages, "{known:?}");
        let origin = known.origin.filter(|_| has_pages).map(point);
        assert_eq!(entry.origin.as_deref(), origin.as_ref(), "{known:?}");
        let points: Vec<u64> = catalogue.points_of(id).map(Lsn::get).collect();
        let wanted: Vec<u64> = model.points_of(known.id).into_iter().collect();
        assert_eq!(points, wanted, "of {known:?}");
        assert_eq!(catalogue.is_needed(id), !wanted.is_empty());
        let forks: BTreeSet<u64> = catalogue.forks_of(id).map(|(id, _)| id.get()).collect();
        assert_eq!(forks, model.forks_of(known.id), "of {known:?}");
        let mut found: Vec<_> = catalogue
            .snapshots(id)
            .map(|one| {
                (
                    one.lsn.get(),
                    one.name.to_string(),
                    one.point,
                    one.created_us,
                )
            })
            .collect();
        found.sort_unstable_by_key(|one| one.0);
        let wanted = known.snapshots.iter();
        let wanted: Vec<_> = wanted
            .map(|one| (one.lsn, one.name.clone(), point(one.at), one.created_us))
            .collect();
        assert_eq!(found, wanted, "of {known:?}");
        for one in &known.snapshots {
            let found = catalogue.snapshot(id, &one.name.to_uppercase()).unwrap();
            assert_eq!(found.lsn.get(), one.lsn);
        }
    }
}

/// One catalogue as commits change it, one as replay does, and what was written of it so far.
struct Rig {
    live: Catalogue,
    replayed: Catalogue,
    model: Model,
    lsn: u64,
    sections: Vec<Vec<u8>>,
    since: Lsn,
    forgotten: Vec<DbId>,
}

impl Rig {
    fn run(&mut self, op: &Op) {
        let planned = plan(&self.live, op);
        let before = self.model.clone();
        self.lsn += 100;
        let wanted = self.model.run(op, self.lsn);
        let answer = planned.as_ref().map(|_| ());
        let answer = answer.map_err(|error| error.code().as_str());
        assert_eq!(answer, wanted, "{op:?}");
        if let Op::Forget(id) = op {
            let id = DbId::new(*id);
            let forgot = self.live.forget(id);
            assert_eq!(forgot, self.replayed.forget(id));
            self.forgotten.extend(forgot.then_some(id));
        } else if let Ok(changes) = planned {
            check_steps(self, op, &changes, &before);
            let (parent, lsn) = (self.live.last_lsn(), Lsn::new(self.lsn));
            let gone = self.live.apply_all(&changes, lsn, self.lsn).unwrap();
            let lost = |id: &u64| before.has_pages(*id) && !self.model.has_pages(*id);
            let wanted = before.databases.iter().map(|known| known.id).filter(lost);
            assert_eq!(gone, wanted.map(DbId::new).collect(), "{op:?}");
            let read = through_the_log(&changes, parent);
            assert_eq!(read, changes);
            for wanted in [Replayed::Applied(gone), Replayed::Known] {
                let became = self.replayed.replay(&read, parent, lsn, self.lsn);
                assert_eq!(became, Ok(wanted));
            }
        }
        check_same(&self.live, &self.model);
    }

    fn write_section(&mut self) {
        if self.live.last_lsn() == Lsn::ZERO {
            return;
        }
        if self.since == Lsn::ZERO {
            // A base has nothing below it to forget.
            self.forgotten.clear();
        }
        self.forgotten.sort_unstable();
        let section = encode_delta(&self.live, self.since, &self.forgotten, &[]);
        self.sections.push(section);
        self.since = self.live.last_lsn();
        self.forgotten.clear();
    }

    /// What all sections say together.
    fn of_sections(&self) -> Option<Catalogue> {
        let mut sections = self
            .sections
            .iter()
            .map(|bytes| decode_section(bytes).unwrap());
        let base = sections.next()?;
        let whole = sections.try_fold(base, |below, delta| delta.on(below));
        Some(whole.unwrap().catalogue)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(384))]

    #[test]
    fn forks_and_snapshots_are_the_model(ops in prop::collection::vec(op(), 0..70)) {
        let mut rows = CatalogueRows::new();
        let mut rig = Rig {
            live: Catalogue::new(),
            replayed: Catalogue::new(),
            model: Model::default(),
            lsn: 0,
            sections: Vec::new(),
            since: Lsn::ZERO,
            forgotten: Vec::new(),
        };
        for (n, op) in ops.iter().enumerate() {
            rig.run(op);
            if n % 5 == 4 {
                rig.write_section();
            }
            if n % 7 == 3 {
                rows.follow(&rig.live, Cut::nth(n / 7));
            }
        }
        prop_assert_eq!(&rig.replayed, &rig.live);
        rig.write_section();
        if let Some(whole) = rig.of_sections() {
            prop_assert_eq!(&whole, &rig.live);
            check_same(&whole, &rig.model);
        }
        let section = decode_section(&encode_section(&rig.live, &[])).unwrap();
        prop_assert_eq!(&section.catalogue, &rig.live);
        rows.follow(&rig.live, Cut::Reopened);
    }
}
