//! Where a generation finds a range of a database's pages: a chain of sections, as a value and as bytes.
//!
//! ```text
//! page q --> link 0 (newest) --no slot--> link 1 --no slot--> ... --> base: no slot reads as zeros
//!              |slot                        |slot                       |slot
//!              v                            v                           v
//! ```
//! Invariants
//! - at most [`CHAIN_MAX`] links, newest first; a base is the last one;
//! - a link answers for no page that was cut off since it was written, so that an older link answers for
//!   no more pages than a newer one; one that answers for none is not there.
//!
//! Never: compares rows with each other.

use super::rows::{Row, ensure, exactly};
use super::schema::RangeKey;
use super::store::Table;
use crate::error::Reject;
use crate::ids::ChunkId;
use std::sync::Arc;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The most links of a chain: more would have to be asked for one page.
pub const CHAIN_MAX: usize = 16;

/// What a page without a slot in a link's section means.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum LinkKind {
    /// It was never written.
    Base = 1,
    /// It is in an older link; behind the last one, a fork has it from its origin, if anybody has.
    Delta = 2,
}

impl LinkKind {
    fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Base),
            2 => Some(Self::Delta),
            _ => None,
        }
    }
}

/// One section of a chain.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct RangeLink {
    /// The chunk.
    pub chunk: ChunkId,
    /// The section's number inside the chunk.
    pub section: u32,
    /// Pages that it answers for, counted from the start of the range: at least 1.
    pub pages: u32,
    /// Bytes of the section in the file; 0 where a row of version 1 does not say it.
    pub bytes: u64,
    /// What a page without a slot means.
    pub kind: LinkKind,
}

/// Where a generation, and those behind it that have no row of their own, find a range of a database's
/// pages. One without links says that nothing is left of what older rows of the range name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeRow {
    links: Arc<[RangeLink]>,
}

impl RangeRow {
    /// A chain, newest first. What it must be is checked when it is written.
    pub fn new(links: impl Into<Arc<[RangeLink]>>) -> Self {
        Self {
            links: links.into(),
        }
    }

    /// A chain of one link.
    pub fn of(link: RangeLink) -> Self {
        Self::new([link])
    }

    /// Its links, newest first.
    pub fn links(&self) -> &[RangeLink] {
        &self.links
    }

    /// What is left of the chain in a database of which no more than the first `pages` pages of the range
    /// are left.
    #[must_use]
    pub fn cut_to(&self, pages: u32) -> Self {
        if self.links.iter().all(|link| link.pages <= pages) {
            return self.clone();
        }
        let links = self.links.iter().map(|link| RangeLink {
            pages: link.pages.min(pages),
            ..*link
        });
        Self::new(
            links
                .filter(|link| 0 < link.pages)
                .collect::<Arc<[RangeLink]>>(),
        )
    }

    /// The chain with a newer link. A base takes the place of all.
    #[must_use]
    pub fn with(&self, link: RangeLink) -> Self {
        let older = match link.kind {
            LinkKind::Base => &[],
            LinkKind::Delta => self.links(),
        };
        Self::new(
            std::iter::once(link)
                .chain(older.iter().copied())
                .collect::<Arc<[RangeLink]>>(),
        )
    }
}

/// The bytes of [`RangeRow`] in version 1: one base.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct RangeBytes {
    /// The chunk's id.
    pub chunk: U64,
    /// The section's number.
    pub section: U32,
    /// The section's pages: a section exchanged for a shorter one is noticed.
    pub pages: U32,
}
const _: () = assert!(size_of::<RangeBytes>() == 16);

/// The bytes of one [`RangeLink`].
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct LinkBytes {
    /// The chunk's id.
    pub chunk: U64,
    /// [`RangeLink::bytes`].
    pub bytes: U64,
    /// The section's number.
    pub section: U32,
    /// [`RangeLink::pages`]: what was cut off does not come back.
    pub pages: U32,
    /// A [`LinkKind`].
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 7],
}
const _: () = assert!(size_of::<LinkBytes>() == 32);

impl Row for RangeRow {
    type Key = RangeKey;
    const TABLE: Table = Table::Ranges;

    fn encode(&self) -> Vec<u8> {
        let links = self.links.iter().map(|link| LinkBytes {
            chunk: U64::new(link.chunk.get()),
            bytes: U64::new(link.bytes),
            section: U32::new(link.section),
            pages: U32::new(link.pages),
            kind: link.kind as u8,
            reserved: [0; 7],
        });
        links.collect::<Vec<LinkBytes>>().as_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let whole = size_of::<LinkBytes>();
        let stored = <[LinkBytes]>::ref_from_bytes(bytes).map_err(|_| Reject::Truncated {
            found: bytes.len() as u64,
            needed: bytes.len().next_multiple_of(whole) as u64,
        })?;
        ensure(stored.len() <= CHAIN_MAX, "a chain is too long")?;
        let links: Arc<[RangeLink]> = stored.iter().map(link).collect::<Result<_, _>>()?;
        let older = links.iter().skip(1);
        for (newer, older) in links.iter().zip(older) {
            ensure(
                newer.kind == LinkKind::Delta,
                "a base that is not the last link",
            )?;
            ensure(
                older.pages <= newer.pages,
                "an older link answers for more pages than a newer one",
            )?;
        }
        Ok(Self { links })
    }

    fn decode_version((version, bytes): (u16, &[u8])) -> Result<Self, Reject> {
        if version != 1 {
            return Self::decode(bytes);
        }
        let bytes: RangeBytes = exactly(bytes)?;
        Ok(Self::of(RangeLink {
            chunk: ChunkId::new(bytes.chunk.get()),
            section: bytes.section.get(),
            pages: bytes.pages.get(),
            bytes: 0,
            kind: LinkKind::Base,
        }))
    }
}

fn link(bytes: &LinkBytes) -> Result<RangeLink, Reject> {
    ensure(bytes.reserved == [0; 7], "reserved bytes are not zero")?;
    ensure(0 < bytes.pages.get(), "a link that answers for no page")?;
    let kind = LinkKind::from_code(bytes.kind).ok_or(Reject::Invalid("unknown kind of link"))?;
    Ok(RangeLink {
        chunk: ChunkId::new(bytes.chunk.get()),
        section: bytes.section.get(),
        pages: bytes.pages.get(),
        bytes: bytes.bytes.get(),
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(chunk: u64, pages: u32, kind: LinkKind) -> RangeLink {
        RangeLink {
            chunk: ChunkId::new(chunk),
            section: 3,
            pages,
            bytes: 4096 * chunk,
            kind,
        }
    }

    fn reads_back(row: &RangeRow) -> bool {
        RangeRow::decode(&row.encode()).as_ref() == Ok(row)
    }

    #[test]
    fn a_chain_grows_is_cut_and_reads_back() {
        let base = RangeRow::of(link(1, 10, LinkKind::Base));
        let grown = base.with(link(2, 20, LinkKind::Delta));
        assert_eq!(grown.links().len(), 2);
        assert_eq!(grown.links()[0].chunk, ChunkId::new(2));
        let cut = grown.cut_to(4);
        assert!(cut.links().iter().all(|link| link.pages == 4));
        assert_eq!(grown.cut_to(10).links()[1], grown.links()[1]);
        assert_eq!(grown.cut_to(0).links(), []);
        assert_eq!(
            grown.with(link(3, 9, LinkKind::Base)).links(),
            [link(3, 9, LinkKind::Base)]
        );
        for row in [base, grown.clone(), cut, grown.cut_to(0)] {
            assert!(reads_back(&row), "{row:?}");
        }
    }

    #[test]
    fn what_no_chain_is_does_not_read_back() {
        let delta = |chunk, pages| link(chunk, pages, LinkKind::Delta);
        let longest = RangeRow::new(vec![delta(1, 1); CHAIN_MAX]);
        assert!(reads_back(&longest));
        for (row, why) in [
            (longest.with(delta(2, 1)), "too long"),
            (
                RangeRow::of(link(1, 5, LinkKind::Base)).with(delta(2, 4)),
                "more pages below",
            ),
            (RangeRow::of(delta(1, 0)), "no pages"),
            (
                RangeRow::new([link(1, 5, LinkKind::Base), delta(2, 5)]),
                "behind a base",
            ),
        ] {
            assert!(!reads_back(&row), "{why}");
        }
        let mut bytes = RangeRow::of(delta(1, 1)).encode();
        assert!(RangeRow::decode(&bytes[..31]).is_err(), "cut");
        for byte in [24, 25] {
            let before = std::mem::replace(&mut bytes[byte], 9);
            assert!(RangeRow::decode(&bytes).is_err(), "byte {byte}");
            bytes[byte] = before;
        }
    }

    #[test]
    fn a_row_of_version_1_is_one_base() {
        let old = RangeBytes {
            chunk: U64::new(7),
            section: U32::new(2),
            pages: U32::new(9),
        };
        let read = RangeRow::decode_version((1, old.as_bytes())).unwrap();
        let base = RangeLink {
            chunk: ChunkId::new(7),
            section: 2,
            pages: 9,
            bytes: 0,
            kind: LinkKind::Base,
        };
        assert_eq!(read.links(), [base]);
        assert!(reads_back(&read));
    }
}
