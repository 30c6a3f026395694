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

    /// Values of the reference implementation, `XXH3_64bits` of xxHash 0.8.
    #[test]
    fn xxh3_is_the_published_one_however_it_is_fed() {
        assert_eq!(Xxh3::new().digest(), 0x2d06_8005_38d3_94c2);
        let bytes: Vec<u8> = (0..9000u32).map(|nth| (nth * 7) as u8).collect();
        for length in [1, 16, 100, 200, 240, 241, 1024, 9000] {
            let mut pieces = Xxh3::new();
            bytes[..length]
                .chunks(37)
                .for_each(|piece| pieces.update(piece));
            assert_eq!(pieces.digest(), xxh3_64(&bytes[..length]), "{length}");
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
