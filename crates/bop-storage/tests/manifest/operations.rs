//! Every operation of the typed rows but those of jobs, which have a table of their own, in a writer whose
//! store panics: who asked is answered, what was acknowledged is there after the next opening, and the
//! operation's rows are all there, or none of them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use crate::rows::{ONE, STORE, TWO, all_rows, database, publish, reopen, sample};
use bop_storage::checksum::RollingChecksum;
use bop_storage::error::{Damage, FeedError, Place, Reject};
use bop_storage::ids::{
    ChangeNo, ChunkId, CursorId, DbId, Epoch, Incarnation, JobId, Lsn, SegmentId,
};
use bop_storage::manifest::{
    ClosedRow, CursorPlace, DatabaseState, Edit, Gate, Manifest, MemoryManifest, MovedTo, Moves,
    RunRow, SalvageRow, ScrubRow, SegmentRow, SnapshotKey, SnapshotRow,
};
use bop_storage::name::DbName;
use bop_storage::point::Point;
use bop_storage::runtime::SystemSpawn;
use bop_storage::testing::ManualClock;
use bop_storage::{ManifestError, Policy};
use std::sync::Arc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(50);
const THREE: DbId = DbId::new(3);
const CURSOR: CursorId = CursorId::new(1);
const ASIDE: SegmentId = SegmentId::new(3);
const NOW_US: u64 = 1_000;

/// An operation, as its callers ask for it.
type Asked = fn(&Manifest) -> Result<(), ManifestError>;
/// An operation, as a transaction makes it.
type Edited = fn(&mut Edit<'_>) -> Result<(), ManifestError>;

/// What has transactions of its own.
const ASKED: [(&str, Asked); 6] = [
    ("cursor added", |manifest| subscribe(manifest, "other")),
    ("cursor moved", |manifest| {
        let next = manifest.feed().unwrap().next;
        of_feed(manifest.move_cursor(LONG, CURSOR, next, NOW_US))
    }),
    ("cursor reset", |manifest| {
        of_feed(
            manifest
                .reset_cursor::<ChangeNo>(LONG, CURSOR, NOW_US + 1)
                .map(drop),
        )
    }),
    ("cursor dropped", |manifest| {
        let name = DbName::new("backup").unwrap();
        manifest
            .drop_cursor(LONG, &name)
            .map(|there| assert!(there))
    }),
    ("run begun", |manifest| manifest.begin_run(run(2))),
    ("run ended", |manifest| manifest.end_run(NOW_US, LONG)),
];

/// What others do inside theirs: segments, closed databases, moved sections, snapshots, databases, chunks
/// and watermarks.
const EDITED: [(&str, Edited); 16] = [
    ("segment registered", |edit| {
        edit.put_segment(SegmentId::new(6), segment())
    }),
    ("segment deleted", |edit| {
        edit.delete_segment(SegmentId::new(4));
        Ok(())
    }),
    ("segment set aside", |edit| {
        edit.set_aside(SegmentId::new(4), aside())
    }),
    ("database closed", |edit| {
        edit.close_database(TWO, &closed());
        Ok(())
    }),
    ("closed database dropped, its segment forgotten", |edit| {
        edit.delete_closed(ONE);
        edit.delete_salvage(ASIDE);
        Ok(())
    }),
    ("sections moved", |edit| {
        edit.insert_chunk(ChunkId::new(3), 4096, 78)?;
        let to = MovedTo {
            chunk: ChunkId::new(3),
            section: 0,
            bytes: 4096,
        };
        edit.move_sections(ONE, &Moves::from([((ChunkId::new(1), 0), to)]));
        edit.delete_chunk(ChunkId::new(1));
        Ok(())
    }),
    ("snapshot made", |edit| {
        edit.put_snapshot(snapshot_key(11), snapshot("after"))
    }),
    ("snapshot dropped", |edit| {
        edit.delete_snapshot(snapshot_key(9));
        Ok(())
    }),
    ("database created", |edit| {
        edit.set_catalogue(Lsn::new(20));
        edit.put_database(THREE, database("three"))
    }),
    ("database renamed", |edit| {
        let mut row = edit.state().database(TWO).unwrap().clone();
        row.name = DbName::new("zwei").unwrap();
        edit.put_database(TWO, row)
    }),
    ("database dropped", |edit| {
        let mut row = edit.state().database(TWO).unwrap().clone();
        row.state = DatabaseState::Dropped {
            dropped_us: 5,
            until_us: 50,
        };
        edit.put_database(TWO, row)
    }),
    ("policy set", |edit| {
        let mut row = edit.state().database(TWO).unwrap().clone();
        row.policy = Policy {
            quota_bytes: 1 << 20,
            ..row.policy
        };
        edit.put_database(TWO, row)
    }),
    ("database forgotten", |edit| {
        edit.delete_database(DbId::new(4));
        Ok(())
    }),
    ("generation published", |edit| publish(edit, ONE, 2, 3)),
    ("log shortened", |edit| {
        edit.set_checkpointed(Lsn::new(700));
        edit.set_truncated(Lsn::new(600));
        Ok(())
    }),
    ("database scrubbed", |edit| {
        let row = ScrubRow {
            job: JobId::new(1),
            finished_us: 2,
            pages: 3,
            bytes: 4,
        };
        edit.put_scrub(TWO, row);
        Ok(())
    }),
];

fn subscribe(manifest: &Manifest, name: &str) -> Result<(), ManifestError> {
    let name = DbName::new(name).unwrap();
    let added = manifest.find_or_add_cursor(LONG, &name, (NOW_US, 1_000), |feed| {
        Ok(CursorPlace::Changes {
            feed: feed.feed,
            position: feed.first,
        })
    });
    of_feed(added.map(drop))
}

fn of_feed(done: Result<(), FeedError>) -> Result<(), ManifestError> {
    done.map_err(|error| match error {
        FeedError::Manifest(error) => error,
        error => panic!("{error}"),
    })
}

fn run(epoch: u64) -> RunRow {
    RunRow {
        epoch: Epoch::new(epoch),
        boot: [7; 16],
        pid: 9,
        opened_us: 10,
        closed_us: None,
    }
}

fn segment() -> SegmentRow {
    SegmentRow {
        incarnation: Incarnation::new(8),
        capacity_bytes: 1 << 20,
    }
}

fn aside() -> SalvageRow {
    SalvageRow {
        incarnation: Incarnation::new(8),
        capacity_bytes: 1 << 20,
        base: Lsn::new(100),
        end: Lsn::new(300),
    }
}

fn closed() -> ClosedRow {
    let place = Place::Log {
        segment: ASIDE,
        lsn: Lsn::new(200),
    };
    let damage = Damage::new(place, Reject::Checksum);
    ClosedRow::new(&damage, Lsn::new(100), Lsn::new(250))
}

fn snapshot_key(lsn: u64) -> SnapshotKey {
    SnapshotKey {
        owner: TWO,
        lsn: Lsn::new(lsn),
    }
}

fn snapshot(name: &str) -> SnapshotRow {
    SnapshotRow {
        name: DbName::new(name).unwrap(),
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

/// A manifest in which each operation has something to change.
fn ground() -> MemoryManifest {
    let (store, manifest) = sample();
    manifest.begin_run(run(1)).unwrap();
    subscribe(&manifest, "backup").unwrap();
    let made = manifest.transact(|edit| {
        edit.close_database(ONE, &closed());
        edit.set_aside(ASIDE, aside())?;
        edit.put_snapshot(snapshot_key(9), snapshot("before"))?;
        let mut gone = database("gone");
        gone.state = DatabaseState::Tombstone { dropped_us: 1 };
        edit.put_database(DbId::new(4), gone)
    });
    made.unwrap();
    assert_eq!(reopen(&store).unwrap().verify().unwrap(), []);
    store
}

/// Opened, with its writer, and with an acknowledged change.
fn opened(ground: &MemoryManifest) -> (MemoryManifest, Manifest) {
    let store = ground.snapshot();
    let manifest = Manifest::open(Arc::new(store.clone()), STORE).unwrap();
    let manifest = manifest.with_clock(Arc::new(ManualClock::new(NOW_US)));
    manifest.start(&SystemSpawn).unwrap();
    let acknowledged = manifest.transact(|edit| edit.put_segment(SegmentId::new(5), segment()));
    acknowledged.unwrap();
    (store, manifest)
}

/// The writer panics inside the store's commit, before the operation's rows are there or behind.
fn check(
    ground: &MemoryManifest,
    name: &str,
    ask: impl Fn(&Manifest) -> Result<(), ManifestError>,
) {
    let (store, manifest) = opened(ground);
    let before = all_rows(&store);
    ask(&manifest).unwrap_or_else(|error| panic!("{name}: {error}"));
    let done = all_rows(&store);
    assert!(before != done, "{name} changes nothing");
    for applied in [false, true] {
        let (store, manifest) = opened(ground);
        let gate: Gate = Arc::new(|| panic!("the gate fell"));
        if applied {
            store.set_gate_after(Some(gate));
        } else {
            store.set_gate(Some(gate));
        }
        let error = ask(&manifest).unwrap_err();
        assert!(
            matches!(&error, ManifestError::Panic(report) if report.message == "the gate fell"),
            "{name}: {error}"
        );
        // Nobody hangs behind it, and nobody is told of more than is sure.
        assert!(
            manifest
                .transact(|edit| edit.put_segment(SegmentId::new(9), segment()))
                .is_err()
        );
        assert!(!manifest.is_sure());
        store.set_gate(None);
        store.set_gate_after(None);
        let expected = if applied { &done } else { &before };
        assert!(all_rows(&store) == *expected, "{name}, applied: {applied}");
        let again = reopen(&store).unwrap();
        assert_eq!(again.verify().unwrap(), [], "{name}, applied: {applied}");
        assert!(again.state().segment(SegmentId::new(5)).is_some());
    }
}

#[test]
fn a_panic_in_each_operation_answers_whoever_asked_and_leaves_all_of_it_or_nothing() {
    let ground = ground();
    for (name, asked) in ASKED {
        check(&ground, name, asked);
    }
    for (name, edited) in EDITED {
        check(&ground, name, |manifest| manifest.transact(edited));
    }
}

/// The same where the operation itself panics, behind what it has changed: nothing of it is there, and the
/// writer goes on.
#[test]
fn a_panic_inside_each_operation_leaves_nothing_of_it_and_the_next_one_is_made() {
    let ground = ground();
    for (name, edited) in EDITED {
        let (store, manifest) = opened(&ground);
        let before = all_rows(&store);
        let panics = manifest.transact(move |edit| -> Result<(), ManifestError> {
            edited(edit)?;
            panic!("the edit fell");
        });
        assert!(matches!(panics, Err(ManifestError::Panic(_))), "{name}");
        assert!(all_rows(&store) == before, "{name}");
        manifest.transact(edited).unwrap();
        assert!(all_rows(&store) != before, "{name}");
        assert_eq!(manifest.verify().unwrap(), [], "{name}");
    }
}
