//! How keys of the cache are hashed: a few multiplications, since every read does it.
//!
//! Keys are numbers that the store gave out; whoever writes pages chooses none of them but the page, and
//! reads what he wrote. So the hash has no secret, and the same pages meet the same cache in every run.
//!
//! Never: stands on the disk.

use std::hash::{BuildHasher, Hasher};

/// Odd, with as many ones as zeros, and no pattern: digits of pi.
const FACTORS: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345];

/// Makes hashers that all start alike.
#[derive(Copy, Clone, Default, Debug)]
pub(super) struct PlaceHash;

/// One hash.
#[derive(Copy, Clone, Default, Debug)]
pub(super) struct PlaceHasher(u64);

impl BuildHasher for PlaceHash {
    type Hasher = PlaceHasher;

    fn build_hasher(&self) -> PlaceHasher {
        PlaceHasher(FACTORS[1])
    }
}

/// Both halves of the product: each bit of the number is in it.
fn fold(number: u64, factor: u64) -> u64 {
    let product = u128::from(number) * u128::from(factor);
    // The halves, on purpose.
    (product as u64) ^ ((product >> 64) as u64)
}

impl Hasher for PlaceHasher {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = fold(self.0 ^ number, FACTORS[0]).rotate_left(23);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        fold(self.0, FACTORS[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::PageKey;
    use crate::ids::{ChunkId, DbId, Lsn, PageNo};

    /// Each bit of the hash of neighbouring places is set in about half of them, and no two are alike.
    #[test]
    fn neighbouring_places_are_spread() {
        let pages = (1..=4096).filter_map(PageNo::new);
        let places = pages.flat_map(|page| {
            let chunk = PageKey::Chunk {
                chunk: ChunkId::new(3),
                section: page.get() % 4,
                page,
            };
            let log = PageKey::Log {
                database: DbId::new(3),
                version: Lsn::new(4096 * u64::from(page.get())),
                page: PageNo::FIRST,
            };
            [chunk, log]
        });
        let mut hashes: Vec<u64> = places.map(|place| PlaceHash.hash_one(place)).collect();
        for bit in 0..64 {
            let ones = hashes.iter().filter(|hash| *hash >> bit & 1 == 1).count();
            let share = ones as f64 / hashes.len() as f64;
            assert!((0.45..0.55).contains(&share), "bit {bit}: {share}");
        }
        let all = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), all);
    }
}
