//! Pages as Zstandard frames (RFC 8878), in chunks: one frame a page, only if it pays.
//!
//! Invariant: what [`Compressor::compress`] makes, [`decompress`] turns back into the same bytes.
//!
//! Never: checks a checksum; allocates by a length that was read.

use std::cell::RefCell;
use std::fmt;
use zstd::bulk;
use zstd::zstd_safe::{CParameter, compress_bound};

/// Compresses pages one by one, with memory that is used again.
pub(crate) struct Compressor {
    context: bulk::Compressor<'static>,
    output: Vec<u8>,
}

impl Compressor {
    /// For inputs of at most `bytes_max` bytes. `None` when there is no memory for it.
    pub(crate) fn new(level: u8, bytes_max: usize) -> Option<Self> {
        let mut context = bulk::Compressor::new(i32::from(level)).ok()?;
        // Each body of a chunk has a checksum, which knows its place, too.
        context
            .set_parameter(CParameter::ChecksumFlag(false))
            .ok()?;
        Some(Self {
            context,
            output: vec![0; compress_bound(bytes_max)],
        })
    }

    /// The content compressed, if that saves an eighth of it.
    pub(crate) fn compress(&mut self, content: &[u8]) -> Option<&[u8]> {
        let output = self.output.as_mut_slice();
        // A failure costs space, no page: as it is, then.
        let bytes = self.context.compress_to_buffer(content, output).ok()?;
        (bytes <= content.len() - content.len() / 8).then(|| &self.output[..bytes])
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compressor")
    }
}

thread_local! {
    /// A hundred kilobytes or so, for threads that have met a frame.
    static CONTEXT: RefCell<Option<bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Fills `page` from a frame; `false` when the frame is not exactly that long a page.
pub(crate) fn decompress(frame: &[u8], page: &mut [u8]) -> bool {
    CONTEXT.with_borrow_mut(|context| {
        if context.is_none() {
            *context = bulk::Decompressor::new().ok();
        }
        let bytes = page.len();
        let written = context
            .as_mut()
            .map(|context| context.decompress_to_buffer(frame, page));
        matches!(written, Some(Ok(written)) if written == bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 4096;

    fn compressible() -> Vec<u8> {
        (0..PAGE).map(|at| (at / 64) as u8).collect()
    }

    #[test]
    fn what_is_compressed_comes_back() {
        for level in [1, 3, 19] {
            let mut compressor = Compressor::new(level, PAGE).unwrap();
            let frame = compressor.compress(&compressible()).unwrap().to_vec();
            assert!(frame.len() < PAGE / 4);
            let mut page = vec![0xff; PAGE];
            assert!(decompress(&frame, &mut page));
            assert_eq!(page, compressible());
        }
    }

    #[test]
    fn what_saves_less_than_an_eighth_is_left_alone() {
        let mut random = crate::testing::SplitMix64::new(1);
        let noise: Vec<u8> = (0..PAGE).map(|_| random.next_u64() as u8).collect();
        assert!(Compressor::new(3, PAGE).unwrap().compress(&noise).is_none());
    }

    /// By RFC 8878, 3.1.1: magic, a descriptor (one segment, two bytes of size), the size less 256, and
    /// one block, the last, that repeats a byte 4096 times. Whatever library this build has reads it.
    #[test]
    fn a_frame_is_read_by_its_specification() {
        let frame = [
            0x28, 0xb5, 0x2f, 0xfd, 0x60, 0x00, 0x0f, 0x03, 0x80, 0x00, 0xab,
        ];
        let mut page = vec![0; PAGE];
        assert!(decompress(&frame, &mut page));
        assert_eq!(page, [0xab; PAGE]);
    }

    #[test]
    fn a_frame_of_another_length_is_no_page() {
        let mut compressor = Compressor::new(3, PAGE).unwrap();
        let frame = compressor.compress(&compressible()).unwrap().to_vec();
        assert!(!decompress(&frame, &mut [0; PAGE - 1]));
        assert!(!decompress(&frame, &mut [0; PAGE + 1]));
        for cut in 0..frame.len() {
            assert!(!decompress(&frame[..cut], &mut [0; PAGE]), "cut at {cut}");
        }
        // The next page is none the worse for it.
        assert!(decompress(&frame, &mut [0; PAGE]));
    }
}
