//! The images of a batch, checked while its bytes are at hand.
//!
//! ```text
//! raw   -> hash            LZ4 -> page -> hash            patch -> its own checksum
//! ```
//! Never: looks for the base of a patch: whoever reads the page does, and checks the hash then.

use crate::checksum::PageHash;
use crate::error::Reject;
use crate::ids::{Lsn, PageSize};
use crate::log::format::record::Encoding;
use crate::log::format::{PageLocation, Patch, Record, VerifiedHeader, VerifiedRecord};
use crate::lz4;

/// Compares the images of a batch with the hashes that its records name, if that is `asked`.
pub(super) fn check_images<'a>(
    asked: bool,
    header: &VerifiedHeader,
    bytes: &[u8],
    records: Vec<VerifiedRecord<'a>>,
) -> Result<Vec<VerifiedRecord<'a>>, (Lsn, Reject)> {
    let mut page = Vec::new();
    for verified in records.iter().filter(|_| asked) {
        let Record::Pages(pages) = &verified.record else {
            continue;
        };
        // Inside the batch: the record was cut out of it.
        let start = verified.lsn.get().saturating_sub(header.place.lsn.get());
        let record = usize::try_from(start)
            .ok()
            .and_then(|start| bytes.get(start..));
        for member in &pages.members {
            for location in &member.pages {
                let (at, len) = (location.image_offset as usize, location.form.bytes());
                let image = record.and_then(|record| record.get(at..at + len));
                image
                    .ok_or(Reject::Checksum)
                    .and_then(|image| check_image(location, image, member.page_size, &mut page))
                    .map_err(|reject| (verified.lsn, reject))?;
            }
        }
    }
    Ok(records)
}

/// `page` is memory that is used again.
fn check_image(
    location: &PageLocation,
    image: &[u8],
    page_size: PageSize,
    page: &mut Vec<u8>,
) -> Result<(), Reject> {
    let content = match location.form.encoding() {
        Encoding::Raw => image,
        Encoding::Lz4 => {
            page.resize(page_size.bytes(), 0);
            if !lz4::decompress(image, page) {
                return Err(Reject::Invalid("a compressed image that is no page"));
            }
            page
        }
        Encoding::Patch => return Patch::parse(image, page_size).map(drop),
    };
    if PageHash::of(location.page, content) == location.hash {
        Ok(())
    } else {
        Err(Reject::Checksum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PageNo;
    use crate::log::format::{ImageMaker, PatchBase};

    const SIZE: PageSize = PageSize::DEFAULT;

    fn checked(location: &PageLocation, image: &[u8]) -> Result<(), Reject> {
        // Of a page before: larger than the next one, and not zero.
        check_image(location, image, SIZE, &mut vec![0xee; 2 * SIZE.bytes()])
    }

    /// The image that is made of a page, and where a record would say that it is.
    fn made(content: &[u8], base: Option<&[u8]>) -> (PageLocation, Vec<u8>) {
        let page = PageNo::FIRST;
        let under = base.map(|base| PatchBase {
            version: Lsn::new(8),
            hash: PageHash::of(page, base),
            image: None,
        });
        let mut maker = ImageMaker::new(SIZE);
        let image = maker.make(content, under.as_ref().zip(base));
        let location = PageLocation {
            page,
            hash: PageHash::of(page, content),
            image_offset: 0,
            form: image.form,
        };
        (location, maker.bytes(&image, content).to_vec())
    }

    #[test]
    fn a_compressed_image_is_compared_with_the_hash_of_its_page() {
        let (location, image) = made(&[7; 4096], None);
        assert_eq!(location.form.encoding(), Encoding::Lz4);
        assert_eq!(checked(&location, &image), Ok(()));
        let (other, _) = made(&[8; 4096], None);
        let wrong = PageLocation {
            hash: other.hash,
            ..location
        };
        assert_eq!(checked(&wrong, &image), Err(Reject::Checksum));
        let short = checked(&location, &image[..image.len() - 1]);
        assert!(matches!(short, Err(Reject::Invalid(_))), "{short:?}");
    }

    #[test]
    fn a_patch_is_checked_without_its_base_and_any_flip_of_it_is_found() {
        let (old, mut new) = ([7; 4096], [7; 4096]);
        new[100..140].fill(9);
        let (location, image) = made(&new, Some(&old));
        assert_eq!(location.form.encoding(), Encoding::Patch);
        assert_eq!(checked(&location, &image), Ok(()));
        for at in 0..image.len() {
            let mut flipped = image.clone();
            flipped[at] ^= 0x10;
            assert!(checked(&location, &flipped).is_err(), "byte {at}");
        }
    }
}
