//! Pages as LZ4 blocks, in log and chunks alike: without a length in front, only if it pays.
//!
//! ```text
//! runs of zeros left out -> an eighth or less is left, or what is left is like noise -> that, if it pays
//!                           else                                                    -> compressed
//! ```
//! Invariant: what [`Compressor::compress`] makes, [`decompress`] turns back into the same bytes.
//!
//! Never: checks a checksum; allocates by a length that was read.

mod zero_runs;

use crate::page_diff::word_of;
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use std::fmt;

/// Compresses pages one by one, with memory that is used again.
pub(crate) struct Compressor {
    table: CompressTable,
    output: Vec<u8>,
}

impl Compressor {
    /// For inputs of at most `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            table: CompressTable::default(),
            output: vec![0; get_maximum_output_size(bytes_max)],
        }
    }

    /// The content compressed, if that saves an eighth of it.
    pub(crate) fn compress(&mut self, content: &[u8]) -> Option<&[u8]> {
        // No room in `output` cannot be, as long as the caller keeps to its bound. As it is, then.
        if self.output.len() < zero_runs::bytes_max(content.len()) {
            return None;
        }
        let mut bytes = zero_runs::encode(content, &mut self.output);
        let is_little = bytes <= content.len() / 8;
        if !is_little && !is_like_noise(&self.output[..bytes]) {
            let compressed = compress_into_with_table(content, &mut self.output, &mut self.table);
            bytes = compressed.ok()?;
        }
        (bytes <= content.len() - content.len() / 8).then(|| &self.output[..bytes])
    }
}

/// Whether nothing would be found in these bytes: neither some that are more frequent, nor some that come again.
fn is_like_noise(bytes: &[u8]) -> bool {
    is_even(bytes) && !comes_again(bytes)
}

/// Whether hardly a byte is more frequent than others. A sample of 256 has 162 different ones where all are random, 158
/// where 4 bytes of 104 are always the same, give or take 5; text has fewer than 90.
fn is_even(bytes: &[u8]) -> bool {
    const PIECES: usize = 32;
    const PIECE_BYTES: usize = 8;
    const DIFFERENT_MIN: usize = 140;
    // Pieces, since a byte alone might be the same of each row, and an odd number of bytes apart, since rows are even.
    let apart = (bytes.len() / PIECES).max(PIECE_BYTES) | 1;
    let mut seen = [false; 256];
    for piece in bytes.chunks_exact(apart).take(PIECES) {
        piece[..PIECE_BYTES]
            .iter()
            .for_each(|byte| seen[usize::from(*byte)] = true);
    }
    DIFFERENT_MIN <= seen.iter().filter(|seen| **seen).count()
}

/// Whether some of these bytes stood there before, as far as a sample tells: keys, hashes or values that are random, but
/// the same in many rows. The sample is every eight bytes that begin with one of eight values, so that it has the same of
/// what is the same, wherever that stands.
fn comes_again(bytes: &[u8]) -> bool {
    const LOW_BITS: u64 = 0x1f1f_1f1f_1f1f_1f1f;
    const WANTED: u64 = 0x0505_0505_0505_0505;
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut seen = [0; 256];
    let (mut sampled, mut again) = (0usize, 0usize);
    for (nth, word) in bytes.chunks_exact(8).enumerate() {
        let differs = (word_of(word) ^ WANTED) & LOW_BITS;
        // The highest bit of each byte that is one of them.
        let mut begins = !(differs + 0x7f7f_7f7f_7f7f_7f7f) & 0x8080_8080_8080_8080;
        while begins != 0 {
            let at = nth * 8 + begins.trailing_zeros() as usize / 8;
            begins &= begins - 1;
            let Some(found) = bytes.get(at..at + 8) else {
                break;
            };
            let hash = word_of(found).wrapping_mul(ODD);
            let (slot, tag) = ((hash >> 56) as usize, (hash >> 22) as u32);
            if seen[slot] == tag {
                again += 1;
            }
            seen[slot] = tag;
            sampled += 1;
        }
    }
    // Of noise nothing does; where LZ4 saves an eighth, one in fourteen does, give or take what a sample may miss.
    sampled <= 32 * again
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compressor")
    }
}

/// Fills `page` from a block; `false` when the block is not exactly that long a page.
pub(crate) fn decompress(block: &[u8], page: &mut [u8]) -> bool {
    lz4_flex::block::decompress_into(block, page).is_ok_and(|written| written == page.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SplitMix64;

    /// A half full page of rows of so many bytes.
    fn page(row: impl Fn(u64) -> Vec<u8>) -> Vec<u8> {
        let mut page = vec![0; 2048];
        for nth in 0.. {
            page.extend(row(nth));
            if 4096 <= page.len() {
                break;
            }
        }
        page.truncate(4096);
        page
    }

    fn random(seed: u64, bytes: usize) -> Vec<u8> {
        let mut random = vec![0; bytes];
        SplitMix64::new(seed).fill(&mut random);
        random
    }

    /// Bytes that are left of it, and whether its zeros alone were left out.
    fn compressed(page: &[u8]) -> Option<(usize, bool)> {
        let mut compressor = Compressor::new(page.len());
        let block = compressor.compress(page)?.to_vec();
        let mut again = vec![1; page.len()];
        assert!(decompress(&block, &mut again));
        assert_eq!(again, page);
        let mut zeros_out = vec![0; zero_runs::bytes_max(page.len())];
        let bytes = zero_runs::encode(page, &mut zeros_out);
        Some((block.len(), block == zeros_out[..bytes]))
    }

    #[test]
    fn of_rows_that_are_random_the_zeros_alone_are_left_out_and_of_others_what_there_is() {
        let with_header = |seed: u64| [vec![4, 0x81, 0x40, 0], random(seed, 100)].concat();
        for seed in 0..200 {
            let page = page(|nth| with_header(seed * 100 + nth));
            let (bytes, zeros_alone) = compressed(&page).unwrap();
            assert!(zeros_alone && bytes < 2100, "{seed}: {bytes}");
        }
        let text =
            page(|nth| format!("row {nth} of the table, by somebody in Berlin").into_bytes());
        let (bytes, zeros_alone) = compressed(&text).unwrap();
        assert!(!zeros_alone && bytes < 900, "{bytes}");
    }

    /// A page full of rows of so many bytes.
    fn full_page(row: impl Fn(u64) -> Vec<u8>) -> Vec<u8> {
        let mut page: Vec<u8> = (0..4096).flat_map(row).take(4096).collect();
        page[..64].fill(0);
        page
    }

    #[test]
    fn what_is_random_and_stands_there_again_is_found() {
        for seed in 0..50 {
            let one_of_20 = |nth: u64, bytes| random(seed * 1000 + nth % 20, bytes);
            let key = |nth: u64| random(seed * 5000 + 100 + nth, 16);
            let tables = [
                // A key of its own and two of others; a link between two tables, sorted; a hash; a value.
                full_page(|nth| {
                    [key(nth), one_of_20(nth * 7, 16), one_of_20(nth * 3, 16)].concat()
                }),
                full_page(|nth| [one_of_20(nth / 6, 16), key(nth)].concat()),
                full_page(|nth| one_of_20(nth * 13, 32)),
                full_page(|_| one_of_20(0, 300)),
            ];
            for (nth, page) in tables.iter().enumerate() {
                let plain = lz4_flex::block::compress(page).len();
                let found = compressed(page).map(|(bytes, _)| bytes);
                assert!(plain < 3000, "{nth}: {plain}");
                assert_eq!(found, Some(plain), "{seed}, {nth}");
            }
        }
    }

    #[test]
    fn what_is_longer_than_it_was_made_for_stays_as_it_is() {
        assert_eq!(Compressor::new(512).compress(&[0; 4096]), None);
    }

    #[test]
    fn numbers_of_eight_bytes_are_not_taken_for_noise() {
        let numbers = page(|nth| (nth * 0x9e37).to_le_bytes().to_vec());
        let (bytes, zeros_alone) = compressed(&numbers).unwrap();
        assert!(!zeros_alone && bytes < 1800, "{bytes}");
    }

    #[test]
    fn a_page_of_noise_stays_as_it_is_and_one_of_zeros_is_nearly_nothing() {
        assert_eq!(compressed(&random(1, 4096)), None);
        assert_eq!(
            compressed(&[0; 65536]).map(|(bytes, _)| bytes < 300),
            Some(true)
        );
    }

    #[test]
    fn a_page_with_one_row_is_that_row() {
        let mut row = vec![0; 4096];
        row[4000..].copy_from_slice(&random(2, 96));
        assert_eq!(compressed(&row).map(|(bytes, _)| bytes < 130), Some(true));
    }
}
