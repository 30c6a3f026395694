//! A page as the difference to its version before: byte runs over a base that the patch names.
//!
//! ```text
//! PatchHeader | PatchRun x n | the bytes of the runs, one behind the other
//! ```
//!
//! Invariants
//! - the base is the version that the commit replaced: whatever stands below a layer of the index
//!   (older layers, chunks) has exactly that one, so the patch outlives the log that its base was in;
//! - the image ends with the last run's bytes;
//! - a chain has at most [`PATCH_CHAIN_MAX`] patches, and each says how many are below it.
//!
//! Never: allocates by a length that was read.

use super::bytes::{ensure, index, split};
use super::image::ImageForm;
use super::record::Encoding;
use crate::canary::{Canary, is_planted};
use crate::checksum::{PageHash, crc64};
use crate::error::Reject;
use crate::ids::{Lsn, PageSize};
use crate::page_diff::{PageDiffer, PageRuns};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use crate::page_diff::PatchRun;

/// Patches between a page and the full image that it rests on, itself included: what a read costs.
pub const PATCH_CHAIN_MAX: u8 = 4;

/// What a patch rests on.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PatchHeader {
    /// CRC-64 of the image behind this field: a base is not looked for at a place that was damaged.
    pub checksum: U64,
    /// The commit that wrote the base: another version is noticed.
    pub base_version: U64,
    /// Where the base's image starts in the log; 0 when it was in a chunk.
    pub base_image: U64,
    /// Hash of page number and base: a wrong base is noticed.
    pub base_hash: U64,
    /// Bytes of the base's image; 0 when it was in a chunk.
    pub base_bytes: U32,
    /// An [`Encoding`]: of the base's image; 0 when it was in a chunk.
    pub base_encoding: u8,
    /// Patches from this one down to a full image, from 1 to 4: an endless chain.
    pub depth: u8,
    /// Runs behind the header.
    pub runs: U16,
}
const _: () = assert!(size_of::<PatchHeader>() == 40);

/// The version of a page that a patch changes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct PatchBase {
    /// The commit that wrote it.
    pub version: Lsn,
    /// The hash of page number and content.
    pub hash: PageHash,
    /// Where its image is in the log, and how it stands there; `None` when it is in a chunk.
    pub image: Option<(Lsn, ImageForm)>,
}

impl PatchBase {
    /// How many patches a patch on this base makes; `None` when that is one too many.
    pub fn depth_above(&self) -> Option<u8> {
        let below = self.image.map_or(0, |(_, form)| form.depth());
        (below < PATCH_CHAIN_MAX).then_some(below + 1)
    }
}

/// A patch that was believed.
#[derive(Copy, Clone, Debug)]
pub struct Patch<'a> {
    base: PatchBase,
    runs: PageRuns<'a>,
}

impl<'a> Patch<'a> {
    /// Believes an image, or says why not.
    ///
    /// # Errors
    /// Why it is no patch of a page of `page_size`.
    pub fn parse(image: &'a [u8], page_size: PageSize) -> Result<Self, Reject> {
        let (header, rest) = split::<PatchHeader>(image)?;
        let is_sound = checksum(image) == header.checksum.get();
        if !is_sound && !is_planted(Canary::PatchBaseUnchecked) {
            return Err(Reject::Checksum);
        }
        let base = base_of(header, page_size)?;
        let runs = PageRuns::parse(rest, header.runs.get(), page_size)?;
        Ok(Self { base, runs })
    }

    /// What it changes.
    pub fn base(&self) -> PatchBase {
        self.base
    }

    /// Makes the base the page. `page` has the size that the patch was believed for.
    pub fn apply(&self, page: &mut [u8]) {
        self.runs.apply(page);
    }
}

/// Of an image that is at least a header long.
fn checksum(image: &[u8]) -> u64 {
    crc64(&image[size_of::<U64>()..])
}

fn base_of(header: &PatchHeader, page_size: PageSize) -> Result<PatchBase, Reject> {
    let (version, lsn) = (header.base_version.get(), header.base_image.get());
    ensure(
        version < Lsn::LIMIT.get() && lsn < Lsn::LIMIT.get(),
        "a patch on a base beyond the number space",
    )?;
    let depth = header.depth;
    ensure(
        (1..=PATCH_CHAIN_MAX).contains(&depth),
        "a chain of patches that is too long",
    )?;
    let encoding = Encoding::from_code(header.base_encoding)
        .ok_or(Reject::Invalid("unknown encoding of a base"))?;
    ensure(
        (encoding == Encoding::Patch) == (1 < depth),
        "a chain of patches that is not as long as it says",
    )?;
    let bytes = index(u64::from(header.base_bytes.get()))?;
    let image = if lsn == 0 {
        ensure(
            bytes == 0 && encoding == Encoding::Raw,
            "a base in a chunk with a place in the log",
        )?;
        None
    } else {
        let form = ImageForm::believed(encoding, bytes, depth - 1, page_size)?;
        Some((Lsn::new(lsn), form))
    };
    Ok(PatchBase {
        version: Lsn::new(version),
        hash: PageHash::new(header.base_hash.get()),
        image,
    })
}

/// Makes patches, with memory that is used again.
#[derive(Debug, Default)]
pub(super) struct PatchMaker {
    differ: PageDiffer,
}

impl PatchMaker {
    /// Appends to `out` the patch that makes `content` of `old`, unless it would take more than
    /// `limit` bytes or its chain would be too long; returns its depth.
    pub(super) fn make(
        &mut self,
        base: &PatchBase,
        old: &[u8],
        content: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Option<u8> {
        let depth = base.depth_above()?;
        let fixed = size_of::<PatchHeader>();
        let limit = limit.checked_sub(fixed)?;
        let runs = self.differ.compare(old, content, limit)?;
        let place = base.image;
        let header = PatchHeader {
            checksum: U64::ZERO,
            base_version: base.version.get().into(),
            base_image: place.map_or(0, |(lsn, _)| lsn.get()).into(),
            base_hash: base.hash.get().into(),
            base_bytes: place.map_or(U32::ZERO, |(_, form)| form.bytes_u32().into()),
            base_encoding: place.map_or(Encoding::Raw, |(_, form)| form.encoding()) as u8,
            depth,
            runs: runs.into(),
        };
        let start = out.len();
        out.extend_from_slice(header.as_bytes());
        self.differ.append(content, out);
        let checksum = U64::new(checksum(&out[start..]));
        out[start..start + size_of::<U64>()].copy_from_slice(checksum.as_bytes());
        Some(depth)
    }
}

#[cfg(test)]
#[path = "patch_tests.rs"]
mod tests;
