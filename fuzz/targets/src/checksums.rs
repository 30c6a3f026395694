//! Checksums made right, as `docs/format.md` has them: what a forger would do.
//!
//! Each function changes what a checksum or a length vouches for in bytes that may be anything, and
//! leaves alone what is not there. A field that a reader has to look at stays as it is.
//!
//! Never: makes bytes sound; only believable.

use bop_storage::checksum::{Crc64, crc64};
use bop_storage::ids::StoreId;
use bop_storage::io::BLOCK_BYTES;
use bop_storage::log::format::SegmentIdentity;
use bop_storage::log::format::record::RecordHeader;
use bop_storage::log::format::segment::{ACTIVATION_MAGIC, STAMP_MAGIC};
use bop_storage::manifest::{Table, ValueHeader};
use bop_storage::superblock::{STORE_VERSION, SUPERBLOCK_MAGIC};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a superblock's slot, of a stamp and of an activation, whose checksum is the last field.
const SEALED_BYTES: usize = 64;

/// The struct at an offset, if it is there.
pub(crate) fn struct_at<T>(bytes: &[u8], offset: usize) -> Option<T>
where
    T: FromBytes + KnownLayout + Immutable,
{
    let (found, _) = T::read_from_prefix(bytes.get(offset..)?).ok()?;
    Some(found)
}

/// Puts bytes where there is room for them.
pub(crate) fn put(bytes: &mut [u8], offset: usize, new: &[u8]) {
    let end = offset.checked_add(new.len());
    if let Some(place) = end.and_then(|end| bytes.get_mut(offset..end)) {
        place.copy_from_slice(new);
    }
}

/// The domain of what proves a place in a segment.
pub(crate) fn of_segment(identity: &SegmentIdentity) -> Crc64 {
    Crc64::new()
        .update(identity.store.bytes())
        .update(&identity.segment.get().to_le_bytes())
        .update(&identity.incarnation.get().to_le_bytes())
}

/// Ends the sealed struct that starts `bytes`.
fn seal(domain: Crc64, bytes: &mut [u8]) {
    let covered = SEALED_BYTES - size_of::<u64>();
    if let Some((covered, rest)) = bytes.split_at_mut_checked(covered) {
        put(rest, 0, &domain.update(covered).finish().to_le_bytes());
    }
}

/// Both slots, with magic and version.
pub(crate) fn superblock(bytes: &mut [u8]) {
    for slot in bytes.chunks_mut(BLOCK_BYTES).take(2) {
        put(slot, 0, &SUPERBLOCK_MAGIC);
        put(slot, SUPERBLOCK_MAGIC.len(), &STORE_VERSION.to_le_bytes());
        seal(Crc64::new(), slot);
    }
}

/// Stamp and activations of the segment `identity`, of `bytes` bytes.
pub(crate) fn segment_header(bytes: &mut [u8], identity: &SegmentIdentity) {
    for (nth, block) in bytes.chunks_mut(BLOCK_BYTES).take(3).enumerate() {
        if nth == 0 {
            put(block, 0, &STAMP_MAGIC);
            put(block, 16, identity.store.bytes());
            put(block, 32, &identity.segment.get().to_le_bytes());
            put(block, 40, &identity.incarnation.get().to_le_bytes());
            seal(Crc64::new(), block);
        } else {
            put(block, 0, &ACTIVATION_MAGIC);
            seal(of_segment(identity), block);
        }
    }
}

/// Length and header checksum of a record, which becomes a multiple of 8 bytes long.
pub(crate) fn record(bytes: &mut Vec<u8>) {
    let least = size_of::<RecordHeader>();
    bytes.resize(bytes.len().max(least).next_multiple_of(8), 0);
    let Some(mut header) = struct_at::<RecordHeader>(bytes, 0) else {
        return;
    };
    header.record_bytes = (bytes.len() as u64).into();
    let head = header.header_bytes.get() as usize;
    header.header_checksum = 0.into();
    let behind = bytes.get(least..head).unwrap_or_default();
    let checksum = Crc64::new().update(header.as_bytes()).update(behind);
    header.header_checksum = checksum.finish().into();
    put(bytes, 0, header.as_bytes());
}

/// A section of the catalogue: its length and checksum.
pub(crate) fn catalogue_section(bytes: &mut [u8]) {
    const LENGTH_AT: usize = 16;
    const CHECKSUM_AT: usize = 48;
    let length = bytes.len() as u64;
    put(bytes, LENGTH_AT, &length.to_le_bytes());
    put(bytes, CHECKSUM_AT, &[0; 8]);
    let checksum = crc64(bytes);
    put(bytes, CHECKSUM_AT, &checksum.to_le_bytes());
}

/// A row of the manifest in its envelope.
pub(crate) fn row(store: StoreId, table: Table, key: &[u8], version: u16, row: &[u8]) -> Vec<u8> {
    let checksum = Crc64::new()
        .update(b"bop manifest")
        .update(store.bytes())
        .update(&[table.number()])
        .update(key)
        .update(&version.to_le_bytes())
        .update(row);
    let header = ValueHeader {
        version: version.into(),
        reserved: [0; 6],
        checksum: checksum.finish().into(),
    };
    [header.as_bytes(), row].concat()
}
