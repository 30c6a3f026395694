//! The index behind a sealed segment.

use crate::checksums::{self, of_segment, put, struct_at};
use crate::files::blocks;
use crate::input::Input;
use crate::log_builder::FIRST_SEGMENT;
use bop_storage::checksum::crc64;
use bop_storage::ids::Lsn;
use bop_storage::io::BLOCK_BYTES;
use bop_storage::log::format::batch::{BATCH_MAGIC, BatchHeader, DirectoryEntry};
use bop_storage::log::format::record::RecordHeader;
use bop_storage::log::format::seal::SealHeader;
use bop_storage::log::format::{ChainHash, Sealed, SealedHeader};
use zerocopy::IntoBytes;

const CAPACITY: u64 = 1 << 20;
const START: ChainHash = ChainHash::new(0x5eed);

/// The header's block, then the body. Batches of a body that is believed join from its base to its end.
pub fn seal_index(data: &[u8]) {
    let bytes = Input::new(data).rest();
    let (first, body) = bytes.split_at(bytes.len().min(BLOCK_BYTES));
    let header = blocks(first)
        .first()
        .map(|block| SealedHeader::decode(block, &FIRST_SEGMENT, CAPACITY));
    if let Some(Ok(header)) = header {
        read(&header, body);
    }
    let mut body = body.to_vec();
    let Some(header) = struct_at::<SealHeader>(first, 0) else {
        return;
    };
    let (base, batches) = (header.base_lsn.get(), header.batches.get());
    let sealed = right(&mut body, base, batches);
    let header = SealedHeader::new(sealed, &FIRST_SEGMENT, batches, &body);
    let block = header.encode(&FIRST_SEGMENT);
    if let Ok(decoded) = SealedHeader::decode(&block, &FIRST_SEGMENT, CAPACITY) {
        assert_eq!(decoded, header);
        read(&decoded, &body);
    }
}

fn read(header: &SealedHeader, body: &[u8]) {
    let mut at = header.sealed.base;
    let mut records = 0;
    let believed = header.read_body(&FIRST_SEGMENT, START, body, |batch, found| {
        assert_eq!(batch.place.lsn, at, "batches that do not join");
        assert!(
            found
                .iter()
                .all(|record| at < record.lsn && record.lsn < batch.end)
        );
        at = batch.end;
        records += found.len();
    });
    assert!(records <= body.len());
    if believed.is_ok() {
        assert_eq!(at, header.sealed.end);
    }
}

/// Makes the checksums of a body's batches right, and tells what it then is the index of.
fn right(body: &mut [u8], base: u64, batches: u32) -> Sealed {
    let (mut at, mut lsn, mut chain) = (0, base, START);
    for _ in 0..batches.min(64) {
        let Some(mut header) = struct_at::<BatchHeader>(body, at) else {
            break;
        };
        let directory = at + size_of::<BatchHeader>();
        let entries = (header.entries.get() as usize).min(body.len());
        let heads = directory + entries * size_of::<DirectoryEntry>();
        let Some(listed) = body.get(directory..heads) else {
            break;
        };
        header.magic = BATCH_MAGIC.into();
        header.lsn = lsn.into();
        header.directory_checksum = crc64(listed).into();
        let covered = size_of::<BatchHeader>() - size_of::<u64>();
        let checksum = of_segment(&FIRST_SEGMENT)
            .update(&header.as_bytes()[..covered])
            .finish();
        header.checksum = checksum.into();
        put(body, at, header.as_bytes());
        chain = chain.extended(checksum);
        lsn = lsn.wrapping_add(header.length_bytes.get().into());
        at = right_heads(body, heads, entries);
    }
    Sealed {
        base: Lsn::new(base),
        end: Lsn::new(lsn),
        chain,
    }
}

/// Makes the header checksums of a batch's records right; where the next batch starts.
fn right_heads(body: &mut [u8], mut at: usize, records: usize) -> usize {
    for _ in 0..records {
        let Some(mut header) = struct_at::<RecordHeader>(body, at) else {
            break;
        };
        // The next batch says that it is one.
        let behind = at + (header.header_bytes.get() as usize);
        header.header_checksum = 0.into();
        let Some(rest) = body.get(at + size_of::<RecordHeader>()..behind) else {
            break;
        };
        let crc = bop_storage::checksum::Crc64::new()
            .update(header.as_bytes())
            .update(rest);
        header.header_checksum = crc.finish().into();
        checksums::put(body, at, header.as_bytes());
        at = behind;
        let magic = body.get(at..at + 4).and_then(|magic| magic.try_into().ok());
        if magic.map(u32::from_le_bytes) == Some(BATCH_MAGIC) {
            break;
        }
    }
    at
}
