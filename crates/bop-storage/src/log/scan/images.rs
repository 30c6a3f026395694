//! The images of a batch, checked while its bytes are at hand.
//!
//! Never: checks what is not stored as it is: that is checked when it is read as a page.

use crate::checksum::PageHash;
use crate::error::Reject;
use crate::ids::Lsn;
use crate::log::format::record::Encoding;
use crate::log::format::{Record, VerifiedHeader, VerifiedRecord};

/// Compares the images of a batch with the hashes that its records name, if that is `asked`.
pub(super) fn check_images<'a>(
    asked: bool,
    header: &VerifiedHeader,
    bytes: &[u8],
    records: Vec<VerifiedRecord<'a>>,
) -> Result<Vec<VerifiedRecord<'a>>, (Lsn, Reject)> {
    for verified in records.iter().filter(|_| asked) {
        let Record::Pages(pages) = &verified.record else {
            continue;
        };
        // Inside the batch: the record was cut out of it.
        let start = verified.lsn.get().saturating_sub(header.place.lsn.get());
        let record = usize::try_from(start)
            .ok()
            .and_then(|start| bytes.get(start..));
        for page in pages.members.iter().flat_map(|member| &member.pages) {
            let (at, len) = (page.image_offset as usize, page.form.bytes());
            let image = record.and_then(|record| record.get(at..at + len));
            // What is stored in another way is checked when it is read as a page.
            let right = page.form.encoding() != Encoding::Raw
                || image.is_some_and(|image| PageHash::of(page.page, image) == page.hash);
            if !right {
                return Err((verified.lsn, Reject::Checksum));
            }
        }
    }
    Ok(records)
}
