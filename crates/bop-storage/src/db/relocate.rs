//! Relocation: what is live of record logs moves from the oldest segments to the head of the log, so
//! that these segments can be released.
//!
//! ```text
//! the oldest sealed segment -- nobody needs it --> released, and the next one
//!   '-- record logs alone need it, and the log is long --> their live entries, votes and bounds are
//!       written again -> durable -> the index names the new places -> holds move -> released
//! ```
//! Invariants
//! - the writer of each log is held from the look at its index to the publication of what was
//!   written again: no cut and no other vote comes between the two;
//! - one pass goes no further than where the log ended when it began, so it ends;
//! - a log's writer is let go between two records;
//! - it writes with the priority of housekeeping and releases segment by segment: what it needs, it
//!   has in hand;
//! - an entry that cannot be read closes its log, and holds up no other one.
//!
//! Never: waits for a user, beyond one write of a log's writer.

use super::engine::Engine;
use super::record_write::{Part, PublishRecords, log_spec};
use crate::error::{CheckpointError, CommitError, ReadError};
use crate::ids::{DbId, Lsn};
use crate::log::format::record::RecordKind;
use crate::log::format::{EntryKind, EntrySpec, encode_logs, logs_record_bytes};
use crate::log::{HoldReason, Priority};
use crate::recordlog::{Change, Item, Moved, RecordState, RecordWriter, Wanted};
use crate::runtime::after;
use crate::runtime::sync::now;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How much a pass has written, and when it began.
struct Pace {
    started: Instant,
    bytes: u64,
}

/// The next relocation record: entries of one log after the other.
#[derive(Default)]
struct Load {
    members: Vec<Member>,
    entries: usize,
    payload_bytes: usize,
}

/// What one log has in it.
struct Member {
    writer: Arc<RecordWriter>,
    wanted: Vec<Wanted>,
    payloads: Vec<Arc<[u8]>>,
}

impl Engine {
    /// Releases what nobody needs, and moves what only record logs need, while the log is long.
    /// `kept_for`: databases that hold the log because they are damaged. Answers how many segments
    /// were released.
    pub(super) fn release_with_records(
        &self,
        cut: Lsn,
        kept_for: &BTreeSet<DbId>,
    ) -> Result<usize, CheckpointError> {
        let mut pace = Pace {
            started: now(),
            bytes: 0,
        };
        let mut released = self.release_log(cut, kept_for)?;
        let started_long = self.log_is_long(1);
        while !self.signals.is_stopping() {
            let Some(end) = self
                .log
                .ring()
                .oldest_sealed_end()
                .filter(|end| *end <= cut)
            else {
                break;
            };
            let needed_by_others = self.log.holds().oldest_but(|reason| {
                matches!(reason, HoldReason::Records(_)) || is_aside(reason, kept_for)
            });
            if needed_by_others.is_some_and(|lsn| lsn < end) {
                break;
            }
            let movable = self.still_below(end, kept_for);
            if !movable.is_empty() {
                if !(started_long && self.log_is_longish()) {
                    break;
                }
                self.relocate(&movable, end, &mut pace)?;
                self.still_below(end, kept_for);
            }
            released += self.release_log(cut, kept_for)?;
            if self.log.ring().oldest_sealed_end() == Some(end) {
                break;
            }
        }
        Ok(released)
    }

    /// The record logs that need something below `end`, now that their holds were looked at anew.
    fn still_below(&self, end: Lsn, kept_for: &BTreeSet<DbId>) -> Vec<Arc<RecordState>> {
        let below = self.log.holds().records_below(end);
        let states = below
            .difference(kept_for)
            .filter_map(|id| self.records.get(*id));
        let needs = |state: &Arc<RecordState>| {
            let oldest = self.records.refresh_hold(state);
            oldest.is_some_and(|oldest| oldest < end)
        };
        states.filter(needs).collect()
    }

    /// Writes again what the logs have below `end`.
    fn relocate(
        &self,
        logs: &[Arc<RecordState>],
        end: Lsn,
        pace: &mut Pace,
    ) -> Result<(), CheckpointError> {
        let mut load = Load::default();
        for state in logs {
            while !self.signals.is_stopping() {
                let mut writer = state.acquire(Duration::ZERO);
                if writer.is_err() {
                    // A write is on its way, or the log is dropped. Nobody waits for us meanwhile.
                    self.unload(&mut load, pace)?;
                    writer = state.acquire(self.limits.io_deadline);
                }
                let Ok(writer) = writer else {
                    break;
                };
                let loaded = self.load_log(&writer, end, &mut load, pace);
                if let Err(Stop::Unreadable(ReadError::Damaged(damage))) = &loaded {
                    // Before the writer is let go, so that nothing more comes.
                    self.close_record_log(&writer, damage)?;
                }
                drop(writer);
                if load.members.is_empty() {
                    self.keep_pace(pace);
                }
                match loaded {
                    Ok(Loaded::All) | Err(Stop::Unreadable(ReadError::Damaged(_))) => break,
                    Ok(Loaded::Part) => {}
                    Err(Stop::Failed(error)) => return Err(error.into()),
                    Err(Stop::Unreadable(error)) => return Err(error.into()),
                }
            }
        }
        self.unload(&mut load, pace)?;
        self.keep_pace(pace);
        Ok(())
    }

    /// Puts into `load` what one log has below `end`. What is too much for one record is written up
    /// to there, and the log's writer can go first before the rest.
    fn load_log(
        &self,
        writer: &Arc<RecordWriter>,
        end: Lsn,
        load: &mut Load,
        pace: &mut Pace,
    ) -> Result<Loaded, Stop> {
        let id = writer.state().id();
        let wanted = live_below(writer.state(), end);
        let limit = usize::try_from(self.log.fragment_bytes_max()).unwrap_or(usize::MAX);
        let mut count = fitting(&wanted, load, limit);
        if count == 0 && !load.members.is_empty() {
            self.unload(load, pace)?;
            count = fitting(&wanted, load, limit);
        }
        // An entry that is larger than the limit goes alone. Without any, the bounds have to be
        // written all the same.
        let now = &wanted[..count.max(1).min(wanted.len())];
        let payloads = self.record_reader.read(id, now).map_err(Stop::Unreadable)?;
        load.entries += now.len();
        load.payload_bytes += payloads.iter().map(|payload| payload.len()).sum::<usize>();
        load.members.push(Member {
            writer: Arc::clone(writer),
            wanted: now.to_vec(),
            payloads,
        });
        if now.len() == wanted.len() {
            return Ok(Loaded::All);
        }
        // A record has each log once.
        self.unload(load, pace)?;
        Ok(Loaded::Part)
    }

    /// Writes what is in `load` as one record.
    fn unload(&self, load: &mut Load, pace: &mut Pace) -> Result<(), CommitError> {
        let members = std::mem::take(load).members;
        if members.is_empty() {
            return Ok(());
        }
        let entries = members.iter().map(|member| member.wanted.len()).sum();
        let mut offset = logs_record_bytes(members.len(), entries, 0);
        let (mut specs, mut parts) = (Vec::new(), Vec::new());
        for member in &members {
            let (mut moved_entries, mut vote) = (Vec::new(), None);
            let mut list = Vec::with_capacity(member.wanted.len());
            for ((kind, index, item), payload) in member.wanted.iter().zip(&member.payloads) {
                let at = u32::try_from(offset).unwrap_or(u32::MAX);
                offset += payload.len();
                let moved = Moved {
                    index: *index,
                    old: item.place,
                    offset: at,
                };
                match kind {
                    EntryKind::Entry => moved_entries.push(moved),
                    EntryKind::Vote => vote = Some(moved),
                }
                list.push(spec_of(*kind, *index, item, payload));
            }
            let change = Change::Relocate {
                entries: moved_entries,
                vote,
            };
            specs.push(log_spec(member.writer.state(), &change, list));
            parts.push(Part {
                writer: Arc::clone(&member.writer),
                change,
            });
        }
        let record = encode_logs(RecordKind::Relocate, &specs)?;
        let bytes = record.bytes.len() as u64;
        let publish = PublishRecords {
            logs: Arc::clone(&self.records),
            reader: self.record_reader.clone(),
            parts,
            // Cold: it is not what anybody reads next.
            recent: Vec::new(),
        };
        let ended = self
            .log
            .append(record, Priority::Housekeeping, Box::new(publish));
        if matches!(ended, Err(CommitError::Unknown { .. })) {
            members
                .iter()
                .for_each(|member| member.writer.state().mark_doubtful());
        }
        ended?;
        drop(members);
        pace.bytes += bytes;
        Ok(())
    }

    /// Waits until the pass is as slow as it has to be, unless somebody waits for what it frees.
    fn keep_pace(&self, pace: &Pace) {
        let rate = self.limits.relocate_bytes_per_second_max;
        // Microseconds, of at most some hours.
        let due = Duration::from_micros(pace.bytes.saturating_mul(1_000_000) / rate);
        let until = after(pace.started, due);
        while self.is_housekeeping()
            && !self.signals.is_stopping()
            && !self.is_room_wanted()
            && now() < until
        {
            self.signals.pause(until);
            self.keep_house_between_pages();
        }
    }
}

/// How much of a log is loaded.
enum Loaded {
    All,
    /// Some is left for the next record.
    Part,
}

/// Why a log was not moved.
enum Stop {
    /// Something of it cannot be read.
    Unreadable(ReadError),
    /// A record could not be written.
    Failed(CommitError),
}

impl From<CommitError> for Stop {
    fn from(error: CommitError) -> Self {
        Self::Failed(error)
    }
}

/// Whether a hold keeps the log for what is damaged, which does not count against its cap.
pub(super) fn is_aside(reason: &HoldReason, kept_for: &BTreeSet<DbId>) -> bool {
    match reason {
        HoldReason::Pages(database) | HoldReason::Records(database) => kept_for.contains(database),
        HoldReason::Catalogue | HoldReason::FragmentChain(_) => false,
    }
}

/// What a log has below `end`: entries by index, its hard state last.
fn live_below(state: &RecordState, end: Lsn) -> Vec<Wanted> {
    let inner = state.look();
    let entries = inner.index.below(end).into_iter();
    let entries = entries.map(|(index, item)| (EntryKind::Entry, index, item));
    let vote = inner.index.vote().filter(|vote| vote.place < end);
    entries
        .chain(vote.map(|item| (EntryKind::Vote, 0, item)))
        .collect()
}

/// How many of `wanted` fit the load; of a log without any, whether its bounds do.
fn fitting(wanted: &[Wanted], load: &Load, limit: usize) -> usize {
    let fits = |entries: usize, payload_bytes: usize| {
        logs_record_bytes(
            load.members.len() + 1,
            load.entries + entries,
            payload_bytes,
        ) <= limit
    };
    if wanted.is_empty() {
        return usize::from(fits(0, load.payload_bytes));
    }
    let mut payload_bytes = load.payload_bytes;
    let fits_with = |(nth, (_, _, item)): &(usize, &Wanted)| {
        payload_bytes += item.bytes as usize;
        fits(nth + 1, payload_bytes)
    };
    wanted.iter().enumerate().take_while(fits_with).count()
}

fn spec_of<'a>(kind: EntryKind, index: u64, item: &Item, payload: &'a [u8]) -> EntrySpec<'a> {
    EntrySpec {
        kind,
        index,
        term: item.term,
        old: item.place,
        hash: item.hash,
        payload,
    }
}
