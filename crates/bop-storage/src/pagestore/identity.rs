//! What proves that a chunk's file is the one that was written.
//!
//! Never: reads the file.

use super::format::ChunkFooter;
use crate::checksum::Xxh128;
use std::fmt;

/// What the manifest knows of a chunk.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ChunkIdentity {
    /// Bytes of its file.
    pub bytes: u64,
    /// Its digest.
    pub digest: ChunkDigest,
}

/// XXH3-128 of every byte of a chunk before its footer, in which it stands too.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct ChunkDigest(u128);

impl ChunkDigest {
    /// Wraps the raw bytes, as read from disk.
    pub const fn from_bytes(raw: [u8; 16]) -> Self {
        Self(u128::from_le_bytes(raw))
    }

    /// The raw bytes, as written to disk.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    pub(super) const fn new(raw: u128) -> Self {
        Self(raw)
    }
}

/// Makes the digest of a chunk's file while that is read from its start.
pub(crate) struct ChunkHasher {
    /// Bytes that the digest is over and that are still to come.
    left: u64,
    hasher: Xxh128,
}

impl ChunkHasher {
    /// Of a file of so many bytes.
    pub(crate) fn new(file_bytes: u64) -> Self {
        Self {
            left: file_bytes.saturating_sub(size_of::<ChunkFooter>() as u64),
            hasher: Xxh128::new(),
        }
    }

    /// The next bytes of the file, those of the footer among them.
    pub(crate) fn update(&mut self, piece: &[u8]) {
        let covered = usize::try_from(self.left).unwrap_or(usize::MAX);
        let covered = covered.min(piece.len());
        self.hasher.update(&piece[..covered]);
        self.left -= covered as u64;
    }

    /// The digest.
    pub(crate) fn finish(self) -> ChunkDigest {
        ChunkDigest::new(self.hasher.digest())
    }
}

impl fmt::Display for ChunkDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
