//! How the image of a page stands in the log: raw, compressed, or as a patch.
//!
//! ```text
//! base in memory, chain not full, difference within a quarter -> patch
//!   else a sample, then the page, compresses by an eighth      -> LZ4
//!   else, or after many of the record that did not, mostly     -> raw
//! ```
//!
//! Invariant: a form says how long the image is, so that nobody reads more, or a length from bytes
//! that nobody vouches for.
//!
//! Never: reads a page; what is not in memory is no base.

use super::bytes::ensure;
use super::patch::{PATCH_CHAIN_MAX, PatchBase, PatchMaker};
use super::record::Encoding;
use crate::buffer::Buffer;
use crate::error::Reject;
use crate::ids::PageSize;
use crate::lz4::{self, Compressor};
use crate::trials::Trials;
use std::ops::Range;

/// How an image stands in the log, in as little memory as the index can have it.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct ImageForm {
    /// One less than its length: an image of 64 KiB has a form, too.
    last: u16,
    encoding: Encoding,
    depth: u8,
}

impl ImageForm {
    /// Of a page as it is.
    pub const fn raw(page_size: PageSize) -> Self {
        Self {
            last: (page_size.bytes() - 1) as u16,
            encoding: Encoding::Raw,
            depth: 0,
        }
    }

    /// Of an image that a record or a patch names; `depth` as in [`ImageForm::depth`].
    ///
    /// # Errors
    /// When no image of such a page is that long.
    pub fn believed(
        encoding: Encoding,
        bytes: usize,
        depth: u8,
        page_size: PageSize,
    ) -> Result<Self, Reject> {
        let fits = match encoding {
            Encoding::Raw => bytes == page_size.bytes(),
            Encoding::Lz4 | Encoding::Patch => 0 < bytes && bytes < page_size.bytes(),
        };
        ensure(fits, "an image that is not of the page size")?;
        let last = u16::try_from(bytes - 1);
        Ok(Self {
            last: last.map_err(|_| Reject::Invalid("an image larger than any page"))?,
            encoding,
            depth,
        })
    }

    /// Of an image that was found by replay. How long its chain is stands in the patch alone, which
    /// replay does not read: as long as one can be, so that nothing rests on it.
    ///
    /// # Errors
    /// As for [`ImageForm::believed`].
    pub fn replayed(encoding: Encoding, bytes: u32, page_size: PageSize) -> Result<Self, Reject> {
        let depth = match encoding {
            Encoding::Raw | Encoding::Lz4 => 0,
            Encoding::Patch => PATCH_CHAIN_MAX,
        };
        Self::believed(encoding, bytes as usize, depth, page_size)
    }

    /// Bytes of the image.
    pub const fn bytes(self) -> usize {
        self.last as usize + 1
    }

    pub(super) const fn bytes_u32(self) -> u32 {
        self.last as u32 + 1
    }

    /// How it is stored.
    pub const fn encoding(self) -> Encoding {
        self.encoding
    }

    /// Patches from it down to a full image, at most: 0 for one.
    pub const fn depth(self) -> u8 {
        self.depth
    }
}

/// The page in a raw or compressed image, in a buffer of its own.
///
/// # Errors
/// When it is not one page, or a patch.
pub fn full_page(form: ImageForm, image: &[u8], page_size: PageSize) -> Result<Buffer, Reject> {
    match form.encoding {
        Encoding::Raw => {
            ensure(image.len() == page_size.bytes(), "an image that is no page")?;
            Ok(Buffer::copy_of(image))
        }
        Encoding::Lz4 => {
            let mut page = Buffer::with_capacity(page_size.bytes());
            page.resize(page_size.bytes(), 0);
            ensure(
                lz4::decompress(image, &mut page),
                "a compressed image that is no page",
            )?;
            Ok(page)
        }
        Encoding::Patch => Err(Reject::Invalid("a patch where a full image must be")),
    }
}

/// Chooses and makes the images of one record.
#[derive(Debug)]
pub struct ImageMaker {
    page_size: PageSize,
    patches: PatchMaker,
    compressor: Option<Compressor>,
    /// What of a page is compressed to see whether the whole is worth it.
    sample: Vec<u8>,
    /// Of compressing the record's pages: a large commit of what is random, encrypted or compressed would spend a
    /// quarter of its time on trying.
    trials: Trials,
    /// The images that are not raw.
    made: Vec<u8>,
}

/// An image that was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MadeImage {
    /// How it stands in the record.
    pub form: ImageForm,
    made: Range<usize>,
}

/// A patch that takes more than one in this many of the page's bytes is not worth a chain.
const PATCH_PAGE_FRACTION: usize = 4;

/// Pages from this size on are compressed only if a sample of them is worth it.
const SAMPLED_PAGE_BYTES: usize = 4096;

/// The sample: this many pieces from all over the page, a sixteenth of it each.
const SAMPLE_PIECES: usize = 4;

impl ImageMaker {
    /// For pages of one size.
    pub fn new(page_size: PageSize) -> Self {
        Self {
            page_size,
            patches: PatchMaker::default(),
            compressor: None,
            sample: Vec::new(),
            trials: Trials::default(),
            made: Vec::new(),
        }
    }

    /// Forgets the images of the last record, for one with pages of `page_size`; keeps the memory.
    pub fn reset(&mut self, page_size: PageSize) {
        if page_size != self.page_size {
            self.page_size = page_size;
            self.compressor = None;
        }
        self.made.clear();
        self.trials = Trials::default();
    }

    /// Bytes of memory that the images of the last record took.
    pub fn made_capacity_bytes(&self) -> usize {
        self.made.capacity()
    }

    /// Chooses the image of a page. `base`: the version that it replaces, and its content.
    pub fn make(&mut self, content: &[u8], base: Option<(&PatchBase, &[u8])>) -> MadeImage {
        let start = self.made.len();
        if let Some((base, old)) = base {
            let limit = content.len() / PATCH_PAGE_FRACTION;
            let made = &mut self.made;
            if let Some(depth) = self.patches.make(base, old, content, limit, made)
                && let Some(image) = self.take(Encoding::Patch, start, depth)
            {
                return image;
            }
            self.made.truncate(start);
        }
        if self.trials.is_worth_trying()
            && self.compress(content)
            && let Some(image) = self.take(Encoding::Lz4, start, 0)
        {
            self.trials.count(true);
            return image;
        }
        self.trials.count(false);
        self.made.truncate(start);
        MadeImage {
            form: ImageForm::raw(self.page_size),
            made: 0..0,
        }
    }

    /// The bytes of an image that this one made of `content`.
    pub fn bytes<'a>(&'a self, image: &MadeImage, content: &'a [u8]) -> &'a [u8] {
        match image.form.encoding {
            Encoding::Raw => content,
            Encoding::Lz4 | Encoding::Patch => &self.made[image.made.clone()],
        }
    }

    fn take(&self, encoding: Encoding, start: usize, depth: u8) -> Option<MadeImage> {
        let made = start..self.made.len();
        let form = ImageForm::believed(encoding, made.len(), depth, self.page_size).ok()?;
        Some(MadeImage { form, made })
    }

    /// Appends the page compressed, if that is worth it.
    fn compress(&mut self, content: &[u8]) -> bool {
        let size = self.page_size.bytes();
        let compressor = self.compressor.get_or_insert_with(|| Compressor::new(size));
        if SAMPLED_PAGE_BYTES <= content.len() {
            let piece = content.len() / 16;
            self.sample.clear();
            for part in content.chunks_exact(content.len() / SAMPLE_PIECES) {
                self.sample.extend_from_slice(&part[part.len() - piece..]);
            }
            if compressor.compress(&self.sample).is_none() {
                return false;
            }
        }
        let Some(compressed) = compressor.compress(content) else {
            return false;
        };
        self.made.extend_from_slice(compressed);
        true
    }
}
