//! Rows that are damaged or lost: what that closes, and that everything else is served.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends by a panic, its helpers too"
)]

use super::rows::{ONE, TWO, all_rows, at, database, publish, range, reopen, sample};
use bop_storage::catalogue::{Catalogue, DbName};
use bop_storage::checksum::RollingChecksum;
use bop_storage::error::{CatalogueError, Damage, ErrorCode, ManifestError, Place, Reject};
use bop_storage::ids::{DbId, DbKind, Epoch, Incarnation, Lsn, SegmentId};
use bop_storage::manifest::{
    ClosedRow, CursorPlace, CursorRow, JobKind, Manifest, ManifestState, ManifestStore,
    MemoryManifest, RunRow, SalvageRow, ScrubRow, SnapshotKey, SnapshotRow, Table, Write, scan_all,
};
use bop_storage::point::Point;
use std::time::Duration;

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
        edit.put_snapshot(SNAPSHOT, snapshot())?;
        edit.set_aside(SegmentId::new(3), aside)
    });
    added.unwrap();
    manifest.begin_run(run_of(1)).unwrap();
    add_jobs(&manifest);
    let state = reopen(&store).unwrap().state();
    assert_eq!(state.salvaged(SegmentId::new(3)), Some(&aside));
    let read: Vec<_> = state
        .closed()
        .map(|(id, row)| (id, row.damage(id)))
        .collect();
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

/// A flipped byte of the key: the row is not where it is looked for, and nobody need miss it.
#[test]
fn the_only_row_of_a_table_under_another_key_is_told() {
    let (store, manifest) = sample();
    manifest.begin_run(run_of(1)).unwrap();
    for table in [Table::Feed, Table::Run, Table::JobIds] {
        let image = store.snapshot();
        let value = image.get(table, &[0; 8]).unwrap().unwrap();
        let (key, moved) = (vec![0; 8], vec![0, 0, 0, 0x10, 0, 0, 0, 0]);
        image
            .commit(&[
                Write::Delete { table, key },
                Write::Put {
                    table,
                    key: moved,
                    value,
                },
            ])
            .unwrap();
        let opened = reopen(&image).unwrap();
        let place = Place::Manifest {
            table: table.name(),
            key: "0000001000000000".to_owned(),
        };
        let findings = opened.verify().unwrap();
        let told = findings.iter().find(|finding| finding.place == place);
        assert!(told.is_some(), "{table:?}: {findings:?}");
        // No database needs it, and the next run has its own.
        assert!(opened.state().damaged().is_empty());
        opened.begin_run(run_of(2)).unwrap();
        assert_eq!(opened.state().run(), Some(&run_of(2)));
    }
}

const SNAPSHOT: SnapshotKey = SnapshotKey {
    owner: TWO,
    lsn: Lsn::new(9),
};

fn snapshot() -> SnapshotRow {
    SnapshotRow {
        name: DbName::new("before").unwrap(),
        point: Point {
            source: ONE,
            lsn: Lsn::new(7),
            time_us: 1,
            page_size: None,
            page_count: 0,
            rolling_checksum: RollingChecksum::EMPTY,
        },
        created_us: 2,
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

/// One that is done, and one that waits.
fn add_jobs(manifest: &Manifest) {
    let long = Duration::from_secs(50);
    let ask = |token| manifest.enqueue_job(long, JobKind::Scrub, ONE, [token; 16], 1);
    let job = ask(1).unwrap();
    let taken = manifest.lease_job(long, Epoch::new(1), long, 1).unwrap();
    let row = ScrubRow {
        job,
        finished_us: 2,
        pages: 3,
        bytes: 4,
    };
    let done = manifest.complete_job(long, taken.unwrap().0, vec![(ONE, row)], 2);
    assert!(done.unwrap());
    ask(2).unwrap();
}

fn cursor_at_the_end(state: &ManifestState) -> CursorRow {
    let feed = state.feed().unwrap();
    CursorRow {
        name: DbName::new("backup").unwrap(),
        place: CursorPlace::Changes {
            feed: feed.feed,
            position: feed.next,
        },
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
        Table::Databases | Table::Ranges | Table::Chunks | Table::Closed | Table::Generations => {
            assert_eq!(databases, [number]);
        }
        Table::Changes
        | Table::Feed
        | Table::Cursors
        | Table::Run
        | Table::Jobs
        | Table::JobIds
        | Table::Scrubs => {
            assert!(databases.is_empty());
            assert_eq!(catalogue.damage(), None);
            // A run begins all the same, and what is not damaged is there.
            opened.begin_run(run_of(2)).unwrap();
            assert!(state.database(ONE).is_some());
        }
        Table::Snapshots => {
            assert!(databases.is_empty());
            assert!(damaged.snapshots.contains_key(&SNAPSHOT));
            let replaced = opened.transact(move |edit| edit.put_snapshot(SNAPSHOT, snapshot()));
            assert_eq!(replaced.unwrap_err().code(), ErrorCode::Corrupt);
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
    let names = [Table::Databases, Table::Snapshots];
    assert_eq!(name_lost, names.contains(&table));
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
    // Two ranges and two generations.
    assert_eq!(row.state().damaged().unplaced.len(), 4);
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
