//! A chunk: opened, every page of it read, verified.

use crate::checksums::{put, struct_at};
use crate::files::disk_with;
use crate::input::Input;
use bop_storage::checksum::{Crc64, crc64};
use bop_storage::ids::{ChunkId, Lsn, StoreId};
use bop_storage::io::{BLOCK_BYTES, layout};
use bop_storage::pagestore::format::{
    CHUNK_MAGIC, ChunkFooter, ChunkHeader, FOOTER_MAGIC, SectionEntry, Slot,
};
use bop_storage::pagestore::{ChunkReader, SectionRef};
use std::mem::offset_of;
use xxhash_rust::xxh3::xxh3_128;
use zerocopy::IntoBytes;

pub(crate) const STORE: StoreId = StoreId::new(*b"a fuzzed store..");
pub(crate) const CHUNK: ChunkId = ChunkId::new(42);

/// In which nothing is found can be read wholly; in which something is found, nothing else is handed out.
pub fn chunk(data: &[u8]) {
    let mut bytes = Input::new(data).rest().to_vec();
    read(&bytes);
    right(&mut bytes);
    read(&bytes);
}

fn read(bytes: &[u8]) {
    let disk = disk_with(&layout::chunk(CHUNK), bytes);
    let of_damaged = ChunkReader::sections_of_damaged(&disk, STORE, CHUNK);
    let Ok(reader) = ChunkReader::open(&disk, STORE, CHUNK, None) else {
        return;
    };
    let sections = of_damaged.unwrap_or_else(|error| panic!("opens, and does not: {error}"));
    assert_eq!(sections, reader.sections());
    let again = ChunkReader::open(&disk, STORE, CHUNK, Some(&reader.identity()));
    assert!(again.is_ok(), "not the chunk that it is");
    let failed: usize = sections
        .iter()
        .map(|section| read_section(&reader, section))
        .sum();
    let findings = reader.verify_all();
    assert!(
        0 < findings.len() || failed == 0,
        "{failed} reads fail, and verify finds nothing"
    );
    assert!(reader.resident_bytes() <= 2 * bytes.len() as u64 + 4096);
    reader.release_indexes();
}

/// Reads all of a section; how much of it cannot be read.
fn read_section(reader: &ChunkReader, section: &SectionRef) -> usize {
    let number = section.index;
    assert!(section.file_bytes() <= reader.identity().bytes);
    let mut failed = usize::from(reader.payload(number).is_err());
    let Some(meta) = section.meta() else {
        return failed;
    };
    let Ok(pages) = reader.pages(number) else {
        return failed + 1;
    };
    if let Ok(points) = reader.history(number) {
        assert!(points.is_sorted_by(|one, next| one.lsn < next.lsn));
    }
    for (page, hash, version) in pages {
        assert!(meta.covers(page) && version <= meta.cut);
        match reader.read_at(number, page, version) {
            Ok(Some(stored)) => {
                assert_eq!(stored.content.len(), meta.page_size.bytes());
                let found = bop_storage::checksum::PageHash::of(page, &stored.content);
                assert!(
                    found == hash && stored.version == version,
                    "another page than the index says"
                );
            }
            Ok(None) => panic!("page {page} is in the index and not there"),
            Err(_) => failed += 1,
        }
        let _newest = reader.read_at(number, page, Lsn::new(u64::MAX));
    }
    failed
}

/// Makes the checksums of a chunk right, from its bodies outwards.
fn right(bytes: &mut Vec<u8>) {
    let footer_bytes = size_of::<ChunkFooter>();
    let least = BLOCK_BYTES.max(bytes.len());
    let footer = bytes.split_off(bytes.len().saturating_sub(footer_bytes));
    bytes.resize(least.next_multiple_of(BLOCK_BYTES) - footer_bytes, 0);
    bytes.extend_from_slice(&footer);
    bytes.resize(least.next_multiple_of(BLOCK_BYTES), 0);
    let end = bytes.len() - footer_bytes;
    let (Some(mut header), Some(mut footer)) = (
        struct_at::<ChunkHeader>(bytes, 0),
        struct_at::<ChunkFooter>(bytes, end),
    ) else {
        return;
    };
    header.magic = CHUNK_MAGIC;
    header.store_id = *STORE.bytes();
    header.chunk_id = CHUNK.get().into();
    let covered = offset_of!(ChunkHeader, checksum);
    header.checksum = crc64(&header.as_bytes()[..covered]).into();
    put(bytes, 0, header.as_bytes());

    let directory = usize::try_from(footer.directory_offset.get()).unwrap_or(end);
    let count = (footer.sections.get() as usize).min(end / size_of::<SectionEntry>());
    for number in 0..count {
        let at = directory.saturating_add(number * size_of::<SectionEntry>());
        if let Some(entry) = struct_at::<SectionEntry>(bytes, at) {
            let entry = right_section(bytes, number as u32, entry);
            put(bytes, at, entry.as_bytes());
        }
    }
    let listed = directory.saturating_add(count * size_of::<SectionEntry>());
    let listed = bytes.get(directory..listed).unwrap_or_default();
    footer.directory_checksum = domain().update(listed).finish().into();
    footer.chunk_bytes = (bytes.len() as u64).into();
    footer.digest = xxh3_128(&bytes[..end]).to_le_bytes();
    footer.format_version = header.format_version;
    footer.magic = FOOTER_MAGIC;
    let behind = &footer.as_bytes()[size_of::<u64>()..];
    footer.checksum = domain().update(behind).finish().into();
    put(bytes, end, footer.as_bytes());
}

fn domain() -> Crc64 {
    Crc64::new()
        .update(STORE.bytes())
        .update(&CHUNK.get().to_le_bytes())
}

fn right_section(bytes: &mut [u8], number: u32, mut entry: SectionEntry) -> SectionEntry {
    let part = |bytes: &[u8], from: u64, count: u64| {
        let (from, count) = (usize::try_from(from).ok()?, usize::try_from(count).ok()?);
        let part = bytes.get(from..from.checked_add(count)?)?;
        Some(domain().update(&number.to_le_bytes()).update(part).finish())
    };
    let slots = (entry.slots.get() as usize).min(bytes.len() / size_of::<Slot>());
    let index = usize::try_from(entry.index_offset.get()).unwrap_or(usize::MAX);
    for slot_number in 0..slots {
        let at = index.saturating_add(slot_number * size_of::<Slot>());
        let Some(mut slot) = struct_at::<Slot>(bytes, at) else {
            break;
        };
        let body = usize::try_from(slot.body_offset.get()).unwrap_or(usize::MAX);
        let body = bytes.get(body..body.saturating_add(slot.body_bytes.get() as usize));
        let fields = slot.as_bytes();
        let checksum = Crc64::new()
            .update(&entry.database.get().to_le_bytes())
            .update(&entry.generation.get().to_le_bytes())
            .update(&(slot_number as u32).to_le_bytes())
            .update(&fields[..offset_of!(Slot, body_offset)])
            .update(&fields[offset_of!(Slot, page)..offset_of!(Slot, checksum)])
            .update(body.unwrap_or_default());
        slot.checksum = checksum.finish().into();
        put(bytes, at, slot.as_bytes());
    }
    let index_bytes = u64::from(entry.slots.get()) * size_of::<Slot>() as u64;
    if let Some(checksum) = part(bytes, entry.index_offset.get(), index_bytes) {
        entry.index_checksum = checksum.into();
    }
    let (payload, payload_bytes) = (entry.payload_offset.get(), entry.payload_bytes.get());
    if let Some(checksum) = part(bytes, payload, payload_bytes) {
        entry.payload_checksum = checksum.into();
    }
    entry
}
