//! The checksums of the engine: page hash, rolling checksum, digests of files, and CRC-64/NVMe.
//!
//! Invariants
//! - a [`PageHash`] depends on the page's number and bytes alone, never on who holds it, so a fork,
//!   an export and a replica have the same ones;
//! - the rolling checksum is the xor of all page hashes of a database, so it is updated from an old
//!   and a new hash without reading a page.
//!
//! Never: decides what a mismatch means.

use crate::ids::PageNo;
use std::fmt;
use std::hash::Hasher;
use twox_hash::{xxhash3_64, xxhash3_128};

/// XXH3-64 of a page: its number as four little-endian bytes, then its content.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct PageHash(u64);

impl PageHash {
    /// Hashes a page as it is stored (page 1 of a `sqlite` database in canonical form).
    pub fn of(page: PageNo, content: &[u8]) -> Self {
        let mut hasher = Xxh3::new();
        hasher.update(&page.get().to_le_bytes());
        hasher.update(content);
        Self(hasher.digest())
    }

    /// Wraps a raw hash, as read from disk.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The raw hash, as written to disk.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for PageHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The xor of the hashes of all pages of a database: equal states have equal values.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct RollingChecksum(u64);

impl RollingChecksum {
    /// Of a database without pages.
    pub const EMPTY: Self = Self(0);

    /// Wraps a raw value, as read from disk.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The raw value, as written to disk.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Adds a page, or takes it away again: xor is its own inverse.
    #[must_use]
    pub const fn toggled(self, hash: PageHash) -> Self {
        Self(self.0 ^ hash.0)
    }
}

impl fmt::Display for RollingChecksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// XXH3-64 of several byte ranges, as if they stood behind each other.
#[derive(Clone)]
pub(crate) struct Xxh3(xxhash3_64::RawHasher<&'static [u8; 192]>);

impl Xxh3 {
    /// Of no bytes yet.
    pub(crate) fn new() -> Self {
        Self(xxhash3_64::RawHasher::new(
            xxhash3_64::SecretBuffer::default(),
        ))
    }

    /// Takes in more bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// The hash of all bytes taken in.
    pub(crate) fn digest(&self) -> u64 {
        self.0.finish()
    }
}

impl fmt::Debug for Xxh3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Xxh3({:016x})", self.digest())
    }
}

/// XXH3-128 of several byte ranges, as if they stood behind each other: of files.
#[derive(Clone)]
pub(crate) struct Xxh128(xxhash3_128::RawHasher<&'static [u8; 192]>);

impl Xxh128 {
    /// Of no bytes yet.
    pub(crate) fn new() -> Self {
        Self(xxhash3_128::RawHasher::new(
            xxhash3_128::SecretBuffer::default(),
        ))
    }

    /// Takes in more bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// The hash of all bytes taken in.
    pub(crate) fn digest(&self) -> u128 {
        self.0.finish_128()
    }
}

impl fmt::Debug for Xxh128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Xxh128({:032x})", self.digest())
    }
}

/// XXH3-64 of one byte range.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn xxh3_64(bytes: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(bytes)
}

/// The same, one of many functions.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn xxh3_64_with_seed(bytes: &[u8], seed: u64) -> u64 {
    twox_hash::XxHash3_64::oneshot_with_seed(seed, bytes)
}

/// CRC-64/NVMe over several byte ranges, as if they stood behind each other.
///
/// Used for headers, records and slots. 64 bits because a simulator that tries a billion damaged
/// images would let a 32-bit check pass by chance.
#[derive(Debug)]
pub struct Crc64(crc_fast::Digest);

impl Crc64 {
    /// Of no bytes yet.
    pub fn new() -> Self {
        Self(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme))
    }

    /// Takes in more bytes.
    #[must_use]
    pub fn update(mut self, bytes: &[u8]) -> Self {
        self.0.update(bytes);
        self
    }

    /// The checksum of all bytes taken in.
    pub fn finish(self) -> u64 {
        self.0.finalize()
    }
}

impl Default for Crc64 {
    fn default() -> Self {
        Self::new()
    }
}

/// CRC-64/NVMe of one byte range.
pub fn crc64(bytes: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of CRC-64/NVME in the catalogue of parametrised CRC algorithms.
    #[test]
    fn crc64_is_the_nvme_polynomial() {
        assert_eq!(crc64(b"123456789"), 0xae8b_1486_0a79_9888);
        assert_eq!(
            Crc64::new().update(b"1234").update(b"56789").finish(),
            crc64(b"123456789")
        );
    }

    /// What the reference implementation (xxHash 0.8, by way of its Python module) makes of the first so many bytes of
    /// 0, 7, 14 and so on: shorter than its buffers, as long, longer than a block of its own.
    const XXH3: [(usize, u64, u128); 8] = [
        (0, 0x2d06800538d394c2, 0x99aa06d3014798d86001c324468d497f),
        (16, 0x9da23836adf2be1e, 0xddf6c1254d70f76794eaa17b20756f46),
        (240, 0x4917a75c0ef8eed7, 0x89e3a0a2ee355d25d10beb4e0599e4b3),
        (241, 0x541b19226f0052e8, 0x75f4da43f23cce5a541b19226f0052e8),
        (1024, 0xdc5acf0b043c445b, 0x8bbb9f7af37f2f52dc5acf0b043c445b),
        (1025, 0xe1d9cd946277ae26, 0x20609de0583fad86e1d9cd946277ae26),
        (4100, 0x39e3b140eae53293, 0x3e5828b0eb83676c39e3b140eae53293),
        (9000, 0x03b363c781c50f86, 0x1bdd18fb2f143c2903b363c781c50f86),
    ];

    #[test]
    fn xxh3_is_the_published_one_however_it_is_fed() {
        let bytes: Vec<u8> = (0..9000u32).map(|nth| (nth * 7) as u8).collect();
        for (length, narrow, wide) in XXH3 {
            assert_eq!(xxh3_64(&bytes[..length]), narrow, "{length}");
            for piece in [4, 37, 256, 4096, 9000] {
                let (mut hash, mut digest) = (Xxh3::new(), Xxh128::new());
                for piece in bytes[..length].chunks(piece) {
                    hash.update(piece);
                    digest.update(piece);
                }
                assert_eq!((hash.digest(), digest.digest()), (narrow, wide), "{length}");
            }
        }
    }

    #[test]
    fn page_hash_tells_pages_of_equal_content_apart() {
        let page = [7u8; 512];
        let second = PageNo::new(2).unwrap();
        assert_ne!(
            PageHash::of(PageNo::FIRST, &page),
            PageHash::of(second, &page)
        );
    }

    #[test]
    fn rolling_checksum_forgets_what_is_toggled_twice() {
        let hash = PageHash::of(PageNo::FIRST, b"x");
        assert_eq!(
            RollingChecksum::EMPTY.toggled(hash).toggled(hash),
            RollingChecksum::EMPTY
        );
    }
}
