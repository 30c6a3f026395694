//! One record, of whatever kind.

use crate::checksums;
use crate::input::Input;
use bop_storage::checksum::crc64;
use bop_storage::log::format::record::Encoding;
use bop_storage::log::format::{
    EncodedRecord, EntrySpec, LogSpec, MemberSpec, PageImage, Patch, RawRecord, Record,
    encode_abort, encode_catalogue, encode_close, encode_logs, encode_note, encode_pages,
    full_page,
};

/// A record that is believed is the only writing of what it says.
pub fn record(data: &[u8]) {
    let mut bytes = Input::new(data).rest().to_vec();
    read(&bytes);
    checksums::record(&mut bytes);
    read(&bytes);
}

fn read(bytes: &[u8]) {
    let Ok(record) = RawRecord(bytes).verify(crc64(bytes)) else {
        return;
    };
    if let Some(again) = encoded(bytes, &record) {
        assert!(again.bytes[..] == *bytes, "another writing of {record:?}");
    }
    if let Record::Pages(pages) = &record {
        for (member, page) in pages.members.iter().flat_map(|member| {
            let pages = member.pages.iter();
            pages.map(move |page| (member, page))
        }) {
            let image = part(bytes, page.image_offset, page.form.bytes());
            if page.form.encoding() == Encoding::Patch {
                // Nobody vouches for what is in it but its own checksum.
                let _believed = Patch::parse(image, member.page_size).is_ok();
            } else if let Ok(page) = full_page(page.form, image, member.page_size) {
                assert_eq!(page.len(), member.page_size.bytes());
            }
        }
    }
}

/// Bytes of the record that it says it has.
fn part(bytes: &[u8], offset: u32, count: usize) -> &[u8] {
    let offset = offset as usize;
    let part = bytes.get(offset..offset + count);
    part.unwrap_or_else(|| panic!("{count} bytes at {offset} lie outside the record"))
}

/// What the encoder makes of it; `None` where it says less than the bytes do.
fn encoded(bytes: &[u8], record: &Record<'_>) -> Option<EncodedRecord> {
    let encoded = match record {
        Record::Pages(pages) => {
            let image = |page: &bop_storage::log::format::PageLocation| PageImage {
                page: page.page,
                hash: page.hash,
                encoding: page.form.encoding(),
                content: part(bytes, page.image_offset, page.form.bytes()),
            };
            let images = pages.members.iter();
            let images: Vec<Vec<PageImage<'_>>> = images
                .map(|member| member.pages.iter().map(image).collect())
                .collect();
            let members = pages.members.iter().zip(&images);
            let members: Vec<MemberSpec<'_>> = members
                .map(|(member, pages)| MemberSpec {
                    database: member.database,
                    parent: member.parent,
                    rolling: member.rolling,
                    page_count: member.page_count,
                    page_count_min: member.page_count_min,
                    page_size: member.page_size,
                    pages,
                })
                .collect();
            encode_pages(pages.part, &members)
        }
        Record::Abort { commit, database } => encode_abort(*commit, *database),
        Record::Catalogue(entries) => encode_catalogue(entries),
        Record::Logs(logs) => {
            let specs = logs.logs.iter().map(|log| LogSpec {
                database: log.database,
                parent: log.parent,
                first: log.first,
                first_term: log.first_term,
                next: log.next,
                vote: log.vote,
                entries: log
                    .entries
                    .iter()
                    .map(|entry| EntrySpec {
                        kind: entry.kind,
                        index: entry.index,
                        term: entry.term,
                        old: entry.old,
                        hash: entry.hash,
                        payload: part(bytes, entry.offset, entry.bytes as usize),
                    })
                    .collect(),
            });
            encode_logs(logs.kind, &specs.collect::<Vec<_>>())
        }
        Record::Note(kind) => encode_note(*kind),
        Record::Close(heads) => encode_close(heads),
        Record::SealIndex => return None,
    };
    let refused = |error| panic!("believed, and not to be written: {error}: {record:?}");
    Some(encoded.unwrap_or_else(refused))
}
