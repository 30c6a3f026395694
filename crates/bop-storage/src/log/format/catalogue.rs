//! Catalogue records as values: what happens to which database.
//!
//! ```text
//! one entry      Catalogue | name
//! several (flag) (Catalogue | name | zeros to a multiple of 8) x n, n >= 2, all with the same parent
//! ```
//! Several entries are one record: all of them happen or none, in their order. More than one may be about
//! the same database.
//!
//! Invariant: the same `check` runs before a record is written and after it was read.

use super::bytes::{all_zero, ensure, padded, split, take};
use super::record::{Catalogue, CatalogueKind};
use crate::error::Reject;
use crate::ids::{DbId, DbKind, Lsn};
use crate::point::{Point, PointBytes};
use zerocopy::little_endian::U64;

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// One catalogue record.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct CatalogueEntry<'a> {
    /// The database it concerns.
    pub database: DbId,
    /// The catalogue record before it.
    pub parent: Lsn,
    /// What it does.
    pub op: CatalogueOp<'a>,
}

/// What a catalogue record does to its database.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum CatalogueOp<'a> {
    /// It comes into being.
    Create {
        /// Its name.
        name: &'a str,
        /// What its pages mean.
        kind: DbKind,
    },
    /// It gets another name.
    Rename {
        /// The new name.
        name: &'a str,
    },
    /// It is dropped; a tombstone stays.
    Drop {
        /// For so long, in microseconds, its pages are kept, so that the drop can be taken back.
        keep_us: u64,
    },
    /// The drop is taken back.
    Undrop {
        /// Its name from now on.
        name: &'a str,
    },
    /// It comes into being as a copy of what another one was.
    Fork {
        /// Its name.
        name: &'a str,
        /// What its pages mean.
        kind: DbKind,
        /// What it starts from.
        point: Point,
    },
    /// A named snapshot of it.
    Snapshot {
        /// The snapshot's name.
        name: &'a str,
        /// What it was then: itself, or a database that it comes from.
        point: Point,
    },
    /// A snapshot of it is dropped.
    SnapshotDrop {
        /// The snapshot's name.
        name: &'a str,
    },
    /// How much of its past is kept.
    Retention {
        /// For how long, in microseconds.
        window_us: u64,
        /// At most so many bytes.
        bytes: u64,
    },
    /// How large it may grow.
    Quota {
        /// In bytes.
        bytes: u64,
    },
    /// All snapshots of another database become its own.
    Adopt {
        /// The other one.
        from: DbId,
    },
}

impl<'a> CatalogueOp<'a> {
    /// The number that stands for it in the format.
    pub const fn kind(&self) -> CatalogueKind {
        match self {
            Self::Create { .. } => CatalogueKind::Create,
            Self::Rename { .. } => CatalogueKind::Rename,
            Self::Drop { .. } => CatalogueKind::Drop,
            Self::Undrop { .. } => CatalogueKind::Undrop,
            Self::Fork { .. } => CatalogueKind::Fork,
            Self::Snapshot { .. } => CatalogueKind::Snapshot,
            Self::SnapshotDrop { .. } => CatalogueKind::SnapshotDrop,
            Self::Retention { .. } => CatalogueKind::Retention,
            Self::Quota { .. } => CatalogueKind::Quota,
            Self::Adopt { .. } => CatalogueKind::Adopt,
        }
    }

    /// The name in it, if it has one.
    pub const fn name(&self) -> Option<&'a str> {
        match self {
            Self::Create { name, .. }
            | Self::Rename { name }
            | Self::Undrop { name }
            | Self::Fork { name, .. }
            | Self::Snapshot { name, .. }
            | Self::SnapshotDrop { name } => Some(name),
            Self::Drop { .. }
            | Self::Retention { .. }
            | Self::Quota { .. }
            | Self::Adopt { .. } => None,
        }
    }

    /// The same with another name, where it has one.
    pub const fn with_name<'b>(&self, name: &'b str) -> CatalogueOp<'b> {
        match *self {
            Self::Create { kind, .. } => CatalogueOp::Create { name, kind },
            Self::Rename { .. } => CatalogueOp::Rename { name },
            Self::Drop { keep_us } => CatalogueOp::Drop { keep_us },
            Self::Undrop { .. } => CatalogueOp::Undrop { name },
            Self::Fork { kind, point, .. } => CatalogueOp::Fork { name, kind, point },
            Self::Snapshot { point, .. } => CatalogueOp::Snapshot { name, point },
            Self::SnapshotDrop { .. } => CatalogueOp::SnapshotDrop { name },
            Self::Retention { window_us, bytes } => CatalogueOp::Retention { window_us, bytes },
            Self::Quota { bytes } => CatalogueOp::Quota { bytes },
            Self::Adopt { from } => CatalogueOp::Adopt { from },
        }
    }

    /// The kind of the database that comes into being, if one does.
    const fn database_kind(&self) -> Option<DbKind> {
        match self {
            Self::Create { kind, .. } | Self::Fork { kind, .. } => Some(*kind),
            _ => None,
        }
    }

    fn arguments(&self) -> [U64; 5] {
        let one = |first| [U64::new(first), U64::ZERO, U64::ZERO, U64::ZERO, U64::ZERO];
        match self {
            Self::Fork { point, .. } | Self::Snapshot { point, .. } => {
                zerocopy::transmute!(PointBytes::from(*point))
            }
            Self::Retention { window_us, bytes } => {
                let mut both = one(*window_us);
                both[1] = U64::new(*bytes);
                both
            }
            Self::Quota { bytes } => one(*bytes),
            Self::Drop { keep_us } => one(*keep_us),
            Self::Adopt { from } => one(from.get()),
            Self::Create { .. }
            | Self::Rename { .. }
            | Self::Undrop { .. }
            | Self::SnapshotDrop { .. } => one(0),
        }
    }

    fn from_parts(fixed: &Catalogue, name: &'a str) -> Result<Self, Reject> {
        let [first, second, ..] = fixed.arguments.map(U64::get);
        let kind = CatalogueKind::from_code(fixed.kind.get())
            .ok_or(Reject::Invalid("unknown kind of catalogue record"))?;
        let database_kind = || {
            let kind = DbKind::from_code(fixed.database_kind.get());
            kind.ok_or(Reject::Invalid("unknown kind of database"))
        };
        let point = || {
            let bytes: PointBytes = zerocopy::transmute!(fixed.arguments);
            bytes.read()
        };
        let op = match kind {
            CatalogueKind::Create => Self::Create {
                name,
                kind: database_kind()?,
            },
            CatalogueKind::Rename => Self::Rename { name },
            CatalogueKind::Drop => Self::Drop { keep_us: first },
            CatalogueKind::Undrop => Self::Undrop { name },
            CatalogueKind::Fork => Self::Fork {
                name,
                kind: database_kind()?,
                point: point()?,
            },
            CatalogueKind::Snapshot => Self::Snapshot {
                name,
                point: point()?,
            },
            CatalogueKind::SnapshotDrop => Self::SnapshotDrop { name },
            CatalogueKind::Retention => Self::Retention {
                window_us: first,
                bytes: second,
            },
            CatalogueKind::Quota => Self::Quota { bytes: first },
            CatalogueKind::Adopt => Self::Adopt {
                from: DbId::new(first),
            },
        };
        let database_kind = op.database_kind().map_or(0, |kind| kind.code());
        ensure(
            op.arguments() == fixed.arguments
                && database_kind == fixed.database_kind.get()
                && (op.name().is_some() || name.is_empty()),
            "a catalogue record with more than its kind has",
        )?;
        Ok(op)
    }

    /// What must hold beside the name.
    fn check(&self) -> Result<(), Reject> {
        match self {
            Self::Fork { point, .. } | Self::Snapshot { point, .. } => point.check(),
            Self::Adopt { from } => ensure(*from != DbId::CATALOGUE, "snapshots of the catalogue"),
            _ => Ok(()),
        }
    }
}

impl<'a> CatalogueEntry<'a> {
    /// What must hold of an entry before it is written and after it was read.
    pub(super) fn check(&self) -> Result<(), Reject> {
        ensure(
            self.database != DbId::CATALOGUE,
            "a catalogue record about the catalogue",
        )?;
        ensure(self.parent < Lsn::LIMIT, "parent beyond the number space")?;
        self.op.check()?;
        let Some(name) = self.op.name() else {
            return Ok(());
        };
        ensure(!name.is_empty(), "a catalogue record without a name")?;
        ensure(name.len() <= NAME_BYTES_MAX, "a name over 255 bytes")
    }

    /// The fixed part; the name stands behind it. Only for an entry that was checked.
    pub(super) fn to_parts(self) -> (Catalogue, &'a str) {
        let name = self.op.name().unwrap_or("");
        let fixed = Catalogue {
            kind: (self.op.kind() as u16).into(),
            // `check` bounds it by 255.
            name_bytes: u16::try_from(name.len()).unwrap_or(u16::MAX).into(),
            database_kind: self.op.database_kind().map_or(0, |kind| kind.code()).into(),
            reserved: [0; 2],
            database: self.database.get().into(),
            parent_lsn: self.parent.get().into(),
            arguments: self.op.arguments(),
        };
        (fixed, name)
    }

    /// Reads what stands between the record header and the padding; `several`: whether the record
    /// says that it has more than one entry.
    pub(super) fn parse_all(mut body: &'a [u8], several: bool) -> Result<Vec<Self>, Reject> {
        let mut entries: Vec<Self> = Vec::with_capacity(1);
        loop {
            let (entry, rest) = Self::parse(body)?;
            let parent = entries.first().map(|first| first.parent);
            ensure(
                parent.is_none_or(|parent| parent == entry.parent),
                "catalogue entries of one record with several parents",
            )?;
            entries.push(entry);
            if !several {
                ensure(rest.is_empty(), "bytes behind a catalogue record")?;
                return Ok(entries);
            }
            let used = body.len() - rest.len();
            let (zeros, rest) = take(rest, padded(used) - used)?;
            ensure(all_zero(zeros), "bytes between catalogue entries")?;
            if rest.is_empty() {
                ensure(1 < entries.len(), "several catalogue entries that are one")?;
                return Ok(entries);
            }
            body = rest;
        }
    }

    /// Reads the entry at the start of `body`, and answers what stands behind it.
    fn parse(body: &'a [u8]) -> Result<(Self, &'a [u8]), Reject> {
        let (fixed, rest) = split::<Catalogue>(body)?;
        ensure(
            fixed.reserved == [0; 2],
            "reserved bytes of a catalogue record",
        )?;
        let (name, rest) = take(rest, usize::from(fixed.name_bytes.get()))?;
        let name = std::str::from_utf8(name).map_err(|_| Reject::Invalid("a name not in UTF-8"))?;
        let entry = Self {
            database: DbId::new(fixed.database.get()),
            parent: Lsn::new(fixed.parent_lsn.get()),
            op: CatalogueOp::from_parts(fixed, name)?,
        };
        entry.check()?;
        Ok((entry, rest))
    }
}
