//! Rows of the manifest with a value of its own in every field.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bop_storage::catalogue::DbName;
use bop_storage::checksum::RollingChecksum;
use bop_storage::error::ManifestError;
use bop_storage::ids::{ChunkId, DbId, DbKind, Generation, Incarnation, Lsn, PageSize, SegmentId};
use bop_storage::manifest::{
    CheckpointedHead, DatabaseRow, DatabaseState, GenerationRow, HistoryLink, LinkKind, Manifest,
    Policy, RangeKey, RangeLink, RangeRow, Retention, SegmentRow, SnapshotKey, SnapshotRow,
};
use bop_storage::point::Point;

pub(crate) fn database(
    name: &str,
    state: DatabaseState,
    checkpointed: CheckpointedHead,
) -> DatabaseRow {
    DatabaseRow {
        name: DbName::new(name).unwrap(),
        kind: DbKind::Sqlite,
        state,
        page_size: PageSize::new(4096),
        created_us: 0x1111_2222,
        catalogue_lsn: Lsn::new(0x3000),
        checkpointed,
        policy: Policy::default(),
        origin: None,
    }
}

/// What its owner may set for a database.
pub(crate) fn policy() -> Policy {
    Policy {
        retention: Retention {
            window_us: 0x9999_aaaa,
            bytes: 0xbbbb_cccc,
        },
        quota_bytes: 0xdddd_eeee,
    }
}

/// What a fork starts from, and what a snapshot keeps.
pub(crate) fn point() -> Point {
    Point {
        source: DbId::new(1),
        lsn: Lsn::new(0x3456),
        time_us: 0xffff_1111,
        page_size: PageSize::new(8192),
        page_count: 0x2222_3333,
        rolling_checksum: RollingChecksum::new(0xfedc_ba98_7654_3210),
    }
}

pub(crate) const SNAPSHOT: SnapshotKey = SnapshotKey {
    owner: DbId::new(1),
    lsn: Lsn::new(0x2fff),
};

pub(crate) fn snapshot() -> SnapshotRow {
    SnapshotRow {
        name: DbName::new("before caf\u{e9}").unwrap(),
        point: point(),
        created_us: 0x4444_5555,
    }
}

pub(crate) fn link(section: u32, kind: LinkKind, bytes: u64) -> RangeLink {
    RangeLink {
        chunk: ChunkId::new(9),
        section,
        pages: 16_384,
        bytes,
        kind,
    }
}

/// A fork with two generations: the newer one has a history, and a delta on a delta.
pub(crate) fn fill_generations(manifest: &Manifest) {
    let filled = manifest.transact(|edit| {
        let id = DbId::new(261);
        let head = |generation, lsn, page_count| CheckpointedHead {
            generation: Generation::new(generation),
            lsn: Lsn::new(lsn),
            time_us: 0x5555_7777 + lsn,
            page_count,
            rolling_checksum: RollingChecksum::new(0x1122_3344_5566_7788 + lsn),
        };
        let (old, new) = (head(6, 0x3800, 40_000), head(7, 0x3900, 30_000));
        edit.put_database(id, database("older fork", DatabaseState::Live, new))?;
        for (head, history) in [(old, None), (new, Some(6))] {
            let row = GenerationRow {
                page_count_min: 29_000,
                inherited: 28_000,
                history: history.map(|section| HistoryLink {
                    chunk: ChunkId::new(9),
                    section,
                    bytes: 0x6666,
                }),
                ..GenerationRow::of_head(&head, PageSize::new(4096))
            };
            edit.put_generation(id, head.generation, row);
        }
        let key = |range, generation| RangeKey {
            database: id,
            range,
            generation: Generation::new(generation),
        };
        let older = RangeRow::of(link(4, LinkKind::Delta, 0x4444));
        edit.put_range(key(0, 7), older.with(link(5, LinkKind::Delta, 0x5555)));
        edit.put_range(key(0, 6), older.clone());
        edit.put_range(key(2, 6), older.clone());
        edit.put_range(key(2, 7), older.cut_to(0));
        Ok(())
    });
    filled.unwrap();
}

/// Every table of schema 1, and every field with a value of its own. That schema did not say the `bytes`
/// of a section.
pub(crate) fn fill(manifest: &Manifest, bytes: u64) {
    let head = CheckpointedHead {
        generation: Generation::new(3),
        lsn: Lsn::new(0x4000),
        time_us: 0x5555_6666,
        page_count: 20_000,
        rolling_checksum: RollingChecksum::new(0x0123_4567_89ab_cdef),
    };
    let dropped = DatabaseState::Tombstone {
        dropped_us: 0x7777_8888,
    };
    let filled = manifest.transact(move |edit| {
        let row = database("caf\u{e9}", DatabaseState::Live, head);
        let own = GenerationRow::of_head(&head, row.page_size);
        edit.put_generation(DbId::new(1), head.generation, own);
        edit.put_database(DbId::new(1), row)?;
        let mut raw = database("gone", dropped, CheckpointedHead::NONE);
        (raw.kind, raw.page_size) = (DbKind::Raw, None);
        edit.put_database(DbId::new(258), raw)?;
        for (id, incarnation) in [(6, 0xaaaa), (7, 0xbbbb)] {
            let row = SegmentRow {
                incarnation: Incarnation::new(incarnation),
                capacity_bytes: 1 << 20,
            };
            edit.put_segment(SegmentId::new(id), row)?;
        }
        edit.insert_chunk(ChunkId::new(9), 0x1_0000, 0xfeed << 100 | 0xbeef)?;
        for (database, range, generation, section) in [(0, 0, 1, 0), (1, 0, 3, 1), (1, 1, 2, 2)] {
            let key = RangeKey {
                database: DbId::new(database),
                range,
                generation: Generation::new(generation),
            };
            edit.put_range(key, RangeRow::of(link(section, LinkKind::Base, bytes)));
        }
        edit.set_checkpointed(Lsn::new(0x4100));
        edit.set_truncated(Lsn::new(0x4000));
        edit.set_catalogue(Lsn::new(0x3000));
        Ok::<_, ManifestError>(())
    });
    filled.unwrap();
}
