//! The handle to a record log.

use super::callbacks::OnDurable;
use super::engine::OpenStore;
use super::record_write::NewEntry;
use crate::error::{ReadError, RecordLogError};
use crate::ids::{DbId, Lsn};
use crate::log::Priority;
use crate::log::format::record::RecordKind;
use crate::log::format::{EntryKind, EntrySpec, entry_hash};
use crate::recordlog::{Change, Item, LogBounds, RecordState};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A record log of an open store, as a Raft group needs one. Cheap to clone; keeps the store open.
///
/// Every change is durable when its call returns, together with those of all other logs and
/// databases of the store that were waiting. [`RecordLog::append_with`] alone returns before.
///
/// # Example
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use bop_storage::{Manager, NewEntry, Options};
///
/// let store = Manager::open(dir.path(), Options::new())?;
/// let log = store.create_record_log("group-1")?;
/// log.set_vote(b"term 1, for node 2")?;
/// log.append(&[NewEntry { index: 1, term: 1, payload: b"set x 1" }])?;
/// assert_eq!(&*log.read(1..2, u64::MAX)?[0].payload, b"set x 1");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RecordLog {
    engine: Arc<OpenStore>,
    state: Arc<RecordState>,
}

/// An entry of a record log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogRecordEntry {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// What it says.
    pub payload: Arc<[u8]>,
}

impl fmt::Debug for RecordLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RecordLog(id {}, {:?})",
            self.id(),
            self.state.look().index.bounds()
        )
    }
}

impl RecordLog {
    pub(super) fn new(engine: Arc<OpenStore>, state: Arc<RecordState>) -> Self {
        Self { engine, state }
    }

    /// Its number in the store.
    pub fn id(&self) -> DbId {
        self.state.id()
    }

    /// Which entries there are.
    ///
    /// # Errors
    /// [`RecordLogError::Dropped`], [`RecordLogError::Closed`].
    pub fn bounds(&self) -> Result<LogBounds, RecordLogError> {
        self.check_live()?;
        Ok(self.state.look().index.bounds())
    }

    /// The term of a live entry; `None` when it is purged or not yet there.
    ///
    /// # Errors
    /// As for [`RecordLog::bounds`].
    pub fn term(&self, index: u64) -> Result<Option<u64>, RecordLogError> {
        self.check_live()?;
        Ok(self.state.look().index.item(index).map(|item| item.term))
    }

    /// Appends entries behind the newest one: all of them or, when it fails, none. A log that
    /// nothing was ever appended to or purged from takes any first index.
    ///
    /// # Errors
    /// [`RecordLogError::Conflict`] with the index that is expected, and
    /// [`RecordLogError::TermDecreases`]: nothing was written. [`RecordLogError::Commit`] with
    /// [`Rejection::LogFull`](crate::Rejection) when what is live of all record logs is half of the log's cap, or the
    /// log has reached its cap and nothing freed any of it in time. A crash during a call whose
    /// entries need several records may leave the first ones.
    pub fn append(&self, entries: &[NewEntry<'_>]) -> Result<(), RecordLogError> {
        let appended = self.engine.append_entries(&self.state, entries);
        self.engine.told(appended)
    }

    /// The same, but returns as soon as the entries have their place in the log and can be read, and
    /// calls `on_durable` once: with `Ok` when they are durable, and all that was appended before;
    /// with an error when they have failed to become so. Then they are gone from what is read, and
    /// so are those that were appended behind them, each of which fails as well. Of a call whose
    /// entries need several records the first ones may be left, as after a crash. As long as the
    /// device has no room for what can be read already, nothing is called: it may be given some.
    ///
    /// What comes later is behind the entries whatever becomes of them: a cut, a purge or a vote is
    /// durable when its call returns, and so are they. After a crash there is what was durable.
    ///
    /// The callbacks of a store are called one after the other, on a thread that does nothing else.
    /// They may use the store. While one does not return the others wait, and when
    /// [`Limits::queue_records_max`](crate::Limits) of them do, further calls of this. The end of
    /// the store waits for them, but when it is a callback that drops the last handle.
    ///
    /// An entry that is larger than [`Limits::fragment_bytes_max`](crate::Limits) is waited for, with
    /// those before it in the call. Without
    /// [`Housekeeping::Background`](crate::Housekeeping) no thread writes what nobody waits for: the
    /// next write of the store does, or [`Manager::sync`](crate::Manager::sync).
    ///
    /// # Errors
    /// As for [`RecordLog::append`]; with [`Rejection::Timeout`](crate::Rejection) when as much waits
    /// for the device, or for callbacks, as the limits allow, and
    /// [`RecordLogError::Thread`]. Nothing was appended, and `on_durable` is dropped uncalled.
    ///
    /// # Example
    /// As openraft's storage does it: what is appended is read at once, and leader or candidate hear
    /// when it counts.
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use bop_storage::{Manager, NewEntry, Options};
    /// use std::sync::mpsc;
    ///
    /// let store = Manager::open(dir.path(), Options::new())?;
    /// let log = store.create_record_log("group-1")?;
    /// let (flushed, wait_for_flush) = mpsc::channel();
    /// for index in 1..=3 {
    ///     let flushed = flushed.clone();
    ///     let entry = NewEntry { index, term: 1, payload: b"set x 1" };
    ///     log.append_with(&[entry], move |durable| {
    ///         // Whoever waits may have gone.
    ///         let _ = flushed.send((index, durable));
    ///     })?;
    ///     // Durable or not, it is there.
    ///     assert_eq!(log.read(index..index + 1, u64::MAX)?[0].index, index);
    /// }
    /// for index in 1..=3 {
    ///     let (told, durable) = wait_for_flush.recv()?;
    ///     durable?;
    ///     assert_eq!(told, index, "in their order");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn append_with(
        &self,
        entries: &[NewEntry<'_>],
        on_durable: impl FnOnce(Result<(), RecordLogError>) + Send + 'static,
    ) -> Result<(), RecordLogError> {
        let on_durable: OnDurable = Box::new(on_durable);
        let appended = self.engine.append_pending(&self.state, entries, on_durable);
        self.engine.told(appended)
    }

    /// Cuts all entries from `from` on. What is not there needs no cut.
    ///
    /// # Errors
    /// [`RecordLogError::OutOfRange`] when `from` is purged, else as for [`RecordLog::append`], but
    /// not for want of room.
    pub fn truncate(&self, from: u64) -> Result<(), RecordLogError> {
        self.change(RecordKind::Truncate, |bounds, _| {
            if from >= bounds.next {
                return Ok(None);
            }
            if from < bounds.first {
                return Err(out_of_range(from, bounds));
            }
            Ok(Some(Change::Truncate { next: from }))
        })
    }

    /// Forgets all entries up to `up_to`, that one included.
    ///
    /// # Errors
    /// [`RecordLogError::OutOfRange`] when it is not there yet (see [`RecordLog::start_after`]),
    /// else as for [`RecordLog::truncate`].
    pub fn purge(&self, up_to: u64) -> Result<(), RecordLogError> {
        self.change(RecordKind::Purge, |bounds, item| {
            if up_to < bounds.first {
                return Ok(None);
            }
            let term = item(up_to).ok_or_else(|| out_of_range(up_to, bounds))?.term;
            let first = up_to + 1;
            Ok(Some(Change::Purge { first, term }))
        })
    }

    /// Forgets all entries and goes on behind `index`, whose entry had `term`: a snapshot from
    /// elsewhere has replaced what is here and more.
    ///
    /// # Errors
    /// [`RecordLogError::OutOfRange`] when there is an entry behind `index`,
    /// [`RecordLogError::TermDecreases`], else as for [`RecordLog::truncate`].
    pub fn start_after(&self, index: u64, term: u64) -> Result<(), RecordLogError> {
        self.change(RecordKind::Purge, |bounds, _| {
            let first = index.checked_add(1).filter(|first| bounds.next <= *first);
            let first = first.ok_or_else(|| out_of_range(index, bounds))?;
            if term < bounds.last_term {
                return Err(RecordLogError::TermDecreases {
                    index,
                    term,
                    before: bounds.last_term,
                });
            }
            let nothing_new = bounds.first == first && bounds.purged_term == term;
            Ok((!nothing_new).then_some(Change::Purge { first, term }))
        })
    }

    /// Replaces the hard state: the vote of a Raft group, or whatever has to be remembered.
    ///
    /// # Errors
    /// [`RecordLogError::VoteTooLarge`], else as for [`RecordLog::append`]; it is not refused
    /// because of what is live.
    pub fn set_vote(&self, vote: &[u8]) -> Result<(), RecordLogError> {
        self.engine.told(self.write_vote(vote))
    }

    fn write_vote(&self, vote: &[u8]) -> Result<(), RecordLogError> {
        let (bytes, limit) = (
            vote.len() as u64,
            self.engine.limits().record_vote_bytes_max.into(),
        );
        if limit < bytes {
            return Err(RecordLogError::VoteTooLarge { bytes, limit });
        }
        let _work = self
            .engine
            .lifecycle()
            .enter_work()
            .ok_or(RecordLogError::Closed)?;
        let _room = self.engine.record_room(bytes)?;
        let writer = self.engine.record_writer(&self.state)?;
        let spec = EntrySpec {
            kind: EntryKind::Vote,
            index: 0,
            term: 0,
            old: Lsn::ZERO,
            hash: entry_hash(self.id(), EntryKind::Vote, 0, 0, vote),
            payload: vote,
        };
        let change = |items: Vec<Item>| match items.first() {
            Some(item) => Change::Vote(*item),
            None => Change::Relocate {
                entries: Vec::new(),
                vote: None,
            },
        };
        let (kind, priority) = (RecordKind::Vote, Priority::Chain);
        self.engine
            .write_specs(&writer, kind, vec![spec], change, priority)
    }

    /// The hard state; `None` before the first.
    ///
    /// # Errors
    /// [`RecordLogError::Damaged`], [`RecordLogError::Read`], and as for [`RecordLog::bounds`].
    pub fn vote(&self) -> Result<Option<Arc<[u8]>>, RecordLogError> {
        let read = self.read_items(|| {
            let vote = self.state.look().index.vote();
            Ok(vote
                .map(|item| (EntryKind::Vote, 0, item))
                .into_iter()
                .collect())
        })?;
        Ok(read.into_iter().next().map(|entry| entry.payload))
    }

    /// The entries of a range, from its start on: as many as `bytes_max` bytes of payload allow, and
    /// at least one. Waits for no writer.
    ///
    /// # Errors
    /// [`RecordLogError::OutOfRange`] when not all of the range is there,
    /// [`RecordLogError::Damaged`], [`RecordLogError::Read`], and as for [`RecordLog::bounds`].
    pub fn read(
        &self,
        range: Range<u64>,
        bytes_max: u64,
    ) -> Result<Vec<LogRecordEntry>, RecordLogError> {
        self.read_items(|| {
            let inner = self.state.look();
            let bounds = inner.index.bounds();
            if range.is_empty() {
                return Ok(Vec::new());
            }
            if range.start < bounds.first || bounds.next <= range.start {
                return Err(out_of_range(range.start, bounds));
            }
            if bounds.next < range.end {
                return Err(out_of_range(bounds.next, bounds));
            }
            let (mut wanted, mut bytes) = (Vec::new(), 0);
            for index in range.clone() {
                let Some(item) = inner.index.item(index) else {
                    break;
                };
                bytes += u64::from(item.bytes);
                if bytes > bytes_max && !wanted.is_empty() {
                    break;
                }
                wanted.push((EntryKind::Entry, index, item));
            }
            Ok(wanted)
        })
    }

    /// Reads what `find` finds in the index. A segment may be released between the two: then what
    /// was in it stands elsewhere, and the index is asked again.
    fn read_items(
        &self,
        find: impl Fn() -> Result<Vec<(EntryKind, u64, Item)>, RecordLogError>,
    ) -> Result<Vec<LogRecordEntry>, RecordLogError> {
        self.engine.told(self.read_found(find))
    }

    fn read_found(
        &self,
        find: impl Fn() -> Result<Vec<(EntryKind, u64, Item)>, RecordLogError>,
    ) -> Result<Vec<LogRecordEntry>, RecordLogError> {
        loop {
            self.check_live()?;
            let wanted = find()?;
            match self.engine.record_reader.read(self.id(), &wanted) {
                Ok(payloads) => {
                    let read = wanted.iter().zip(payloads);
                    let entry =
                        |((_, index, item), payload): (&(_, u64, Item), _)| LogRecordEntry {
                            index: *index,
                            term: item.term,
                            payload,
                        };
                    return Ok(read.map(entry).collect());
                }
                Err(error) => {
                    if find().ok().as_ref() != Some(&wanted) {
                        continue;
                    }
                    return Err(match error {
                        ReadError::Damaged(damage) => RecordLogError::Damaged(damage),
                        other => RecordLogError::Read(other),
                    });
                }
            }
        }
    }

    /// Writes what `plan` makes of the present bounds; nothing, when it says so.
    fn change(
        &self,
        kind: RecordKind,
        plan: impl FnOnce(
            LogBounds,
            &dyn Fn(u64) -> Option<Item>,
        ) -> Result<Option<Change>, RecordLogError>,
    ) -> Result<(), RecordLogError> {
        let written = || {
            let work = self.engine.lifecycle().enter_work();
            let _work = work.ok_or(RecordLogError::Closed)?;
            let writer = self.engine.record_writer(&self.state)?;
            let planned = {
                let inner = self.state.look();
                plan(inner.index.bounds(), &|index| inner.index.item(index))?
            };
            match planned {
                // What frees room must not wait for it.
                Some(change) => {
                    let priority = Priority::Housekeeping;
                    self.engine.write_change(&writer, kind, change, priority)
                }
                None => Ok(()),
            }
        };
        self.engine.told(written())
    }

    fn check_live(&self) -> Result<(), RecordLogError> {
        self.engine
            .check_open()
            .map_err(|_| RecordLogError::Closed)?;
        if self.state.look().is_dropped() {
            return Err(RecordLogError::Dropped);
        }
        Ok(())
    }
}

fn out_of_range(index: u64, bounds: LogBounds) -> RecordLogError {
    RecordLogError::OutOfRange {
        index,
        first: bounds.first,
        next: bounds.next,
    }
}
