//! A section from one chunk into another, as it is: bodies, slots, payload.
//!
//! ```text
//! old chunk  [ dead ][ section 4 ][ dead ]         slot: version, hash, page, length     copied
//!                        |                               place of its body               new
//! new chunk  [ section 0 ]                         index: bound to chunk and section     summed anew
//! ```
//! Invariant: nothing is copied that was not proved first: each body by its slot's checksum and by the hash
//! of its page, index and payload by their own checksums.
//!
//! Never: compresses a page, changes what a section is about.

use super::bodies::Bodies;
use super::body::{PACKED, alignment};
use super::format::{CHUNK_FORMAT_VERSION_MIN, Slot};
use super::patched::Prover;
use super::reader::ChunkReader;
use super::section::{Section, SectionRef};
use super::writer::ChunkWriter;
use crate::error::CheckpointError;
use std::sync::Arc;
use zerocopy::little_endian::U64;

impl ChunkWriter {
    /// Adds a section of another chunk, unless `cancelled` says so before it or between two of its pages. After an
    /// error the chunk that is being made is of no use.
    ///
    /// # Errors
    /// [`CheckpointError::Closed`] when it was cancelled;
    /// [`CheckpointError::Read`] when any byte of the section is not what was written, or cannot be read;
    /// [`CheckpointError::Invalid`] when a section is open, or the other chunk is of version 1, which does
    /// not say all that one of the present version does; [`CheckpointError::Io`].
    pub fn copy_section(
        &mut self,
        from: &Arc<ChunkReader>,
        section: u32,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<SectionRef, CheckpointError> {
        if self.open.is_some() {
            return Err(CheckpointError::Invalid("a section is still open"));
        }
        if from.format_version() == CHUNK_FORMAT_VERSION_MIN {
            return Err(CheckpointError::Invalid("a section of version 1"));
        }
        if cancelled() {
            return Err(CheckpointError::Closed);
        }
        let found = from.section(section)?.section;
        let payload = from.payload(section)?;
        self.sink.pad_to(PACKED, 0)?;
        let start_offset = self.sink.position();
        let slots = match found {
            Section::Catalogue { .. } => Vec::new(),
            Section::Pages(_) => self.copy_bodies(from, section, cancelled)?,
        };
        self.append_section(found, start_offset, &slots, &payload)
    }

    /// Copies the bodies of a section of pages and answers with its slots, which name their new places.
    fn copy_bodies(
        &mut self,
        from: &Arc<ChunkReader>,
        section: u32,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<Slot>, CheckpointError> {
        let (meta, index) = from.index(section)?;
        let mut slots = Vec::new();
        let mut prover = Prover::default();
        let mut bodies = Bodies::new(from, &index);
        if let Some(errands) = self.sink.errands() {
            bodies = bodies.read_ahead(from, errands);
        }
        for (number, slot) in index.iter() {
            if cancelled() {
                return Err(CheckpointError::Closed);
            }
            let body = bodies.next(meta, number, slot)?;
            let multiple = alignment(slot.encoding, meta.page_size.get());
            self.sink.pad_to(multiple, 0)?;
            // The checksum of a slot does not bind the place of its body.
            slots.push(Slot {
                body_offset: U64::new(self.sink.position()),
                ..slot.clone()
            });
            self.sink.append(&body)?;
            if prover.next(from, meta, slot, &body)?.is_none() {
                return Err(CheckpointError::Invalid("a patch without what it rests on"));
            }
        }
        Ok(slots)
    }
}
