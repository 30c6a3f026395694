//! A point in the past of a database: what a fork starts from and what a snapshot names, with the whole
//! head, so that whoever has the point needs no record and no chunk to know what was there.
//!
//! Invariants
//! - a point is of a database, and one with pages has a page size;
//! - the bytes are the same in the log's records, in the manifest's rows and in the catalogue's
//!   sections.
//!
//! Never: knows whether its pages are still there.

use crate::checksum::RollingChecksum;
use crate::error::Reject;
use crate::ids::{DbId, Lsn, PageSize};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A state that a database had.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Point {
    /// The database whose commit it is.
    pub source: DbId,
    /// The commit; [`Lsn::ZERO`] before its first: of a fork that is the state of its origin.
    pub lsn: Lsn,
    /// The commit's time, in microseconds since the Unix epoch.
    pub time_us: u64,
    /// Bytes in a page; none of a database that never had one.
    pub page_size: Option<PageSize>,
    /// Pages after the commit.
    pub page_count: u32,
    /// The xor of the page hashes after the commit.
    pub rolling_checksum: RollingChecksum,
}

impl Point {
    /// Checks what must hold of a point before it is written and after it was read.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), Reject> {
        let wrong = if self.source == DbId::CATALOGUE {
            "a point of the catalogue"
        } else if self.lsn >= Lsn::LIMIT {
            "a point beyond the number space"
        } else if self.page_count > 0 && self.page_size.is_none() {
            "a point with pages and without a page size"
        } else {
            return Ok(());
        };
        Err(Reject::Invalid(wrong))
    }
}

/// The bytes of a [`Point`]; all zeros are no point.
#[derive(Clone, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PointBytes {
    /// The database whose commit it is.
    pub source: U64,
    /// The commit; 0 before its first.
    pub lsn: U64,
    /// The commit's time.
    pub time_us: U64,
    /// The xor of the page hashes after the commit: proves a copy of the point complete.
    pub rolling_checksum: U64,
    /// Pages after the commit.
    pub page_count: U32,
    /// Bytes in a page; 0 when it never had one.
    pub page_size: U32,
}
const _: () = assert!(size_of::<PointBytes>() == 40);

impl PointBytes {
    /// Where no point is.
    pub const NONE: Self = Self {
        source: U64::ZERO,
        lsn: U64::ZERO,
        time_us: U64::ZERO,
        rolling_checksum: U64::ZERO,
        page_count: U32::ZERO,
        page_size: U32::ZERO,
    };

    /// The bytes of a point that may not be there.
    pub fn of(point: Option<Point>) -> Self {
        point.map_or(Self::NONE, Self::from)
    }

    /// The point behind the bytes.
    ///
    /// # Errors
    /// Why there is none.
    pub fn read(&self) -> Result<Point, Reject> {
        let page_size = match self.page_size.get() {
            0 => None,
            bytes => Some(PageSize::new(bytes).ok_or(Reject::Invalid("page size"))?),
        };
        let point = Point {
            source: DbId::new(self.source.get()),
            lsn: Lsn::new(self.lsn.get()),
            time_us: self.time_us.get(),
            page_size,
            page_count: self.page_count.get(),
            rolling_checksum: RollingChecksum::new(self.rolling_checksum.get()),
        };
        point.check()?;
        Ok(point)
    }

    /// The same where there may be none.
    ///
    /// # Errors
    /// As for [`PointBytes::read`].
    pub fn read_optional(&self) -> Result<Option<Point>, Reject> {
        if *self == Self::NONE {
            return Ok(None);
        }
        self.read().map(Some)
    }
}

impl From<Point> for PointBytes {
    fn from(point: Point) -> Self {
        Self {
            source: U64::new(point.source.get()),
            lsn: U64::new(point.lsn.get()),
            time_us: U64::new(point.time_us),
            rolling_checksum: U64::new(point.rolling_checksum.get()),
            page_count: U32::new(point.page_count),
            page_size: U32::new(point.page_size.map_or(0, PageSize::get)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point() -> Point {
        Point {
            source: DbId::new(3),
            lsn: Lsn::new(0x4000),
            time_us: 5,
            page_size: PageSize::new(4096),
            page_count: 9,
            rolling_checksum: RollingChecksum::new(0xabcd),
        }
    }

    #[test]
    fn a_point_comes_back_from_its_bytes() {
        let empty = Point {
            lsn: Lsn::ZERO,
            page_size: None,
            page_count: 0,
            ..point()
        };
        for point in [point(), empty] {
            assert_eq!(PointBytes::from(point).read(), Ok(point));
            assert_eq!(PointBytes::of(Some(point)).read_optional(), Ok(Some(point)));
        }
        assert_eq!(PointBytes::of(None).read_optional(), Ok(None));
    }

    #[test]
    fn what_is_no_point_is_refused() {
        let impossible = [
            Point {
                source: DbId::CATALOGUE,
                ..point()
            },
            Point {
                lsn: Lsn::LIMIT,
                ..point()
            },
            Point {
                page_size: None,
                ..point()
            },
        ];
        for point in impossible {
            assert!(
                PointBytes::from(point).read_optional().is_err(),
                "{point:?}"
            );
        }
        let mut odd = PointBytes::from(point());
        odd.page_size = U32::new(1000);
        assert_eq!(odd.read(), Err(Reject::Invalid("page size")));
        assert!(PointBytes::NONE.read().is_err());
    }
}
