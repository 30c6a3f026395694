//! From the image of a page in the log to the page: as it is, decompressed, or patch by patch.
//!
//! ```text
//! image --raw, LZ4--------------------------------------------------> page
//!   | patch: its base is
//!   |   at or past the view's oldest layer -> in the cache, or its image in the log: once more
//!   |   before it                          -> the page of the view's base
//!   '-- patches from the oldest to the newest over the full page ---> page
//! ```
//!
//! Invariants
//! - a base has the version and the hash that the patch names, or the page is damaged;
//! - each patch of a chain rests on an older version with a shorter chain: the walk ends.
//!
//! Never: puts a base into the cache; reads at a place below the log that the view keeps.

use super::reader::{PageReader, packing_of};
use crate::buffer::Buffer;
use crate::cache::PageKey;
use crate::canary::{Canary, is_planted};
use crate::checksum::PageHash;
use crate::error::{Damage, Place, ReadError, Reject};
use crate::ids::{PageNo, PageSize};
use crate::io::{BLOCK_BYTES, Block, blocks_for, zeroed_blocks};
use crate::log::LogSegment;
use crate::log::format::record::Encoding;
use crate::log::format::{Patch, PatchBase, full_page};
use crate::page::PageBytes;
use crate::view::{BasePage, Packing, PageVersion, View};
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Where the bases of a patch may come from.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Through {
    /// The cache, and the device for what it does not have.
    Cache,
    /// The device alone.
    Device,
    /// What is kept of the log, and the device, by way of the window that copies read through.
    Window,
}

/// What a patch rests on, when it was looked for.
enum Rests {
    /// The page as it was.
    On(Buffer),
    /// Another image in the log.
    OnImage(PageVersion),
}

/// An image as it was read.
struct Image {
    blocks: Vec<Block>,
    skip: usize,
    bytes: usize,
}

impl Image {
    fn of(bytes: &[u8]) -> Self {
        let mut blocks = zeroed_blocks(blocks_for(bytes.len()));
        blocks.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        let bytes = bytes.len();
        Self {
            blocks,
            skip: 0,
            bytes,
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.blocks.as_bytes()[self.skip..self.skip + self.bytes]
    }
}

impl PageReader {
    /// The page behind an entry of the index, checked. What cannot be believed is read again from
    /// the device before it is called damage.
    pub(super) fn load_checked(
        &self,
        view: &View,
        page: PageNo,
        at: PageVersion,
        through: Through,
    ) -> Result<PageBytes, ReadError> {
        match self.resolve(view, page, at, through, None) {
            Err(ReadError::Damaged(first)) => {
                let second = self.resolve(view, page, at, Through::Device, None)?;
                tracing::warn!(%page, %first, "a page read wrong once and right the second time");
                Ok(second)
            }
            other => other,
        }
    }

    /// The same for a copy, which mostly goes through the log as it was written, or from a version of a page
    /// to the next: `before` is the one at hand.
    pub(super) fn load_windowed(
        &self,
        view: &View,
        page: PageNo,
        at: PageVersion,
        before: Option<&BasePage>,
    ) -> Result<(PageBytes, Packing), ReadError> {
        if let Some(found) = self.full_in_window(view, page, at) {
            return Ok(found);
        }
        let content = match self.resolve(view, page, at, Through::Window, before) {
            // The window may be older than what stands there now.
            Err(ReadError::Damaged(_)) => self.load_checked(view, page, at, Through::Device),
            other => other,
        };
        Ok((content?, packing_of(at)))
    }

    /// A page whose full image is in the window, made from there: the usual one of a copy. `None`: it is
    /// anywhere else, or not what it must be.
    fn full_in_window(
        &self,
        view: &View,
        page: PageNo,
        at: PageVersion,
    ) -> Option<(PageBytes, Packing)> {
        let oldest = self.unwritten.oldest();
        let is_written = oldest.is_none_or(|oldest| at.image_lsn < oldest);
        if at.form.encoding() == Encoding::Patch || !is_written {
            return None;
        }
        let size = view.head().page_size.unwrap_or(PageSize::DEFAULT);
        let (segment, offset) = self.ring.locate(at.image_lsn)?;
        let page_of = |image: &[u8]| {
            let content = full_page(at.form, image, size).ok()?;
            (PageHash::of(page, &content) == at.hash).then(|| {
                let packing = match at.form.encoding() {
                    Encoding::Lz4 => Packing::Lz4(Buffer::copy_of(image)),
                    Encoding::Raw | Encoding::Patch => packing_of(at),
                };
                (PageBytes::of(content), packing)
            })
        };
        self.copied(at, (&segment, offset), page_of).flatten()
    }

    /// Shows the image of a version to a copy: what is kept of the log, or was read ahead.
    fn copied<T>(
        &self,
        at: PageVersion,
        (segment, offset): (&Arc<LogSegment>, u64),
        show: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        let bytes = at.form.bytes();
        match self.kept.read(at.image_lsn, bytes) {
            Some(kept) => Some(show(&kept)),
            None => self.window.read(segment, offset, bytes, show),
        }
    }

    fn resolve(
        &self,
        view: &View,
        page: PageNo,
        at: PageVersion,
        through: Through,
        before: Option<&BasePage>,
    ) -> Result<PageBytes, ReadError> {
        let size = view.head().page_size.unwrap_or(PageSize::DEFAULT);
        let (mut patches, mut next) = (Vec::new(), at);
        let mut content = loop {
            let image = self.image(next, through)?;
            if next.form.encoding() == Encoding::Raw && patches.is_empty() {
                return self.raw(page, next, &image);
            }
            if next.form.encoding() != Encoding::Patch {
                let full = full_page(next.form, image.bytes(), size);
                let full = full.map_err(|reason| self.damage(next, reason))?;
                break self.checked(page, next, full)?;
            }
            let base = self.base_of(next, &image, size)?;
            patches.push((next, image));
            let at_hand = before.filter(|one| (one.hash, one.version) == (base.hash, base.version));
            if let Some(one) = at_hand {
                break Buffer::copy_of(&one.content);
            }
            match self.rests(view, page, next, &base, through)? {
                Rests::On(content) => break content,
                Rests::OnImage(below) => next = below,
            }
        };
        for (patched, image) in patches.iter().rev() {
            let patch = Patch::parse(image.bytes(), size);
            let patch = patch.map_err(|reason| self.damage(*patched, reason))?;
            patch.apply(&mut content);
        }
        // A full page was checked when it was read.
        if !patches.is_empty() && !is_planted(Canary::PatchBaseUnchecked) {
            content = self.checked(page, at, content)?;
        }
        Ok(PageBytes::of(content))
    }

    /// The usual page of a large commit, copied once.
    fn raw(&self, page: PageNo, at: PageVersion, image: &Image) -> Result<PageBytes, ReadError> {
        if PageHash::of(page, image.bytes()) == at.hash {
            Ok(PageBytes::copy_of(image.bytes()))
        } else {
            Err(self.damage(at, Reject::Checksum).into())
        }
    }

    fn checked(&self, page: PageNo, at: PageVersion, content: Buffer) -> Result<Buffer, ReadError> {
        if PageHash::of(page, &content) == at.hash {
            Ok(content)
        } else {
            Err(self.damage(at, Reject::Checksum).into())
        }
    }

    /// What the patch at `at` names.
    fn base_of(
        &self,
        at: PageVersion,
        image: &Image,
        size: PageSize,
    ) -> Result<PatchBase, ReadError> {
        let parsed = Patch::parse(image.bytes(), size);
        let base = parsed.map_err(|reason| self.damage(at, reason))?.base();
        let below = base.image.map_or(0, |(_, form)| form.depth());
        let older = base.image.is_none_or(|(lsn, _)| lsn < at.image_lsn);
        // How many patches are below this one is not known of one that was replayed: `depth` is
        // the most there can be.
        if older && base.version < at.version && below < at.form.depth() {
            return Ok(base);
        }
        let reason = Reject::Invalid("a patch that rests on no older version of its page");
        Err(self.damage(at, reason).into())
    }

    fn rests(
        &self,
        view: &View,
        page: PageNo,
        at: PageVersion,
        base: &PatchBase,
        through: Through,
    ) -> Result<Rests, ReadError> {
        if base.version < view.oldest_uncheckpointed() {
            let content = self.below_the_log(view, page, base, through)?;
            let missing = || self.damage(at, Reject::Invalid("the base of a patch is not there"));
            return Ok(Rests::On(Buffer::copy_of(&content.ok_or_else(missing)?)));
        }
        let Some((image_lsn, form)) = base.image else {
            let reason = Reject::Invalid("the base of a patch is in no chunk and has no place");
            return Err(self.damage(at, reason).into());
        };
        let key = PageKey::in_log(view.database(), base.version, page);
        if through == Through::Cache
            && let Some(content) = self.cache().get(key)
        {
            return Ok(Rests::On(Buffer::copy_of(&content)));
        }
        Ok(Rests::OnImage(PageVersion {
            version: base.version,
            image_lsn,
            hash: base.hash,
            form,
        }))
    }

    /// The base in the view's chunks, if it is the one that was named.
    fn below_the_log(
        &self,
        view: &View,
        page: PageNo,
        base: &PatchBase,
        through: Through,
    ) -> Result<Option<PageBytes>, ReadError> {
        let named =
            |found| found == (base.hash, base.version) || is_planted(Canary::PatchBaseUnchecked);
        match through {
            Through::Cache if view.base().version(page)?.is_some_and(named) => {
                view.base().read(page)
            }
            Through::Cache => Ok(None),
            Through::Device | Through::Window => {
                let found = view.base().load(page)?;
                let found = found.filter(|found| named((found.hash, found.version)));
                Ok(found.map(|found| found.content))
            }
        }
    }

    fn image(&self, at: PageVersion, through: Through) -> Result<Image, ReadError> {
        // What is not here any more is on the device.
        if let Some(bytes) = self.unwritten.read(at.image_lsn, at.form.bytes()) {
            return Ok(Image::of(&bytes));
        }
        let located = self.ring.locate(at.image_lsn);
        let (segment, offset) = located.ok_or_else(|| self.damage(at, Reject::Missing))?;
        if through == Through::Window
            && let Some(image) = self.copied(at, (&segment, offset), Image::of)
        {
            return Ok(image);
        }
        let block = BLOCK_BYTES as u64;
        let start = offset - offset % block;
        // Fits: the remainder is smaller than a block.
        let skip = (offset % block) as usize;
        let needed = skip + at.form.bytes();
        let mut blocks = zeroed_blocks(blocks_for(needed));
        let found = segment.file.read_at(start, &mut blocks)?;
        if found < needed {
            let reason = Reject::Truncated {
                found: found as u64,
                needed: needed as u64,
            };
            return Err(self.damage(at, reason).into());
        }
        Ok(Image {
            blocks,
            skip,
            bytes: at.form.bytes(),
        })
    }

    fn damage(&self, at: PageVersion, reason: Reject) -> Damage {
        let located = self.ring.locate(at.image_lsn);
        let segment = located.map(|(segment, _)| segment.id).unwrap_or_default();
        let lsn = at.image_lsn;
        Damage::new(Place::Log { segment, lsn }, reason)
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
