//! Reading a chunk: its frame at opening, a section's index and a history's commits when first needed.
//!
//! Invariants
//! - a reader exists only for a chunk whose header, footer and directory are sound and belong to
//!   this store and this chunk id;
//! - damage behind that is met page by page: one bad slot does not hide its neighbours, but for versions in a
//!   history that rest on it.
//!
//! Never: writes, keeps a page.

use super::body::decode;
use super::checksums::{Owner, slot_checksum};
use super::format::{CHUNK_FORMAT_VERSION_MIN, ChunkFooter, Slot};
use super::frame::{check_header, check_length, read_directory, read_footer};
use super::history::{self, HistoryPoint};
use super::identity::{ChunkDigest, ChunkIdentity};
use super::lazy::Lazy;
use super::page_set::PageSet;
use super::section::{SectionMeta, SectionRef};
use super::section_index::SectionIndex;
use super::source::{Source, Span};
use crate::checksum::PageHash;
use crate::error::{Damage, Place, ReadError, Reject};
use crate::ids::{ChunkId, Lsn, PageNo, StoreId};
use crate::io::Disk;
use crate::page::PageBytes;
use crate::view::{BasePage, Packing};
use std::sync::Arc;

/// A page of a chunk, proved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredPage {
    /// The page.
    pub content: PageBytes,
    /// Its hash.
    pub hash: PageHash,
    /// The commit that wrote it.
    pub version: Lsn,
}

impl From<StoredPage> for BasePage {
    fn from(stored: StoredPage) -> Self {
        let StoredPage {
            content,
            hash,
            version,
        } = stored;
        Self {
            content,
            hash,
            version,
            packing: Packing::Unknown,
        }
    }
}

/// An open chunk.
#[derive(Debug)]
pub struct ChunkReader {
    pub(super) source: Source,
    digest: ChunkDigest,
    sections: Vec<SectionRef>,
    format_version: u32,
    parts: Vec<LazyParts>,
}

/// What of a section is in memory.
#[derive(Debug, Default)]
struct LazyParts {
    index: Lazy<SectionIndex>,
    history: Lazy<Vec<HistoryPoint>>,
}

impl ChunkReader {
    /// Opens a chunk; with `expected`, only if it is the one that the manifest means.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] with the place, [`ReadError::Io`].
    pub fn open(
        disk: &dyn Disk,
        store_id: StoreId,
        chunk_id: ChunkId,
        expected: Option<&ChunkIdentity>,
    ) -> Result<Self, ReadError> {
        let source = Source::open(disk, Owner { store_id, chunk_id })?;
        check_length(&source, expected)?;
        let format_version = check_header(&source)?;
        let footer = read_footer(&source, Some(format_version))?;
        let digest = ChunkDigest::from_bytes(footer.digest);
        let footer_offset = source.bytes - size_of::<ChunkFooter>() as u64;
        if expected.is_some_and(|expected| expected.digest != digest) {
            let reason = Reject::Invalid("not the chunk that the manifest names");
            return Err(source.damage(footer_offset, reason).into());
        }
        let sections = read_directory(&source, &footer, footer_offset)?;
        let parts = sections.iter().map(|_| LazyParts::default()).collect();
        Ok(Self {
            source,
            digest,
            sections,
            format_version,
            parts,
        })
    }

    /// What the directory of a chunk says that does not open: its header may be all that is damaged.
    ///
    /// # Errors
    /// As [`ChunkReader::open`]; nobody can tell then what is in the chunk.
    pub fn sections_of_damaged(
        disk: &dyn Disk,
        store_id: StoreId,
        chunk_id: ChunkId,
    ) -> Result<Vec<SectionRef>, ReadError> {
        let source = Source::open(disk, Owner { store_id, chunk_id })?;
        check_length(&source, None)?;
        let footer = read_footer(&source, None)?;
        let end = source.bytes - size_of::<ChunkFooter>() as u64;
        read_directory(&source, &footer, end)
    }

    /// The chunk.
    pub fn id(&self) -> ChunkId {
        self.source.owner.chunk_id
    }

    /// Its length and digest, as its own footer tells them.
    pub fn identity(&self) -> ChunkIdentity {
        ChunkIdentity {
            bytes: self.source.bytes,
            digest: self.digest,
        }
    }

    /// Its sections, in order.
    pub fn sections(&self) -> &[SectionRef] {
        &self.sections
    }

    /// A page of a section; `None` when the section has no slot for it. Of a history section, the
    /// newest version.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when any byte on the way is not what was written, or there is no such
    /// section of pages; [`ReadError::Io`].
    pub fn read_page(&self, section: u32, page: PageNo) -> Result<Option<StoredPage>, ReadError> {
        let (meta, index) = self.index(section)?;
        match index.find(page) {
            Some((number, slot)) => self.read_slot(meta, &index, number, slot).map(Some),
            None => Ok(None),
        }
    }

    /// The hash and version of a page, from the index alone.
    ///
    /// # Errors
    /// As [`ChunkReader::read_page`].
    pub fn page_hash(
        &self,
        section: u32,
        page: PageNo,
    ) -> Result<Option<(PageHash, Lsn)>, ReadError> {
        let (_, index) = self.index(section)?;
        Ok(index.find(page).map(|(_, slot)| hash_and_version(slot)))
    }

    /// The same, with the number of its slot, of the newest version that is not newer than `at`: what a
    /// history has of a page at a commit. `None` when the section has no such version.
    ///
    /// # Errors
    /// As [`ChunkReader::read_page`].
    pub fn version_at(
        &self,
        section: u32,
        page: PageNo,
        at: Lsn,
    ) -> Result<Option<(PageHash, Lsn, u32)>, ReadError> {
        let (_, index) = self.index(section)?;
        Ok(index.find_at(page, at).map(|(number, slot)| {
            let (hash, version) = hash_and_version(slot);
            (hash, version, number)
        }))
    }

    /// The page of that version.
    ///
    /// # Errors
    /// As [`ChunkReader::read_page`].
    pub fn read_at(
        &self,
        section: u32,
        page: PageNo,
        at: Lsn,
    ) -> Result<Option<StoredPage>, ReadError> {
        let (meta, index) = self.index(section)?;
        match index.find_at(page, at) {
            Some((number, slot)) => self.read_slot(meta, &index, number, slot).map(Some),
            None => Ok(None),
        }
    }

    /// Whether a section has a page, if its index is in memory; reads nothing.
    pub fn has_page_in_memory(&self, section: u32, page: PageNo) -> Option<bool> {
        let index = self.parts.get(section as usize)?.index.loaded()?;
        Some(index.find(page).is_some())
    }

    /// The commits of a history section, ascending. Kept in memory as an index is.
    ///
    /// # Errors
    /// As [`ChunkReader::read_page`]; [`ReadError::Damaged`] when it is no history, or one of a chunk of
    /// version 1, in which no program wrote any.
    pub fn history(&self, section: u32) -> Result<Arc<Vec<HistoryPoint>>, ReadError> {
        let found = self.section(section)?;
        let lazy = self.parts.get(section as usize);
        let (Some(meta), Some(lazy)) = (found.meta(), lazy) else {
            return Err(self.no_such_section());
        };
        let damage = |reason| self.source.damage(found.parts.payload_offset, reason);
        if self.format_version == CHUNK_FORMAT_VERSION_MIN {
            return Err(damage(Reject::Invalid("a history of version 1")).into());
        }
        lazy.history.get(|| {
            let payload = self.payload(section)?;
            let points = history::decode(meta, &payload);
            points.map_err(|problem| damage(Reject::Invalid(problem)).into())
        })
    }

    /// The format that the chunk was written in.
    pub fn format_version(&self) -> u32 {
        self.format_version
    }

    /// Every slot of a section, ascending, from the index alone.
    ///
    /// # Errors
    /// As [`ChunkReader::read_page`].
    pub fn pages(&self, section: u32) -> Result<Vec<(PageNo, PageHash, Lsn)>, ReadError> {
        let (_, index) = self.index(section)?;
        let pages = index.iter().filter_map(|(_, slot)| {
            let (hash, version) = hash_and_version(slot);
            Some((PageNo::new(slot.page.get())?, hash, version))
        });
        Ok(pages.collect())
    }

    /// Which pages of a section's range it has slots for.
    ///
    /// # Errors
    /// As [`ChunkReader::read_page`].
    pub fn page_set(&self, section: u32) -> Result<PageSet, ReadError> {
        let (meta, index) = self.index(section)?;
        let slots = index.iter().map(|(_, slot)| slot.page.get());
        let nth = slots.filter_map(|page| page.checked_sub(meta.first_page.get()));
        Ok(PageSet::new(meta.pages, nth))
    }

    /// The payload of a section: of a catalogue section, the catalogue.
    ///
    /// # Errors
    /// As [`ChunkReader::read_page`].
    pub fn payload(&self, section: u32) -> Result<Vec<u8>, ReadError> {
        let parts = self.section(section)?.parts;
        let span = self
            .source
            .read(parts.payload_offset, parts.payload_bytes)?;
        let checksum = self.source.owner.part_checksum(section, span.bytes());
        if checksum != parts.payload_checksum {
            let damage = self.source.damage(parts.payload_offset, Reject::Checksum);
            return Err(damage.into());
        }
        Ok(span.bytes().to_vec())
    }

    /// Bytes of section indexes and histories that it holds in memory.
    pub fn resident_bytes(&self) -> u64 {
        let bytes = |parts: &LazyParts| {
            let index = parts.index.loaded().map_or(0, |index| index.bytes());
            let points = parts.history.loaded();
            index + points.map_or(0, |points| size_of_val(points.as_slice()) as u64)
        };
        self.parts.iter().map(bytes).sum()
    }

    /// Lets go of them; whoever needs one reads it again.
    pub fn release_indexes(&self) {
        for parts in &self.parts {
            parts.index.release();
            parts.history.release();
        }
    }

    pub(super) fn section(&self, section: u32) -> Result<&SectionRef, ReadError> {
        let found = self.sections.get(section as usize);
        found.ok_or_else(|| self.no_such_section())
    }

    pub(super) fn no_such_section(&self) -> ReadError {
        let place = Place::File(self.source.path());
        Damage::new(place, Reject::Invalid("no such section of pages")).into()
    }

    pub(super) fn index(
        &self,
        section: u32,
    ) -> Result<(&SectionMeta, Arc<SectionIndex>), ReadError> {
        let found = self.section(section)?;
        let lazy = self.parts.get(section as usize);
        let (Some(meta), Some(lazy)) = (found.meta(), lazy) else {
            return Err(self.no_such_section());
        };
        let load = || SectionIndex::load(&self.source, found, meta);
        Ok((meta, lazy.index.get(load)?))
    }

    /// The page of a slot, if slot checksum and page hash agree.
    pub(super) fn read_slot(
        &self,
        meta: &SectionMeta,
        index: &SectionIndex,
        number: u32,
        slot: &Slot,
    ) -> Result<StoredPage, ReadError> {
        if slot.is_patch() {
            return self.read_patched(meta, index, number);
        }
        let body = self.read_body(meta, number, slot)?;
        self.page_of(meta, slot, body.bytes())
    }

    /// The body of a slot as it stands there, if its checksum is right.
    pub(super) fn read_body(
        &self,
        meta: &SectionMeta,
        number: u32,
        slot: &Slot,
    ) -> Result<Span, ReadError> {
        let offset = slot.body_offset.get();
        let span = self.source.read(offset, slot.body_bytes.get().into())?;
        self.check_body(meta, number, slot, span.bytes())?;
        Ok(span)
    }

    /// The page in the body of a slot, if slot checksum and page hash agree.
    pub(super) fn prove(
        &self,
        meta: &SectionMeta,
        number: u32,
        slot: &Slot,
        body: &[u8],
    ) -> Result<StoredPage, ReadError> {
        self.check_body(meta, number, slot, body)?;
        self.page_of(meta, slot, body)
    }

    /// Whether these bytes are the body of a slot.
    pub(super) fn is_body(
        &self,
        meta: &SectionMeta,
        number: u32,
        slot: &Slot,
        body: &[u8],
    ) -> bool {
        let checksum = slot_checksum(meta.database, meta.generation, number, slot, body);
        checksum == slot.checksum.get()
    }

    pub(super) fn check_body(
        &self,
        meta: &SectionMeta,
        number: u32,
        slot: &Slot,
        body: &[u8],
    ) -> Result<(), ReadError> {
        if !self.is_body(meta, number, slot, body) {
            let offset = slot.body_offset.get();
            return Err(self.source.damage(offset, Reject::Checksum).into());
        }
        Ok(())
    }

    /// The page in the body of a slot, if it has its hash.
    pub(super) fn page_of(
        &self,
        meta: &SectionMeta,
        slot: &Slot,
        body: &[u8],
    ) -> Result<StoredPage, ReadError> {
        let damage = |reason| self.source.damage(slot.body_offset.get(), reason);
        let content = decode(slot, meta.page_size, body)
            .ok_or_else(|| damage(Reject::Invalid("a body that does not decompress")))?;
        self.with_hash(slot, content)
    }

    /// A page that a slot is about, if it has its hash.
    pub(super) fn with_hash(
        &self,
        slot: &Slot,
        content: PageBytes,
    ) -> Result<StoredPage, ReadError> {
        let (hash, version) = hash_and_version(slot);
        let page = PageNo::new(slot.page.get());
        if page.is_none_or(|page| PageHash::of(page, &content) != hash) {
            let reason = Reject::Invalid("a page does not have its hash");
            return Err(self.source.damage(slot.body_offset.get(), reason).into());
        }
        Ok(StoredPage {
            content,
            hash,
            version,
        })
    }
}

fn hash_and_version(slot: &Slot) -> (PageHash, Lsn) {
    let hash = PageHash::new(slot.hash.get());
    (hash, Lsn::new(slot.version_lsn.get()))
}
