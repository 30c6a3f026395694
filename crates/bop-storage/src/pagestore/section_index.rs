//! The slots of a section in memory, read when the first page of the section is asked for.
//!
//! Invariants
//! - an index in memory was proved by its checksum, and each slot fits its section and the file;
//! - an index that could not be loaded is not remembered: the next reader tries again.
//!
//! Never: reads a body.

use super::body::alignment;
use super::format::{BodyEncoding, SectionKind, Slot};
use super::section::{SectionMeta, SectionRef};
use super::source::Source;
use crate::error::{ReadError, Reject};
use crate::ids::PageNo;
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use std::sync::Arc;
use zerocopy::FromBytes;

/// The slots of one section, ascending.
#[derive(Debug)]
pub(super) struct SectionIndex {
    slots: Vec<Slot>,
}

impl SectionIndex {
    /// The slot of a page with its number; in a history, that of its newest version.
    pub(super) fn find(&self, page: PageNo) -> Option<(u32, &Slot)> {
        let behind = self
            .slots
            .partition_point(|slot| slot.page.get() <= page.get());
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

    /// Its bytes in the file.
    pub(super) fn bytes(&self) -> u64 {
        (self.slots.len() * size_of::<Slot>()) as u64
    }

    fn load(source: &Source, section: &SectionRef, meta: &SectionMeta) -> Result<Self, ReadError> {
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

/// Checks slots whose checksum was right. The bodies lie between `start` and `end`.
fn check(slots: &[Slot], meta: &SectionMeta, start: u64, end: u64) -> Result<(), &'static str> {
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
            Some(BodyEncoding::Lz4) => 0 < body && body < size,
            Some(BodyEncoding::Zstd) | None => return Err("unknown encoding of a body"),
        };
        let offset = slot.body_offset.get();
        let body_end = offset.checked_add(u64::from(body));
        let inside = start <= offset && body_end.is_some_and(|body_end| body_end <= end);
        if !right_size || !inside || !offset.is_multiple_of(alignment(slot.encoding, size) as u64) {
            return Err("a body's place or length");
        }
        if meta.cut.get() < slot.version_lsn.get() {
            return Err("a slot is newer than its section");
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

/// An index that is loaded when it is first needed, and may be let go again.
#[derive(Debug, Default)]
pub(super) struct LazyIndex {
    loaded: ArcSwapOption<SectionIndex>,
    /// Held while loading, so that many readers read it once.
    loading: Mutex<()>,
}

impl LazyIndex {
    pub(super) fn get(
        &self,
        source: &Source,
        section: &SectionRef,
        meta: &SectionMeta,
    ) -> Result<Arc<SectionIndex>, ReadError> {
        if let Some(index) = self.loaded.load_full() {
            return Ok(index);
        }
        let _loading = self.loading.lock();
        if let Some(index) = self.loaded.load_full() {
            return Ok(index);
        }
        let index = Arc::new(SectionIndex::load(source, section, meta)?);
        self.loaded.store(Some(Arc::clone(&index)));
        Ok(index)
    }

    pub(super) fn release(&self) {
        self.loaded.store(None);
    }

    /// Bytes of slots in memory.
    pub(super) fn resident_bytes(&self) -> u64 {
        let loaded = self.loaded.load();
        loaded
            .as_ref()
            .map_or(0, |index| size_of_val(index.slots.as_slice()) as u64)
    }
}
