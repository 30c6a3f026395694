//! Bytes as blocks and files: on the simulated disk, and in a directory of this process's own.

use bop_storage::io::{BLOCK_BYTES, Block};
use bop_storage::testing::SimDisk;
use std::path::Path;
use tempfile::TempDir;

/// The blocks that hold `bytes`, the last one filled up with zeros.
pub(crate) fn blocks(bytes: &[u8]) -> Vec<Block> {
    let block = |part: &[u8]| {
        let mut block = Block::ZERO;
        block.0[..part.len()].copy_from_slice(part);
        block
    };
    bytes.chunks(BLOCK_BYTES).map(block).collect()
}

/// A disk with one file.
pub(crate) fn disk_with(path: &Path, bytes: &[u8]) -> SimDisk {
    let disk = SimDisk::new(1);
    disk.write_raw(path, bytes);
    disk
}

/// A directory in memory where there is one, else where temporary files are: thousands of files a
/// second are made in it, and nobody wants them after a power cut.
#[expect(
    clippy::expect_used,
    reason = "without a directory no input can be tried"
)]
pub(crate) fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.expect("a directory for temporary files")
}
