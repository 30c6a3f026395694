//! Patches: an image that claims to be one, and the one that is made of two pages.

use crate::input::Input;
use bop_storage::checksum::{PageHash, crc64};
use bop_storage::ids::{Lsn, PageNo, PageSize};
use bop_storage::log::format::record::Encoding;
use bop_storage::log::format::{ImageMaker, Patch, PatchBase, full_page};

/// The first byte chooses the page size; then an image behind its length, then two pages.
pub fn patch(data: &[u8]) {
    let mut input = Input::new(data);
    let size = 512 << (input.u8() % 4);
    let Some(page_size) = PageSize::new(size) else {
        return;
    };
    let mut image = input.list().to_vec();
    apply(&image, page_size);
    // The checksum is of what stands behind it.
    if let Some((checksum, covered)) = image.split_first_chunk_mut::<8>() {
        *checksum = crc64(covered).to_le_bytes();
    }
    apply(&image, page_size);
    let mut page = || {
        let mut page = input.bytes(page_size.bytes()).to_vec();
        page.resize(page_size.bytes(), 0);
        page
    };
    let (old, new) = (page(), page());
    make(&old, &new, page_size);
}

fn apply(image: &[u8], page_size: PageSize) {
    let Ok(patch) = Patch::parse(image, page_size) else {
        return;
    };
    let base = vec![0xa5; page_size.bytes()];
    let mut page = base.clone();
    patch.apply(&mut page);
    let changed = page.iter().zip(&base).filter(|(new, old)| new != old);
    assert!(
        changed.count() <= image.len(),
        "a patch changes what it has no bytes for"
    );
    let once = page.clone();
    patch.apply(&mut page);
    assert_eq!(page, once);
}

/// Whatever image is chosen for a page, it becomes the page again.
fn make(old: &[u8], new: &[u8], page_size: PageSize) {
    let base = PatchBase {
        version: Lsn::new(4096),
        hash: PageHash::of(PageNo::FIRST, old),
        image: None,
    };
    let mut maker = ImageMaker::new(page_size);
    let made = maker.make(new, Some((&base, old)));
    let image = maker.bytes(&made, new);
    let page = match made.form.encoding() {
        Encoding::Patch => {
            let patch = Patch::parse(image, page_size).map(|patch| {
                let mut page = old.to_vec();
                patch.apply(&mut page);
                page
            });
            patch.unwrap_or_else(|reject| panic!("a patch of ours is not believed: {reject}"))
        }
        Encoding::Raw | Encoding::Lz4 => full_page(made.form, image, page_size)
            .unwrap_or_else(|reject| panic!("an image of ours is not believed: {reject}"))
            .to_vec(),
    };
    assert!(page == new, "an image that becomes another page");
}
