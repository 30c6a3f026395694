//! Chunks that are larger than the sink's buffers, and pools that have few.

use super::*;
use crate::error::{CheckpointError, Damage};
use crate::io::{BUFFER_BYTES, PoolBuffer};
use crate::runtime::{Errands, SystemSpawn};
use crate::testing::Fault;

/// Pages of 64 KiB: 5 MiB and a bit, which is several batches.
const PAGES: u32 = 83;

fn large(raw: u32) -> Vec<u8> {
    noise(raw.into(), PageSize::MAX)
}

/// By so many threads beside this one.
fn errands(threads: usize) -> Arc<Errands> {
    Errands::new(Arc::new(SystemSpawn), threads)
}

fn large_chunk(disk: &SimDisk) -> Result<FinishedChunk, CheckpointError> {
    large_chunk_by(disk, None)
}

fn large_chunk_by(
    disk: &SimDisk,
    errands: Option<&Arc<Errands>>,
) -> Result<FinishedChunk, CheckpointError> {
    let mut writer = ChunkWriter::create(Arc::new(disk.clone()), STORE, CHUNK, Compression::Lz4)?;
    if let Some(errands) = errands {
        writer = writer.write_behind(errands);
    }
    writer.begin_section(meta(1, PageSize::MAX))?;
    for raw in 1..=PAGES {
        let content = large(raw);
        let hash = PageHash::of(page(raw), &content);
        writer.push_page(page(raw), Lsn::new(10), hash, &content)?;
    }
    writer.end_section()?;
    writer.finish()
}

/// Takes all buffers of the disk but `left`.
fn leave_buffers(disk: &SimDisk, left: usize) -> Vec<PoolBuffer> {
    let mut taken: Vec<_> = std::iter::from_fn(|| disk.buffers().try_take()).collect();
    taken.truncate(taken.len() - left);
    taken
}

fn bytes_of(disk: &SimDisk) -> Vec<u8> {
    disk.read_raw(&file())
}

#[test]
fn a_chunk_of_many_batches_is_read_back() {
    let disk = disk();
    let finished = large_chunk(&disk).unwrap();
    assert!(
        finished.bytes > 16 * BUFFER_BYTES as u64,
        "{}",
        finished.bytes
    );
    assert_eq!(disk.buffers().usage().taken_bytes, 0);
    let made = disk.buffers().usage().made_bytes;
    assert_eq!(made, 8 * BUFFER_BYTES as u64, "eight buffers are enough");
    let reader = open(&disk).unwrap();
    for raw in 1..=PAGES {
        let found = reader.read_page(0, page(raw)).unwrap().unwrap();
        assert!(*found.content == *large(raw), "page {raw}");
    }
    assert_eq!(reader.verify_all(), []);
    assert_eq!(disk.buffers().usage().taken_bytes, 0);
}

#[test]
fn fewer_buffers_make_the_same_file_and_prove_it() {
    let roomy = disk();
    let finished = large_chunk(&roomy).unwrap();
    for left in [1, 3] {
        let disk = disk();
        let held = leave_buffers(&disk, left);
        assert_eq!(large_chunk(&disk).unwrap(), finished, "{left} buffers");
        assert!(bytes_of(&disk) == bytes_of(&roomy), "{left} buffers");
        let reader = open(&disk).unwrap();
        assert_eq!(reader.verify_all(), [], "{left} buffers");
        drop(held);
    }
    // Verification does without any.
    let _all = leave_buffers(&roomy, 0);
    let reader = open(&roomy).unwrap();
    assert_eq!(reader.verify_all(), []);
}

#[test]
fn what_is_written_behind_makes_the_same_file_with_any_number_of_buffers() {
    let plain = disk();
    let finished = large_chunk(&plain).unwrap();
    let errands = errands(1);
    for left in [1, 2, 3, 8, 16, 17] {
        let disk = disk();
        let held = leave_buffers(&disk, left);
        let behind = large_chunk_by(&disk, Some(&errands)).unwrap();
        assert_eq!(behind, finished, "{left} buffers");
        assert!(bytes_of(&disk) == bytes_of(&plain), "{left} buffers");
        drop(held);
        assert_eq!(disk.buffers().usage().taken_bytes, 0);
    }
}

/// Two buffers do: one that is filled, and one that is on its way.
#[test]
fn who_is_to_be_gentle_writes_one_buffer_at_a_time() {
    let (plain, gentle, errands) = (disk(), disk(), errands(1));
    errands.be_gentle(true);
    let behind = large_chunk_by(&gentle, Some(&errands)).unwrap();
    assert_eq!(behind, large_chunk(&plain).unwrap());
    assert!(bytes_of(&gentle) == bytes_of(&plain));
    let made = gentle.buffers().usage().made_bytes;
    assert_eq!(made, 2 * BUFFER_BYTES as u64);
}

/// A device that answers the second time does so for a batch, too.
#[test]
fn a_batch_that_cannot_be_read_is_read_once_more_and_damage_is_found() {
    let disk = disk();
    let finished = large_chunk(&disk).unwrap();
    let reader = open(&disk).unwrap();
    for read in [0, 3, 7] {
        disk.fail_read_at(disk.read_count() + read, Fault::Error(5));
        assert_eq!(reader.verify_all(), [], "read {read}");
    }
    let last_pad = finished.bytes - 4096;
    disk.flip(&file(), last_pad, 1);
    let found: Vec<Damage> = reader.verify_all();
    assert!(
        !found.is_empty(),
        "a flipped byte behind the last full batch"
    );
}

/// Any call of the writing fails: no chunk gets its name, nothing stays in `scratch/`.
#[test]
fn a_failed_batch_fails_the_chunk_and_leaves_no_file_and_no_buffer() {
    let plain = disk();
    let before = plain.op_count();
    large_chunk(&plain).unwrap();
    let calls = plain.op_count() - before;
    assert!(calls > 20, "{calls} calls");
    let errands = errands(1);
    let ways = [None, Some(&errands)];
    for (call, errands) in (0..calls).flat_map(|call| ways.map(|way| (call, way))) {
        let disk = disk();
        disk.fail_at(disk.op_count() + call, Fault::Error(28));
        let failed = large_chunk_by(&disk, errands);
        assert!(failed.is_err(), "call {call} was not needed");
        assert_eq!(
            disk.list(Path::new(layout::CHUNK_DIR)).unwrap(),
            [],
            "call {call}"
        );
        assert_eq!(
            disk.list(Path::new(layout::SCRATCH_DIR)).unwrap(),
            [],
            "call {call}"
        );
        assert_eq!(disk.buffers().usage().taken_bytes, 0, "call {call}");
    }
}
