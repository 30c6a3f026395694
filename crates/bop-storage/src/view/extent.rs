//! An extent: consecutive pages of one commit whose raw images stand back to back in the log. A page
//! whose image is compressed or a patch is an extent of its own.
//!
//! Invariants
//! - an extent has at least one page, and one hash for each of its pages;
//! - the image of its `n`-th page starts `n` page sizes behind that of its first.
//!
//! Never: changes. Cutting an extent makes a new one that shares the hashes.

use crate::checksum::PageHash;
use crate::ids::Lsn;
use crate::log::format::ImageForm;
use std::sync::Arc;

/// Where one version of a page is, and how to know it when it is read.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct PageVersion {
    /// The commit that wrote it.
    pub version: Lsn,
    /// Where its image starts in the log.
    pub image_lsn: Lsn,
    /// The hash that page number and page must have.
    pub hash: PageHash,
    /// How the image stands there.
    pub form: ImageForm,
}

/// Consecutive pages of one commit. The first page's number is the key in the index.
#[derive(Clone, Debug)]
pub struct Extent {
    pages: u32,
    form: ImageForm,
    version: Lsn,
    image_lsn: Lsn,
    hashes: Hashes,
}
// There may be millions: the form has taken no room.
const _: () = assert!(size_of::<Extent>() <= 48);

/// The page hashes of an extent. One page, the common case, needs no allocation.
#[derive(Clone, Debug)]
enum Hashes {
    One(PageHash),
    Many { shared: Arc<[PageHash]>, first: u32 },
}

/// A cut that keeps less than one hash in this many gets its own copy of them, so that a few
/// pages never keep the hashes of a whole large commit in memory.
const SHARED_FRACTION_MIN: usize = 4;

impl Extent {
    /// An extent of one page per hash, whose images all have one form; `None` without a hash or with
    /// more than `u32` can count.
    pub(super) fn new(
        version: Lsn,
        image_lsn: Lsn,
        form: ImageForm,
        hashes: impl ExactSizeIterator<Item = PageHash>,
    ) -> Option<Self> {
        let pages = u32::try_from(hashes.len()).ok()?;
        let mut hashes = hashes;
        let hashes = match pages {
            0 => return None,
            1 => Hashes::One(hashes.next()?),
            _ => Hashes::Many {
                shared: hashes.collect(),
                first: 0,
            },
        };
        Some(Self {
            pages,
            form,
            version,
            image_lsn,
            hashes,
        })
    }

    /// How many pages it has.
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// The commit that wrote its pages.
    pub fn version(&self) -> Lsn {
        self.version
    }

    /// Where the image of its first page starts in the log.
    pub fn image_lsn(&self) -> Lsn {
        self.image_lsn
    }

    /// How each of its images stands in the log.
    pub fn form(&self) -> ImageForm {
        self.form
    }

    /// The `nth` page of it, counted from 0; `None` past its last page.
    pub fn nth(&self, nth: u32) -> Option<PageVersion> {
        if nth >= self.pages {
            return None;
        }
        let hash = match &self.hashes {
            Hashes::One(hash) => *hash,
            Hashes::Many { shared, first } => *shared.get((first + nth) as usize)?,
        };
        Some(PageVersion {
            version: self.version,
            image_lsn: self.image_of(nth),
            hash,
            form: self.form,
        })
    }

    /// `pages` pages of it from the `nth` on; `None` when that is none, or more than it has.
    pub(super) fn cut(&self, nth: u32, pages: u32) -> Option<Self> {
        if pages == 0 || nth.checked_add(pages)? > self.pages {
            return None;
        }
        Some(Self {
            pages,
            form: self.form,
            version: self.version,
            image_lsn: self.image_of(nth),
            hashes: self.hashes.cut(nth, pages)?,
        })
    }

    fn image_of(&self, nth: u32) -> Lsn {
        // Images were appended below Lsn::LIMIT, and an extent spans less than 2^48 bytes.
        let bytes = u64::from(nth) * self.form.bytes() as u64;
        Lsn::new(self.image_lsn.get().saturating_add(bytes))
    }
}

impl Hashes {
    fn cut(&self, nth: u32, pages: u32) -> Option<Self> {
        let (shared, first) = match self {
            Self::One(hash) => return Some(Self::One(*hash)),
            Self::Many { shared, first } => (shared, first + nth),
        };
        let kept = shared.get(first as usize..(first + pages) as usize)?;
        Some(match kept {
            [hash] => Self::One(*hash),
            _ if kept.len() < shared.len() / SHARED_FRACTION_MIN => Self::Many {
                shared: Arc::from(kept),
                first: 0,
            },
            _ => Self::Many {
                shared: Arc::clone(shared),
                first,
            },
        })
    }
}
