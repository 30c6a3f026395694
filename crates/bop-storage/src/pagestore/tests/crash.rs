//! A chunk that fails or loses power while it is made: either it is whole, or it is not there.

use super::*;
use crate::error::CheckpointError;
use crate::io::errno::{EIO, ENOSPC};
use crate::testing::Fault;

/// Larger than the writer's buffer, so that failures hit it in the middle too.
fn large_chunk(disk: &SimDisk) -> Result<FinishedChunk, CheckpointError> {
    let size = PageSize::MAX;
    let mut writer = ChunkWriter::create(Arc::new(disk.clone()), STORE, CHUNK, Compression::Lz4)?;
    writer.begin_section(meta(1, size))?;
    for raw in 1..=40 {
        let content = noise(raw.into(), size);
        let hash = PageHash::of(page(raw), &content);
        writer.push_page(page(raw), Lsn::new(1), hash, &content)?;
    }
    writer.end_section()?;
    writer.finish()
}

fn names(disk: &SimDisk) -> Vec<PathBuf> {
    disk.files().into_iter().map(|(path, _)| path).collect()
}

#[test]
fn a_dropped_writer_leaves_nothing() {
    let disk = disk();
    let mut writer = writer(&disk);
    writer.begin_section(meta(1, PageSize::DEFAULT)).unwrap();
    assert_eq!(names(&disk).len(), 1);
    drop(writer);
    assert!(names(&disk).is_empty());
}

#[test]
fn a_chunk_never_takes_the_place_of_another() {
    let disk = disk();
    let chunk = small_chunk(&disk);
    let before = disk.read_raw(&file());
    assert!(matches!(large_chunk(&disk), Err(CheckpointError::Io(_))));
    assert_eq!(disk.read_raw(&file()), before);
    assert_eq!(names(&disk), [file()]);
    assert_eq!(open(&disk).unwrap().sections(), chunk.sections);
}

/// Each call of the whole making fails in turn: the error comes out, and no half chunk stays.
#[test]
fn any_failing_call_fails_the_chunk() {
    let empty = disk();
    let whole = empty.snapshot();
    let offset = whole.op_count();
    large_chunk(&whole).unwrap();
    let calls = whole.op_count() - offset;
    assert!(5 < calls, "the buffer is flushed more than once");
    for call in 0..calls {
        for errno in [EIO, ENOSPC] {
            let disk = empty.snapshot();
            disk.fail_at(disk.op_count() + call, Fault::Error(errno));
            let failed = large_chunk(&disk);
            assert!(failed.is_err(), "call {call}");
            for name in names(&disk) {
                assert_eq!(name, file(), "call {call}");
                let reader = open(&disk).unwrap();
                assert_eq!(reader.verify_all(), [], "call {call}");
            }
        }
    }
}

/// The power goes at each call, and what was in doubt is kept or lost at random: a file under a
/// chunk's name is a whole chunk, and a chunk that was finished is there.
#[test]
fn after_a_power_cut_a_named_chunk_is_whole() {
    let empty = disk();
    let whole = empty.snapshot();
    let offset = whole.op_count();
    large_chunk(&whole).unwrap();
    let calls = whole.op_count() - offset;
    for image in [whole.crash_image(1), whole.crash_image_keeping_nothing()] {
        assert_eq!(open(&image).unwrap().verify_all(), []);
    }
    for call in 0..calls {
        let disk = empty.snapshot();
        disk.fail_at(disk.op_count() + call, Fault::PowerCut);
        assert!(large_chunk(&disk).is_err());
        for seed in 0..8 {
            let image = disk.crash_image(seed);
            if names(&image).contains(&file()) {
                let findings = open(&image).unwrap().verify_all();
                assert_eq!(findings, [], "call {call}, seed {seed}");
            }
        }
    }
}
