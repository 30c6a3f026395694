//! The three checksums of the engine: page hash, rolling checksum, and CRC-64/NVMe.
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
use xxhash_rust::xxh3::Xxh3;

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
