//! The typed manifest: what a transaction may not do, what damage closes, what a failed commit
//! leaves. On the in-memory twin, which shares everything above the store with LMDB.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends by a panic, its helpers too"
)]

use crate::gates::power_cut;
use bop_storage::catalogue::DbName;
use bop_storage::checksum::RollingChecksum;
use bop_storage::error::{ErrorCode, ManifestError, Reject};
use bop_storage::ids::{
    ChunkId, DbId, DbKind, Generation, Incarnation, Lsn, PageSize, SegmentId, StoreId,
};
use bop_storage::manifest::{
    CheckpointedHead, DatabaseRow, DatabaseState, Edit, GenerationRow, LinkKind, Manifest,
    ManifestStore, MemoryManifest, RangeKey, RangeLink, RangeRow, SegmentRow, Table, scan_all,
};
use std::sync::Arc;

pub(crate) const STORE: StoreId = StoreId::new([0xb0; 16]);
pub(crate) const ONE: DbId = DbId::new(1);
pub(crate) const TWO: DbId = DbId::new(2);

pub(crate) fn database(name: &str) -> DatabaseRow {
    DatabaseRow {
        name: DbName::new(name).unwrap(),
        kind: DbKind::Sqlite,
        state: DatabaseState::Live,
        page_size: Some(PageSize::DEFAULT),
        created_us: 1,
        catalogue_lsn: Lsn::new(10),
        checkpointed: CheckpointedHead::NONE,
        policy: bop_storage::Policy::default(),
        origin: None,
    }
}

fn head(generation: u64) -> CheckpointedHead {
    CheckpointedHead {
        generation: Generation::new(generation),
        lsn: Lsn::new(100 * generation),
        time_us: generation,
        page_count: 5,
        rolling_checksum: RollingChecksum::new(0xabc),
    }
}

pub(crate) fn range(database: DbId, range: u32, generation: u64) -> RangeKey {
    RangeKey {
        database,
        range,
        generation: Generation::new(generation),
    }
}

pub(crate) fn at(chunk: u64) -> RangeRow {
    RangeRow::of(RangeLink {
        chunk: ChunkId::new(chunk),
        section: 0,
        pages: 5,
        bytes: 4096,
        kind: LinkKind::Base,
    })
}

/// What a checkpoint of one database does.
pub(crate) fn publish(
    edit: &mut Edit<'_>,
    id: DbId,
    generation: u64,
    chunk: u64,
) -> Result<(), ManifestError> {
    let mut row = edit.state().database(id).expect("it is there").clone();
    row.checkpointed = head(generation);
    edit.insert_chunk(ChunkId::new(chunk), 4096, 77)?;
    edit.put_range(range(id, 0, generation), at(chunk));
    let own = GenerationRow::of_head(&row.checkpointed, row.page_size);
    edit.put_generation(id, row.checkpointed.generation, own);
    edit.put_database(id, row)
}

/// Two databases, each with a chunk; a segment.
pub(crate) fn sample() -> (MemoryManifest, Manifest) {
    let store = MemoryManifest::new();
    let manifest = Manifest::initialize(Arc::new(store.clone()), STORE).unwrap();
    let made = manifest.transact(move |edit| {
        edit.put_database(ONE, database("one"))?;
        edit.put_database(TWO, database("two"))?;
        publish(edit, ONE, 1, 1)?;
        publish(edit, TWO, 1, 2)?;
        edit.put_segment(
            SegmentId::new(4),
            SegmentRow {
                incarnation: Incarnation::new(9),
                capacity_bytes: 1 << 20,
            },
        )?;
        edit.set_checkpointed(Lsn::new(500));
        edit.set_truncated(Lsn::new(400));
        edit.set_catalogue(Lsn::new(10));
        Ok::<_, ManifestError>("made")
    });
    assert_eq!(made.unwrap(), "made");
    (store, manifest)
}

pub(crate) fn all_rows(store: &MemoryManifest) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    for table in Table::ALL {
        scan_all(store, table, |key, value| rows.push((table, key, value))).unwrap();
    }
    rows
}

pub(crate) fn reopen(store: &MemoryManifest) -> Result<Manifest, ManifestError> {
    Manifest::open(Arc::new(store.clone()), STORE)
}

#[test]
fn rows_come_back_as_they_were_written() {
    let (store, manifest) = sample();
    let (written, read) = (manifest.state(), reopen(&store).unwrap().state());
    assert!(read.damaged().is_empty());
    assert_eq!(read.watermarks(), written.watermarks());
    assert_eq!(read.watermarks().next_segment, SegmentId::new(5));
    assert_eq!(read.watermarks().next_chunk, ChunkId::new(3));
    assert!(read.databases().eq(written.databases()));
    assert!(read.segments().eq(written.segments()));
    assert!(read.chunks().eq(written.chunks()));
    assert!(read.ranges(ONE).eq(written.ranges(ONE)));
    assert_eq!(read.chunk(ChunkId::new(1)).unwrap().references, 1);
    assert_eq!(manifest.verify().unwrap(), []);
}

#[test]
fn a_generation_reads_the_newest_row_that_is_not_newer() {
    let (_, manifest) = sample();
    manifest
        .transact(move |edit| publish(edit, ONE, 4, 3))
        .unwrap();
    let state = manifest.state();
    let found = |database, number, generation| {
        let generation = Generation::new(generation);
        let row = state.range_at(database, number, generation);
        row.map(|(_, row)| row.links()[0].chunk.get())
    };
    assert_eq!(found(ONE, 0, 0), None);
    assert_eq!(found(ONE, 0, 1), Some(1));
    assert_eq!(found(ONE, 0, 3), Some(1));
    assert_eq!(found(ONE, 0, 4), Some(3));
    assert_eq!(found(ONE, 0, u64::MAX), Some(3));
    assert_eq!(found(ONE, 1, 4), None);
    assert_eq!(found(TWO, 0, 4), Some(2));
    assert_eq!(found(DbId::new(3), 0, 4), None);
}

/// Each of these is refused by the invariant it is named with, and changes nothing.
#[test]
fn transactions_that_break_an_invariant_are_refused() {
    type Break = fn(&mut Edit<'_>) -> Result<(), ManifestError>;
    let breaks: &[(&str, Break)] = &[
        ("names_are_unique", |edit| {
            edit.put_database(DbId::new(3), database("ONE"))
        }),
        ("ranges_have_chunks", |edit| {
            edit.put_range(range(ONE, 1, 1), at(99));
            Ok(())
        }),
        ("references_match_ranges", |edit| {
            edit.delete_chunk(ChunkId::new(1));
            Ok(())
        }),
        ("chunks_never_change", |edit| {
            edit.insert_chunk(ChunkId::new(1), 1, 1)
        }),
        ("ranges_have_databases", |edit| {
            edit.put_range(range(ONE, 0, 2), at(1));
            Ok(())
        }),
        ("ranges_have_databases", |edit| {
            edit.put_range(range(DbId::new(9), 0, 1), at(1));
            Ok(())
        }),
        ("ranges_have_databases", |edit| {
            edit.delete_database(ONE);
            Ok(())
        }),
        ("checkpointed_is_monotone", |edit| {
            edit.put_database(ONE, database("one"))
        }),
        ("checkpointed_is_monotone", |edit| {
            let mut row = edit.state().database(ONE).expect("it is there").clone();
            row.checkpointed.page_count += 1;
            edit.put_database(ONE, row)
        }),
        ("watermarks_are_monotone", |edit| {
            edit.set_checkpointed(Lsn::new(499));
            Ok(())
        }),
        ("watermarks_are_monotone", |edit| {
            edit.set_truncated(Lsn::new(501));
            Ok(())
        }),
        ("numbers_are_below_the_next", |edit| {
            edit.put_database(DbId::CATALOGUE, database("zero"))
        }),
        ("rows_read_back", |edit| {
            let mut row = edit.state().database(ONE).expect("it is there").clone();
            row.page_size = None;
            let own = GenerationRow::of_head(&row.checkpointed, None);
            edit.put_generation(ONE, row.checkpointed.generation, own);
            edit.put_database(ONE, row)
        }),
    ];
    let (store, manifest) = sample();
    let before = all_rows(&store);
    for (wanted, broken) in breaks {
        let refused = manifest.transact(broken).unwrap_err();
        let ManifestError::Invariant { invariant, .. } = &refused else {
            panic!("{wanted}: {refused}");
        };
        assert_eq!(invariant, wanted, "{refused}");
        assert_eq!(all_rows(&store), before);
    }
    assert_eq!(manifest.verify().unwrap(), []);
}

#[test]
fn two_databases_can_swap_their_names_in_one_transaction() {
    let (store, manifest) = sample();
    let swapped = manifest.transact(move |edit| {
        let (mut one, mut two) = (
            edit.state().database(ONE).expect("it is there").clone(),
            edit.state().database(TWO).expect("it is there").clone(),
        );
        std::mem::swap(&mut one.name, &mut two.name);
        edit.put_database(ONE, one)?;
        edit.put_database(TWO, two)
    });
    swapped.unwrap();
    let state = reopen(&store).unwrap().state();
    assert_eq!(state.database(ONE).unwrap().name.as_str(), "two");
    assert_eq!(manifest.verify().unwrap(), []);
}

#[test]
fn a_chunk_is_forgotten_when_its_last_range_is() {
    let (_, manifest) = sample();
    manifest
        .transact(move |edit| publish(edit, ONE, 2, 3))
        .unwrap();
    manifest
        .transact(move |edit| {
            edit.delete_range(range(ONE, 0, 1));
            Ok::<_, ManifestError>(())
        })
        .unwrap();
    let garbage = *manifest.state().chunk(ChunkId::new(1)).unwrap();
    assert_eq!(garbage.references, 0);
    manifest
        .transact(move |edit| {
            edit.delete_chunk(ChunkId::new(1));
            Ok::<_, ManifestError>(())
        })
        .unwrap();
    assert_eq!(manifest.state().chunk(ChunkId::new(1)), None);
    assert_eq!(manifest.verify().unwrap(), []);
}

#[test]
fn a_foreign_manifest_and_an_empty_one_are_refused() {
    let (store, _) = sample();
    let foreign = StoreId::new([1; 16]);
    let opened = Manifest::open(Arc::new(store.clone()), foreign).unwrap_err();
    let ManifestError::Damaged(damage) = opened else {
        panic!("{opened}");
    };
    assert_eq!(damage.reason, Reject::ForeignStore);
    let again = Manifest::initialize(Arc::new(store), STORE).unwrap_err();
    assert_eq!(again.code(), ErrorCode::Manifest);
    assert!(reopen(&MemoryManifest::new()).is_err());
}

/// A program that knows schema 3 wrote the meta row: this one reads no further.
#[test]
fn a_newer_schema_is_refused_and_nothing_is_written() {
    let (store, _) = sample();
    let before = store.get(Table::Databases, &1_u64.to_be_bytes()).unwrap();
    store.corrupt(Table::Meta, &[0; 8], |value| {
        value[16..20].copy_from_slice(&3_u32.to_le_bytes());
        value.extend_from_slice(b"and more than we know");
        let checksum = bop_storage::checksum::Crc64::new()
            .update(b"bop manifest")
            .update(STORE.bytes())
            .update(&[1])
            .update(&[0; 8])
            .update(&value[..2])
            .update(&value[16..])
            .finish();
        value[8..16].copy_from_slice(&checksum.to_le_bytes());
    });
    store.set_gate(Some(Arc::new(|| panic!("a commit"))));
    let refused = reopen(&store).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::UnsupportedFormat);
    let ManifestError::Damaged(damage) = refused else {
        panic!("{refused}");
    };
    let wanted = Reject::Version {
        found: 3,
        supported: 2,
    };
    assert_eq!(damage.reason, wanted);
    let after = store.get(Table::Databases, &1_u64.to_be_bytes()).unwrap();
    assert_eq!(after, before);
}

/// Whether the writes of a failed commit are there shows at the next transaction.
#[test]
fn after_a_failed_commit_the_rows_are_read_again() {
    for applied in [false, true] {
        let (store, manifest) = sample();
        let gate = Some(power_cut());
        if applied {
            store.set_gate_after(gate);
        } else {
            store.set_gate(gate);
        }
        let failed = manifest.transact(move |edit| publish(edit, ONE, 2, 3));
        assert_eq!(failed.unwrap_err().code(), ErrorCode::Io);
        store.set_gate(None);
        store.set_gate_after(None);
        let found = manifest.transact(move |edit| {
            let row = edit.state().database(ONE).expect("it is there");
            Ok::<_, ManifestError>(row.checkpointed.generation.get())
        });
        assert_eq!(found.unwrap(), if applied { 2 } else { 1 });
        assert_eq!(manifest.verify().unwrap(), []);
    }
}
