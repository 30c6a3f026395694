//! Reads payloads: from memory when they are recent or not written yet, else from the log, checked by
//! their hash.
//!
//! Invariants
//! - what was read from the device is handed out only after its hash was checked against the one
//!   that its record named; a read that fails once is tried once more, then it is damage;
//! - payloads that stand close to each other are read in one call;
//! - the key of a payload in memory is its place, which never means two things.
//!
//! Never: knows whether an entry is still wanted: its segment may be released meanwhile, and its
//! reader looks at the index again then.

use super::index::Item;
use crate::error::{Damage, Place, ReadError, Reject};
use crate::ids::{DbId, Lsn, SegmentId};
use crate::io::{BLOCK_BYTES, blocks_for, zeroed_blocks};
use crate::log::format::{EntryKind, entry_hash};
use crate::log::{Ring, Unwritten};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::fmt;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Payloads this close to each other are read together, up to so many bytes in all.
const GAP_BYTES_MAX: u64 = 4096;
const RUN_BYTES_MAX: u64 = 256 << 10;

#[derive(Clone)]
struct ByLength;

impl Weighter<Lsn, Arc<[u8]>> for ByLength {
    fn weight(&self, _place: &Lsn, payload: &Arc<[u8]>) -> u64 {
        payload.len() as u64 + 64
    }
}

/// Payloads in memory, bounded by their bytes.
pub(crate) struct RecentPayloads(Cache<Lsn, Arc<[u8]>, ByLength>);

impl fmt::Debug for RecentPayloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecentPayloads({} of them)", self.0.len())
    }
}

impl RecentPayloads {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let estimate = usize::try_from(bytes_max / 256).unwrap_or(usize::MAX);
        Self(Cache::with_weighter(estimate.max(1), bytes_max, ByLength))
    }

    /// Keeps a payload for as long as there is room.
    pub(crate) fn insert(&self, place: Lsn, payload: &Arc<[u8]>) {
        // One without bytes has no place of its own.
        if !payload.is_empty() {
            self.0.insert(place, Arc::clone(payload));
        }
    }

    /// Keeps the payloads of the record at `record`, each with where it is in there.
    pub(crate) fn insert_all(&self, record: Lsn, payloads: &[(u32, Arc<[u8]>)]) {
        for (offset, payload) in payloads {
            self.insert(Lsn::new(record.get() + u64::from(*offset)), payload);
        }
    }

    fn get(&self, item: &Item) -> Option<Arc<[u8]>> {
        if item.bytes == 0 {
            return None;
        }
        self.0.get(&item.place)
    }
}

/// Reads payloads of all record logs of a store.
#[derive(Clone, Debug)]
pub(crate) struct RecordReader {
    ring: Arc<Ring>,
    /// What the device may not have yet. Looked into before the device: once it is not there it is
    /// durable.
    unwritten: Arc<Unwritten>,
    recent: Arc<RecentPayloads>,
}

/// What is to be read: what it is, its index, and where it stands.
pub(crate) type Wanted = (EntryKind, u64, Item);

impl RecordReader {
    pub(crate) fn new(
        ring: Arc<Ring>,
        unwritten: Arc<Unwritten>,
        recent: Arc<RecentPayloads>,
    ) -> Self {
        Self {
            ring,
            unwritten,
            recent,
        }
    }

    pub(crate) fn recent(&self) -> &RecentPayloads {
        &self.recent
    }

    /// The payloads of a log's entries, in their order.
    pub(crate) fn read(
        &self,
        database: DbId,
        wanted: &[Wanted],
    ) -> Result<Vec<Arc<[u8]>>, ReadError> {
        let mut payloads = Vec::with_capacity(wanted.len());
        while let Some((_, _, item)) = wanted.get(payloads.len()) {
            if let Some(payload) = self.recent.get(item) {
                payloads.push(payload);
                continue;
            }
            if let Some(payload) = self.not_written(item) {
                payloads.push(Arc::from(payload));
                continue;
            }
            let left = self.written(&wanted[payloads.len()..]);
            for (one, payload) in left.iter().zip(self.load_run(database, left)?) {
                self.recent.insert(one.2.place, &payload);
                payloads.push(payload);
            }
        }
        Ok(payloads)
    }

    /// As many of them from the first one on, which is, as are surely on the device.
    fn written<'w>(&self, wanted: &'w [Wanted]) -> &'w [Wanted] {
        let Some(oldest) = self.unwritten.oldest() else {
            return wanted;
        };
        let older = wanted.iter().take_while(|one| one.2.place < oldest);
        &wanted[..older.count().max(1).min(wanted.len())]
    }

    fn not_written(&self, item: &Item) -> Option<Vec<u8>> {
        self.unwritten.read(item.place, item.bytes as usize)
    }

    /// The same, from the device whatever is in memory, but what the device does not have yet.
    pub(crate) fn check(&self, database: DbId, wanted: &[Wanted]) -> Result<(), ReadError> {
        let written = |one: &&Wanted| self.not_written(&one.2).is_none();
        let wanted: Vec<Wanted> = wanted.iter().filter(written).copied().collect();
        let mut checked = 0;
        while checked < wanted.len() {
            checked += self.load_run(database, &wanted[checked..])?.len();
        }
        Ok(())
    }

    /// The payloads from the first one on that one call of the device gives; at least one.
    fn load_run(&self, database: DbId, wanted: &[Wanted]) -> Result<Vec<Arc<[u8]>>, ReadError> {
        let run = self.in_one_segment(run_of(wanted));
        if let Ok(payloads) = self.load(database, run)? {
            return Ok(payloads);
        }
        match self.load(database, run)? {
            Ok(payloads) => {
                tracing::warn!(%database, "an entry read wrong once and right the second time");
                Ok(payloads)
            }
            Err((segment, lsn)) => {
                Err(Damage::new(Place::Log { segment, lsn }, Reject::Checksum).into())
            }
        }
    }

    /// As much of a run as its first segment has: Lsns go on in the next one, files do not.
    fn in_one_segment<'w>(&self, run: &'w [Wanted]) -> &'w [Wanted] {
        let segment = |(_, _, item): &Wanted| Some(self.ring.locate(item.place)?.0.id);
        let first = run.first().and_then(segment);
        let count = run.iter().take_while(|one| segment(one) == first).count();
        &run[..count.max(1).min(run.len())]
    }

    /// The inner error is the place of a payload that is not what it should be.
    #[expect(clippy::type_complexity, reason = "used in one place")]
    fn load(
        &self,
        database: DbId,
        run: &[Wanted],
    ) -> Result<Result<Vec<Arc<[u8]>>, (SegmentId, Lsn)>, ReadError> {
        let Some(((_, _, first), (_, _, last))) = run.first().zip(run.last()) else {
            return Ok(Ok(Vec::new()));
        };
        let (start, end) = (first.place.get(), last.place.get() + u64::from(last.bytes));
        let missing = || {
            let segment = SegmentId::default();
            let lsn = first.place;
            ReadError::from(Damage::new(Place::Log { segment, lsn }, Reject::Missing))
        };
        let (segment, offset) = self.ring.locate(first.place).ok_or_else(missing)?;
        let block = BLOCK_BYTES as u64;
        let skip = offset % block;
        let bytes = usize::try_from(skip + end - start).map_err(|_| missing())?;
        let mut blocks = zeroed_blocks(blocks_for(bytes));
        let found = if end == start {
            0
        } else {
            segment.file.read_at(offset - skip, &mut blocks)?
        };
        let held = &blocks.as_bytes()[..found];
        let mut payloads = Vec::with_capacity(run.len());
        for (kind, index, item) in run {
            // Inside a buffer of this machine: both fit.
            let at = (skip + item.place.get() - start) as usize;
            let payload = held.get(at..at + item.bytes as usize);
            let payload = if item.bytes == 0 {
                Some(&[][..])
            } else {
                payload
            };
            match payload {
                Some(payload)
                    if entry_hash(database, *kind, *index, item.term, payload) == item.hash =>
                {
                    payloads.push(Arc::from(payload));
                }
                _ => return Ok(Err((segment.id, item.place))),
            }
        }
        Ok(Ok(payloads))
    }
}

/// The payloads from the first one on that stand close enough to be read together.
fn run_of(wanted: &[Wanted]) -> &[Wanted] {
    let Some((_, _, first)) = wanted.first() else {
        return wanted;
    };
    let start = first.place.get();
    let mut end = start + u64::from(first.bytes);
    let mut count = 1;
    for (_, _, item) in &wanted[1..] {
        let place = item.place.get();
        let next = place + u64::from(item.bytes);
        let close = end <= place && place - end <= GAP_BYTES_MAX && next - start <= RUN_BYTES_MAX;
        if !close {
            break;
        }
        end = next;
        count += 1;
    }
    &wanted[..count]
}
