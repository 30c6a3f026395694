//! What no operation does: transactions that break a single part of an invariant, and those at its edge,
//! which are made. Each part is broken alone, so that it alone can refuse.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use crate::rows::{ONE, STORE, TWO, database, range, reopen, sample};
use bop_storage::ManifestError;
use bop_storage::error::{Damage, Place};
use bop_storage::ids::{ChangeNo, ChunkId, CursorId, DbId, Epoch, Generation, JobId, Lsn};
use bop_storage::manifest::{
    CursorPlace, CursorRow, DatabaseState, Edit, GenerationRow, JOB_ATTEMPTS_MAX, JobKind, JobRow,
    JobState, Manifest, ManifestStore, MemoryManifest, RunRow, Table, Write, scan_all,
};
use bop_storage::name::DbName;
use std::sync::Arc;

type Edited = fn(&mut Edit<'_>) -> Result<(), ManifestError>;

const NOW_US: u64 = 1_000;
/// Of the changes; of the commits of database ONE.
const CURSORS: [CursorId; 2] = [CursorId::new(1), CursorId::new(2)];
/// Leased; over.
const JOBS: [JobId; 2] = [JobId::new(1), JobId::new(2)];

fn cursor(name: &str, place: CursorPlace) -> CursorRow {
    CursorRow {
        name: DbName::new(name).unwrap(),
        place,
        created_us: NOW_US,
        seen_us: NOW_US,
        lease_us: 1_000,
    }
}

fn changes(feed: u64, position: u64) -> CursorPlace {
    CursorPlace::Changes {
        feed: Epoch::new(feed),
        position: ChangeNo::new(position),
    }
}

fn commits(position: u64, database: DbId) -> CursorPlace {
    CursorPlace::Commits {
        position: Lsn::new(position),
        database: Some(database),
    }
}

fn job(database: DbId, token: u8, state: JobState) -> JobRow {
    JobRow {
        kind: JobKind::Scrub,
        database,
        token: [token; 16],
        state,
        attempts: 1,
        created_us: NOW_US,
        updated_us: NOW_US,
        failure: None,
    }
}

const LEASED: JobState = JobState::Leased {
    holder: Epoch::new(1),
    until_us: 2 * NOW_US,
};

/// Two databases with a checkpoint each, a cursor of each kind, jobs; the changes feed is of run 1 and begins
/// with 1.
fn ground() -> (MemoryManifest, Manifest) {
    let (store, manifest) = sample();
    let run = RunRow {
        epoch: Epoch::new(1),
        boot: [7; 16],
        pid: 9,
        opened_us: 10,
        closed_us: None,
    };
    manifest.begin_run(run).unwrap();
    let made = manifest.transact(|edit| {
        edit.add_cursor(cursor("changes", changes(1, 1)));
        edit.add_cursor(cursor("commits", commits(450, ONE)));
        edit.add_job(job(ONE, 1, LEASED));
        edit.add_job(job(TWO, 2, JobState::Done));
        Ok::<_, ManifestError>(())
    });
    made.unwrap();
    assert_eq!(manifest.verify().unwrap(), []);
    (store, manifest)
}

fn with_database(
    edit: &mut Edit<'_>,
    change: impl FnOnce(&mut bop_storage::manifest::DatabaseRow),
) -> Result<(), ManifestError> {
    let mut row = edit.state().database(ONE).unwrap().clone();
    change(&mut row);
    edit.put_database(ONE, row)
}

fn with_job(edit: &mut Edit<'_>, change: impl FnOnce(&mut JobRow)) -> Result<(), ManifestError> {
    let mut row = edit.state().job(JOBS[0]).unwrap().clone();
    change(&mut row);
    edit.put_job(JOBS[0], row);
    Ok(())
}

fn with_place(edit: &mut Edit<'_>, id: CursorId, place: CursorPlace) -> Result<(), ManifestError> {
    let row = edit.state().cursor(id).unwrap().clone();
    edit.put_cursor(id, CursorRow { place, ..row });
    Ok(())
}

const REFUSED: &[(&str, &str, Edited)] = &[
    ("ranges_have_databases", "ranges are left", |edit| {
        edit.delete_generation(ONE, Generation::new(1));
        edit.delete_database(ONE);
        Ok(())
    }),
    ("ranges_have_databases", "a generation is left", |edit| {
        edit.delete_range(range(ONE, 0, 1));
        edit.delete_database(ONE);
        Ok(())
    }),
    (
        "checkpointed_is_monotone",
        "a newer head is older",
        |edit| {
            with_database(edit, |row| {
                row.checkpointed.generation = Generation::new(2);
                row.checkpointed.lsn = Lsn::new(99);
            })
        },
    ),
    ("checkpointed_is_monotone", "a generation goes on", |edit| {
        with_database(edit, |row| row.checkpointed.lsn = Lsn::new(101))
    }),
    ("checkpointed_is_monotone", "an older catalogue", |edit| {
        with_database(edit, |row| row.catalogue_lsn = Lsn::new(9))
    }),
    (
        "watermarks_are_monotone",
        "the log grows in front",
        |edit| {
            edit.set_truncated(Lsn::new(399));
            Ok(())
        },
    ),
    (
        "watermarks_are_monotone",
        "the catalogue goes back",
        |edit| {
            edit.set_catalogue(Lsn::new(9));
            Ok(())
        },
    ),
    ("numbers_are_below_the_next", "a cursor", |edit| {
        edit.put_cursor(CursorId::new(3), cursor("third", changes(1, 1)));
        Ok(())
    }),
    (
        "cursors_stay_in_the_feed",
        "behind the newest change",
        |edit| {
            let behind = edit.state().feed().unwrap().next.get() + 1;
            with_place(edit, CURSORS[0], changes(1, behind))
        },
    ),
    ("cursors_stay_in_the_feed", "back in the log", |edit| {
        with_place(edit, CURSORS[1], commits(449, ONE))
    }),
    ("cursors_stay_in_the_feed", "of another database", |edit| {
        with_place(edit, CURSORS[1], commits(450, TWO))
    }),
    ("cursors_stay_in_the_feed", "of the other feed", |edit| {
        with_place(edit, CURSORS[1], changes(1, 1))
    }),
    ("cursors_stay_in_the_feed", "back in the changes", |edit| {
        with_place(edit, CURSORS[0], changes(1, 0))
    }),
    ("cursors_stay_in_the_feed", "a name twice", |edit| {
        edit.add_cursor(cursor("commits", changes(1, 1)));
        Ok(())
    }),
    ("cursors_stay_in_the_feed", "renamed as the other", |edit| {
        let row = edit.state().cursor(CURSORS[0]).unwrap().clone();
        let name = DbName::new("commits").unwrap();
        edit.put_cursor(CURSORS[0], CursorRow { name, ..row });
        Ok(())
    }),
    ("jobs_go_their_way", "another token", |edit| {
        with_job(edit, |row| row.token = [9; 16])
    }),
    ("jobs_go_their_way", "asked for at another time", |edit| {
        with_job(edit, |row| row.created_us += 1)
    }),
    (
        "jobs_go_their_way",
        "heard of earlier than before",
        |edit| with_job(edit, |row| row.updated_us -= 1),
    ),
    ("jobs_go_their_way", "begun too often", |edit| {
        with_job(edit, |row| row.attempts = JOB_ATTEMPTS_MAX + 1)
    }),
    ("jobs_go_their_way", "forgotten before it is over", |edit| {
        edit.delete_job(JOBS[0]);
        Ok(())
    }),
    ("jobs_go_their_way", "over, and again", |edit| {
        edit.put_job(JOBS[1], job(TWO, 2, LEASED));
        Ok(())
    }),
];

#[test]
fn each_part_of_an_invariant_refuses_alone() {
    let (_, manifest) = ground();
    for (wanted, what, edited) in REFUSED {
        let refused = manifest.transact(*edited);
        match refused {
            Err(ManifestError::Invariant { invariant, detail }) => {
                assert_eq!(invariant, *wanted, "{what}: {detail}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
    assert_eq!(manifest.verify().unwrap(), []);
}

const MADE: &[(&str, Edited)] = &[
    ("a newer head of the same commit", |edit| {
        let mut head = edit.state().database(ONE).unwrap().checkpointed;
        head.generation = Generation::new(2);
        let page_size = edit.state().database(ONE).unwrap().page_size;
        let own = GenerationRow::of_head(&head, page_size);
        edit.put_generation(ONE, head.generation, own);
        with_database(edit, |row| row.checkpointed = head)
    }),
    ("an older one of the same commit is written again", |edit| {
        let mut head = edit.state().database(ONE).unwrap().checkpointed;
        let page_size = edit.state().database(ONE).unwrap().page_size;
        let own = GenerationRow::of_head(&head, page_size);
        head.generation = Generation::new(2);
        edit.put_generation(ONE, Generation::new(1), own);
        edit.put_generation(ONE, head.generation, own);
        with_database(edit, |row| row.checkpointed = head)
    }),
    ("nothing is kept of the log that is in chunks", |edit| {
        edit.set_truncated(Lsn::new(500));
        Ok(())
    }),
    ("a cursor at the end of the changes", |edit| {
        let end = edit.state().feed().unwrap().next.get();
        with_place(edit, CURSORS[0], changes(1, end))
    }),
    ("a cursor of a feed that began anew", |edit| {
        with_place(edit, CURSORS[0], changes(2, 0))
    }),
    ("a cursor is heard of and stays where it is", |edit| {
        let mut row = edit.state().cursor(CURSORS[1]).unwrap().clone();
        row.seen_us += 1;
        edit.put_cursor(CURSORS[1], row);
        Ok(())
    }),
    ("a cursor goes on", |edit| {
        with_place(edit, CURSORS[1], commits(460, ONE))
    }),
    ("the last attempt", |edit| {
        with_job(edit, |row| row.attempts = JOB_ATTEMPTS_MAX)
    }),
    ("what is over is forgotten", |edit| {
        edit.delete_job(JOBS[1]);
        Ok(())
    }),
    ("a database and all of it go", |edit| {
        edit.delete_cursor(CURSORS[1]);
        edit.delete_range(range(TWO, 0, 1));
        edit.delete_generation(TWO, Generation::new(1));
        edit.delete_chunk(ChunkId::new(2));
        edit.delete_database(TWO);
        Ok(())
    }),
    ("the name of one that was dropped", |edit| {
        with_database(edit, |row| {
            row.state = DatabaseState::Dropped {
                dropped_us: 1,
                until_us: 2,
            };
        })?;
        edit.put_database(DbId::new(3), database("one"))
    }),
];

#[test]
fn at_the_edge_of_an_invariant_a_transaction_is_made() {
    for (what, edited) in MADE {
        let (store, manifest) = ground();
        let made = manifest.transact(*edited);
        assert!(made.is_ok(), "{what}: {made:?}");
        assert_eq!(reopen(&store).unwrap().verify().unwrap(), [], "{what}");
    }
}

/// The only row of a table, as it was when another image of the store was taken.
fn put_back(store: &MemoryManifest, older: &MemoryManifest, table: Table) {
    let mut rows = Vec::new();
    scan_all(older, table, |key, value| rows.push((key, value))).unwrap();
    let [(key, value)] = rows.try_into().unwrap();
    store.commit(&[Write::Put { table, key, value }]).unwrap();
}

/// The tables of the rows that a verification tells.
fn told(store: &MemoryManifest) -> Vec<String> {
    let found: Vec<Damage> = reopen(store).unwrap().verify().unwrap();
    let table = |damage: &Damage| match &damage.place {
        Place::Manifest { table, .. } => (*table).to_owned(),
        other => panic!("{other}"),
    };
    found.iter().map(table).collect()
}

/// Numbers that went back, as those of an older copy: whoever is given one again would take the place of
/// what has it.
#[test]
fn rows_with_numbers_that_were_not_given_out_are_told() {
    let empty = MemoryManifest::new();
    Manifest::initialize(Arc::new(empty.clone()), STORE).unwrap();
    let (store, _) = sample();
    put_back(&store, &empty, Table::Watermarks);
    let mut tables = told(&store);
    tables.sort();
    assert_eq!(
        tables,
        ["chunks", "chunks", "databases", "databases", "segments"]
    );
    let (store, manifest) = ground();
    let before = store.snapshot();
    manifest
        .transact(|edit| {
            edit.add_job(job(ONE, 3, JobState::Done));
            Ok::<_, ManifestError>(())
        })
        .unwrap();
    assert_eq!(told(&store), [""; 0]);
    put_back(&store, &before, Table::JobIds);
    assert_eq!(told(&store), ["jobs"]);
}

/// The row of a chunk is lost: what it holds is closed, and can still go.
#[test]
fn a_database_goes_though_the_row_of_its_chunk_is_lost() {
    let (store, _) = ground();
    let (table, key) = (Table::Chunks, 2_u64.to_be_bytes().to_vec());
    store.commit(&[Write::Delete { table, key }]).unwrap();
    let manifest = reopen(&store).unwrap();
    assert!(manifest.state().damaged().databases.contains_key(&TWO));
    let gone = manifest.transact(|edit| {
        edit.delete_range(range(TWO, 0, 1));
        edit.delete_generation(TWO, Generation::new(1));
        edit.delete_database(TWO);
        Ok::<_, ManifestError>(())
    });
    gone.unwrap();
    assert!(reopen(&store).unwrap().state().damaged().is_empty());
}
