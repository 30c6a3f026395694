//! What replay delivers, and to whom.

use crate::checksum::{PageHash, RollingChecksum};
use crate::ids::{DbId, Lsn, PageNo, PageSize, SegmentId};
use crate::log::format::record::RecordKind;
use crate::log::format::{CatalogueEntry, ImageForm, LogMember};

/// Takes what replay delivers, in Lsn order.
///
/// Everything in the replayed part of the log is delivered, also what a checkpoint has covered:
/// the sink knows what it has already. Records of a damaged database stop at the damage.
pub trait ReplaySink {
    /// A transaction, whole: all its fragments are in it.
    fn commit(&mut self, commit: ReplayedCommit);

    /// A catalogue record.
    fn catalogue(&mut self, record: ReplayedCatalogue<'_>);

    /// A record of one record log.
    fn log_record(&mut self, record: ReplayedLog<'_>);

    /// A record of `database` is known to have stood at `lsn` and is not delivered: it cannot be read,
    /// or what it rests on is lost. Also told of what a checkpoint has covered.
    fn undelivered(&mut self, database: DbId, lsn: Lsn) {
        let _ = (database, lsn);
    }

    /// A record that is lost made, renamed or dropped `database`. Answers whether no commit of it is
    /// wanted for that.
    fn renamed(&mut self, database: DbId) -> bool {
        let _ = database;
        true
    }
}

/// One transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplayedCommit {
    /// Its position: the version Lsn of its pages.
    pub lsn: Lsn,
    /// The segment that its record (the last one, of several) is in.
    pub segment: SegmentId,
    /// Where the first of its records is. As long as one of its databases needs the commit, the log is
    /// needed from here on: without one of the parts all others are void.
    pub since: Lsn,
    /// When it was appended, in microseconds since the Unix epoch.
    pub time_us: u64,
    /// Its databases. One that is damaged is left out.
    pub members: Vec<ReplayedMember>,
}

/// What a transaction did to one database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplayedMember {
    /// The database.
    pub database: DbId,
    /// Its commit before this one.
    pub parent: Lsn,
    /// The xor of its page hashes after it.
    pub rolling: RollingChecksum,
    /// Its pages after it.
    pub page_count: u32,
    /// The fewest pages that it had since its parent.
    pub page_count_min: u32,
    /// Bytes in a page.
    pub page_size: PageSize,
    /// The pages, ascending.
    pub pages: Vec<ReplayedPage>,
}

/// One page of a transaction, and where its image is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ReplayedPage {
    /// The page.
    pub page: PageNo,
    /// The hash of page number and content.
    pub hash: PageHash,
    /// Where the image is in the log.
    pub image: Lsn,
    /// How it stands there.
    pub form: ImageForm,
}

/// One catalogue record.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ReplayedCatalogue<'a> {
    /// Its position.
    pub lsn: Lsn,
    /// When it was appended, in microseconds since the Unix epoch.
    pub time_us: u64,
    /// The catalogue record before it.
    pub parent: Lsn,
    /// What it says: all of it happens, in this order.
    pub entries: &'a [CatalogueEntry<'a>],
}

/// What a record says of one record log.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ReplayedLog<'a> {
    /// The record's position.
    pub lsn: Lsn,
    /// The segment that it is in.
    pub segment: SegmentId,
    /// When it was appended, in microseconds since the Unix epoch.
    pub time_us: u64,
    /// Append, truncate, purge, vote or relocate.
    pub kind: RecordKind,
    /// The log, its bounds after the record, and what the record carries.
    pub log: &'a LogMember,
}
