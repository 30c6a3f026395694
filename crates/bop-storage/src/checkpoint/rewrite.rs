//! Which chunks to write again because half of them is dead: a pure function of what is read of them.
//!
//! ```text
//! chunk 3 [x][a][x][x]    chunk 5 [x][x][b][c]    chunk 6 [d][e][x]
//!             \___________________/  /             more than half of it is read: it stays
//!                  new chunk [a][b][c]
//! ```
//! Invariants
//! - a chunk that was just written is not written again: what its frame and its directory need counts as
//!   read;
//! - no new chunk but one with a single section is larger than the pack limit;
//! - the chunk with the least to copy for what it frees comes first, and one is always planned, if any is
//!   half dead: however little may be copied, it ends.
//!
//! Never: knows what is in a section.

use crate::ids::ChunkId;
use crate::io::BLOCK_BYTES;

/// Header, footer, and what the last block is filled up with.
const FRAME_BYTES: u64 = 2 * BLOCK_BYTES as u64;

/// An entry of the directory, and what is left free before a section.
const ENTRY_BYTES: u64 = 128 + 8;

/// What is read of a chunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChunkUse {
    /// The chunk.
    pub chunk: ChunkId,
    /// Bytes of its file.
    pub file_bytes: u64,
    /// The sections that are read: number and bytes, each once.
    pub sections: Vec<(u32, u64)>,
}

impl ChunkUse {
    /// Bytes that the file would have without what nobody reads, at most.
    fn live_bytes(&self) -> u64 {
        written_bytes(self.sections.iter().map(|(_, bytes)| *bytes))
    }

    fn is_half_dead(&self) -> bool {
        2 * self.live_bytes() <= self.file_bytes
    }
}

/// Bytes of the file of a chunk with such sections, at most, but for where whole blocks begin.
pub fn written_bytes(sections: impl Iterator<Item = u64>) -> u64 {
    sections.fold(FRAME_BYTES, |sum, bytes| sum + bytes + ENTRY_BYTES)
}

/// What a rewrite may do at once.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct RewriteLimits {
    /// Bytes of a new chunk.
    pub pack_bytes_max: u64,
    /// Bytes that are copied.
    pub copied_bytes_max: u64,
}

/// A section to copy.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CopiedSection {
    /// The chunk that it is in.
    pub chunk: ChunkId,
    /// Its number there.
    pub section: u32,
}

/// What is written again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PlannedRewrite {
    /// The new chunks: what is copied into each, in that order.
    pub chunks: Vec<Vec<CopiedSection>>,
    /// The old chunks that nobody needs afterwards.
    pub replaced: Vec<ChunkId>,
    /// Whether chunks are left that are half dead, too.
    pub is_more: bool,
}

/// Plans what is copied where.
pub fn plan_rewrites(chunks: Vec<ChunkUse>, limits: RewriteLimits) -> PlannedRewrite {
    let mut half_dead: Vec<ChunkUse> = chunks
        .into_iter()
        .filter(|chunk| !chunk.sections.is_empty() && chunk.is_half_dead())
        .collect();
    // By the share that is read: a / b < c / d is a * d < c * b.
    let share =
        |one: &ChunkUse, file_bytes: u64| u128::from(one.live_bytes()) * u128::from(file_bytes);
    half_dead.sort_by(|one, other| {
        let (this, that) = (share(one, other.file_bytes), share(other, one.file_bytes));
        this.cmp(&that).then(one.chunk.cmp(&other.chunk))
    });
    let mut planned = PlannedRewrite::default();
    let mut copied = 0;
    let mut open: (Vec<CopiedSection>, u64) = (Vec::new(), FRAME_BYTES);
    for one in half_dead {
        let bytes = one.live_bytes();
        if !planned.replaced.is_empty() && limits.copied_bytes_max < copied + bytes {
            planned.is_more = true;
            continue;
        }
        copied += bytes;
        planned.replaced.push(one.chunk);
        for (section, bytes) in one.sections {
            // Whole blocks begin at a block, wherever the section does.
            let bytes = bytes + ENTRY_BYTES + bytes.min(BLOCK_BYTES as u64);
            if !open.0.is_empty() && limits.pack_bytes_max < open.1 + bytes {
                planned.chunks.push(std::mem::take(&mut open.0));
                open.1 = FRAME_BYTES;
            }
            open.1 += bytes;
            let chunk = one.chunk;
            open.0.push(CopiedSection { chunk, section });
        }
    }
    if !open.0.is_empty() {
        planned.chunks.push(open.0);
    }
    planned
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RewriteLimits = RewriteLimits {
        pack_bytes_max: 100_000,
        copied_bytes_max: 1_000_000,
    };

    fn chunk(id: u64, file_bytes: u64, sections: &[(u32, u64)]) -> ChunkUse {
        ChunkUse {
            chunk: ChunkId::new(id),
            file_bytes,
            sections: sections.to_vec(),
        }
    }

    fn copied(id: u64, section: u32) -> CopiedSection {
        let chunk = ChunkId::new(id);
        CopiedSection { chunk, section }
    }

    #[test]
    fn half_dead_chunks_are_packed_and_others_stay() {
        let chunks = vec![
            chunk(1, 200_000, &[(0, 60_000), (7, 5_000)]),
            chunk(2, 200_000, &[(1, 95_000)]),
            chunk(3, 100_000, &[(4, 10_000)]),
            chunk(4, 100_000, &[]),
        ];
        let planned = plan_rewrites(chunks, LIMITS);
        assert_eq!(planned.replaced, [ChunkId::new(3), ChunkId::new(1)]);
        assert_eq!(
            planned.chunks,
            [vec![copied(3, 4), copied(1, 0), copied(1, 7)]]
        );
        assert!(!planned.is_more);
    }

    #[test]
    fn a_new_chunk_is_no_larger_than_a_pack_and_one_section_is_whole() {
        let chunks = vec![
            chunk(1, 900_000, &[(0, 250_000)]),
            chunk(2, 900_000, &[(0, 40_000), (1, 40_000), (2, 40_000)]),
        ];
        let planned = plan_rewrites(chunks, LIMITS);
        let expected = [
            vec![copied(2, 0), copied(2, 1)],
            vec![copied(2, 2)],
            vec![copied(1, 0)],
        ];
        assert_eq!(planned.chunks, expected);
    }

    #[test]
    fn what_is_copied_at_once_is_bounded_and_never_nothing() {
        let limits = RewriteLimits {
            copied_bytes_max: 1,
            ..LIMITS
        };
        let mut chunks = vec![
            chunk(1, 90_000, &[(0, 20_000)]),
            chunk(2, 90_000, &[(0, 10_000)]),
        ];
        let first = plan_rewrites(chunks.clone(), limits);
        assert_eq!(first.replaced, [ChunkId::new(2)]);
        assert!(first.is_more);
        chunks.pop();
        let second = plan_rewrites(chunks, limits);
        assert_eq!(second.replaced, [ChunkId::new(1)]);
        assert!(!second.is_more);
    }

    #[test]
    fn a_chunk_that_was_just_written_is_not_written_again() {
        for sections in [1, 3, 1000] {
            for bytes in [48, 4000, 70_000] {
                let all: Vec<(u32, u64)> = (0..sections).map(|nth| (nth, bytes)).collect();
                let file_bytes = written_bytes(all.iter().map(|(_, bytes)| *bytes));
                let planned = plan_rewrites(vec![chunk(1, file_bytes, &all)], LIMITS);
                assert_eq!(planned, PlannedRewrite::default(), "{sections} of {bytes}");
            }
        }
    }
}
