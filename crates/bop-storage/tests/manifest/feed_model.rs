//! The changes feed and its cursors against a list, with transactions that fail, kills and reopenings
//! inside the sequences.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use crate::gates::power_cut;
use bop_storage::error::FeedError;
use bop_storage::ids::{ChangeNo, CursorId, DbId, DbKind, Epoch, Lsn, StoreId};
use bop_storage::manifest::{
    CHANGES_KEPT, ChangeKind, CheckpointedHead, CursorPlace, CursorRow, DatabaseRow, DatabaseState,
    FeedPosition, Manifest, MemoryManifest, RunRow,
};
use bop_storage::name::DbName;
use bop_storage::testing::ManualClock;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const STORE: StoreId = StoreId::new([5; 16]);
const LEASE_US: u64 = 1_000;
const LONG: Duration = Duration::from_secs(50);

#[derive(Clone, Debug)]
enum Op {
    /// So many databases are made in one transaction: as many changes.
    Happen(u64),
    /// A cursor is opened, or made at the oldest change.
    Subscribe(u8),
    /// A cursor acknowledges so many of what it has not.
    Acknowledge(u8, u64),
    Drop(u8),
    Reset(u8),
    /// Time passes.
    Pass(u64),
    /// The process ends; the next one begins a run.
    Reopen,
}

/// What becomes of the commit of an operation.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Cut {
    No,
    /// It is not applied, and the process ends.
    Before,
    /// It is applied, and the process ends before it is told so.
    After,
}

fn op() -> impl Strategy<Value = (Op, Cut)> {
    let op = prop_oneof![
        4 => prop_oneof![4 => Just(1), 4 => Just(3), 4 => Just(400), 1 => Just(4000)].prop_map(Op::Happen),
        2 => (0_u8..3).prop_map(Op::Subscribe),
        4 => (0_u8..3, 0_u64..700).prop_map(|(cursor, count)| Op::Acknowledge(cursor, count)),
        1 => (0_u8..3).prop_map(Op::Drop),
        1 => (0_u8..3).prop_map(Op::Reset),
        2 => (1_u64..800).prop_map(Op::Pass),
        1 => Just(Op::Reopen),
    ];
    let cut = prop_oneof![8 => Just(Cut::No), 1 => Just(Cut::Before), 1 => Just(Cut::After)];
    (op, cut)
}

/// What there must be.
#[derive(Clone, Default)]
struct Model {
    /// Databases that were made, in their order: change `n` is that of `made[n - 1]`.
    made: u64,
    cursors: BTreeMap<u8, Place>,
}

#[derive(Clone, Copy)]
struct Place {
    position: u64,
    seen_us: u64,
}

impl Model {
    /// What a live cursor has not acknowledged must be kept.
    fn must_keep(&self, now_us: u64) -> u64 {
        let alive = |place: &&Place| now_us < place.seen_us + LEASE_US;
        let positions = self
            .cursors
            .values()
            .filter(alive)
            .map(|place| place.position);
        positions.min().unwrap_or(self.made + 1)
    }
}

fn name(cursor: u8) -> DbName {
    DbName::new(&format!("cursor-{cursor}")).unwrap()
}

struct World {
    store: MemoryManifest,
    clock: Arc<ManualClock>,
    manifest: Manifest,
    epoch: u64,
    /// The oldest change that was kept when it was looked at last.
    first: u64,
}

impl World {
    fn new() -> Self {
        let store = MemoryManifest::new();
        let clock = Arc::new(ManualClock::new(1));
        let manifest = Manifest::initialize(Arc::new(store.clone()), STORE).unwrap();
        let manifest = manifest.with_clock(Arc::clone(&clock) as _);
        Self {
            store,
            clock,
            manifest,
            epoch: 1,
            first: 1,
        }
    }

    fn reopen(&mut self) {
        self.store = self.store.snapshot();
        let manifest = Manifest::open(Arc::new(self.store.clone()), STORE).unwrap();
        self.manifest = manifest.with_clock(Arc::clone(&self.clock) as _);
        self.epoch += 1;
        let run = RunRow {
            epoch: Epoch::new(self.epoch),
            boot: [0; 16],
            pid: 1,
            opened_us: 1,
            closed_us: None,
        };
        self.manifest.begin_run(run).unwrap();
    }

    fn now_us(&self) -> u64 {
        bop_storage::runtime::Clock::wall_us(self.clock.as_ref())
    }

    fn id_of(&self, cursor: u8) -> Option<CursorId> {
        let state = self.manifest.state();
        state.cursor_named(&name(cursor)).map(|(id, _)| id)
    }

    /// Does it; `Ok` says what it makes of the model.
    fn run(&mut self, op: &Op, model: &Model) -> Result<Model, FeedError> {
        let mut after = model.clone();
        let now_us = self.now_us();
        match *op {
            Op::Happen(count) => {
                let from = model.made;
                self.manifest.transact(move |edit| {
                    (from..from + count).try_for_each(|number| make(edit, number + 1))
                })?;
                after.made += count;
            }
            Op::Subscribe(cursor) => {
                let (_, row) = self.manifest.find_or_add_cursor(
                    LONG,
                    &name(cursor),
                    (now_us, LEASE_US),
                    |feed| {
                        Ok(CursorPlace::Changes {
                            feed: feed.feed,
                            position: feed.first,
                        })
                    },
                )?;
                let position = position_of(&row);
                let seen_us = row.seen_us;
                let place = Place { position, seen_us };
                let before = *after.cursors.entry(cursor).or_insert(place);
                assert_eq!((before.position, before.seen_us), (position, seen_us));
            }
            Op::Acknowledge(cursor, count) => {
                let (Some(id), Some(place)) = (self.id_of(cursor), after.cursors.get_mut(&cursor))
                else {
                    return Ok(after);
                };
                let next = (place.position + count).min(model.made + 1);
                self.manifest
                    .move_cursor(LONG, id, ChangeNo::new(next), now_us)?;
                (place.position, place.seen_us) = (next, now_us);
            }
            Op::Drop(cursor) => {
                let there = self.manifest.drop_cursor(LONG, &name(cursor))?;
                assert_eq!(after.cursors.remove(&cursor).is_some(), there);
            }
            Op::Reset(cursor) => {
                let (Some(id), Some(place)) = (self.id_of(cursor), after.cursors.get_mut(&cursor))
                else {
                    return Ok(after);
                };
                // Only whoever has lost its place does so.
                if place.position < self.first {
                    let oldest: ChangeNo = self.manifest.reset_cursor(LONG, id, now_us)?;
                    (place.position, place.seen_us) = (oldest.get(), now_us);
                }
            }
            Op::Pass(us) => self.clock.advance(us),
            Op::Reopen => self.reopen(),
        }
        Ok(after)
    }

    /// Everything that a live cursor may want is there and says what happened, and no more than that
    /// and the newest is kept.
    fn check(&mut self, model: &Model) {
        let feed = self.manifest.feed().unwrap();
        let (first, next) = (feed.first.get(), feed.next.get());
        assert_eq!(next, model.made + 1);
        assert!(self.first <= first, "what was trimmed does not come back");
        // Trimming follows a transaction: what was kept before may be wanted by none any more.
        let wanted = model.must_keep(self.now_us());
        assert!(
            first <= wanted.max(self.first),
            "{first} is behind {wanted}"
        );
        self.first = first;
        let mut at = feed.first;
        while at < feed.next {
            let page = self.manifest.changes(at, 500).unwrap();
            for (number, change) in &page.changes {
                assert_eq!(change.kind, ChangeKind::Created);
                assert_eq!(change.database.map(DbId::get), Some(number.get()));
            }
            at = page.next;
        }
        if 1 < first {
            let lost = self.manifest.changes(ChangeNo::new(first - 1), 1);
            assert!(matches!(lost, Err(FeedError::CursorLost { oldest }) if oldest == feed.first));
        }
        let rows = self.manifest.state();
        let positions: Vec<u64> = rows.cursors().map(|(_, row)| position_of(row)).collect();
        let mut wanted: Vec<u64> = model.cursors.values().map(|place| place.position).collect();
        let mut found = positions.clone();
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted);
        assert_eq!(self.manifest.verify().unwrap(), []);
    }
}

fn position_of(row: &CursorRow) -> u64 {
    ChangeNo::of(&row.place).unwrap().get()
}

/// A database whose id is the number of the change that tells of it.
fn make(
    edit: &mut bop_storage::manifest::Edit<'_>,
    number: u64,
) -> Result<(), bop_storage::ManifestError> {
    let row = DatabaseRow {
        name: DbName::new(&format!("db-{number}")).unwrap(),
        kind: DbKind::Raw,
        state: DatabaseState::Live,
        page_size: None,
        created_us: 1,
        catalogue_lsn: Lsn::new(number),
        checkpointed: CheckpointedHead::NONE,
        policy: bop_storage::Policy::default(),
        origin: None,
    };
    edit.put_database(DbId::new(number), row)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_feed_is_the_list_of_what_happened(ops in prop::collection::vec(op(), 1..40)) {
        let (mut world, mut model) = (World::new(), Model::default());
        for (op, cut) in ops {
            match cut {
                Cut::No => {}
                Cut::Before => world.store.set_gate(Some(power_cut())),
                Cut::After => world.store.set_gate_after(Some(power_cut())),
            }
            // A reopening makes a copy, which has no gate.
            let done = world.run(&op, &model);
            world.store.set_gate(None);
            world.store.set_gate_after(None);
            match done {
                Ok(after) => model = after,
                Err(error) => {
                    prop_assert!(cut != Cut::No, "{error}");
                    if cut == Cut::After {
                        model = applied(&op, &world, &model);
                    }
                    world.reopen();
                }
            }
            world.check(&model);
        }
    }

    #[test]
    fn without_subscribers_the_newest_are_kept_and_no_more(counts in prop::collection::vec(prop_oneof![4 => 1_u64..900, 1 => Just(4000)], 1..8)) {
        let (mut world, mut model) = (World::new(), Model::default());
        for count in counts {
            model = world.run(&Op::Happen(count), &model).unwrap();
            world.check(&model);
            prop_assert!(model.made - world.first < CHANGES_KEPT);
        }
    }
}

/// The model after an operation whose commit was applied, and answered with an error.
fn applied(op: &Op, world: &World, model: &Model) -> Model {
    let mut after = model.clone();
    let now_us = world.now_us();
    let first = world.manifest.feed().unwrap().first.get();
    match *op {
        Op::Happen(count) => after.made += count,
        Op::Subscribe(cursor) => {
            after.cursors.entry(cursor).or_insert(Place {
                position: first,
                seen_us: now_us,
            });
        }
        Op::Acknowledge(cursor, count) => {
            if let Some(place) = after.cursors.get_mut(&cursor) {
                place.position = (place.position + count).min(model.made + 1);
                place.seen_us = now_us;
            }
        }
        Op::Drop(cursor) => drop(after.cursors.remove(&cursor)),
        Op::Reset(cursor) => {
            if let Some(place) = after.cursors.get_mut(&cursor)
                && place.position < first
            {
                (place.position, place.seen_us) = (first, now_us);
            }
        }
        Op::Pass(_) | Op::Reopen => {}
    }
    after
}
