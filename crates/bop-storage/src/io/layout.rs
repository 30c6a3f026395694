//! The names of the files in a store's directory. No other module spells one.
//!
//! ```text
//! STORE/store.bop            superblock
//! STORE/lock                 the lock; holds the owner's process number
//! STORE/log/<id>.seg         segments
//! STORE/chunks/<id>.chunk    chunks
//! STORE/manifest/            the LMDB environment
//! STORE/scratch/             what is being made; cleared at open
//! STORE/reserve              room that is kept for checkpoints
//! STORE/backup               where the last backup went
//! STORE/damaged/             what a closed database still needs, manifests that were replaced
//! ```
//! Files are named by number (16 hexadecimal digits), never by a database's name.

use crate::ids::{ChunkId, SegmentId};
use std::path::{Path, PathBuf};

/// The superblock.
pub const SUPERBLOCK: &str = "store.bop";
/// The lock file.
pub const LOCK: &str = "lock";
/// The file that takes the room which is kept for checkpoints.
pub const RESERVE: &str = "reserve";
/// The note of where the last backup went.
pub const BACKUP_NOTE: &str = "backup";
/// The directory of the log's segments.
pub const LOG_DIR: &str = "log";
/// The directory of the page store's chunks.
pub const CHUNK_DIR: &str = "chunks";
/// The directory of the manifest's LMDB environment.
pub const MANIFEST_DIR: &str = "manifest";
/// The directory of unfinished files.
pub const SCRATCH_DIR: &str = "scratch";
/// The directory of damaged segments that a closed database still needs.
pub const DAMAGED_DIR: &str = "damaged";

/// The file of a segment.
pub fn segment(id: SegmentId) -> PathBuf {
    Path::new(LOG_DIR).join(format!("{:016x}.seg", id.get()))
}

/// The file of a segment that a closed database needs, when it is no longer in the log.
pub fn damaged(id: SegmentId) -> PathBuf {
    Path::new(DAMAGED_DIR).join(format!("{:016x}.seg", id.get()))
}

/// The segment behind a name in the log's directory; `None` for a name that is not one of ours.
pub fn segment_of(name: &str) -> Option<SegmentId> {
    parse(name, ".seg").map(SegmentId::new)
}

/// The file of a chunk.
pub fn chunk(id: ChunkId) -> PathBuf {
    Path::new(CHUNK_DIR).join(format!("{:016x}.chunk", id.get()))
}

/// The chunk behind a name in the chunk directory; `None` for a name that is not one of ours.
pub fn chunk_of(name: &str) -> Option<ChunkId> {
    parse(name, ".chunk").map(ChunkId::new)
}

/// A file that is being made, before it gets its name.
pub fn scratch(name: &str) -> PathBuf {
    Path::new(SCRATCH_DIR).join(name)
}

fn parse(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_suffix(suffix)?;
    let canonical = digits.len() == 16 && !digits.bytes().any(|b| b.is_ascii_uppercase());
    if canonical {
        u64::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_strangers_do_not() {
        let id = SegmentId::new(0x1f);
        assert_eq!(segment(id), Path::new("log/000000000000001f.seg"));
        assert_eq!(segment_of("000000000000001f.seg"), Some(id));
        for stranger in [
            "1f.seg",
            "000000000000001F.seg",
            "000000000000001f.chunk",
            "x.seg",
            "",
        ] {
            assert_eq!(segment_of(stranger), None, "{stranger:?}");
        }
    }
}
