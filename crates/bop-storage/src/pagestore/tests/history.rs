//! Deltas and histories: versions between two generations, and the commits that they belong to.

use super::*;
use crate::error::{CheckpointError, ReadError, Reject};
use crate::pagestore::format::CommitPoint;
use crate::pagestore::history::encode;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Of commits behind Lsn 100, up to 1000.
pub(super) fn history_meta(page_size: PageSize) -> SectionMeta {
    SectionMeta {
        kind: SectionKind::History,
        since: Lsn::new(100),
        pages: SectionMeta::ALL_PAGES,
        ..meta(1, page_size)
    }
}

fn point(lsn: u64, page_count: u32, page_count_min: u32) -> HistoryPoint {
    HistoryPoint {
        lsn: Lsn::new(lsn),
        time_us: lsn * 10,
        page_count,
        page_count_min,
        rolling_checksum: RollingChecksum::new(lsn),
        readable: true,
        follows: true,
    }
}

/// The head of the generation.
fn last() -> HistoryPoint {
    HistoryPoint {
        rolling_checksum: RollingChecksum::new(0x5eed),
        ..point(1000, 100, 100)
    }
}

pub(super) fn points() -> [HistoryPoint; 3] {
    let cut = HistoryPoint {
        readable: false,
        ..point(200, 70, 60)
    };
    [cut, point(300, 90, 70), last()]
}

/// A delta of two pages, and a history of three versions.
fn history_chunk(disk: &SimDisk) -> FinishedChunk {
    let size = PageSize::MIN;
    let mut writer = writer(disk);
    let delta = SectionMeta {
        kind: SectionKind::Delta,
        since: Lsn::new(100),
        inherited: 40,
        ..meta(1, size)
    };
    writer.begin_section(delta).unwrap();
    push(&mut writer, 5, 500, &text(5, size));
    push(&mut writer, 7, 900, &noise(7, size));
    writer.end_section().unwrap();
    writer.begin_section(history_meta(size)).unwrap();
    push(&mut writer, 5, 200, &text(51, size));
    push(&mut writer, 5, 300, &noise(52, size));
    push(&mut writer, 4_000_000, 150, &text(61, size));
    writer.end_history(&points()).unwrap();
    writer.finish().unwrap()
}

#[test]
fn a_delta_and_a_history_hold_versions_and_commits() {
    let disk = disk();
    let chunk = history_chunk(&disk);
    let reader = open(&disk).unwrap();
    assert_eq!(reader.sections(), chunk.sections);
    let delta = reader.sections()[0].meta().unwrap();
    assert_eq!((delta.inherited, delta.since), (40, Lsn::new(100)));
    assert_eq!(reader.read_page(0, page(6)).unwrap(), None);
    assert_eq!(reader.payload(0).unwrap(), b"");
    let newest = reader.read_page(1, page(5)).unwrap().unwrap();
    assert_eq!(newest.version, Lsn::new(300));
    let at = |lsn| reader.read_at(1, page(5), Lsn::new(lsn)).unwrap();
    assert_eq!(at(199), None);
    assert_eq!(*at(299).unwrap().content, *text(51, PageSize::MIN));
    assert_eq!(at(300), Some(newest));
    let found = reader.version_at(1, page(5), Lsn::new(250)).unwrap();
    let hash = PageHash::of(page(5), &text(51, PageSize::MIN));
    assert_eq!(found, Some((hash, Lsn::new(200), 0)));
    assert_eq!(reader.version_at(1, page(6), Lsn::new(999)).unwrap(), None);
    assert_eq!(reader.verify_all(), []);
}

#[test]
fn the_commits_are_kept_in_memory_until_they_are_let_go() {
    let disk = disk();
    history_chunk(&disk);
    let reader = open(&disk).unwrap();
    assert_eq!(*reader.history(1).unwrap(), points());
    assert_eq!(
        reader.resident_bytes(),
        (3 * size_of::<HistoryPoint>()) as u64
    );
    let reads = disk.read_count();
    reader.history(1).unwrap();
    assert_eq!(disk.read_count(), reads);
    assert_eq!(reader.has_page_in_memory(1, page(5)), None);
    reader.read_page(1, page(5)).unwrap();
    assert_eq!(reader.has_page_in_memory(1, page(5)), Some(true));
    assert_eq!(reader.has_page_in_memory(1, page(6)), Some(false));
    reader.release_indexes();
    assert_eq!(reader.resident_bytes(), 0);
    assert!(reader.history(0).is_err(), "a delta");
    assert!(reader.history(2).is_err(), "no section");
}

/// As many bytes of the file as there are: none can change without being noticed.
#[test]
fn a_flipped_bit_anywhere_is_found() {
    let sound = disk();
    let chunk = history_chunk(&sound);
    let expected = [200, 300, 1000].map(|lsn| {
        open(&sound)
            .unwrap()
            .read_at(1, page(5), Lsn::new(lsn))
            .unwrap()
    });
    for byte in 0..chunk.bytes {
        let disk = sound.snapshot();
        disk.flip(&file(), byte, 1 << (byte % 8));
        let Ok(reader) = open(&disk) else { continue };
        assert_ne!(reader.verify_all(), [], "byte {byte}");
        if let Ok(found) = reader.history(1) {
            assert_eq!(*found, points(), "byte {byte}");
        }
        for (lsn, expected) in [200, 300, 1000].into_iter().zip(&expected) {
            if let Ok(found) = reader.read_at(1, page(5), Lsn::new(lsn)) {
                assert_eq!(found, *expected, "byte {byte}");
            }
        }
    }
}

/// What does not fit is refused before it is written, and the section stays open.
#[test]
fn commits_that_contradict_each_other_or_the_section_are_refused() {
    let disk = disk();
    let mut writer = writer(&disk);
    let size = PageSize::MIN;
    let unreadable = HistoryPoint {
        readable: false,
        ..last()
    };
    let sections = [
        SectionMeta {
            pages: 100,
            ..history_meta(size)
        },
        SectionMeta {
            range: 1,
            ..history_meta(size)
        },
        SectionMeta {
            since: Lsn::new(1000),
            ..history_meta(size)
        },
        SectionMeta {
            inherited: 61,
            ..meta(1, size)
        },
        SectionMeta {
            page_count_min: 101,
            ..meta(1, size)
        },
    ];
    for meta in sections {
        assert!(writer.begin_section(meta).is_err(), "{meta:?}");
    }
    writer.begin_section(history_meta(size)).unwrap();
    let lists: [(&str, &[HistoryPoint]); 8] = [
        ("none", &[]),
        ("not the head", &[point(300, 90, 70)]),
        ("not readable", &[unreadable]),
        (
            "out of order",
            &[point(300, 90, 70), point(300, 90, 70), last()],
        ),
        ("before the interval", &[point(100, 90, 70), last()]),
        ("more at the least", &[point(300, 90, 91), last()]),
        ("fewer than the interval", &[point(300, 90, 59), last()]),
        ("behind the head", &[last(), point(1001, 100, 100)]),
    ];
    for (what, points) in lists {
        let refused = writer.end_history(points);
        assert!(
            matches!(refused, Err(CheckpointError::Invalid(_))),
            "{what}: {refused:?}"
        );
    }
    assert!(writer.end_section().is_err(), "a history without commits");
    let old = text(1, size);
    let refused = writer.push_page(page(1), Lsn::new(100), PageHash::of(page(1), &old), &old);
    assert!(refused.is_err(), "a version that the generation before has");
    writer.end_history(&points()).unwrap();
    writer.begin_section(meta(1, size)).unwrap();
    assert!(writer.end_history(&points()).is_err(), "a base");
    writer.end_section().unwrap();
    writer.finish().unwrap();
    assert_eq!(open(&disk).unwrap().verify_all(), []);
}

/// Bytes whose checksum is right and that no writer makes.
#[test]
fn a_payload_that_no_writer_makes_is_damage() {
    let meta = history_meta(PageSize::MIN);
    let sound = encode(&meta, &points()).unwrap();
    let decode = |bytes: &[u8]| crate::pagestore::history::decode(&meta, bytes);
    assert_eq!(decode(&sound).unwrap(), points());
    let whole = size_of::<CommitPoint>();
    for bytes in [0, 1, whole, 3 * whole - 1] {
        assert!(decode(&sound[..bytes]).is_err(), "{bytes} bytes");
    }
    let flags = std::mem::offset_of!(CommitPoint, flags);
    let reserved = std::mem::offset_of!(CommitPoint, reserved);
    for (at, value) in [(flags, 4), (reserved, 1), (2 * whole + flags, 0)] {
        let mut bytes = sound.clone();
        bytes[at] = value;
        assert!(decode(&bytes).is_err(), "byte {at}");
    }
}

#[test]
fn the_commit_at_a_point_and_the_last_cut_before_it_are_found() {
    let points = points();
    let at = |lsn| point_at(&points, Lsn::new(lsn)).map(|point| point.lsn.get());
    assert_eq!([at(199), at(200), at(999)], [None, Some(200), Some(300)]);
    assert_eq!(at(u64::MAX), Some(1000));
    let cut = |raw, lsn| cut_before(&points, page(raw), Lsn::new(lsn)).map(Lsn::get);
    assert_eq!(cut(60, 1000), None, "always there");
    assert_eq!(cut(61, 199), None);
    assert_eq!(cut(61, 999), Some(200));
    assert_eq!(cut(71, 999), Some(300));
    assert_eq!(cut(71, 299), Some(200));
    assert_eq!(cut(101, 1000), Some(1000));
}

/// A chunk of version 1 has no history that anybody wrote: its commits are not guessed at.
#[test]
fn a_history_of_version_1_is_not_read() {
    let disk = SimDisk::new(1);
    let store = StoreId::new(*b"golden store id.");
    let id = ChunkId::new(0x2a);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1/chunk.bin");
    disk.create_dir(Path::new(layout::CHUNK_DIR)).unwrap();
    disk.write_raw(&layout::chunk(id), &std::fs::read(golden).unwrap());
    let reader = ChunkReader::open(&disk, store, id, None).unwrap();
    match reader.history(2) {
        Err(ReadError::Damaged(damage)) => {
            assert_eq!(damage.reason, Reject::Invalid("a history of version 1"));
        }
        other => panic!("{other:?}"),
    }
}

fn versions() -> impl Strategy<Value = BTreeMap<(u32, u64), u64>> {
    prop::collection::btree_map((1..=12_u32, 101..1000_u64), any::<u64>(), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Of each page at each commit, what the model says: the newest version that is not newer.
    #[test]
    fn every_version_is_found_where_it_counts(versions in versions()) {
        let disk = disk();
        let size = PageSize::MIN;
        let mut writer = writer(&disk);
        writer.begin_section(history_meta(size)).unwrap();
        for ((raw, version), seed) in &versions {
            push(&mut writer, *raw, *version, &text(*seed, size));
        }
        writer.end_history(&points()).unwrap();
        writer.finish().unwrap();
        let reader = open(&disk).unwrap();
        let moments = versions.keys().flat_map(|(_, version)| [version - 1, *version, version + 1]);
        let moments: Vec<u64> = moments.chain([0, 100, u64::MAX]).collect();
        for raw in 1..=13 {
            for at in &moments {
                let model = versions.range((raw, 0)..=(raw, *at)).next_back();
                let model = model.map(|((_, version), seed)| (*version, text(*seed, size)));
                let found = reader.read_at(0, page(raw), Lsn::new(*at)).unwrap();
                let number = reader.version_at(0, page(raw), Lsn::new(*at)).unwrap();
                prop_assert_eq!(
                    number.map(|(hash, version, _)| (hash, version)),
                    found.as_ref().map(|found| (found.hash, found.version))
                );
                let found = found.map(|found| (found.version.get(), found.content.to_vec()));
                prop_assert!(found == model, "page {} at {}", raw, at);
            }
        }
        prop_assert_eq!(reader.verify_all(), []);
    }
}
