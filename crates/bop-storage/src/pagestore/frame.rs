//! The frame of a chunk: header, footer and directory, read and checked at opening.
//!
//! Invariant: a check that passed needs no second one: behind it all offsets lie inside the file.
//!
//! Never: reads a section.

use super::checksums::header_checksum;
use super::format::{
    CHUNK_FORMAT_VERSION, CHUNK_FORMAT_VERSION_MIN, CHUNK_MAGIC, ChunkFooter, ChunkHeader,
    FOOTER_MAGIC, SectionEntry,
};
use super::identity::ChunkIdentity;
use super::section::SectionRef;
use super::source::Source;
use crate::error::{Damage, Place, ReadError, Reject};
use crate::io::BLOCK_BYTES;
use zerocopy::FromBytes;

const BLOCK: u64 = BLOCK_BYTES as u64;

pub(super) fn check_length(
    source: &Source,
    expected: Option<&ChunkIdentity>,
) -> Result<(), ReadError> {
    let needed = expected.map_or(2 * BLOCK, |expected| expected.bytes);
    let found = source.bytes;
    let reason = if found < needed {
        Reject::Truncated { found, needed }
    } else if expected.is_some() && found != needed {
        Reject::Invalid("longer than it was written")
    } else if !found.is_multiple_of(BLOCK) {
        Reject::Invalid("length is no multiple of a block")
    } else {
        return Ok(());
    };
    Err(Damage::new(Place::File(source.path()), reason).into())
}

/// The version that it names, if that is one we read.
pub(super) fn check_header(source: &Source) -> Result<u32, ReadError> {
    let span = source.read(0, size_of::<ChunkHeader>() as u64)?;
    let Ok(header) = ChunkHeader::ref_from_bytes(span.bytes()) else {
        return Err(source.damage(0, Reject::Invalid("header length")).into());
    };
    let version = header.format_version.get();
    let reason = if header.magic != CHUNK_MAGIC {
        Reject::Magic
    } else if header.checksum.get() != header_checksum(header) {
        Reject::Checksum
    } else if !is_read(version) {
        Reject::Version {
            found: version,
            supported: CHUNK_FORMAT_VERSION,
        }
    } else if header.store_id != *source.store_id().bytes() {
        Reject::ForeignStore
    } else if header.chunk_id.get() != source.owner.chunk_id.get() {
        Reject::Invalid("it is another chunk of this store")
    } else if header.reserved.get() != 0 {
        Reject::Invalid("a reserved field of the header is not zero")
    } else {
        return Ok(version);
    };
    Err(source.damage(0, reason).into())
}

fn is_read(version: u32) -> bool {
    (CHUNK_FORMAT_VERSION_MIN..=CHUNK_FORMAT_VERSION).contains(&version)
}

/// The footer; with `header`, only if it names the same version.
pub(super) fn read_footer(source: &Source, header: Option<u32>) -> Result<ChunkFooter, ReadError> {
    let offset = source.bytes - size_of::<ChunkFooter>() as u64;
    let span = source.read(offset, size_of::<ChunkFooter>() as u64)?;
    let Ok(footer) = ChunkFooter::read_from_bytes(span.bytes()) else {
        return Err(source
            .damage(offset, Reject::Invalid("footer length"))
            .into());
    };
    let reason = if footer.magic != FOOTER_MAGIC {
        Reject::Magic
    } else if footer.checksum.get() != source.owner.footer_checksum(&footer) {
        Reject::Checksum
    } else if header.is_some_and(|version| footer.format_version.get() != version) {
        Reject::Invalid("header and footer name different formats")
    } else if !is_read(footer.format_version.get()) {
        Reject::Version {
            found: footer.format_version.get(),
            supported: CHUNK_FORMAT_VERSION,
        }
    } else if footer.chunk_bytes.get() != source.bytes {
        Reject::Truncated {
            found: source.bytes,
            needed: footer.chunk_bytes.get(),
        }
    } else {
        return Ok(footer);
    };
    Err(source.damage(offset, reason).into())
}

pub(super) fn read_directory(
    source: &Source,
    footer: &ChunkFooter,
    end: u64,
) -> Result<Vec<SectionRef>, ReadError> {
    let (offset, version) = (footer.directory_offset.get(), footer.format_version.get());
    let bytes = u64::from(footer.sections.get()) * size_of::<SectionEntry>() as u64;
    let damage = |reason| ReadError::from(source.damage(offset, reason));
    if offset.checked_add(bytes).is_none_or(|reach| end < reach) {
        return Err(damage(Reject::Invalid(
            "the directory lies outside the file",
        )));
    }
    let span = source.read(offset, bytes)?;
    if source.owner.directory_checksum(span.bytes()) != footer.directory_checksum.get() {
        return Err(damage(Reject::Checksum));
    }
    let entries = <[SectionEntry]>::ref_from_bytes(span.bytes())
        .map_err(|_| damage(Reject::Invalid("directory length")))?;
    (0..)
        .zip(entries)
        .map(|(index, entry)| SectionRef::from_entry(index, entry, version, offset))
        .collect::<Result<_, _>>()
        .map_err(|problem| damage(Reject::Invalid(problem)))
}
