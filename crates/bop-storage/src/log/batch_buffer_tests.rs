//! A batch that is made around its record is the batch that would have been made of copies.

use super::super::format::record::Encoding;
use super::super::format::{
    BatchEntry, BatchPlace, EncodedRecord, FragmentPart, LARGE_BYTES_MIN, MemberSpec, PageImage,
    SegmentIdentity, add_batch, encode_batch, encode_note, encode_pages,
};
use super::super::member::Entry;
use super::BatchBuffer;
use crate::checksum::{PageHash, RollingChecksum};
use crate::ids::{DbId, Epoch, Incarnation, Lsn, PageNo, PageSize, SegmentId, StoreId};
use crate::io::BLOCK_BYTES;
use crate::log::format::record::NoteKind;
use std::sync::Arc;
use zerocopy::IntoBytes;

const TIME_US: u64 = 77;

/// A commit of `count` pages of 512 bytes, each in the first of `databases` databases.
fn commit(count: u32, databases: u64) -> Arc<EncodedRecord> {
    let pages: Vec<_> = (1..=count).filter_map(PageNo::new).collect();
    let contents: Vec<_> = pages.iter().map(|page| [page.get() as u8; 512]).collect();
    let images = pages
        .iter()
        .zip(&contents)
        .map(|(page, content)| PageImage {
            page: *page,
            hash: PageHash::of(*page, content),
            encoding: Encoding::Raw,
            content,
        });
    let images: Vec<_> = images.collect();
    let members: Vec<_> = (1..=databases)
        .map(|database| MemberSpec {
            database: DbId::new(database),
            parent: Lsn::ZERO,
            rolling: RollingChecksum::EMPTY,
            page_count: count,
            page_count_min: 0,
            page_size: PageSize::new(512).unwrap(),
            pages: if database == 1 { &images } else { &[] },
        })
        .collect();
    Arc::new(encode_pages(FragmentPart::Whole, &members).unwrap())
}

/// What a buffer makes of the records must be what copies of them make, and so must its index. Says in how
/// many pieces it was.
fn check(buffer: &mut BatchBuffer, records: &[Arc<EncodedRecord>]) -> usize {
    let identity = SegmentIdentity {
        store: StoreId::new([1; 16]),
        segment: SegmentId::new(1),
        incarnation: Incarnation::new(1),
    };
    let place = BatchPlace {
        lsn: Lsn::new(8 * BLOCK_BYTES as u64),
        epoch: Epoch::new(3),
        durable: Lsn::new(BLOCK_BYTES as u64),
    };
    let listed: Vec<_> = records
        .iter()
        .map(|record| BatchEntry {
            record,
            time_us: TIME_US,
        })
        .collect();
    let (mut copied, mut index) = (Vec::new(), Vec::new());
    let wanted = encode_batch(&identity, &place, &listed, &mut copied).unwrap();
    add_batch(&mut index, copied.as_bytes()).unwrap();

    let entries: Vec<_> = records
        .iter()
        .map(|record| Entry {
            record: Arc::clone(record),
            time_us: TIME_US,
        })
        .collect();
    assert_eq!(buffer.fill(&identity, &place, &entries).unwrap(), wanted);
    let mut found = Vec::new();
    buffer.index(&mut found).unwrap();
    assert_eq!(found, index);
    let pieces = buffer.pieces();
    assert!(
        pieces.concat().as_bytes() == copied.as_bytes(),
        "{records:?}"
    );
    pieces.len()
}

/// Records of all lengths, in steps of 8 bytes within a block: their last bytes, the second directory and
/// the trailer stand in one block or in two.
#[test]
fn around_a_record_stands_what_stands_around_a_copy() {
    let mut buffer = BatchBuffer::default();
    let mut ends = std::collections::BTreeSet::new();
    for databases in [1, 2, 90] {
        for count in 250..=762 {
            let record = commit(count, databases);
            assert!(LARGE_BYTES_MIN <= record.bytes.len());
            ends.insert(record.bytes.len() % BLOCK_BYTES);
            assert_eq!(check(&mut buffer, &[record]), 3);
        }
    }
    assert_eq!(ends.len(), BLOCK_BYTES / 8, "every length");
}

#[test]
fn what_is_small_or_in_company_is_copied() {
    let mut buffer = BatchBuffer::default();
    let note = Arc::new(encode_note(NoteKind::Idle).unwrap());
    let (small, large) = (commit(3, 1), commit(300, 1));
    assert_eq!(check(&mut buffer, &[Arc::clone(&small)]), 1);
    assert_eq!(check(&mut buffer, &[Arc::clone(&large)]), 3);
    assert_eq!(check(&mut buffer, &[large, small, note]), 1);
    // So many databases that their lines are more than a block.
    assert_eq!(check(&mut buffer, &[commit(300, 120)]), 1);
}
