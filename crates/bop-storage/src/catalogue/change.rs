//! One operation on the catalogue, as the catalogue's log records carry it.
//!
//! Invariant: what [`CatalogueChange::from_record`] answers for the four parts of a record is the
//! change that gave these parts.
//!
//! Never: knows whether the change is possible (that is [`Catalogue`](super::Catalogue)).

use crate::error::Reject;
use crate::ids::{DbId, DbKind};
use crate::log::format::record::CatalogueKind;
use crate::name::DbName;

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
    /// The database is gone; its id stays remembered.
    Drop {
        /// Its id.
        id: DbId,
    },
}

impl CatalogueChange {
    /// The kind of the record.
    pub const fn kind(&self) -> CatalogueKind {
        match self {
            Self::Create { .. } => CatalogueKind::Create,
            Self::Rename { .. } => CatalogueKind::Rename,
            Self::Drop { .. } => CatalogueKind::Drop,
        }
    }

    /// The database that the record names.
    pub const fn database(&self) -> DbId {
        match self {
            Self::Create { id, .. } | Self::Rename { id, .. } | Self::Drop { id } => *id,
        }
    }

    /// The name in the record; empty when it has none.
    pub fn name(&self) -> &str {
        match self {
            Self::Create { name, .. } | Self::Rename { name, .. } => name.as_str(),
            Self::Drop { .. } => "",
        }
    }

    /// The arguments in the record.
    pub fn arguments(&self) -> [u64; 3] {
        match self {
            Self::Create { kind, .. } => [kind.code().into(), 0, 0],
            Self::Rename { .. } | Self::Drop { .. } => [0; 3],
        }
    }

    /// The change behind the parts of a record.
    ///
    /// # Errors
    /// Why no version of ours writes such a record, or that it is of a kind that this version
    /// cannot apply.
    pub fn from_record(
        kind: CatalogueKind,
        database: DbId,
        name: &str,
        arguments: [u64; 3],
    ) -> Result<Self, Reject> {
        let id = database;
        if id == DbId::CATALOGUE {
            return Err(Reject::Invalid("a catalogue record about the catalogue"));
        }
        let parsed = DbName::new(name).map_err(|_| Reject::Invalid("not a database name"));
        let change = match kind {
            CatalogueKind::Create => Self::Create {
                id,
                name: parsed?,
                kind: u16::try_from(arguments[0])
                    .ok()
                    .and_then(DbKind::from_code)
                    .ok_or(Reject::Invalid("a database of an unknown kind"))?,
            },
            CatalogueKind::Rename => Self::Rename { id, name: parsed? },
            CatalogueKind::Drop => Self::Drop { id },
            _ => {
                return Err(Reject::Invalid(
                    "a catalogue record of a kind that this version does not apply",
                ));
            }
        };
        if change.arguments() == arguments && change.name() == name {
            Ok(change)
        } else {
            Err(Reject::Invalid(
                "a catalogue record with parts of another kind",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_comes_back_from_its_record() {
        let (id, name) = (DbId::new(7), DbName::new("n").unwrap());
        for change in [
            CatalogueChange::Create {
                id,
                name: name.clone(),
                kind: DbKind::Raw,
            },
            CatalogueChange::Rename { id, name },
            CatalogueChange::Drop { id },
        ] {
            let read = CatalogueChange::from_record(
                change.kind(),
                change.database(),
                change.name(),
                change.arguments(),
            );
            assert_eq!(read, Ok(change));
        }
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        use CatalogueKind::{Create, Drop, Fork, Rename};
        let one = DbId::new(1);
        for (kind, id, name, arguments) in [
            (Create, DbId::CATALOGUE, "n", [1, 0, 0]),
            (Create, one, "", [1, 0, 0]),
            (Create, one, "a/b", [1, 0, 0]),
            (Create, one, "n", [0, 0, 0]),
            (Create, one, "n", [1 << 16 | 1, 0, 0]),
            (Create, one, "n", [1, 1, 0]),
            (Rename, one, "n", [0, 0, 1]),
            (Drop, one, "n", [0; 3]),
            (Fork, one, "n", [0; 3]),
        ] {
            let read = CatalogueChange::from_record(kind, id, name, arguments);
            assert!(read.is_err(), "{kind:?} {name:?} {arguments:?}");
        }
    }
}
