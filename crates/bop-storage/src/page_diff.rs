//! What of a page differs from the version before it: runs of bytes.
//!
//! ```text
//! PatchRun x n | the bytes of the runs, one behind the other
//! ```
//!
//! Invariants
//! - runs ascend, do not touch, and end inside the page;
//! - the bytes are those of the runs, and no more.
//!
//! Never: knows which version it rests on; allocates by a length that was read.

use crate::error::Reject;
use crate::ids::PageSize;
use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes that differ.
#[derive(Copy, Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PatchRun {
    /// Where they start in the page.
    pub offset: U16,
    /// How many; never 0.
    pub bytes: U16,
}
const _: () = assert!(size_of::<PatchRun>() == 4);

/// Equal bytes between two runs that cost no more than a run of their own.
const GAP_BYTES: usize = size_of::<PatchRun>();

/// Runs that were believed.
#[derive(Copy, Clone, Debug)]
pub(crate) struct PageRuns<'a> {
    runs: &'a [PatchRun],
    bytes: &'a [u8],
}

impl<'a> PageRuns<'a> {
    /// Believes `count` runs of a page of `page_size` and their bytes, which are all there is.
    ///
    /// # Errors
    /// Why they are none.
    pub(crate) fn parse(bytes: &'a [u8], count: u16, page_size: PageSize) -> Result<Self, Reject> {
        let (runs, bytes) =
            <[PatchRun]>::ref_from_prefix_with_elems(bytes, count.into()).map_err(|_| {
                Reject::Truncated {
                    found: bytes.len() as u64,
                    needed: u64::from(count) * size_of::<PatchRun>() as u64,
                }
            })?;
        let (mut end, mut total) = (0, 0);
        for (nth, run) in runs.iter().enumerate() {
            let (offset, bytes) = (usize::from(run.offset.get()), usize::from(run.bytes.get()));
            if bytes == 0 || (0 < nth && offset <= end) {
                return Err(Reject::Invalid("runs of a patch out of order"));
            }
            end = offset + bytes;
            total += bytes;
        }
        if page_size.bytes() < end {
            return Err(Reject::Invalid("a patch beyond its page"));
        }
        if total != bytes.len() {
            return Err(Reject::Invalid("a patch that is not its runs"));
        }
        Ok(Self { runs, bytes })
    }

    /// Makes the older page, of the size that they were believed for, the newer one.
    pub(crate) fn apply(&self, page: &mut [u8]) {
        let mut bytes = self.bytes;
        for run in self.runs {
            let (own, behind) = bytes.split_at(usize::from(run.bytes.get()));
            let offset = usize::from(run.offset.get());
            page[offset..offset + own.len()].copy_from_slice(own);
            bytes = behind;
        }
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.runs.len()
    }
}

/// Finds runs, with memory that is used again.
#[derive(Debug, Default)]
pub(crate) struct PageDiffer {
    runs: Vec<PatchRun>,
}

impl PageDiffer {
    /// Finds the runs that make `content` of `old`, and answers how many they are; `None` when they and their bytes
    /// take more than `limit` bytes, or the pages are not of one size.
    pub(crate) fn compare(&mut self, old: &[u8], content: &[u8], limit: usize) -> Option<u16> {
        const LINE: usize = 64;
        self.runs.clear();
        // They are compared by words.
        if old.len() != content.len() || !content.len().is_multiple_of(8) {
            return None;
        }
        // The run that may still grow: from, to.
        let mut run: Option<(usize, usize)> = None;
        let mut cost = 0;
        let lines = old.chunks(LINE).zip(content.chunks(LINE));
        for (nth, (before, after)) in lines.enumerate() {
            if before == after {
                continue;
            }
            let words = before.chunks_exact(8).zip(after.chunks_exact(8));
            for (word, (before, after)) in words.enumerate() {
                let differs = word_of(before) ^ word_of(after);
                if differs == 0 {
                    continue;
                }
                let start = nth * LINE + word * 8;
                let from = start + differs.trailing_zeros() as usize / 8;
                let to = start + 8 - differs.leading_zeros() as usize / 8;
                run = match run {
                    Some((first, end)) if from - end <= GAP_BYTES => Some((first, to)),
                    ended => {
                        cost += self.push(ended)?;
                        Some((from, to))
                    }
                };
                let open = run.map_or(0, |(from, to)| to - from);
                if limit < cost + open {
                    return None;
                }
            }
        }
        cost += self.push(run)?;
        let count = u16::try_from(self.runs.len()).ok()?;
        (cost <= limit).then_some(count)
    }

    /// Appends the runs that were found, and their bytes.
    pub(crate) fn append(&self, content: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(self.runs.as_bytes());
        for run in &self.runs {
            let offset = usize::from(run.offset.get());
            out.extend_from_slice(&content[offset..offset + usize::from(run.bytes.get())]);
        }
    }

    /// Ends a run; what it costs.
    fn push(&mut self, run: Option<(usize, usize)>) -> Option<usize> {
        let Some((from, to)) = run else {
            return Some(0);
        };
        let bytes = to - from;
        self.runs.push(PatchRun {
            offset: U16::new(u16::try_from(from).ok()?),
            bytes: U16::new(u16::try_from(bytes).ok()?),
        });
        Some(size_of::<PatchRun>() + bytes)
    }
}

/// Eight bytes, the first one lowest; 0 of fewer.
pub(crate) fn word_of(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk::<8>()
        .map_or(0, |word| u64::from_le_bytes(*word))
}
