//! Random checkpoints, drops and clean-ups with power cuts between and inside them: what a crash
//! leaves is what was committed, whole transactions only, and it verifies.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends by a panic, its helpers too"
)]

use crate::gates::power_cut;
use bop_storage::catalogue::DbName;
use bop_storage::checksum::RollingChecksum;
use bop_storage::error::ManifestError;
use bop_storage::ids::{ChunkId, DbId, DbKind, Generation, Lsn, PageSize, StoreId};
use bop_storage::manifest::{
    CheckpointedHead, DatabaseRow, DatabaseState, Edit, GenerationRow, LinkKind, Manifest,
    ManifestState, MemoryManifest, RangeKey, RangeLink, RangeRow,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const STORE: StoreId = StoreId::new([3; 16]);
const RANGES: u32 = 3;

#[derive(Clone, Debug)]
enum Op {
    /// A new database.
    Create,
    /// Publishes some ranges of some databases in one shared chunk.
    Publish { databases: u8, ranges: u8 },
    /// Drops the newest live database.
    Drop,
    /// Removes rows that no head reads, then chunks that no row names, then tombstones.
    Clean,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Cut {
    No,
    Before,
    After,
}

fn op() -> impl Strategy<Value = (Op, Cut)> {
    let op = prop_oneof![
        2 => Just(Op::Create),
        5 => (any::<u8>(), any::<u8>())
            .prop_map(|(databases, ranges)| Op::Publish { databases, ranges }),
        1 => Just(Op::Drop),
        2 => Just(Op::Clean),
    ];
    let cut = prop_oneof![6 => Just(Cut::No), 1 => Just(Cut::Before), 1 => Just(Cut::After)];
    (op, cut)
}

/// Which chunk each range of each live database is read from.
type Model = BTreeMap<u64, BTreeMap<u32, u64>>;

#[derive(Clone, Default)]
struct World {
    model: Model,
    databases: u64,
    chunks: u64,
    generations: u64,
}

impl World {
    /// The world after the operation.
    fn run(&self, op: &Op) -> Self {
        let mut next = self.clone();
        match op {
            Op::Create => {
                next.databases += 1;
                next.model.insert(next.databases, BTreeMap::new());
            }
            Op::Publish { databases, ranges } => {
                next.chunks += 1;
                next.generations += 1;
                for (id, read) in &mut next.model {
                    for range in (0..RANGES).filter(|_| bit(*databases, *id)) {
                        if bit(*ranges, range.into()) {
                            read.insert(range, next.chunks);
                        }
                    }
                }
            }
            Op::Drop => drop(next.model.pop_last()),
            Op::Clean => {}
        }
        next
    }

    /// The transaction that makes it so.
    fn edit(&self, op: &Op, edit: &mut Edit<'_>) -> Result<(), ManifestError> {
        let next = self.run(op);
        match op {
            Op::Create => edit.put_database(DbId::new(next.databases), row(next.databases)),
            Op::Publish { databases, ranges } => {
                edit.insert_chunk(ChunkId::new(next.chunks), 4096, 1)?;
                for id in self.model.keys().filter(|id| bit(*databases, **id)) {
                    publish(edit, *id, *ranges, &next)?;
                }
                Ok(())
            }
            Op::Drop => match self.model.keys().next_back() {
                None => Ok(()),
                Some(id) => {
                    let id = DbId::new(*id);
                    let mut row = edit.state().database(id).expect("it is live").clone();
                    row.state = DatabaseState::Tombstone { dropped_us: 1 };
                    edit.put_database(id, row)
                }
            },
            Op::Clean => {
                clean(edit);
                Ok(())
            }
        }
    }
}

fn bit(bits: u8, at: u64) -> bool {
    bits >> (at % 8) & 1 == 1
}

fn row(id: u64) -> DatabaseRow {
    DatabaseRow {
        name: DbName::new(&format!("db{id}")).unwrap(),
        kind: DbKind::Raw,
        state: DatabaseState::Live,
        page_size: Some(PageSize::MIN),
        created_us: id,
        catalogue_lsn: Lsn::new(id),
        checkpointed: CheckpointedHead::NONE,
        policy: bop_storage::Policy::default(),
        origin: None,
    }
}

fn publish(edit: &mut Edit<'_>, id: u64, ranges: u8, next: &World) -> Result<(), ManifestError> {
    let (database, generation) = (DbId::new(id), Generation::new(next.generations));
    let mut row = edit.state().database(database).expect("it is live").clone();
    row.checkpointed = CheckpointedHead {
        generation,
        lsn: Lsn::new(1000 + next.generations),
        time_us: 1,
        page_count: 100,
        rolling_checksum: RollingChecksum::new(next.generations),
    };
    let own = GenerationRow::of_head(&row.checkpointed, row.page_size);
    edit.put_generation(database, generation, own);
    edit.put_database(database, row)?;
    for range in (0..RANGES).filter(|range| bit(ranges, u64::from(*range))) {
        let key = RangeKey {
            database,
            range,
            generation,
        };
        let link = RangeLink {
            chunk: ChunkId::new(next.chunks),
            section: range,
            pages: 10,
            bytes: 512,
            kind: LinkKind::Base,
        };
        edit.put_range(key, RangeRow::of(link));
    }
    Ok(())
}

fn clean(edit: &mut Edit<'_>) {
    let state = edit.state().clone();
    for (id, row) in state.databases() {
        let live = row.state == DatabaseState::Live;
        for (key, _) in state.ranges(id) {
            let read = state.range_at(id, key.range, row.checkpointed.generation);
            if !live || read.is_some_and(|(newest, _)| newest != key) {
                edit.delete_range(*key);
            }
        }
        for (generation, _) in state.generations(id) {
            if !live || generation != row.checkpointed.generation {
                edit.delete_generation(id, generation);
            }
        }
        if !live {
            edit.delete_database(id);
        }
    }
    let garbage: Vec<ChunkId> = edit
        .state()
        .chunks()
        .filter(|(_, row)| row.references == 0)
        .map(|(id, _)| id)
        .collect();
    for id in garbage {
        edit.delete_chunk(id);
    }
}

fn read(state: &ManifestState) -> Model {
    let live = state
        .databases()
        .filter(|(_, row)| row.state == DatabaseState::Live);
    live.map(|(id, row)| {
        let read = |range| {
            let (_, found) = state.range_at(id, range, row.checkpointed.generation)?;
            Some((range, found.links()[0].chunk.get()))
        };
        (id.get(), (0..RANGES).filter_map(read).collect())
    })
    .collect()
}

proptest! {
    #[test]
    fn a_crash_leaves_whole_transactions(ops in prop::collection::vec(op(), 1..40)) {
        let mut store = MemoryManifest::new();
        let mut manifest = Manifest::initialize(Arc::new(store.clone()), STORE).unwrap();
        let mut world = World::default();
        for (op, cut) in ops {
            match cut {
                Cut::No => {}
                Cut::Before => store.set_gate(Some(power_cut())),
                Cut::After => store.set_gate_after(Some(power_cut())),
            }
            let (asked, at) = (op.clone(), world.clone());
            let committed = manifest.transact(move |edit| at.edit(&asked, edit));
            store.set_gate(None);
            store.set_gate_after(None);
            // A transaction that changes nothing asks nobody.
            let applied = committed.is_ok() || cut == Cut::After;
            prop_assert!(committed.is_ok() || cut != Cut::No, "{:?}", committed);
            if applied {
                world = world.run(&op);
            } else if matches!(op, Op::Publish { .. }) {
                // Numbers of a lost transaction may be given out again; here they are not.
                world.chunks += 1;
                world.generations += 1;
            }
            if committed.is_err() {
                store = store.snapshot();
                manifest = Manifest::open(Arc::new(store.clone()), STORE).unwrap();
            }
            prop_assert_eq!(read(&manifest.state()), world.model.clone());
            prop_assert_eq!(manifest.verify().unwrap(), []);
        }
    }
}
