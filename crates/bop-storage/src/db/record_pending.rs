//! Appends to record logs that nobody waits for.
//!
//! ```text
//!   checked -> record -> place in the queue -> exposed: in the index, payloads in memory
//!                                                |--durable--> settled --> callback: Ok
//!                                                '--failed---> undone ---> callback: why
//! ```
//! Invariants
//! - the log's writer is held until the record is exposed: the next record is made of what this one
//!   leaves, wherever the device is;
//! - a record has its place for good once it is exposed, since the next one names it. So it cannot
//!   be refused any more: only the log as a whole fails, and with it everything behind;
//! - a callback is called by [`callbacks`](super::callbacks), never by whoever writes.
//!
//! Never: waits for the device, but for an entry that is too large to be placed ahead.

use super::callbacks::{Caller, OnDurable};
use super::engine::Engine;
use super::record_write::{MadeRecord, NewEntry, entry_specs};
use crate::error::{CommitError, RecordLogError};
use crate::ids::Lsn;
use crate::log::format::logs_record_bytes;
use crate::log::format::record::RecordKind;
use crate::log::{OnEnd, Placed, Priority, Publish, Remains};
use crate::meters::StoreMeters;
use crate::recordlog::{Change, RecordLogs, RecordReader, RecordState, RecordWriter};
use std::sync::{Arc, OnceLock};

/// Shows an append that has its place.
struct Expose {
    logs: Arc<RecordLogs>,
    reader: RecordReader,
    state: Arc<RecordState>,
    change: Change,
    parent: Lsn,
    recent: Vec<(u32, Arc<[u8]>)>,
    /// Where it was shown, for [`Settle`].
    shown_at: Arc<OnceLock<Lsn>>,
}

impl Publish for Expose {
    fn publish(self: Box<Self>, at: Placed) -> Remains {
        self.reader.recent().insert_all(at.lsn, &self.recent);
        self.logs.expose(&self.state, &self.change, at, self.parent);
        self.shown_at.get_or_init(|| at.lsn);
        None
    }
}

/// Hears how it ended.
struct Settle {
    logs: Arc<RecordLogs>,
    state: Arc<RecordState>,
    meters: Arc<StoreMeters>,
    shown_at: Arc<OnceLock<Lsn>>,
    on_durable: Option<(Caller, OnDurable)>,
}

impl OnEnd for Settle {
    fn ended(self: Box<Self>, outcome: Result<Placed, CommitError>) {
        match &outcome {
            Ok(at) => self.logs.settle(&self.state, at.lsn),
            Err(error) => {
                if let Some(at) = self.shown_at.get() {
                    self.logs.undo(&self.state, *at);
                }
                if matches!(error, CommitError::Unknown { .. }) {
                    self.state.mark_doubtful();
                }
                self.meters.error(error.code());
            }
        }
        if let Some((caller, on_durable)) = self.on_durable {
            let outcome = outcome.map(drop).map_err(RecordLogError::Commit);
            caller.call(on_durable, outcome);
        }
    }
}

impl Engine {
    /// Appends entries that nobody waits for; see
    /// [`RecordLog::append_with`](super::record_log::RecordLog::append_with).
    pub(super) fn append_pending(
        &self,
        state: &Arc<RecordState>,
        entries: &[NewEntry<'_>],
        on_durable: OnDurable,
    ) -> Result<(), RecordLogError> {
        let caller = self.callbacks.caller()?;
        let mut on_durable = Some((caller, on_durable));
        self.appended(state, entries, |writer, pieces| {
            if self.is_to_be_waited_for(pieces) {
                return self.append_pieces(writer, pieces);
            }
            for (nth, piece) in pieces.iter().enumerate() {
                let last = nth + 1 == pieces.len();
                let told = on_durable.take_if(|_| last);
                if let Err(error) = self.place_piece(&writer, piece, told) {
                    if nth > 0 {
                        self.undo_append(&writer, pieces);
                    }
                    return Err(error);
                }
            }
            Ok(())
        })?;
        if let Some((caller, on_durable)) = on_durable {
            caller.call(on_durable, Ok(()));
        }
        Ok(())
    }

    /// So much may be placed and not durable, that no Lsn is ever given out twice: a single record
    /// that is larger than a fragment was not counted on.
    fn is_to_be_waited_for(&self, pieces: &[&[NewEntry<'_>]]) -> bool {
        let limit = self.log().fragment_bytes_max();
        let single = |piece: &&[NewEntry<'_>]| match piece {
            [one] => limit < logs_record_bytes(1, 1, one.payload.len()) as u64,
            _ => false,
        };
        pieces.iter().any(single)
    }

    fn place_piece(
        &self,
        writer: &RecordWriter,
        piece: &[NewEntry<'_>],
        on_durable: Option<(Caller, OnDurable)>,
    ) -> Result<(), RecordLogError> {
        let state = writer.state();
        let first = piece.first().map_or(0, |entry| entry.index);
        let specs = entry_specs(state.id(), piece);
        let change = |items| Change::Append { first, items };
        let made = MadeRecord::new(state, RecordKind::Append, specs, change)?;
        let shown_at = Arc::new(OnceLock::new());
        let expose = Expose {
            logs: Arc::clone(&self.records),
            reader: self.record_reader.clone(),
            state: Arc::clone(state),
            change: made.change,
            parent: made.parent,
            recent: made.recent,
            shown_at: Arc::clone(&shown_at),
        };
        let settle = Settle {
            logs: Arc::clone(&self.records),
            state: Arc::clone(state),
            meters: Arc::clone(&self.meters),
            shown_at,
            on_durable,
        };
        let (log, priority) = (self.log(), Priority::Queued);
        let placed = log.append_exposed(made.record, priority, Box::new(expose), Box::new(settle));
        placed.map_err(RecordLogError::Commit)
    }
}
