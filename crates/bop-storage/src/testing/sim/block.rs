//! A block of a simulated file: bytes that do not change, and their digest, which is made once.
//!
//! Invariant: blocks are shared by a disk, its crash images and its snapshots; a block of zeros is one and the
//! same everywhere.
//!
//! Never: is changed; whoever wants other bytes makes another block.

use crate::checksum::xxh3_64;
use crate::io::BLOCK_BYTES;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock, OnceLock};

type Bytes = [u8; BLOCK_BYTES];

struct Stored {
    bytes: Bytes,
    digest: OnceLock<u64>,
}

static ZERO: LazyLock<BlockBytes> = LazyLock::new(|| BlockBytes::stored([0; BLOCK_BYTES]));

/// A handle of a block.
#[derive(Clone)]
pub(super) struct BlockBytes(Arc<Stored>);

impl BlockBytes {
    pub(super) fn new(bytes: Bytes) -> Self {
        if bytes == **ZERO {
            Self::zero()
        } else {
            Self::stored(bytes)
        }
    }

    pub(super) fn zero() -> Self {
        ZERO.clone()
    }

    fn stored(bytes: Bytes) -> Self {
        let digest = OnceLock::new();
        Self(Arc::new(Stored { bytes, digest }))
    }

    pub(super) fn is_zero(&self) -> bool {
        Arc::ptr_eq(&self.0, &ZERO.0)
    }

    pub(super) fn digest(&self) -> u64 {
        *self.0.digest.get_or_init(|| xxh3_64(&self.0.bytes))
    }
}

impl Deref for BlockBytes {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.0.bytes
    }
}

impl fmt::Debug for BlockBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockBytes({:016x})", self.digest())
    }
}
