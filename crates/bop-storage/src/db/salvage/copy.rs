//! From the damaged store into the new one, page by page and entry by entry.
//!
//! Invariants
//! - what was copied is proved: each page had its hash, all of them add up to the commit's checksum,
//!   and the new database has the same one;
//! - what was copied is durable when the new store is: nothing of that has a name before;
//! - memory is for one transaction of [`TRANSACTION_BYTES`]; the database has no name before the last
//!   of them.
//!
//! Never: reads what it wrote.

use super::super::database::Db;
use super::super::durability::Durability;
use super::super::manager::Manager;
use super::super::reader::PageReader;
use super::super::record_write::NewEntry;
use super::super::verify::damage_of;
use super::super::write::WriteTxn;
use crate::checksum::RollingChecksum;
use crate::error::{Damage, Place, ReadError, Reject, SalvageError};
use crate::ids::{DbId, DbKind, PageNo, PageSize};
use crate::limits::ValidLimits;
use crate::log::format::EntryKind;
use crate::manifest::Policy;
use crate::page::PageBytes;
use crate::recordlog::{LogIndex, RecordReader, Wanted};
use crate::view::View;
use std::time::Duration;

/// Pages of one transaction, and payloads of one append, in bytes, at most.
const TRANSACTION_BYTES: usize = 1 << 20;

/// How a SQLite database begins.
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";

/// Why something was not copied.
pub(super) enum Stopped {
    /// It is not what it should be. Nothing of it is in the new store.
    Damaged(Damage),
    /// The new store does not take it.
    Target(SalvageError),
}

impl<E: Into<SalvageError>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Target(error.into())
    }
}

/// What a database without a kind is taken for: page 1 tells.
pub(super) fn kind_of(view: &View, reader: &PageReader) -> DbKind {
    match reader.load_for_copy(view, PageNo::FIRST) {
        Ok(Some(page)) if page.content.starts_with(SQLITE_MAGIC) => DbKind::Sqlite,
        _ => DbKind::Raw,
    }
}

/// Copies into a new store.
pub(super) struct Copying<'a> {
    store: &'a Manager,
    /// Pages of one transaction, and payloads of one append, in bytes.
    bytes: usize,
}

impl<'a> Copying<'a> {
    pub(super) fn into(store: &'a Manager, limits: &ValidLimits) -> Self {
        let log = usize::try_from(limits.log_bytes_max).unwrap_or(usize::MAX);
        let bytes = TRANSACTION_BYTES.min(log / 16);
        Self { store, bytes }
    }

    /// Copies the state that `view` shows into a new database.
    pub(super) fn pages(
        &self,
        (name, kind): (&str, DbKind),
        view: &View,
        reader: &PageReader,
    ) -> Result<(), Stopped> {
        // Whatever ends this early drops it.
        let unfinished = self.store.begin_database(kind)?;
        if let Some(size) = view.head().page_size {
            let copied = self.write_pages(unfinished.db(), size, view, reader)?;
            if copied != view.head().rolling_checksum {
                let place = Place::Database {
                    database: view.database(),
                };
                let reason =
                    Reject::Invalid("its pages do not add up to the checksum of its commit");
                return Err(Stopped::Damaged(Damage::new(place, reason)));
            }
        }
        unfinished.finish(name)?;
        Ok(())
    }

    /// Sets what the owner of a database had set for it.
    pub(super) fn set_policy(&self, name: &str, policy: &Policy) -> Result<(), SalvageError> {
        let none = Policy::default();
        if policy.retention != none.retention {
            self.store.set_retention(name, policy.retention)?;
        }
        if policy.quota_bytes != none.quota_bytes {
            self.store.set_quota(name, Some(policy.quota_bytes))?;
        }
        Ok(())
    }

    fn write_pages(
        &self,
        db: &Db,
        size: PageSize,
        view: &View,
        reader: &PageReader,
    ) -> Result<RollingChecksum, Stopped> {
        let count = view.head().page_count;
        let per_transaction = (self.bytes / size.bytes()).max(1);
        let mut sum = RollingChecksum::EMPTY;
        let (mut write, mut written) = (begin(db, size)?, 0);
        for page in (1..=count).filter_map(PageNo::new) {
            let place = Place::Page {
                database: view.database(),
                page,
            };
            let read = reader.load_for_copy(view, page);
            let Some(found) = read.map_err(|error| Stopped::Damaged(damage_of(error, place)))?
            else {
                continue;
            };
            sum = sum.toggled(found.hash);
            write.write_page_shared(page, found.content)?;
            written += 1;
            if written == per_transaction {
                write.commit_with(Durability::RELAXED)?;
                (write, written) = (begin(db, size)?, 0);
            }
        }
        if write.page_count() < count {
            // Its last pages were never written: it gets its length by a page behind them, cut off again.
            let behind = count
                .checked_add(1)
                .and_then(PageNo::new)
                .unwrap_or(PageNo::FIRST);
            write.write_page_shared(behind, PageBytes::zeroed(size))?;
            write.truncate(count);
        }
        let head = write.commit_with(Durability::RELAXED)?;
        if head.rolling_checksum() != sum || head.page_count() != count {
            let place = Place::Database { database: db.id() };
            let reason = Reject::Invalid("the copy is not what was copied");
            return Err(Stopped::Damaged(Damage::new(place, reason)));
        }
        Ok(sum)
    }

    /// Copies a record log: its bounds, what is live, its hard state.
    pub(super) fn log(
        &self,
        name: &str,
        (id, index): (DbId, &LogIndex),
        reader: &RecordReader,
    ) -> Result<(), Stopped> {
        self.check_log(id, index, reader)?;
        let log = self.store.create_record_log(name)?;
        let bounds = index.bounds();
        let is_empty = bounds.first == bounds.next;
        if bounds.purged_term != 0 || (is_empty && 0 < bounds.first) {
            log.start_after(bounds.first.saturating_sub(1), bounds.purged_term)?;
        }
        let mut next = bounds.first;
        while next < bounds.next {
            let wanted = self.batch(index, next);
            let payloads = reader.read(id, &wanted);
            let payloads = payloads.map_err(|error| damaged(id, error))?;
            let entries: Vec<NewEntry<'_>> = wanted
                .iter()
                .zip(&payloads)
                .map(|((_, index, item), payload)| NewEntry {
                    index: *index,
                    term: item.term,
                    payload,
                })
                .collect();
            log.append(&entries)?;
            next += entries.len().max(1) as u64;
        }
        if let Some(item) = index.vote() {
            let payloads = reader.read(id, &[(EntryKind::Vote, 0, item)]);
            let payloads = payloads.map_err(|error| damaged(id, error))?;
            for vote in &payloads {
                log.set_vote(vote)?;
            }
        }
        Ok(())
    }

    /// Reads all of it, before there is anything of it in the new store.
    fn check_log(&self, id: DbId, index: &LogIndex, reader: &RecordReader) -> Result<(), Stopped> {
        let bounds = index.bounds();
        let mut next = bounds.first;
        while next < bounds.next {
            let wanted = self.batch(index, next);
            let checked = reader.check(id, &wanted);
            checked.map_err(|error| damaged(id, error))?;
            next += wanted.len().max(1) as u64;
        }
        let vote = index.vote().map(|item| (EntryKind::Vote, 0, item));
        let checked = reader.check(id, vote.as_slice());
        checked.map_err(|error| damaged(id, error))
    }

    /// The live entries from `from` on that are copied together.
    fn batch(&self, index: &LogIndex, from: u64) -> Vec<Wanted> {
        let (mut wanted, mut bytes) = (Vec::new(), 0);
        for (at, item) in (from..index.next()).filter_map(|at| Some((at, index.item(at)?))) {
            bytes += item.bytes as usize;
            if self.bytes < bytes && !wanted.is_empty() {
                break;
            }
            wanted.push((EntryKind::Entry, at, item));
        }
        wanted
    }
}

fn begin(db: &Db, size: PageSize) -> Result<WriteTxn, Stopped> {
    // Nobody else has it.
    let mut write = db.begin_write(Duration::ZERO)?;
    write.set_page_size(size)?;
    Ok(write)
}

fn damaged(database: DbId, error: ReadError) -> Stopped {
    Stopped::Damaged(damage_of(error, Place::Database { database }))
}
