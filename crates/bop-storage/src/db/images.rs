//! The images of a commit's pages: which of them are patches, and on what.
//!
//! ```text
//! base of a page = the version in the snapshot, which the commit replaces
//!   in memory, not cut off by the transaction, chain not full -> a patch may rest on it
//!   else                                                      -> a full image
//! ```
//!
//! Invariants
//! - a patch rests on the version that its commit replaces, and on no other: a checkpoint that takes
//!   that version from the log has put it into chunks, as the newest one below the commit;
//! - a page of a transaction in several parts has a full image;
//! - no base of a chain that an earlier opening of the store began: replay does not know its length.
//!
//! Never: reads from the device for the sake of a patch.

use crate::cache::{PageCache, PageKey};
use crate::checksum::PageHash;
use crate::error::ReadError;
use crate::ids::{Lsn, PageNo, PageSize};
use crate::log::format::record::Encoding;
use crate::log::format::{ImageForm, ImageMaker, MadeImage, PageImage, PatchBase};
use crate::page::PageBytes;
use crate::runtime::sync::Mutex;
use crate::view::{Found, View};
use smallvec::SmallVec;
use std::sync::atomic::{AtomicU64, Ordering};

/// A page on its way into a record.
pub(super) struct OwnPage {
    pub(super) page: PageNo,
    pub(super) hash: PageHash,
    pub(super) content: PageBytes,
    /// The version in the log that it replaces.
    pub(super) replaced: Option<Lsn>,
    /// How its image stands in the record, once that is made.
    pub(super) form: ImageForm,
    /// What a patch may rest on; until the record is made.
    base: Option<Base>,
}

/// A version that a patch may rest on.
pub(super) struct Base {
    place: PatchBase,
    content: PageBytes,
}

/// The version of a page that a commit replaces.
#[derive(Default)]
pub(super) struct Replaced {
    /// Its hash; `None` when there is none.
    pub(super) hash: Option<PageHash>,
    /// Its commit, when the log has it.
    pub(super) in_log: Option<Lsn>,
    /// The version itself, if it was asked for, is in memory, and may be patched.
    pub(super) base: Option<Base>,
}

impl Replaced {
    /// The newest version of a page in the committer's snapshot. `patch`: whether its content is
    /// asked for, too.
    pub(super) fn find(
        view: &View,
        cache: &PageCache,
        page: PageNo,
        patch: bool,
    ) -> Result<Self, ReadError> {
        let (place, content) = match view.find(page) {
            Found::Zero => return Ok(Self::default()),
            Found::Log(at) => {
                let place = PatchBase {
                    version: at.version,
                    hash: at.hash,
                    image: Some((at.image_lsn, at.form)),
                };
                let key = PageKey::in_log(view.database(), at.version, page);
                let wanted = patch && place.depth_above().is_some();
                (place, wanted.then(|| cache.get(key)).flatten())
            }
            Found::Base => {
                let Some((hash, version)) = view.base().version(page)? else {
                    return Ok(Self::default());
                };
                let place = PatchBase {
                    version,
                    hash,
                    image: None,
                };
                let content = patch.then(|| view.base().in_memory(page)).flatten();
                (place, content)
            }
        };
        Ok(Self {
            hash: Some(place.hash),
            in_log: place.image.map(|_| place.version),
            base: content.map(|content| Base { place, content }),
        })
    }
}

impl OwnPage {
    pub(super) fn new(
        page: PageNo,
        hash: PageHash,
        content: PageBytes,
        size: PageSize,
        replaced: Replaced,
    ) -> Self {
        let Replaced { in_log, base, .. } = replaced;
        Self {
            page,
            hash,
            content,
            replaced: in_log,
            form: ImageForm::raw(size),
            base,
        }
    }
}

/// Idle makers that are kept: as many as are at work at a time on most machines.
const IDLE_MAKERS_MAX: usize = 16;

/// A maker whose images took more memory is not kept.
const IDLE_MAKER_BYTES_MAX: usize = 256 << 10;

/// The images of one record.
pub(super) struct Images<'m> {
    makers: &'m ImageMakers,
    maker: ImageMaker,
    made: SmallVec<[MadeImage; 4]>,
}

impl Drop for Images<'_> {
    fn drop(&mut self) {
        if self.maker.made_capacity_bytes() <= IDLE_MAKER_BYTES_MAX {
            let mut idle = self.makers.idle.lock();
            if idle.len() < IDLE_MAKERS_MAX {
                let page_size = PageSize::DEFAULT;
                idle.push(std::mem::replace(
                    &mut self.maker,
                    ImageMaker::new(page_size),
                ));
            }
        }
    }
}

impl<'m> Images<'m> {
    /// Makes them, and says in each page how it stands.
    pub(super) fn make(own: &mut [OwnPage], size: PageSize, makers: &'m ImageMakers) -> Self {
        let idle = makers.idle.lock().pop();
        let mut maker = idle.unwrap_or_else(|| ImageMaker::new(size));
        maker.reset(size);
        let mut made = SmallVec::with_capacity(own.len());
        for page in own {
            let base = page.base.take();
            let base = base.as_ref().map(|base| (&base.place, &*base.content));
            let image = maker.make(&page.content, base);
            page.form = image.form;
            makers.count(image.form);
            made.push(image);
        }
        Self {
            makers,
            maker,
            made,
        }
    }

    /// The images, for the record; `own` as they were made of.
    pub(super) fn list<'a>(&'a self, own: &'a [OwnPage]) -> SmallVec<[PageImage<'a>; 4]> {
        let image = |(own, made): (&'a OwnPage, &MadeImage)| PageImage {
            page: own.page,
            hash: own.hash,
            encoding: made.form.encoding(),
            content: self.maker.bytes(made, &own.content),
        };
        own.iter().zip(&self.made).map(image).collect()
    }
}

/// The page images that a store has written since it was opened.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ImageStats {
    /// Pages written as they are.
    pub raw: u64,
    /// Pages written compressed.
    pub compressed: u64,
    /// Pages written as the difference to their version before.
    pub patches: u64,
    /// Bytes of all images.
    pub bytes: u64,
}

/// Makes the images of all commits with memory that is used again, and counts them.
#[derive(Debug, Default)]
pub(super) struct ImageMakers {
    idle: Mutex<Vec<ImageMaker>>,
    raw: AtomicU64,
    compressed: AtomicU64,
    patches: AtomicU64,
    bytes: AtomicU64,
}

impl ImageMakers {
    fn count(&self, form: ImageForm) {
        let counter = match form.encoding() {
            Encoding::Raw => &self.raw,
            Encoding::Lz4 => &self.compressed,
            Encoding::Patch => &self.patches,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let bytes = form.bytes() as u64;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> ImageStats {
        ImageStats {
            raw: self.raw.load(Ordering::Relaxed),
            compressed: self.compressed.load(Ordering::Relaxed),
            patches: self.patches.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}
