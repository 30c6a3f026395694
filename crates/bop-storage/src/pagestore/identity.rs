//! What proves that a chunk's file is the one that was written.
//!
//! Never: reads the file.

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

impl fmt::Display for ChunkDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
