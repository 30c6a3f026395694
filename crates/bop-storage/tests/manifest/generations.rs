//! Generations that stay, the chains that they read, and what is noticed when a row of them is lost.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends by a panic, its helpers too"
)]

use crate::rows::{ONE, TWO, range, reopen, sample};
use bop_storage::checksum::RollingChecksum;
use bop_storage::error::{ManifestError, Reject};
use bop_storage::ids::{ChunkId, DbId, Generation, Lsn};
use bop_storage::manifest::{
    CheckpointedHead, Edit, GenerationRow, HistoryLink, LinkKind, Manifest, ManifestStore,
    RangeLink, RangeRow, Table, Write,
};

fn link(chunk: u64, section: u32, kind: LinkKind) -> RangeLink {
    RangeLink {
        chunk: ChunkId::new(chunk),
        section,
        pages: 5,
        bytes: 100 * chunk + u64::from(section),
        kind,
    }
}

fn history(chunk: u64) -> Option<HistoryLink> {
    Some(HistoryLink {
        chunk: ChunkId::new(chunk),
        section: 9,
        bytes: 1000 * chunk,
    })
}

/// The next generation of a database, with a chunk of its own.
fn advance(
    edit: &mut Edit<'_>,
    id: DbId,
    history: Option<HistoryLink>,
) -> Result<(), ManifestError> {
    let mut row = edit.state().database(id).expect("it is there").clone();
    let generation = row.checkpointed.generation.get() + 1;
    row.checkpointed = CheckpointedHead {
        generation: Generation::new(generation),
        lsn: Lsn::new(100 * generation),
        time_us: generation,
        page_count: 5,
        rolling_checksum: RollingChecksum::new(generation),
    };
    let own = GenerationRow {
        history,
        ..GenerationRow::of_head(&row.checkpointed, row.page_size)
    };
    edit.put_generation(id, row.checkpointed.generation, own);
    edit.put_database(id, row)
}

/// Database ONE with generations 1 to 3: a base, a delta on it, and a base again with a history.
fn with_a_past(manifest: &Manifest) {
    let made = manifest.transact(|edit| {
        for chunk in [3, 4] {
            edit.insert_chunk(ChunkId::new(chunk), 1 << 16, 5)?;
        }
        advance(edit, ONE, None)?;
        let (_, base) = edit
            .state()
            .range_at(ONE, 0, Generation::new(1))
            .expect("it is there");
        let chain = base.with(link(3, 0, LinkKind::Delta));
        edit.put_range(range(ONE, 0, 2), chain);
        edit.put_range(range(ONE, 7, 2), RangeRow::of(link(3, 1, LinkKind::Base)));
        advance(edit, ONE, history(4))?;
        edit.put_range(range(ONE, 0, 3), RangeRow::of(link(4, 0, LinkKind::Base)));
        Ok(())
    });
    made.unwrap();
}

fn references(manifest: &Manifest, chunk: u64) -> u64 {
    manifest
        .state()
        .chunk(ChunkId::new(chunk))
        .unwrap()
        .references
}

#[test]
fn each_generation_reads_its_own_chains() {
    let (store, manifest) = sample();
    with_a_past(&manifest);
    for state in [manifest.state(), reopen(&store).unwrap().state()] {
        assert!(state.damaged().is_empty());
        let read = |generation| -> Vec<(u32, Vec<u64>)> {
            let rows = state.ranges_at(ONE, Generation::new(generation));
            rows.map(|(range, row)| {
                let chunks = row.links().iter().map(|link| link.chunk.get());
                (range, chunks.collect())
            })
            .collect()
        };
        assert_eq!(read(0), []);
        assert_eq!(read(1), [(0, vec![1])]);
        assert_eq!(read(2), [(0, vec![3, 1]), (7, vec![3])]);
        assert_eq!(read(3), [(0, vec![4]), (7, vec![3])]);
        assert_eq!(read(9), read(3));
        assert!(
            state
                .newest_ranges(ONE)
                .eq(state.ranges_at(ONE, Generation::new(3)))
        );
        let numbers = state
            .generations(ONE)
            .map(|(generation, _)| generation.get());
        assert_eq!(numbers.collect::<Vec<_>>(), [1, 2, 3]);
        let at = |lsn| {
            let found = state.generation_at(ONE, Lsn::new(lsn));
            found.map(|(generation, row)| (generation.get(), row.lsn.get()))
        };
        assert_eq!(
            [at(99), at(100), at(199)],
            [None, Some((1, 100)), Some((1, 100))]
        );
        assert_eq!(at(u64::MAX), Some((3, 300)));
    }
    assert_eq!(
        [1, 2, 3, 4].map(|chunk| references(&manifest, chunk)),
        [2, 1, 2, 2]
    );
    assert_eq!(manifest.state().chunks_named(ONE).count(), 6);
    assert_eq!(manifest.verify().unwrap(), []);
}

/// A section costs what it has as long as a generation reads it that is not the newest, and is counted
/// with the newest of those.
#[test]
fn the_past_costs_what_only_older_generations_read() {
    let (_, manifest) = sample();
    with_a_past(&manifest);
    let past = manifest.state().past(ONE);
    let costs = |what: fn(&bop_storage::manifest::PastGeneration) -> u64| -> Vec<u64> {
        past.iter().map(what).collect()
    };
    assert_eq!(costs(|one| one.lsn.get()), [100, 200, 300]);
    assert_eq!(costs(|one| one.history_bytes), [0, 0, 4000]);
    // The base of 4096 bytes and the delta of 300; the other range is read by the newest too.
    assert_eq!(costs(|one| one.old_bytes), [0, 4396, 0]);
    assert_eq!(manifest.state().past(DbId::new(9)), []);
}

#[test]
fn a_history_that_goes_is_not_counted_any_more() {
    let (store, manifest) = sample();
    with_a_past(&manifest);
    let gone = manifest.transact(|edit| {
        edit.delete_history(ONE, Generation::new(3));
        edit.delete_history(ONE, Generation::new(8));
        edit.delete_generation(ONE, Generation::new(2));
        edit.delete_range(range(ONE, 0, 1));
        Ok(())
    });
    gone.unwrap();
    assert_eq!(
        [1, 3, 4].map(|chunk| references(&manifest, chunk)),
        [1, 2, 1]
    );
    let state = reopen(&store).unwrap().state();
    assert!(state.damaged().is_empty());
    assert_eq!(state.generations(ONE).count(), 2);
    assert_eq!(
        state.generation(ONE, Generation::new(3)).unwrap().history,
        None
    );
}

type Break = fn(&mut Edit<'_>) -> Result<(), ManifestError>;
fn of(edit: &Edit<'_>, generation: u64) -> GenerationRow {
    *edit
        .state()
        .generation(ONE, Generation::new(generation))
        .expect("it is there")
}
const BREAKS: &[(&str, Break)] = &[
    ("ranges_have_chunks", |edit| {
        let row = GenerationRow {
            history: history(99),
            ..of(edit, 2)
        };
        edit.put_generation(ONE, Generation::new(2), row);
        Ok(())
    }),
    ("ranges_have_chunks", |edit| {
        edit.put_range(
            range(ONE, 9, 3),
            RangeRow::of(link(4, 1, LinkKind::Delta)).with(link(99, 1, LinkKind::Delta)),
        );
        Ok(())
    }),
    ("references_match_ranges", |edit| {
        edit.delete_generation(ONE, Generation::new(3));
        edit.delete_range(range(ONE, 0, 3));
        edit.delete_chunk(ChunkId::new(3));
        Ok(())
    }),
    ("the_newest_generation_is_told", |edit| {
        edit.delete_generation(ONE, Generation::new(3));
        Ok(())
    }),
    ("the_newest_generation_is_told", |edit| {
        let row = GenerationRow {
            page_count: 6,
            ..of(edit, 3)
        };
        edit.put_generation(ONE, Generation::new(3), row);
        Ok(())
    }),
    ("the_newest_generation_is_told", |edit| {
        let mut row = edit.state().database(ONE).expect("it is there").clone();
        row.checkpointed.generation = Generation::new(4);
        edit.put_database(ONE, row)
    }),
    ("generations_go_up", |edit| {
        let row = GenerationRow {
            lsn: Lsn::new(301),
            ..of(edit, 2)
        };
        edit.put_generation(ONE, Generation::new(2), row);
        Ok(())
    }),
    ("generations_go_up", |edit| {
        let row = GenerationRow {
            lsn: Lsn::new(99),
            ..of(edit, 2)
        };
        edit.put_generation(ONE, Generation::new(2), row);
        Ok(())
    }),
    ("generations_go_up", |edit| {
        edit.put_generation(ONE, Generation::new(4), of(edit, 3));
        Ok(())
    }),
    ("generations_go_up", |edit| {
        edit.put_generation(DbId::new(9), Generation::new(1), of(edit, 1));
        Ok(())
    }),
    ("rows_read_back", |edit| {
        let row = GenerationRow {
            inherited: 6,
            ..of(edit, 2)
        };
        edit.put_generation(ONE, Generation::new(2), row);
        Ok(())
    }),
];

/// Each is refused by the invariant that it is named with.
#[test]
fn what_contradicts_the_generations_is_refused() {
    let (_, manifest) = sample();
    with_a_past(&manifest);
    for (wanted, broken) in BREAKS {
        let refused = manifest.transact(broken).unwrap_err();
        let ManifestError::Invariant { invariant, .. } = &refused else {
            panic!("{wanted}: {refused}");
        };
        assert_eq!(invariant, wanted, "{refused}");
    }
    assert_eq!(manifest.verify().unwrap(), []);
}

/// A lost row would make pages read wrong: each closes the database that it is of, and no other.
#[test]
fn a_lost_row_of_a_generation_closes_its_database() {
    let (store, manifest) = sample();
    with_a_past(&manifest);
    let key = |generation: u64| [ONE.get().to_be_bytes(), generation.to_be_bytes()].concat();
    let damage_without = |generation| {
        let image = store.snapshot();
        let (table, key) = (Table::Generations, key(generation));
        image.commit(&[Write::Delete { table, key }]).unwrap();
        let opened = reopen(&image).unwrap();
        // The other one goes on.
        opened.transact(|edit| advance(edit, TWO, None)).unwrap();
        opened.state().damaged().databases.clone()
    };
    let newest = damage_without(3);
    assert_eq!(newest.keys().copied().collect::<Vec<_>>(), [ONE]);
    assert_eq!(newest[&ONE].reason, Reject::Missing);
    // Nobody can tell that one is missing that had no history: nothing reads it, or its reader says so.
    assert!(damage_without(2).is_empty());
    let image = store.snapshot();
    image.corrupt(Table::Generations, &key(2), |value| value[20] ^= 1);
    let opened = reopen(&image).unwrap();
    let state = opened.state();
    assert_eq!(state.damaged().databases[&ONE].reason, Reject::Checksum);
    assert_eq!(state.damaged().databases.len(), 1);
}
