//! The bytes of a record, in memory that suits its size.
//!
//! ```text
//! small: |record|                                       copied into the batch that it is written with
//! large: |room|record                  |room|           written from where it is
//!        ^ block     ^ block     ^ block     ^ block
//! ```
//! A large record stands in whole blocks at the offset at which it stands in a batch of its own: all blocks
//! but the first and the last ones are those of the batch. What stands in the rooms means nothing.
//!
//! Never: shows bytes that nobody pushed.

use super::batch::BatchLayout;
use crate::buffer::Buffer;
use crate::io::{BLOCK_BYTES, Block, BlockMemory};
use std::fmt;
use std::ops::{Deref, DerefMut};
use zerocopy::IntoBytes;

/// A smaller record is sooner copied than written in pieces. Tests of small stores write in pieces, too.
pub const LARGE_BYTES_MIN: usize = match cfg!(any(test, feature = "testing")) {
    true => 4 << 10,
    false => 128 << 10,
};

/// The bytes of a record.
pub struct RecordBytes(Memory);

enum Memory {
    Small(Buffer),
    Large(Large),
}

struct Large {
    blocks: BlockMemory,
    /// Where the record starts.
    from: usize,
    /// Bytes of it so far.
    length: usize,
}

impl RecordBytes {
    /// A copy of a whole record, which is copied into its batch, too.
    pub fn copy_of(record: &[u8]) -> Self {
        Self(Memory::Small(Buffer::copy_of(record)))
    }

    /// None yet, with room for `bytes` of a record that touches so many databases.
    pub(super) fn with_room(bytes: usize, databases: usize) -> Self {
        let mut layout = BatchLayout::default();
        let from = layout.add(bytes, databases);
        Self(if bytes < LARGE_BYTES_MIN || BLOCK_BYTES < from {
            Memory::Small(Buffer::with_capacity(bytes))
        } else {
            Memory::Large(Large {
                blocks: BlockMemory::take(layout.batch_bytes()),
                from,
                length: 0,
            })
        })
    }

    /// Appends a copy of `more`: there is room for it.
    pub(super) fn push(&mut self, more: &[u8]) {
        match &mut self.0 {
            Memory::Small(buffer) => buffer.extend_from_slice(more),
            Memory::Large(large) => {
                let at = large.length;
                large.length += more.len();
                self[at..].copy_from_slice(more);
            }
        }
    }

    /// Appends zeros up to a length: there is room for it.
    pub(super) fn pad(&mut self, length: usize) {
        match &mut self.0 {
            Memory::Small(buffer) => buffer.resize(length, 0),
            Memory::Large(large) => {
                let at = large.length;
                large.length = length.max(at);
                self[at..].fill(0);
            }
        }
    }

    /// The blocks of a batch that has the record at `at`, with whatever stands around it, if that is
    /// where it is.
    pub(super) fn blocks_at(&self, at: usize) -> Option<&[Block]> {
        match &self.0 {
            Memory::Large(large) if large.from == at => Some(&large.blocks),
            _ => None,
        }
    }

    /// Of these blocks the ones that have bytes of the record alone, but for the first one.
    pub fn inner_blocks(&self) -> &[Block] {
        match &self.0 {
            Memory::Large(large) => &large.blocks[1..large.end() / BLOCK_BYTES],
            Memory::Small(_) => &[],
        }
    }
}

impl Large {
    fn end(&self) -> usize {
        self.from + self.length
    }
}

impl Deref for RecordBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Memory::Small(buffer) => buffer,
            Memory::Large(large) => &large.blocks.as_bytes()[large.from..large.end()],
        }
    }
}

impl DerefMut for RecordBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Memory::Small(buffer) => buffer,
            Memory::Large(large) => {
                let record = large.from..large.end();
                &mut large.blocks.as_mut_bytes()[record]
            }
        }
    }
}

impl Clone for RecordBytes {
    fn clone(&self) -> Self {
        Self::copy_of(self)
    }
}

impl PartialEq for RecordBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for RecordBytes {}

impl fmt::Debug for RecordBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordBytes({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: usize, databases: usize) -> RecordBytes {
        let mut record = RecordBytes::with_room(bytes, databases);
        record.push(&vec![7; bytes - 3]);
        record.pad(bytes);
        record
    }

    #[test]
    fn memory_that_is_used_again_shows_nothing_of_its_last_record() {
        for bytes in [
            8,
            LARGE_BYTES_MIN - 1,
            LARGE_BYTES_MIN,
            300_000,
            1 << 20,
            1 << 20,
        ] {
            let mut wanted = vec![7; bytes - 3];
            wanted.extend([0; 3]);
            let record = of(bytes, 2);
            assert_eq!(*record, *wanted, "{bytes}");
            assert_eq!(*record.clone(), *wanted, "{bytes}");
        }
    }

    #[test]
    fn a_large_record_stands_where_its_own_batch_has_it() {
        let at = 64 + 2 * 40;
        assert!(of(LARGE_BYTES_MIN - 1, 2).blocks_at(at).is_none());
        let large = of(300_000, 2);
        assert!(large.blocks_at(at - 40).is_none(), "of one database");
        let blocks = large.blocks_at(at).map(IntoBytes::as_bytes);
        let found = blocks.and_then(|bytes| bytes.get(at..at + 300_000));
        assert_eq!(found, Some(&*large));
        assert_eq!(large.inner_blocks().len(), (at + 300_000) / BLOCK_BYTES - 1);
        // As many databases as their lines fill the first block: an ordinary one.
        assert!(of(300_000, 101).inner_blocks().is_empty());
        assert_eq!(of(300_000, 100).inner_blocks().len(), 73);
    }
}
