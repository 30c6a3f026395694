//! The numbers of the engine, one type each, so that no two can be confused.
//!
//! Invariants
//! - an [`Lsn`], a [`DbId`], a [`SegmentId`] and a [`ChunkId`] are never given out twice;
//! - [`DbId::CATALOGUE`] (0) is the catalogue's pseudo-database and never a user's.
//!
//! Never: does I/O, knows a file name.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::num::NonZeroU32;

/// A map by numbers that a store has given out itself, so that nobody can choose them to collide: it has the
/// same order in each run.
pub(crate) type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

macro_rules! id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(u64);

        impl $name {
            /// Wraps a raw number, as read from disk.
            pub const fn new(raw: u64) -> Self {
                Self(raw)
            }

            /// The raw number, as written to disk.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The number after this one; `None` at the end of the number space.
            pub const fn next(self) -> Option<Self> {
                match self.0.checked_add(1) {
                    Some(raw) => Some(Self(raw)),
                    None => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id! {
    /// A logical position in the store's log, in bytes. A record's Lsn is that of its first byte.
    Lsn
}
id! {
    /// A database of a store. Never reused, not even after a drop.
    DbId
}
id! {
    /// One log file. Ids grow by one; the active segment has the largest activated id.
    SegmentId
}
id! {
    /// One life of a segment file's bytes: drawn anew each time the file is stamped, so that
    /// whatever an earlier life left in it fails its checksum.
    Incarnation
}
id! {
    /// One immutable chunk file of the page store.
    ChunkId
}
id! {
    /// One published state of a database's chunks. Grows with each checkpoint of the database.
    Generation
}
id! {
    /// One opening of the store. Each open takes the highest epoch seen plus one.
    Epoch
}

id! {
    /// A change of the manifest, in the order in which they happened. Starts at 1, and again with each
    /// new feed.
    ChangeNo
}

id! {
    /// A subscriber's place in the changes feed. Never reused.
    CursorId
}
id! {
    /// Something to be done in the background. Never reused.
    JobId
}
id! {
    /// A transaction too large for one record: ties its fragments together.
    CommitId
}

impl Lsn {
    /// Before every record; the parent of a database's first commit.
    pub const ZERO: Self = Self(0);

    /// Lsns from here on are refused: far below the end of `u64`, so that no sum overflows.
    pub const LIMIT: Self = Self(1 << 63);

    /// This position moved up by `bytes`; `None` at or past [`Lsn::LIMIT`].
    pub const fn advance(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(raw) if raw < Self::LIMIT.0 => Some(Self(raw)),
            _ => None,
        }
    }

    /// Bytes from `earlier` to this position; `None` when `earlier` is in fact later.
    pub const fn bytes_since(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }
}

impl DbId {
    /// The catalogue's pseudo-database: its records create, rename and drop the others.
    pub const CATALOGUE: Self = Self(0);
}

/// A page of a database, counted from 1 as SQLite does.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PageNo(NonZeroU32);

impl PageNo {
    /// Page 1, which in a `sqlite` database holds the file header.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// `None` for 0, which is no page.
    pub const fn new(raw: u32) -> Option<Self> {
        match NonZeroU32::new(raw) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    /// The page number as SQLite writes it.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for PageNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Bytes in a page of a database: a power of two from 512 to 65,536.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PageSize(u32);

impl PageSize {
    /// SQLite's default.
    pub const DEFAULT: Self = Self(4096);
    /// The smallest page SQLite knows.
    pub const MIN: Self = Self(512);
    /// The largest page SQLite knows.
    pub const MAX: Self = Self(65_536);

    /// `None` unless `bytes` is a power of two from 512 to 65,536.
    pub const fn new(bytes: u32) -> Option<Self> {
        if bytes.is_power_of_two() && bytes >= Self::MIN.0 && bytes <= Self::MAX.0 {
            Some(Self(bytes))
        } else {
            None
        }
    }

    /// The size in bytes.
    pub const fn bytes(self) -> usize {
        self.0 as usize
    }

    /// The size as it stands in our formats.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The page that would hold byte 2^30 of the file, where SQLite puts its lock bytes. It never
    /// exists in a `sqlite` database (<https://sqlite.org/fileformat2.html#lock_byte_page>).
    pub const fn lock_page(self) -> u32 {
        0x4000_0000 / self.0 + 1
    }
}

/// Names a store for good: drawn at creation, part of every checksum that places a byte.
#[derive(Copy, Clone, PartialEq, Eq, Hash)]
pub struct StoreId([u8; 16]);

impl StoreId {
    /// Wraps the raw bytes, as read from disk or drawn from [`Entropy`](crate::runtime::Entropy).
    pub const fn new(raw: [u8; 16]) -> Self {
        Self(raw)
    }

    /// The raw bytes, as written to disk.
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreId({self})")
    }
}

/// What a database holds. Fixed at creation.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum DbKind {
    /// Pages of a SQLite file: page 1 is stored canonical, the lock page never exists.
    Sqlite,
    /// Plain pages: an unwritten page reads as zeros, nothing is interpreted.
    Raw,
    /// A record log, as Raft needs one: entries by index, and no pages.
    Log,
}

impl DbKind {
    /// The number that stands for the kind in our formats.
    pub const fn code(self) -> u16 {
        match self {
            Self::Sqlite => 1,
            Self::Raw => 2,
            Self::Log => 3,
        }
    }

    /// The kind behind a number read from disk; `None` for a number we do not know.
    pub const fn from_code(code: u16) -> Option<Self> {
        match code {
            1 => Some(Self::Sqlite),
            2 => Some(Self::Raw),
            3 => Some(Self::Log),
            _ => None,
        }
    }

    /// The name users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Raw => "raw",
            Self::Log => "log",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lsn_refuses_to_pass_its_limit() {
        let near = Lsn::new(Lsn::LIMIT.get() - 2);
        assert_eq!(near.advance(1), Some(Lsn::new(Lsn::LIMIT.get() - 1)));
        assert_eq!(near.advance(2), None);
        assert_eq!(near.advance(u64::MAX), None);
    }

    #[test]
    fn page_sizes_are_those_of_sqlite() {
        let accepted: Vec<u32> = (0..=131_072)
            .filter(|n| PageSize::new(*n).is_some())
            .collect();
        assert_eq!(
            accepted,
            [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536]
        );
    }

    #[test]
    fn lock_page_holds_byte_one_gib() {
        for size in [512, 4096, 65_536] {
            let page_size = PageSize::new(size).unwrap();
            let start = u64::from(page_size.lock_page() - 1) * u64::from(size);
            assert!(start <= 1 << 30 && (1 << 30) < start + u64::from(size));
        }
    }
}
