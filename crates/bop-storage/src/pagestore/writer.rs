//! Making a chunk: streamed into `scratch/`, named only when it is complete and durable.
//!
//! ```text
//! created --begin_section--> in a section --end_section, end_history--> between sections --finish--> named
//!    |   \__________________________catalogue_section_________________________/   |
//!    '--------- dropped, or any failure: the scratch file is removed--------------'
//! ```
//! Invariants
//! - a chunk has its final name only after a successful sync of its file;
//! - a page is taken only with the hash that its content has: nothing wrong is made durable;
//! - memory is bounded by two batches of the sink and the slots of one section.
//!
//! Never: replaces a file, publishes a chunk in the manifest.

use super::body::{Compressor, PACKED, alignment};
use super::checksums::{Owner, header_checksum, slot_checksum};
use super::compression::Compression;
use super::format::{
    BodyEncoding, CHUNK_FORMAT_VERSION, CHUNK_MAGIC, ChunkFooter, ChunkHeader, FOOTER_MAGIC,
    SectionKind, Slot,
};
use super::history::{self, HistoryPoint};
use super::identity::ChunkDigest;
use super::patched::Patcher;
use super::section::{Parts, Section, SectionMeta, SectionRef};
use super::sink::BlockSink;
use crate::checksum::PageHash;
use crate::error::CheckpointError;
use crate::ids::{ChunkId, Generation, Lsn, PageNo, StoreId};
use crate::io::{BLOCK_BYTES, Disk, OpenMode, layout};
use crate::runtime::Errands;
use crate::view::Packing;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

/// A chunk that is complete, durable and named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FinishedChunk {
    /// The chunk.
    pub id: ChunkId,
    /// Bytes of its file.
    pub bytes: u64,
    /// Proves the file as a whole.
    pub digest: ChunkDigest,
    /// Its sections, in order.
    pub sections: Vec<SectionRef>,
}

/// A chunk that is being made.
#[derive(Debug)]
pub struct ChunkWriter {
    disk: Arc<dyn Disk>,
    owner: Owner,
    /// Before the file that it writes to: what is on its way must be over when that is removed.
    pub(super) sink: BlockSink,
    scratch: Scratch,
    sections: Vec<SectionRef>,
    pub(super) open: Option<OpenSection>,
    compressor: Compressor,
    patcher: Patcher,
}

#[derive(Debug)]
pub(super) struct OpenSection {
    meta: SectionMeta,
    start_offset: u64,
    slots: Vec<Slot>,
}

impl ChunkWriter {
    /// Starts a chunk. Its id must never have been used, not even for a chunk that failed.
    ///
    /// # Errors
    /// [`CheckpointError::Io`]; [`CheckpointError::Limit`] when others have all buffers of the disk
    /// and give none back, or there is no memory to compress with.
    pub fn create(
        disk: Arc<dyn Disk>,
        store_id: StoreId,
        chunk_id: ChunkId,
        compression: Compression,
    ) -> Result<Self, CheckpointError> {
        let path = layout::scratch(&format!("{:016x}.chunk", chunk_id.get()));
        let file = disk.open(&path, OpenMode::CreateNew)?;
        let scratch = Scratch {
            disk: Arc::clone(&disk),
            path: Some(path.clone()),
        };
        let mut writer = Self {
            sink: BlockSink::new(file, &path, disk.buffers())?,
            scratch,
            disk,
            owner: Owner { store_id, chunk_id },
            sections: Vec::new(),
            open: None,
            compressor: Compressor::new(compression)
                .ok_or(CheckpointError::Limit("no memory to compress with"))?,
            patcher: Patcher::default(),
        };
        let mut header = ChunkHeader {
            magic: CHUNK_MAGIC,
            format_version: U32::new(CHUNK_FORMAT_VERSION),
            reserved: U32::ZERO,
            store_id: *store_id.bytes(),
            chunk_id: U64::new(chunk_id.get()),
            checksum: U64::ZERO,
        };
        header.checksum = U64::new(header_checksum(&header));
        writer.sink.append(header.as_bytes())?;
        writer.sink.pad_to(BLOCK_BYTES, 0)?;
        Ok(writer)
    }

    /// Has what is full written on other threads, while the next is made.
    #[must_use]
    pub(crate) fn write_behind(mut self, errands: &Arc<Errands>) -> Self {
        self.sink.write_behind(Arc::clone(errands));
        self
    }

    /// Bytes of the file so far: when a pack is full.
    pub fn bytes(&self) -> u64 {
        self.sink.position()
    }

    /// Starts a section of pages.
    ///
    /// # Errors
    /// [`CheckpointError::Invalid`] when another section is open or `meta` contradicts itself,
    /// [`CheckpointError::Io`].
    pub fn begin_section(&mut self, meta: SectionMeta) -> Result<(), CheckpointError> {
        if self.open.is_some() {
            return Err(CheckpointError::Invalid("a section is still open"));
        }
        let problem = meta.problem();
        if let Some(problem) = problem.or_else(|| meta.problem_between_generations()) {
            return Err(CheckpointError::Invalid(problem));
        }
        self.sink.pad_to(PACKED, 0)?;
        self.patcher.begin();
        self.open = Some(OpenSection {
            meta,
            start_offset: self.sink.position(),
            slots: Vec::new(),
        });
        Ok(())
    }

    /// Adds a page to the open section: pages ascend, versions of one page in a history too.
    ///
    /// # Errors
    /// [`CheckpointError::Invalid`] when the page does not belong there or is not what its hash
    /// says, [`CheckpointError::Io`].
    pub fn push_page(
        &mut self,
        page: PageNo,
        version: Lsn,
        hash: PageHash,
        content: &[u8],
    ) -> Result<(), CheckpointError> {
        self.push_packed(page, version, hash, content, &Packing::Unknown)
    }

    /// The same of a page that somebody has compressed, or tried to.
    ///
    /// # Errors
    /// As [`ChunkWriter::push_page`].
    pub fn push_packed(
        &mut self,
        page: PageNo,
        version: Lsn,
        hash: PageHash,
        content: &[u8],
        packing: &Packing,
    ) -> Result<(), CheckpointError> {
        let Some(open) = &mut self.open else {
            return Err(CheckpointError::Invalid("a page outside of any section"));
        };
        open.check(page, version, hash, content)
            .map_err(CheckpointError::Invalid)?;
        let patched = open.meta.kind == SectionKind::History && self.compressor.patches();
        let patch = patched.then(|| self.patcher.encode(page, content));
        let (encoding, body) = match patch.flatten() {
            Some(patch) => (BodyEncoding::Patch, patch),
            None => {
                let whole = self.compressor.encode(content, packing);
                self.patcher.is_whole(whole.1.len());
                whole
            }
        };
        let multiple = alignment(encoding as u8, open.meta.page_size.get());
        self.sink.pad_to(multiple, 0)?;
        let number = u32::try_from(open.slots.len())
            .map_err(|_| CheckpointError::Limit("too many pages in a section"))?;
        let body_bytes =
            u32::try_from(body.len()).map_err(|_| CheckpointError::Limit("a page is too large"))?;
        let mut slot = Slot {
            version_lsn: U64::new(version.get()),
            hash: U64::new(hash.get()),
            body_offset: U64::new(self.sink.position()),
            page: U32::new(page.get()),
            body_bytes: U32::new(body_bytes),
            encoding: encoding as u8,
            reserved: [0; 7],
            checksum: U64::ZERO,
        };
        let meta = &open.meta;
        let checksum = slot_checksum(meta.database, meta.generation, number, &slot, body);
        slot.checksum = U64::new(checksum);
        self.sink.append(body)?;
        open.slots.push(slot);
        Ok(())
    }

    /// Ends the open section.
    ///
    /// # Errors
    /// [`CheckpointError::Invalid`] without an open section, or when it is a history;
    /// [`CheckpointError::Io`].
    pub fn end_section(&mut self) -> Result<SectionRef, CheckpointError> {
        self.end_with(|meta| match meta.kind {
            SectionKind::History => Err("a history without commits"),
            _ => Ok(Vec::new()),
        })
    }

    /// Ends the open section, which is a history, with the commits of its interval: each that cut pages
    /// off, each that is readable, and last the head of its generation.
    ///
    /// # Errors
    /// [`CheckpointError::Invalid`] without an open section, or when the commits do not fit it;
    /// [`CheckpointError::Io`].
    pub fn end_history(&mut self, points: &[HistoryPoint]) -> Result<SectionRef, CheckpointError> {
        self.end_with(|meta| history::encode(meta, points))
    }

    fn end_with(
        &mut self,
        payload: impl FnOnce(&SectionMeta) -> Result<Vec<u8>, &'static str>,
    ) -> Result<SectionRef, CheckpointError> {
        let Some(open) = &self.open else {
            return Err(CheckpointError::Invalid("no section is open"));
        };
        let payload = payload(&open.meta).map_err(CheckpointError::Invalid)?;
        let Some(open) = self.open.take() else {
            return Err(CheckpointError::Invalid("no section is open"));
        };
        let (section, start) = (Section::Pages(open.meta), open.start_offset);
        self.append_section(section, start, &open.slots, &payload)
    }

    /// Adds a section that holds the catalogue.
    ///
    /// # Errors
    /// [`CheckpointError::Invalid`] when another section is open, [`CheckpointError::Io`].
    pub fn catalogue_section(
        &mut self,
        generation: Generation,
        cut: Lsn,
        catalogue: &[u8],
    ) -> Result<SectionRef, CheckpointError> {
        if self.open.is_some() {
            return Err(CheckpointError::Invalid("a section is still open"));
        }
        self.sink.pad_to(PACKED, 0)?;
        let start_offset = self.sink.position();
        let section = Section::Catalogue { generation, cut };
        self.append_section(section, start_offset, &[], catalogue)
    }

    /// Completes the file, makes it durable and gives it its name.
    ///
    /// # Errors
    /// [`CheckpointError::Invalid`] when a section is open, [`CheckpointError::Io`]. After a
    /// failure of the very last step the file may have its name all the same: nobody knows it.
    pub fn finish(mut self) -> Result<FinishedChunk, CheckpointError> {
        if self.open.is_some() {
            return Err(CheckpointError::Invalid("a section is still open"));
        }
        let sections = self.count_sections()?;
        self.sink.pad_to(PACKED, 0)?;
        let directory_offset = self.sink.position();
        let directory: Vec<_> = self.sections.iter().map(|s| s.to_entry()).collect();
        self.sink.append(directory.as_bytes())?;
        let owner = self.owner;
        let mut finished = (0, 0);
        self.sink.finish(|digest, chunk_bytes| {
            finished = (digest, chunk_bytes);
            let mut footer = ChunkFooter {
                checksum: U64::ZERO,
                directory_offset: U64::new(directory_offset),
                directory_checksum: U64::new(owner.directory_checksum(directory.as_bytes())),
                chunk_bytes: U64::new(chunk_bytes),
                digest: ChunkDigest::new(digest).to_bytes(),
                sections: U32::new(sections),
                format_version: U32::new(CHUNK_FORMAT_VERSION),
                magic: FOOTER_MAGIC,
            };
            footer.checksum = U64::new(owner.footer_checksum(&footer));
            footer
        })?;
        let (digest, bytes) = finished;
        self.scratch.rename(&layout::chunk(owner.chunk_id))?;
        let named = self.disk.sync_dir(Path::new(layout::CHUNK_DIR));
        // Else nobody knows that it is there: each attempt would leave one.
        named.inspect_err(|_| drop(self.disk.remove(&layout::chunk(owner.chunk_id))))?;
        Ok(FinishedChunk {
            id: owner.chunk_id,
            bytes,
            digest: ChunkDigest::new(digest),
            sections: std::mem::take(&mut self.sections),
        })
    }

    fn count_sections(&self) -> Result<u32, CheckpointError> {
        u32::try_from(self.sections.len())
            .map_err(|_| CheckpointError::Limit("too many sections in a chunk"))
    }

    pub(super) fn append_section(
        &mut self,
        section: Section,
        start_offset: u64,
        slots: &[Slot],
        payload: &[u8],
    ) -> Result<SectionRef, CheckpointError> {
        let index = self.count_sections()?;
        let slot_count = u32::try_from(slots.len())
            .map_err(|_| CheckpointError::Limit("too many pages in a section"))?;
        self.sink.pad_to(PACKED, 0)?;
        let index_offset = self.sink.position();
        self.sink.append(slots.as_bytes())?;
        let payload_offset = self.sink.position();
        self.sink.append(payload)?;
        let parts = Parts {
            start_offset,
            index_offset,
            index_checksum: self.owner.part_checksum(index, slots.as_bytes()),
            payload_offset,
            payload_bytes: payload.len() as u64,
            payload_checksum: self.owner.part_checksum(index, payload),
        };
        let section = SectionRef {
            index,
            section,
            slots: slot_count,
            parts,
        };
        self.sections.push(section);
        Ok(section)
    }
}

impl OpenSection {
    fn check(
        &self,
        page: PageNo,
        version: Lsn,
        hash: PageHash,
        content: &[u8],
    ) -> Result<(), &'static str> {
        if content.len() != self.meta.page_size.bytes() {
            return Err("a page of another size");
        }
        if !self.meta.covers(page) {
            return Err("a page outside of its range");
        }
        if self.meta.cut < version {
            return Err("a page newer than its section");
        }
        if self.meta.kind == SectionKind::History && version <= self.meta.since {
            return Err("a version older than its interval");
        }
        if let Some(last) = self.slots.last() {
            let newer_of_history = self.meta.kind == SectionKind::History
                && last.page.get() == page.get()
                && last.version_lsn.get() < version.get();
            if page.get() <= last.page.get() && !newer_of_history {
                return Err("pages do not ascend");
            }
        }
        if PageHash::of(page, content) != hash {
            return Err("a page does not have its hash");
        }
        Ok(())
    }
}

/// The unfinished file; removed unless it got its name.
#[derive(Debug)]
struct Scratch {
    disk: Arc<dyn Disk>,
    path: Option<PathBuf>,
}

impl Scratch {
    fn rename(&mut self, name: &Path) -> Result<(), CheckpointError> {
        if let Some(path) = &self.path {
            self.disk.rename(path, name)?;
            self.path = None;
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(failure) = self.disk.remove(path)
        {
            // The next open clears the directory.
            tracing::warn!(%failure, "unfinished chunk stays behind");
        }
    }
}
