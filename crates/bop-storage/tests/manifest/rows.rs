//! The typed manifest: what a transaction may not do, what damage closes, what a failed commit
//! leaves. On the in-memory twin, which shares everything above the store with LMDB.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends by a panic, its helpers too"
)]

use bop_storage::catalogue::{Catalogue, DbName};
use bop_storage::checksum::RollingChecksum;
use bop_storage::error::{CatalogueError, Damage, ErrorCode, ManifestError, Place, Reject};
use bop_storage::ids::{
    ChunkId, DbId, DbKind, Epoch, Generation, Incarnation, Lsn, PageSize, SegmentId, StoreId,
};
use bop_storage::io::{IoFailure, IoOp};
use bop_storage::manifest::{
    CheckpointedHead, ClosedRow, CursorRow, DatabaseRow, DatabaseState, Edit, Manifest,
    ManifestState, ManifestStore, MemoryManifest, RangeKey, RangeRow, RunRow, SalvageRow,
    SegmentRow, Table, scan_all,
};
use std::sync::Arc;

const STORE: StoreId = StoreId::new([0xb0; 16]);
const ONE: DbId = DbId::new(1);
const TWO: DbId = DbId::new(2);

fn database(name: &str) -> DatabaseRow {
    DatabaseRow {
        name: DbName::new(name).unwrap(),
        kind: DbKind::Sqlite,
        state: DatabaseState::Live,
        page_size: Some(PageSize::DEFAULT),
        created_us: 1,
        catalogue_lsn: Lsn::new(10),
        checkpointed: CheckpointedHead::NONE,
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

fn range(database: DbId, range: u32, generation: u64) -> RangeKey {
    RangeKey {
        database,
        range,
        generation: Generation::new(generation),
    }
}

fn at(chunk: u64) -> RangeRow {
    RangeRow {
        chunk: ChunkId::new(chunk),
        section: 0,
        pages: 5,
    }
}

/// What a checkpoint of one database does.
fn publish(
    edit: &mut Edit<'_>,
    id: DbId,
    generation: u64,
    chunk: u64,
) -> Result<(), ManifestError> {
    let mut row = edit.state().database(id).expect("it is there").clone();
    row.checkpointed = head(generation);
    edit.insert_chunk(ChunkId::new(chunk), 4096, 77)?;
    edit.put_range(range(id, 0, generation), at(chunk));
    edit.put_database(id, row)
}

/// Two databases, each with a chunk; a segment.
fn sample() -> (MemoryManifest, Manifest) {
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

fn all_rows(store: &MemoryManifest) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    for table in Table::ALL {
        scan_all(store, table, |key, value| rows.push((table, key, value))).unwrap();
    }
    rows
}

fn reopen(store: &MemoryManifest) -> Result<Manifest, ManifestError> {
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
        row.map(|(_, row)| row.chunk.get())
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

/// One byte of one value at a time: it closes what the row is needed for, and nothing else.
#[test]
fn a_flipped_byte_closes_what_it_touches() {
    let (store, manifest) = sample();
    let aside = SalvageRow {
        incarnation: Incarnation::new(8),
        capacity_bytes: 1 << 20,
        base: Lsn::new(100),
        end: Lsn::new(300),
    };
    let damage = Damage::new(
        Place::Log {
            segment: SegmentId::new(3),
            lsn: Lsn::new(200),
        },
        Reject::Checksum,
    );
    let closed = ClosedRow::new(&damage, Lsn::new(100), Lsn::new(250));
    let added = manifest.transact(move |edit| {
        let cursor = edit.add_cursor(cursor_at_the_end(edit.state()));
        assert!(cursor.is_some());
        edit.close_database(ONE, &closed);
        edit.set_aside(SegmentId::new(3), aside)
    });
    added.unwrap();
    manifest.begin_run(run_of(1)).unwrap();
    let state = reopen(&store).unwrap().state();
    assert_eq!(state.salvaged(SegmentId::new(3)), Some(&aside));
    let read: Vec<_> = state.closed().map(|(id, row)| (id, row.damage())).collect();
    assert_eq!(read, [(ONE, Some(damage))]);
    for table in Table::ALL {
        let mut keys = Vec::new();
        scan_all(&store, table, |key, value| keys.push((key, value.len()))).unwrap();
        assert!(!keys.is_empty(), "{table:?}");
        for (key, bytes) in keys {
            for at in 0..bytes {
                let image = store.snapshot();
                assert!(image.corrupt(table, &key, |value| value[at] ^= 0x40));
                check_contained(&image, table, &key);
            }
        }
    }
}

fn run_of(epoch: u64) -> RunRow {
    RunRow {
        epoch: Epoch::new(epoch),
        boot: [7; 16],
        pid: 9,
        opened_us: 10,
        closed_us: None,
    }
}

fn cursor_at_the_end(state: &ManifestState) -> CursorRow {
    let feed = state.feed().unwrap();
    CursorRow {
        name: DbName::new("backup").unwrap(),
        feed: feed.feed,
        position: feed.next,
        created_us: 1,
        seen_us: 2,
        lease_us: 3,
    }
}

fn check_contained(image: &MemoryManifest, table: Table, key: &[u8]) {
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let place = Place::Manifest {
        table: table.name(),
        key: hex,
    };
    let opened = match (table, reopen(image)) {
        (Table::Meta | Table::Watermarks, Err(ManifestError::Damaged(damage))) => {
            assert_eq!(damage.place, place);
            return;
        }
        (_, opened) => opened.unwrap_or_else(|error| panic!("{table:?}: {error}")),
    };
    let findings = opened.verify().unwrap();
    assert!(findings.iter().any(|finding| finding.place == place));
    let state = opened.state();
    let damaged = state.damaged();
    let number = key.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
    let number = number.expect("each key starts with a number");
    let databases: Vec<u64> = damaged.databases.keys().map(|id| id.get()).collect();
    let catalogue = Catalogue::from_rows(&state);
    match table {
        // Chunk 1 is of database 1, chunk 2 of database 2.
        Table::Databases | Table::Ranges | Table::Chunks | Table::Closed => {
            assert_eq!(databases, [number]);
        }
        Table::Changes | Table::Feed | Table::Cursors | Table::Run => {
            assert!(databases.is_empty());
            assert_eq!(catalogue.damage(), None);
            // A run begins all the same, and what is not damaged is there.
            opened.begin_run(run_of(2)).unwrap();
            assert!(state.database(ONE).is_some());
        }
        Table::Salvage => {
            assert!(databases.is_empty());
            assert!(damaged.segments_aside.contains_key(&SegmentId::new(number)));
        }
        _ => {
            assert!(databases.is_empty());
            assert!(damaged.segments.contains_key(&SegmentId::new(number)));
        }
    }
    // Only a lost name stops names from being given out.
    let planned = catalogue.plan_create("new", DbKind::Raw, 10);
    let name_lost = matches!(planned, Err(CatalogueError::Damaged(_)));
    assert_eq!(name_lost, table == Table::Databases);
    // What is damaged is not replaced; the rest goes on.
    if table == Table::Databases {
        let id = DbId::new(number);
        let replaced = opened.transact(move |edit| edit.put_database(id, database("other")));
        assert_eq!(replaced.unwrap_err().code(), ErrorCode::Corrupt);
        let other = DbId::new(3 - number);
        opened
            .transact(move |edit| publish(edit, other, 2, 3))
            .unwrap();
    }
}

#[test]
fn a_lost_row_is_noticed_by_what_names_it() {
    let (store, manifest) = sample();
    manifest
        .transact(move |edit| publish(edit, ONE, 2, 3))
        .unwrap();
    let lose = |table, key: &[u8]| {
        let image = store.snapshot();
        let key = key.to_vec();
        image
            .commit(&[bop_storage::manifest::Write::Delete { table, key }])
            .unwrap();
        image
    };
    let chunk = reopen(&lose(Table::Chunks, &1_u64.to_be_bytes())).unwrap();
    let damage = chunk.state().damaged().databases[&ONE].clone();
    assert_eq!(damage.reason, Reject::Missing);
    let row = reopen(&lose(Table::Databases, &1_u64.to_be_bytes())).unwrap();
    assert_eq!(row.state().damaged().unplaced.len(), 2);
    assert!(Catalogue::from_rows(&row.state()).damage().is_some());
    let mut key = 1_u64.to_be_bytes().to_vec();
    key.extend_from_slice(&0_u32.to_be_bytes());
    key.extend_from_slice(&(!2_u64).to_be_bytes());
    let range = reopen(&lose(Table::Ranges, &key)).unwrap();
    assert_eq!(range.state().damaged().unplaced.len(), 1);
    assert_eq!(range.verify().unwrap().len(), 1);
    for table in [Table::Meta, Table::Watermarks] {
        let ManifestError::Damaged(damage) = reopen(&lose(table, &[0; 8])).unwrap_err() else {
            panic!("{table:?}");
        };
        assert_eq!(damage.reason, Reject::Missing);
    }
}

/// The pages of the lost range would read as zeros.
#[test]
fn a_lost_range_closes_the_databases_that_share_its_chunk() {
    let (store, manifest) = sample();
    let lost = range(ONE, 1, 2);
    let shared = manifest.transact(move |edit| {
        publish(edit, ONE, 2, 3)?;
        edit.put_range(lost, at(3));
        Ok::<_, ManifestError>(())
    });
    shared.unwrap();
    assert!(reopen(&store).unwrap().state().damaged().is_empty());
    let mut rows = all_rows(&store).into_iter();
    let is_lost = |key: &[u8]| key[7] == 1 && key[11] == 1;
    let (table, key, _) = rows
        .find(|(table, key, _)| *table == Table::Ranges && is_lost(key))
        .unwrap();
    let write = bop_storage::manifest::Write::Delete { table, key };
    store.commit(&[write]).unwrap();
    let opened = reopen(&store).unwrap();
    let state = opened.state();
    let damaged: Vec<DbId> = state.damaged().databases.keys().copied().collect();
    assert_eq!(damaged, [ONE]);
    assert!(state.damaged().unplaced.is_empty());
    let place = Place::Manifest {
        table: "chunks",
        key: format!("{:016x}", 3),
    };
    assert_eq!(state.damaged().databases[&ONE].place, place);
    assert_eq!(opened.verify().unwrap().len(), 1);
    // The other database goes on.
    opened
        .transact(move |edit| publish(edit, TWO, 2, 4))
        .unwrap();
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

fn power_cut() -> bop_storage::manifest::Gate {
    Arc::new(|| {
        Err(IoFailure {
            op: IoOp::ManifestCommit,
            path: "manifest".into(),
            offset: None,
            errno: 5,
        })
    })
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
