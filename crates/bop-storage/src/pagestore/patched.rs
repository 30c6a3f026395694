//! Versions of a page in a history, most of which are told as what they changed of the one before.
//!
//! ```text
//! slots    page 7 v1 | page 7 v2 | page 7 v3 | page 9 v1 | ...
//! bodies   the page  | runs -----> runs ------> the page     a run rests on the version in the slot before
//! ```
//! Invariants
//! - a patch rests on the slot before it, of the same page, whose body stands directly before its own;
//! - no more than [`PATCHES_MAX`] of them rest on one page, so that one read and few steps make any version;
//! - a version is proved by the hash of its page, whatever it was made of.
//!
//! Never: makes a patch in a section that is no history.

use super::format::{BodyEncoding, PATCHES_MAX, Slot};
use super::reader::{ChunkReader, StoredPage};
use super::section::SectionMeta;
use super::section_index::SectionIndex;
use crate::buffer::Buffer;
use crate::error::{ReadError, Reject};
use crate::ids::{PageNo, PageSize};
use crate::page::PageBytes;
use crate::page_diff::{PageDiffer, PageRuns};
use crate::trials::Trials;
use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, IntoBytes};

impl Slot {
    /// Whether the body is no page, but what it changes of the one before.
    pub(super) fn is_patch(&self) -> bool {
        self.encoding == BodyEncoding::Patch as u8
    }
}

/// Makes the bodies of a history, with memory that is used again.
#[derive(Debug, Default)]
pub(super) struct Patcher {
    differ: PageDiffer,
    body: Vec<u8>,
    /// The version before, if it is worth comparing the next one with it.
    content: Vec<u8>,
    of: Option<PageNo>,
    /// Of comparing: versions of noise have nothing in common.
    trials: Trials,
    /// How many patches it rests on, itself included.
    patches: u8,
    /// Bytes of the body that they rest on.
    whole_bytes: usize,
}

impl Patcher {
    /// The section begins.
    pub(super) fn begin(&mut self) {
        self.of = None;
        self.trials = Trials::default();
    }

    /// The next version as a patch, unless it is the first one of its page, has too many below it, would take half
    /// of the page, or more than the page took when it was whole; or those before it did, so that it was not compared.
    pub(super) fn encode(&mut self, page: PageNo, content: &[u8]) -> Option<&[u8]> {
        let is_first = self.of.replace(page) != Some(page);
        if is_first {
            self.trials.try_again();
        }
        let follows = !is_first && self.patches < PATCHES_MAX;
        let limit = (content.len() / 2).min(self.whole_bytes);
        let limit = limit.saturating_sub(size_of::<U16>());
        let compares = follows && self.trials.is_worth_trying();
        let runs = compares.then(|| self.differ.compare(&self.content, content, limit));
        let runs = runs.flatten();
        if follows {
            self.trials.count(runs.is_some());
        }
        if self.trials.is_worth_trying() {
            self.content.clear();
            self.content.extend_from_slice(content);
        }
        let Some(runs) = runs else {
            self.patches = 0;
            return None;
        };
        self.patches += 1;
        self.body.clear();
        self.body.extend_from_slice(U16::new(runs).as_bytes());
        self.differ.append(content, &mut self.body);
        Some(&self.body)
    }

    /// The version is whole, with a body of so many bytes.
    pub(super) fn is_whole(&mut self, body_bytes: usize) {
        self.whole_bytes = body_bytes;
    }
}

/// Makes the next version of `page`.
fn apply(body: &[u8], page: &mut [u8], page_size: PageSize) -> Result<(), Reject> {
    let (runs, rest) =
        U16::ref_from_prefix(body).map_err(|_| Reject::Invalid("a patch without runs"))?;
    PageRuns::parse(rest, runs.get(), page_size)?.apply(page);
    Ok(())
}

/// Proves the bodies of a section one after the other.
#[derive(Default)]
pub(super) struct Prover {
    /// The version before; `None` when it is damaged.
    before: Option<PageBytes>,
}

impl Prover {
    /// The next body cannot be believed.
    pub(super) fn lose(&mut self) {
        self.before = None;
    }

    /// The page in the next body, whose checksum is right; `None` when it rests on one that is damaged, which was
    /// said of that one.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when it is not what its hash says.
    pub(super) fn next(
        &mut self,
        reader: &ChunkReader,
        meta: &SectionMeta,
        slot: &Slot,
        body: &[u8],
    ) -> Result<Option<StoredPage>, ReadError> {
        let found = match (slot.is_patch(), self.before.take()) {
            (false, _) => reader.page_of(meta, slot, body)?,
            (true, Some(before)) => reader.patched(meta, slot, body, &before)?,
            (true, None) => return Ok(None),
        };
        self.before = Some(found.content.clone());
        Ok(Some(found))
    }
}

impl ChunkReader {
    /// The page of a slot whose body is a patch, with one read of what it rests on.
    pub(super) fn read_patched(
        &self,
        meta: &SectionMeta,
        index: &SectionIndex,
        number: u32,
    ) -> Result<StoredPage, ReadError> {
        let chain = index.chain(number);
        let start = chain.first().map_or(0, |(_, slot)| slot.body_offset.get());
        let end = chain.last().map_or(0, |(_, slot)| slot.body_end());
        // Bodies stand one behind the other, and the index has been looked at.
        let span = self.source.read(start, end - start)?;
        let mut prover = Prover::default();
        let mut found = None;
        for (number, slot) in chain {
            let from = (slot.body_offset.get() - start) as usize;
            let body = &span.bytes()[from..from + slot.body_bytes.get() as usize];
            self.check_body(meta, number, slot, body)?;
            found = prover.next(self, meta, slot, body)?;
        }
        found.ok_or_else(|| self.no_such_section())
    }

    /// The page that a patch makes of the version before, if it has its hash.
    fn patched(
        &self,
        meta: &SectionMeta,
        slot: &Slot,
        body: &[u8],
        before: &[u8],
    ) -> Result<StoredPage, ReadError> {
        let mut page = Buffer::copy_of(before);
        let applied = apply(body, &mut page, meta.page_size);
        applied.map_err(|reason| self.source.damage(slot.body_offset.get(), reason))?;
        self.with_hash(slot, PageBytes::of(page))
    }
}
