//! One operation on the catalogue, as the catalogue's log records carry it.
//!
//! Invariant: what [`CatalogueChange::from_op`] answers for the [`CatalogueChange::op`] of a change
//! is that change.
//!
//! Never: knows whether the change is possible (that is [`Catalogue`](super::Catalogue)).

use crate::error::Reject;
use crate::ids::{DbId, DbKind};
use crate::log::format::CatalogueOp;
use crate::manifest::Retention;
use crate::name::DbName;
use crate::point::Point;

/// An operation that was checked against the catalogue, or read from the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CatalogueChange {
    /// A new database.
    Create {
        /// Its id.
        id: DbId,
        /// Its name.
        name: DbName,
        /// Its kind.
        kind: DbKind,
    },
    /// A new name for a database.
    Rename {
        /// Its id.
        id: DbId,
        /// Its new name.
        name: DbName,
    },
    /// The database is gone from its users; its id stays remembered.
    Drop {
        /// Its id.
        id: DbId,
        /// For so long, in microseconds, its pages are kept: meanwhile the drop can be taken back. Zero
        /// for a database that was dropped before: its pages go now.
        keep_us: u64,
    },
    /// A drop is taken back.
    Undrop {
        /// Its id.
        id: DbId,
        /// Its name from now on.
        name: DbName,
    },
    /// How much of its past is kept.
    Retention {
        /// Its id.
        id: DbId,
        /// From now on.
        retention: Retention,
    },
    /// How large it may grow.
    Quota {
        /// Its id.
        id: DbId,
        /// In bytes; zero: as large as it likes.
        bytes: u64,
    },
    /// A new database that starts as what another one was.
    Fork {
        /// Its id.
        id: DbId,
        /// Its name.
        name: DbName,
        /// Its kind, that of its source.
        kind: DbKind,
        /// What it starts from.
        origin: Point,
    },
    /// A name for what a database was.
    Snapshot {
        /// The id of its owner.
        id: DbId,
        /// The snapshot's name.
        name: DbName,
        /// What is kept: a commit of the owner, or of a database that it comes from.
        point: Point,
    },
    /// A snapshot is given up.
    SnapshotDrop {
        /// The id of its owner.
        id: DbId,
        /// The snapshot's name.
        name: DbName,
    },
    /// All snapshots of another database become its own.
    Adopt {
        /// Its id.
        id: DbId,
        /// The other one.
        from: DbId,
    },
}

impl CatalogueChange {
    /// The database that it is about.
    pub const fn database(&self) -> DbId {
        match self {
            Self::Create { id, .. }
            | Self::Rename { id, .. }
            | Self::Drop { id, .. }
            | Self::Undrop { id, .. }
            | Self::Retention { id, .. }
            | Self::Quota { id, .. }
            | Self::Fork { id, .. }
            | Self::Snapshot { id, .. }
            | Self::SnapshotDrop { id, .. }
            | Self::Adopt { id, .. } => *id,
        }
    }

    /// The name in it, if it has one.
    pub fn name(&self) -> Option<&DbName> {
        match self {
            Self::Create { name, .. }
            | Self::Rename { name, .. }
            | Self::Undrop { name, .. }
            | Self::Fork { name, .. }
            | Self::Snapshot { name, .. }
            | Self::SnapshotDrop { name, .. } => Some(name),
            Self::Drop { .. }
            | Self::Retention { .. }
            | Self::Quota { .. }
            | Self::Adopt { .. } => None,
        }
    }

    /// What its record says.
    pub fn op(&self) -> CatalogueOp<'_> {
        match self {
            Self::Create { name, kind, .. } => CatalogueOp::Create {
                name: name.as_str(),
                kind: *kind,
            },
            Self::Rename { name, .. } => CatalogueOp::Rename {
                name: name.as_str(),
            },
            Self::Drop { keep_us, .. } => CatalogueOp::Drop { keep_us: *keep_us },
            Self::Undrop { name, .. } => CatalogueOp::Undrop {
                name: name.as_str(),
            },
            Self::Retention { retention, .. } => CatalogueOp::Retention {
                window_us: retention.window_us,
                bytes: retention.bytes,
            },
            Self::Quota { bytes, .. } => CatalogueOp::Quota { bytes: *bytes },
            Self::Fork {
                name, kind, origin, ..
            } => CatalogueOp::Fork {
                name: name.as_str(),
                kind: *kind,
                point: *origin,
            },
            Self::Snapshot { name, point, .. } => CatalogueOp::Snapshot {
                name: name.as_str(),
                point: *point,
            },
            Self::SnapshotDrop { name, .. } => CatalogueOp::SnapshotDrop {
                name: name.as_str(),
            },
            Self::Adopt { from, .. } => CatalogueOp::Adopt { from: *from },
        }
    }

    /// The change behind what a record says of a database.
    ///
    /// # Errors
    /// That no version of ours writes such a name.
    pub fn from_op(id: DbId, op: &CatalogueOp<'_>) -> Result<Self, Reject> {
        let parse = |name| DbName::new(name).map_err(|_| Reject::Invalid("not a database name"));
        Ok(match *op {
            CatalogueOp::Create { name, kind } => Self::Create {
                id,
                name: parse(name)?,
                kind,
            },
            CatalogueOp::Rename { name } => Self::Rename {
                id,
                name: parse(name)?,
            },
            CatalogueOp::Drop { keep_us } => Self::Drop { id, keep_us },
            CatalogueOp::Undrop { name } => Self::Undrop {
                id,
                name: parse(name)?,
            },
            CatalogueOp::Retention { window_us, bytes } => Self::Retention {
                id,
                retention: Retention { window_us, bytes },
            },
            CatalogueOp::Quota { bytes } => Self::Quota { id, bytes },
            CatalogueOp::Fork { name, kind, point } => Self::Fork {
                id,
                name: parse(name)?,
                kind,
                origin: point,
            },
            CatalogueOp::Snapshot { name, point } => Self::Snapshot {
                id,
                name: parse(name)?,
                point,
            },
            CatalogueOp::SnapshotDrop { name } => Self::SnapshotDrop {
                id,
                name: parse(name)?,
            },
            CatalogueOp::Adopt { from } => Self::Adopt { id, from },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::RollingChecksum;
    use crate::ids::{Lsn, PageSize};

    #[test]
    fn a_change_comes_back_from_its_record() {
        let (id, name) = (DbId::new(7), DbName::new("n").unwrap());
        let point = Point {
            source: DbId::new(3),
            lsn: Lsn::new(4),
            time_us: 5,
            page_size: PageSize::new(4096),
            page_count: 6,
            rolling_checksum: RollingChecksum::new(7),
        };
        for change in [
            CatalogueChange::Create {
                id,
                name: name.clone(),
                kind: DbKind::Raw,
            },
            CatalogueChange::Rename {
                id,
                name: name.clone(),
            },
            CatalogueChange::Drop { id, keep_us: 0 },
            CatalogueChange::Drop { id, keep_us: 9 },
            CatalogueChange::Undrop {
                id,
                name: name.clone(),
            },
            CatalogueChange::Fork {
                id,
                name: name.clone(),
                kind: DbKind::Sqlite,
                origin: point,
            },
            CatalogueChange::Snapshot {
                id,
                name: name.clone(),
                point,
            },
            CatalogueChange::SnapshotDrop { id, name },
            CatalogueChange::Adopt {
                id,
                from: DbId::new(3),
            },
            CatalogueChange::Retention {
                id,
                retention: Retention {
                    window_us: 5,
                    bytes: 6,
                },
            },
            CatalogueChange::Quota { id, bytes: 4096 },
        ] {
            assert_eq!(
                CatalogueChange::from_op(change.database(), &change.op()),
                Ok(change.clone())
            );
        }
    }

    #[test]
    fn a_name_that_nobody_can_give_is_refused() {
        let slash = CatalogueOp::Rename { name: "a/b" };
        let at = CatalogueOp::SnapshotDrop { name: "a@b" };
        for op in [slash, at] {
            assert!(CatalogueChange::from_op(DbId::new(1), &op).is_err());
        }
    }
}
