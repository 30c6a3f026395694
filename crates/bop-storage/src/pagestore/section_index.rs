//! The slots of a section in memory, read when the first page of the section is asked for.
//!
//! Invariant: an index in memory was proved by its checksum, and each slot fits its section and the file.
//!
//! Never: reads a body.

use super::body::{PACKED, alignment};
use super::format::{BodyEncoding, PATCHES_MAX, SectionKind, Slot};
use super::section::{SectionMeta, SectionRef};
use super::source::Source;
use crate::error::{ReadError, Reject};
use crate::ids::{Lsn, PageNo};
use zerocopy::FromBytes;

/// The slots of one section, ascending.
#[derive(Debug)]
pub(super) struct SectionIndex {
    slots: Vec<Slot>,
}

impl SectionIndex {
    /// The slot of a page with its number; in a history, that of its newest version.
    pub(super) fn find(&self, page: PageNo) -> Option<(u32, &Slot)> {
        self.find_at(page, Lsn::new(u64::MAX))
    }

    /// The slot of the newest version of a page that is not newer than `at`, with its number.
    pub(super) fn find_at(&self, page: PageNo, at: Lsn) -> Option<(u32, &Slot)> {
        let wanted = (page.get(), at.get());
        let behind = self
            .slots
            .partition_point(|slot| (slot.page.get(), slot.version_lsn.get()) <= wanted);
        let number = behind.checked_sub(1)?;
        let slot = self.slots.get(number)?;
        let number = u32::try_from(number).ok()?;
        (slot.page.get() == page.get()).then_some((number, slot))
    }

    /// All slots with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        (0..).zip(&self.slots)
    }

    /// The slots from a number on.
    pub(super) fn from(&self, number: u32) -> impl Iterator<Item = &Slot> {
        self.slots.iter().skip(number as usize)
    }

    /// The slots that the version with that number is made of, which is the last of them: one with a page, and
    /// patches on it.
    pub(super) fn chain(&self, number: u32) -> Vec<(u32, &Slot)> {
        let until = self.slots.get(..=number as usize).unwrap_or_default();
        let patches = until.iter().rev().take_while(|slot| slot.is_patch());
        // No more than rest on one page.
        let first = number.saturating_sub(patches.count() as u32);
        let chain = until.get(first as usize..).unwrap_or_default();
        (first..).zip(chain).collect()
    }

    /// Its bytes in the file.
    pub(super) fn bytes(&self) -> u64 {
        (self.slots.len() * size_of::<Slot>()) as u64
    }

    pub(super) fn load(
        source: &Source,
        section: &SectionRef,
        meta: &SectionMeta,
    ) -> Result<Self, ReadError> {
        let parts = &section.parts;
        let bytes = u64::from(section.slots) * size_of::<Slot>() as u64;
        let span = source.read(parts.index_offset, bytes)?;
        let found = source.owner.part_checksum(section.index, span.bytes());
        let damage = |reason| ReadError::from(source.damage(parts.index_offset, reason));
        if found != parts.index_checksum {
            return Err(damage(Reject::Checksum));
        }
        let slots = <[Slot]>::ref_from_bytes(span.bytes())
            .map_err(|_| damage(Reject::Invalid("index length")))?
            .to_vec();
        check(&slots, meta, parts.start_offset, parts.index_offset)
            .map_err(|problem| damage(Reject::Invalid(problem)))?;
        Ok(Self { slots })
    }
}

/// What the next patch of a history may rest on.
#[derive(Default)]
struct Chain {
    page: u32,
    /// Where the body before ends.
    end: u64,
    patches: u8,
}

impl Chain {
    fn push(&mut self, slot: &Slot, meta: &SectionMeta) -> Result<(), &'static str> {
        let offset = slot.body_offset.get();
        let (page, end) = (slot.page.get(), slot.body_end());
        if slot.is_patch() {
            let is_near = self.end <= offset && offset - self.end < PACKED as u64;
            let rests = meta.kind == SectionKind::History && self.page == page && is_near;
            self.patches += 1;
            if !rests || PATCHES_MAX < self.patches {
                return Err("a patch that rests on no version");
            }
        } else {
            self.patches = 0;
        }
        (self.page, self.end) = (page, end);
        Ok(())
    }
}

/// Checks slots whose checksum was right. The bodies lie between `start` and `end`.
pub(super) fn check(
    slots: &[Slot],
    meta: &SectionMeta,
    start: u64,
    end: u64,
) -> Result<(), &'static str> {
    let mut chain = Chain::default();
    for slot in slots {
        let page = PageNo::new(slot.page.get()).filter(|page| meta.covers(*page));
        if page.is_none() {
            return Err("a slot's page lies outside its range");
        }
        if slot.reserved != [0; 7] {
            return Err("a reserved field of a slot is not zero");
        }
        let size = meta.page_size.get();
        let body = slot.body_bytes.get();
        let right_size = match BodyEncoding::from_code(slot.encoding) {
            Some(BodyEncoding::Raw) => body == size,
            Some(BodyEncoding::Lz4 | BodyEncoding::Zstd | BodyEncoding::Patch) => {
                0 < body && body < size
            }
            None => return Err("unknown encoding of a body"),
        };
        let offset = slot.body_offset.get();
        let body_end = offset.checked_add(u64::from(body));
        let inside = start <= offset && body_end.is_some_and(|body_end| body_end <= end);
        chain.push(slot, meta)?;
        if !right_size || !inside || !offset.is_multiple_of(alignment(slot.encoding, size) as u64) {
            return Err("a body's place or length");
        }
        let version = slot.version_lsn.get();
        if meta.cut.get() < version {
            return Err("a slot is newer than its section");
        }
        if meta.kind == SectionKind::History && version <= meta.since.get() {
            return Err("a slot is older than its section's interval");
        }
    }
    let key = |slot: &Slot| match meta.kind {
        SectionKind::History => (slot.page.get(), slot.version_lsn.get()),
        _ => (slot.page.get(), 0),
    };
    if !slots.is_sorted_by(|a, b| key(a) < key(b)) {
        return Err("slots do not ascend");
    }
    Ok(())
}
