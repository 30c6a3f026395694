//! What a salvage saved, and exactly what was lost.

use crate::checksum::RollingChecksum;
use crate::error::Damage;
use crate::ids::{DbId, DbKind, Lsn, StoreId};

/// What a salvage did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SalvageReport {
    /// The damaged store.
    pub store: StoreId,
    /// What was wrong with its manifest, if that was of no use.
    pub manifest: Option<String>,
    /// What was lost of the catalogue: databases made, renamed and dropped.
    pub catalogue: Option<SalvageLoss>,
    /// Its databases, by id.
    pub databases: Vec<SalvagedDatabase>,
}

/// One database.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SalvagedDatabase {
    /// Its id in the damaged store.
    pub id: DbId,
    /// Its name in the new store.
    pub name: String,
    /// That is not its own name, which is lost.
    pub nameless: bool,
    /// Its kind; of one whose name is lost, what it was taken for.
    pub kind: DbKind,
    /// It is in the new store. Else nothing of it could be proved.
    pub saved: bool,
    /// The commit whose state it has in the new store; zero for one that never had any.
    pub head: Lsn,
    /// When that was made, in microseconds since the Unix epoch; 0 where no file tells.
    pub time_us: u64,
    /// Its pages, or the entries of a record log.
    pub size: u64,
    /// The xor of its page hashes; empty for a record log.
    pub rolling_checksum: RollingChecksum,
    /// What was lost, if anything was or may have been.
    pub lost: Option<SalvageLoss>,
}

/// What was lost.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SalvageLoss {
    /// Where the damage is, and what it is.
    pub damage: Damage,
    /// The first commit behind the last one that was saved that is known to have been.
    pub first: Option<Lsn>,
    /// The last one.
    pub last: Option<Lsn>,
    /// How many are known to have been. There may have been more.
    pub commits: u64,
    /// Of a record log of which no state is whole: it has the newest one's entries, hard state and start, but
    /// no entry from this index on.
    pub entries_from: Option<u64>,
}

impl SalvageReport {
    /// Whether nothing is lost.
    pub fn is_whole(&self) -> bool {
        let whole = |one: &SalvagedDatabase| one.saved && one.lost.is_none() && !one.nameless;
        self.catalogue.is_none() && self.databases.iter().all(whole)
    }
}
