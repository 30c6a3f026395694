//! Writing to a record log: from a checked change to a durable record and a newer index.
//!
//! ```text
//! room in the log -> the log's writer -> check -> record -> durable -> index -> callback, answer
//! ```
//! Invariants
//! - room is waited for before the writer is taken: what makes room may need the writer;
//! - a call that is cut into several records is undone as a whole when one of them is refused;
//! - after an outcome that is not known, the log takes no writes until the store is opened again.
//!
//! Never: changes an index but by publishing.

use super::engine::Engine;
use crate::error::{CommitError, RecordLogError, Rejection};
use crate::ids::{DbId, Lsn};
use crate::log::format::record::RecordKind;
use crate::log::format::{
    EncodedRecord, EntryKind, EntrySpec, LogSpec, encode_logs, entry_hash, logs_record_bytes,
};
use crate::log::{Placed, Priority, Publish, Remains};
use crate::recordlog::{
    Change, Item, LogIndex, NoRoom, RecordLogs, RecordReader, RecordState, RecordWriter, UnderWay,
    WriterRefusal,
};
use crate::runtime::after;
use crate::runtime::sync::now;
use std::sync::Arc;

/// A new entry of a record log.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct NewEntry<'a> {
    /// Its index: one more than the entry's before.
    pub index: u64,
    /// Its term, not below that of the entry before.
    pub term: u64,
    /// What it says.
    pub payload: &'a [u8],
}

/// What one record does to one log; the writer is held until that is published or has failed.
pub(super) struct Part {
    pub(super) writer: Arc<RecordWriter>,
    pub(super) change: Change,
}

/// Makes a durable record visible.
pub(super) struct PublishRecords {
    pub(super) logs: Arc<RecordLogs>,
    pub(super) reader: RecordReader,
    pub(super) parts: Vec<Part>,
    /// Payloads that are kept in memory, with where they are in the record.
    pub(super) recent: Vec<(u32, Arc<[u8]>)>,
}

impl Publish for PublishRecords {
    fn publish(self: Box<Self>, at: Placed) -> Remains {
        self.reader.recent().insert_all(at.lsn, &self.recent);
        for part in &self.parts {
            self.logs.publish(part.writer.state(), &part.change, at);
        }
        None
    }
}

impl Engine {
    /// Appends entries; see [`RecordLog::append`](super::record_log::RecordLog::append).
    pub(super) fn append_entries(
        &self,
        state: &Arc<RecordState>,
        entries: &[NewEntry<'_>],
    ) -> Result<(), RecordLogError> {
        self.appended(state, entries, |writer, pieces| {
            self.append_pieces(writer, pieces)
        })
    }

    /// Checks new entries, waits for room and writer, and has `append` write them, cut into records.
    pub(super) fn appended<'p>(
        &self,
        state: &Arc<RecordState>,
        entries: &[NewEntry<'p>],
        append: impl FnOnce(Arc<RecordWriter>, &[&[NewEntry<'p>]]) -> Result<(), RecordLogError>,
    ) -> Result<(), RecordLogError> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(());
        };
        let _work = self
            .lifecycle()
            .enter_work()
            .ok_or(RecordLogError::Closed)?;
        let followed = entries
            .windows(2)
            .find(|pair| pair[1].index != pair[0].index + 1);
        if let Some([one, other]) = followed {
            return Err(RecordLogError::Conflict {
                expected: one.index + 1,
                found: other.index,
            });
        }
        if last.index == u64::MAX {
            return Err(Rejection::Invalid("the last index is kept free").into());
        }
        let payload_bytes = self.check_payloads(entries)?;
        self.check_live(entries.len(), payload_bytes)?;
        let bytes = LogIndex::append_bytes(entries.len(), payload_bytes);
        let _room = self.record_room(bytes)?;
        let writer = self.record_writer(state)?;
        let terms = entries.iter().map(|entry| entry.term);
        state.look().index.check_append(first.index, terms)?;
        append(writer, &self.cut_entries(entries))
    }

    /// Appends one record after the other and waits for each.
    pub(super) fn append_pieces(
        &self,
        writer: Arc<RecordWriter>,
        pieces: &[&[NewEntry<'_>]],
    ) -> Result<(), RecordLogError> {
        for (nth, piece) in pieces.iter().enumerate() {
            let first = piece.first().map_or(0, |entry| entry.index);
            let specs = entry_specs(writer.state().id(), piece);
            let change = |items| Change::Append { first, items };
            let (kind, priority) = (RecordKind::Append, Priority::Chain);
            if let Err(error) = self.write_specs(&writer, kind, specs, change, priority) {
                if nth > 0 {
                    self.undo_append(&writer, pieces);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn check_payloads(&self, entries: &[NewEntry<'_>]) -> Result<u64, RecordLogError> {
        // So that each fits a segment, with what it is wrapped in.
        let limit = self.limits().segment_bytes_max / 4;
        let mut all = 0;
        for entry in entries {
            let bytes = entry.payload.len() as u64;
            if limit < bytes {
                return Err(Rejection::TooLarge { bytes, limit }.into());
            }
            all += bytes;
        }
        Ok(all)
    }

    /// What is live stays in the log, so it may not fill it. What is under way at the same time is
    /// bounded, and not counted.
    fn check_live(&self, entries: usize, payload_bytes: u64) -> Result<(), RecordLogError> {
        let live = self.records.live_bytes();
        if live + LogIndex::append_bytes(entries, payload_bytes) > self.limits().log_bytes_max / 2 {
            return Err(Rejection::LogFull { bytes: live }.into());
        }
        let limit = self.limits().record_entries_max;
        let all = self.records.entries();
        if all + entries as u64 > limit {
            return Err(RecordLogError::TooManyEntries {
                entries: all,
                limit,
            });
        }
        Ok(())
    }

    /// The length of the log at which record logs wait.
    fn record_cap(&self) -> u64 {
        let reserved = 2 * self.log().spares().next_capacity_bytes();
        self.limits().log_bytes_max.saturating_sub(reserved)
    }

    /// Whether anybody has to wait for room in the log.
    pub(super) fn is_room_wanted(&self) -> bool {
        self.log().ring().held_bytes() >= self.record_cap()
    }

    /// Waits for room in the log. It is full two segments before its cap: relocation, which makes
    /// room, needs some.
    pub(super) fn record_room(&self, bytes: u64) -> Result<UnderWay<'_>, RecordLogError> {
        let (ring, limits, cap) = (self.log().ring(), self.limits(), self.record_cap());
        let full = |under_way: u64| {
            let crowded = under_way > 0 && under_way + bytes > limits.queue_bytes_max;
            let long = ring.held_bytes() >= cap;
            if long {
                self.signals.want_checkpoint();
            }
            crowded || long
        };
        let waited = limits.writer_wait;
        let room = self
            .records
            .wait_for_room(bytes, after(now(), waited), full);
        room.map_err(|refusal| match refusal {
            NoRoom::Closed => RecordLogError::Closed,
            NoRoom::Timeout => {
                let bytes = ring.held_bytes();
                if bytes >= cap {
                    Rejection::LogFull { bytes }.into()
                } else {
                    Rejection::Timeout { waited }.into()
                }
            }
        })
    }

    /// The writer of a log that takes writes.
    pub(super) fn record_writer(
        &self,
        state: &Arc<RecordState>,
    ) -> Result<Arc<RecordWriter>, RecordLogError> {
        let writer = state.acquire(self.limits().writer_wait);
        let writer = writer.map_err(|refusal| match refusal {
            WriterRefusal::Busy => RecordLogError::Busy,
            WriterRefusal::Dropped => RecordLogError::Dropped,
        })?;
        let (doubtful, damaged) = {
            let inner = state.look();
            (inner.is_doubtful(), inner.is_damaged())
        };
        if doubtful {
            return Err(RecordLogError::Doubtful);
        }
        match self.records.damage(state.id()).filter(|_| damaged) {
            Some(damage) => Err(RecordLogError::Damaged(damage)),
            None => Ok(writer),
        }
    }

    /// The entries of each record, so that none is larger than a fragment may be, unless a single
    /// entry is.
    fn cut_entries<'e, 'p>(&self, entries: &'e [NewEntry<'p>]) -> Vec<&'e [NewEntry<'p>]> {
        let limit = usize::try_from(self.log().fragment_bytes_max()).unwrap_or(usize::MAX);
        let (mut pieces, mut start, mut payload_bytes) = (Vec::new(), 0, 0);
        for (nth, entry) in entries.iter().enumerate() {
            let with = payload_bytes + entry.payload.len();
            if nth > start && logs_record_bytes(1, nth - start + 1, with) > limit {
                pieces.push(&entries[start..nth]);
                (start, payload_bytes) = (nth, entry.payload.len());
            } else {
                payload_bytes = with;
            }
        }
        pieces.push(&entries[start..]);
        pieces
    }

    /// A record of a call that was cut into several was refused: those before it are cut again.
    pub(super) fn undo_append(&self, writer: &Arc<RecordWriter>, pieces: &[&[NewEntry<'_>]]) {
        let first = pieces.first().and_then(|piece| piece.first());
        let Some(first) = first.filter(|_| !writer.state().look().is_doubtful()) else {
            return;
        };
        let undone = self.write_change(
            writer,
            RecordKind::Truncate,
            Change::Truncate { next: first.index },
            Priority::Housekeeping,
        );
        if let Err(error) = undone {
            // The half that is there was not asked for by anybody.
            tracing::warn!(%error, database = %writer.state().id(), "half an append stays");
            writer.state().mark_doubtful();
        }
    }

    /// Writes a change without payloads.
    pub(super) fn write_change(
        &self,
        writer: &Arc<RecordWriter>,
        kind: RecordKind,
        change: Change,
        priority: Priority,
    ) -> Result<(), RecordLogError> {
        self.write_specs(writer, kind, Vec::new(), |_| change, priority)
    }

    /// Writes one record of one log. `change` makes of the items what the record does.
    pub(super) fn write_specs(
        &self,
        writer: &Arc<RecordWriter>,
        kind: RecordKind,
        specs: Vec<EntrySpec<'_>>,
        change: impl FnOnce(Vec<Item>) -> Change,
        priority: Priority,
    ) -> Result<(), RecordLogError> {
        let made = MadeRecord::new(writer.state(), kind, specs, change)?;
        let publish = PublishRecords {
            logs: Arc::clone(&self.records),
            reader: self.record_reader.clone(),
            parts: vec![Part {
                writer: Arc::clone(writer),
                change: made.change,
            }],
            recent: made.recent,
        };
        let (log, record) = (self.log(), made.record);
        let ended = log.append(record, priority, Box::new(publish));
        if matches!(ended, Err(CommitError::Unknown { .. })) {
            writer.state().mark_doubtful();
        }
        ended.map(drop).map_err(RecordLogError::Commit)
    }
}

/// A record of one log, and what is to be done with it.
pub(super) struct MadeRecord {
    pub(super) record: EncodedRecord,
    pub(super) change: Change,
    /// The log's newest record when this was made.
    pub(super) parent: Lsn,
    pub(super) recent: Vec<(u32, Arc<[u8]>)>,
}

impl MadeRecord {
    /// `change` makes of the items what the record does. The log's writer is held.
    pub(super) fn new(
        state: &RecordState,
        kind: RecordKind,
        specs: Vec<EntrySpec<'_>>,
        change: impl FnOnce(Vec<Item>) -> Change,
    ) -> Result<Self, RecordLogError> {
        let mut offset = logs_record_bytes(1, specs.len(), 0) as u64;
        let item = |spec: &EntrySpec<'_>| {
            let place = Lsn::new(offset);
            offset += spec.payload.len() as u64;
            Item {
                place,
                term: spec.term,
                hash: spec.hash,
                // Bounded far below by the limits.
                bytes: u32::try_from(spec.payload.len()).unwrap_or(u32::MAX),
            }
        };
        let change = change(specs.iter().map(item).collect());
        let payloads: Vec<Arc<[u8]>> = specs.iter().map(|spec| Arc::from(spec.payload)).collect();
        let spec = log_spec(state, &change, specs);
        let parent = spec.parent;
        let record = encode_logs(kind, &[spec])?;
        let recent = record.image_offsets.iter().copied().zip(payloads).collect();
        Ok(Self {
            record,
            change,
            parent,
            recent,
        })
    }
}

/// New entries as their record has them.
pub(super) fn entry_specs<'p>(id: DbId, entries: &[NewEntry<'p>]) -> Vec<EntrySpec<'p>> {
    let spec = |entry: &NewEntry<'p>| EntrySpec {
        kind: EntryKind::Entry,
        index: entry.index,
        term: entry.term,
        old: Lsn::ZERO,
        hash: entry_hash(id, EntryKind::Entry, entry.index, entry.term, entry.payload),
        payload: entry.payload,
    };
    entries.iter().map(spec).collect()
}

/// What a record says of a log that `change` is done to.
pub(super) fn log_spec<'a>(
    state: &RecordState,
    change: &Change,
    entries: Vec<EntrySpec<'a>>,
) -> LogSpec<'a> {
    let inner = state.look();
    let bounds = inner.index.bounds_after(change);
    LogSpec {
        database: state.id(),
        parent: inner.index.head(),
        first: bounds.first,
        first_term: bounds.first_term,
        next: bounds.next,
        vote: inner.index.vote().map_or(Lsn::ZERO, |vote| vote.place),
        entries,
    }
}
