//! The row of a cursor: where a subscriber of one of the two feeds is.
//!
//! ```text
//! CursorBytes | name (UTF-8)
//! ```
//! Invariants
//! - as for all rows, [`Row::decode`] accepts exactly what [`Row::encode`] writes;
//! - which feed a cursor is of, and of which database, never changes.
//!
//! Never: decides what is kept for it.

use super::database_row::decode_name;
use super::rows::{Row, ensure};
use super::store::Table;
use crate::error::Reject;
use crate::ids::{ChangeNo, CursorId, DbId, Epoch, Lsn};
use crate::name::DbName;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Which feed a cursor is of, and what of it it has not acknowledged.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum CursorPlace {
    /// Of the changes that the manifest tells.
    Changes {
        /// The feed that its position is of: another one began anew.
        feed: Epoch,
        /// The oldest change that it has not acknowledged.
        position: ChangeNo,
    },
    /// Of the commits of the log.
    Commits {
        /// Everything before it is acknowledged.
        position: Lsn,
        /// The one database whose commits it wants.
        database: Option<DbId>,
    },
}

impl CursorPlace {
    /// The feed's name.
    pub fn feed_name(&self) -> &'static str {
        match self {
            Self::Changes { .. } => "changes",
            Self::Commits { .. } => "commits",
        }
    }
}

/// A position in one of the feeds.
pub trait FeedPosition: Copy + Ord + std::fmt::Debug + Send + 'static {
    /// That of a cursor; `None` when it is of the other feed.
    fn of(place: &CursorPlace) -> Option<Self>;

    /// The place brought to this position, unless it is behind that already.
    #[must_use]
    fn forward(self, place: CursorPlace) -> CursorPlace;
}

impl FeedPosition for ChangeNo {
    fn of(place: &CursorPlace) -> Option<Self> {
        match place {
            CursorPlace::Changes { position, .. } => Some(*position),
            CursorPlace::Commits { .. } => None,
        }
    }

    fn forward(self, place: CursorPlace) -> CursorPlace {
        match place {
            CursorPlace::Changes { feed, position } => CursorPlace::Changes {
                feed,
                position: position.max(self),
            },
            CursorPlace::Commits { .. } => place,
        }
    }
}

impl FeedPosition for Lsn {
    fn of(place: &CursorPlace) -> Option<Self> {
        match place {
            CursorPlace::Commits { position, .. } => Some(*position),
            CursorPlace::Changes { .. } => None,
        }
    }

    fn forward(self, place: CursorPlace) -> CursorPlace {
        match place {
            CursorPlace::Commits { position, database } => CursorPlace::Commits {
                position: position.max(self),
                database,
            },
            CursorPlace::Changes { .. } => place,
        }
    }
}

/// Where a subscriber is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CursorRow {
    /// What it is called.
    pub name: DbName,
    /// The feed, and how far it has come in it.
    pub place: CursorPlace,
    /// When it was made, in microseconds since the Unix epoch.
    pub created_us: u64,
    /// When it was heard of last.
    pub seen_us: u64,
    /// For so long after that it holds its feed back.
    pub lease_us: u64,
}

impl CursorRow {
    /// Whether it holds its feed back at the time `now_us`.
    pub fn is_alive(&self, now_us: u64) -> bool {
        now_us < self.seen_us.saturating_add(self.lease_us)
    }
}

/// The bytes of [`CursorRow`]; the name stands behind, in UTF-8.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct CursorBytes {
    /// The changes feed that the position is of: one that began anew is noticed. 0 of commits.
    pub feed: U64,
    /// The oldest change, or the position of the log, that is not acknowledged.
    pub position: U64,
    /// The one database whose commits are wanted; 0 for all.
    pub database: U64,
    /// When it was made.
    pub created_us: U64,
    /// When it was heard of last.
    pub seen_us: U64,
    /// For so long after that it holds its feed back: a dead one does not, after that.
    pub lease_us: U64,
    /// 1 changes, 2 commits.
    pub kind: u8,
    /// Bytes of the name: a cut name is noticed.
    pub name_bytes: u8,
    /// Zero.
    pub reserved: [u8; 6],
}
const _: () = assert!(size_of::<CursorBytes>() == 56);

/// A cursor as it stands in its row, for where else it is kept.
pub(crate) fn encode_cursor(row: &CursorRow) -> Vec<u8> {
    row.encode()
}

/// The cursor at the start of `bytes`, and what stands behind it.
pub(crate) fn decode_cursor(bytes: &[u8]) -> Result<(CursorRow, &[u8]), Reject> {
    let cut = || Reject::Invalid("the bytes end inside a cursor");
    let (head, _) = CursorBytes::read_from_prefix(bytes).map_err(|_| cut())?;
    let whole = size_of::<CursorBytes>() + usize::from(head.name_bytes);
    let (row, behind) = bytes.split_at_checked(whole).ok_or_else(cut)?;
    Ok((CursorRow::decode(row)?, behind))
}

const CHANGES: u8 = 1;
const COMMITS: u8 = 2;

impl Row for CursorRow {
    type Key = CursorId;
    const TABLE: Table = Table::Cursors;

    fn encode(&self) -> Vec<u8> {
        let name = self.name.as_str().as_bytes();
        let (kind, feed, position, database) = match self.place {
            CursorPlace::Changes { feed, position } => (CHANGES, feed.get(), position.get(), 0),
            CursorPlace::Commits { position, database } => {
                (COMMITS, 0, position.get(), database.map_or(0, DbId::get))
            }
        };
        let bytes = CursorBytes {
            feed: feed.into(),
            position: position.into(),
            database: database.into(),
            created_us: self.created_us.into(),
            seen_us: self.seen_us.into(),
            lease_us: self.lease_us.into(),
            kind,
            // A name has at most 255 bytes.
            name_bytes: u8::try_from(name.len()).unwrap_or(u8::MAX),
            reserved: [0; 6],
        };
        [bytes.as_bytes(), name].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let Ok((bytes, name)) = CursorBytes::read_from_prefix(bytes) else {
            return Err(Reject::Truncated {
                found: bytes.len() as u64,
                needed: size_of::<CursorBytes>() as u64,
            });
        };
        ensure(
            name.len() == usize::from(bytes.name_bytes),
            "length of the name",
        )?;
        ensure(bytes.reserved == [0; 6], "reserved bytes are not zero")?;
        let (feed, position) = (bytes.feed.get(), bytes.position.get());
        let database = bytes.database.get();
        let place = match bytes.kind {
            CHANGES => {
                ensure(database == 0, "a database of a cursor over changes")?;
                CursorPlace::Changes {
                    feed: Epoch::new(feed),
                    position: ChangeNo::new(position),
                }
            }
            COMMITS => {
                ensure(feed == 0, "a changes feed of a cursor over commits")?;
                CursorPlace::Commits {
                    position: Lsn::new(position),
                    database: (database != 0).then(|| DbId::new(database)),
                }
            }
            _ => return Err(Reject::Invalid("kind of cursor")),
        };
        Ok(Self {
            name: decode_name(name)?,
            place,
            created_us: bytes.created_us.get(),
            seen_us: bytes.seen_us.get(),
            lease_us: bytes.lease_us.get(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn row(place: CursorPlace) -> CursorRow {
        CursorRow {
            name: DbName::new("c").unwrap(),
            place,
            created_us: 1,
            seen_us: 2,
            lease_us: 3,
        }
    }

    #[test]
    fn both_kinds_read_back_and_what_neither_writes_is_refused() {
        let changes = row(CursorPlace::Changes {
            feed: Epoch::new(4),
            position: ChangeNo::new(5),
        });
        let commits = |database| {
            row(CursorPlace::Commits {
                position: Lsn::new(6),
                database,
            })
        };
        let commits = [commits(None), commits(Some(DbId::new(7)))];
        for row in [&changes, &commits[0], &commits[1]] {
            assert_eq!(CursorRow::decode(&row.encode()).as_ref(), Ok(row));
        }
        // kind, feed and database, at their places.
        let broken = |row: &CursorRow, at: usize, byte: u8| {
            let mut bytes = row.encode();
            bytes[at] = byte;
            CursorRow::decode(&bytes)
        };
        for (row, at) in [(&changes, 16), (&commits[0], 0)] {
            assert!(matches!(broken(row, at, 1), Err(Reject::Invalid(_))));
        }
        for kind in [0, 3, 255] {
            let refused = broken(&changes, 48, kind);
            assert_eq!(refused, Err(Reject::Invalid("kind of cursor")));
        }
    }

    #[test]
    fn a_place_goes_forward_and_stays_of_its_feed() {
        let place = CursorPlace::Commits {
            position: Lsn::new(6),
            database: Some(DbId::new(7)),
        };
        assert_eq!(Lsn::new(5).forward(place), place);
        assert_eq!(Lsn::of(&Lsn::new(9).forward(place)), Some(Lsn::new(9)));
        assert_eq!(ChangeNo::new(9).forward(place), place);
        assert_eq!(ChangeNo::of(&place), None);
    }
}
