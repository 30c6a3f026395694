//! A log that is made of an input: segments, batches and records with their checksums, and what recovery
//! delivers of it.
//!
//! ```text
//! input:  op, op, ...   op: batch of records | a block of zeros | the next segment, with an index or without
//! record: how it is joined, its bytes behind their length
//! ```
//! *Joined* means that a record names the newest one of its database as its parent, as the engine's do:
//! else hardly a record would follow another.
//!
//! Invariant: each segment has the length that it is registered with.

use crate::checksums::{self, put, struct_at};
use crate::input::Input;
use bop_storage::checksum::crc64;
use bop_storage::ids::{DbId, Epoch, Incarnation, Lsn, SegmentId, StoreId};
use bop_storage::io::{BLOCK_BYTES, Block};
use bop_storage::log::format::record::{LogRecord, Member, PageRecord, RecordHeader, RecordKind};
use bop_storage::log::format::{
    Activated, BatchEntry, BatchLayout, BatchPlace, ChainHash, DATA_START, EncodedRecord,
    ImageOffsets, LogMember, Predecessor, RawRecord, Record, RecordBytes, Sealed, SealedHeader,
    SegmentIdentity, Stamped, add_batch, encode_batch,
};
use bop_storage::log::{
    Checkpointed, LogState, RegisteredSegment, ReplaySink, ReplayedCatalogue, ReplayedCommit,
    ReplayedLog,
};
use std::collections::BTreeMap;
use std::mem::offset_of;
use std::sync::LazyLock;
use zerocopy::IntoBytes;

const STORE: StoreId = StoreId::new(*b"a fuzzed store..");

/// Whose the first segment is.
pub(crate) const FIRST_SEGMENT: SegmentIdentity = SegmentIdentity {
    store: STORE,
    segment: SegmentId::new(1),
    incarnation: Incarnation::new(0x1000),
};

const SEGMENTS_MAX: u64 = 3;
const CAPACITY: usize = 16 * BLOCK_BYTES;
const BASE: Lsn = Lsn::new(1 << 20);
/// Databases that the manifest knows.
const DATABASES: u64 = 16;

/// The manifest of such a log: databases without chunks.
pub(crate) fn log_state(segments: &[RegisteredSegment]) -> LogState<'_> {
    static DATABASES_KNOWN: LazyLock<BTreeMap<DbId, Checkpointed>> = LazyLock::new(|| {
        let ids = (1..=DATABASES).map(DbId::new);
        ids.map(|id| (id, Checkpointed::default())).collect()
    });
    LogState {
        store: STORE,
        segments,
        truncated: Lsn::ZERO,
        catalogue: Checkpointed::default(),
        checkpointed: &DATABASES_KNOWN,
    }
}

/// What recovery delivered: who, where, and all that it said.
#[derive(Default, PartialEq, Debug)]
pub(crate) struct Collected {
    pub(crate) delivered: Vec<(DbId, Lsn, String)>,
    pub(crate) undelivered: Vec<(DbId, Lsn)>,
}

impl ReplaySink for Collected {
    fn commit(&mut self, commit: ReplayedCommit) {
        let lsn = commit.lsn;
        for member in commit.members {
            let said = format!("{member:?} at {}", commit.time_us);
            self.delivered.push((member.database, lsn, said));
        }
    }

    fn catalogue(&mut self, record: ReplayedCatalogue<'_>) {
        let said = format!("{record:?}");
        self.delivered.push((DbId::CATALOGUE, record.lsn, said));
    }

    fn log_record(&mut self, record: ReplayedLog<'_>) {
        let said = format!("{record:?}");
        self.delivered.push((record.log.database, record.lsn, said));
    }

    fn undelivered(&mut self, database: DbId, lsn: Lsn) {
        self.undelivered.push((database, lsn));
    }
}

/// Where a batch stands, and what it says is durable.
pub(crate) struct Written {
    /// The number of its segment, from 0.
    pub(crate) segment: usize,
    /// Its bytes in the segment's file.
    pub(crate) offset: usize,
    pub(crate) bytes: usize,
    pub(crate) durable: Lsn,
}

/// The log as it is so far.
pub(crate) struct LogBuilder {
    /// The files, each of [`CAPACITY`] bytes; a sealed one may have an index behind.
    pub(crate) files: Vec<Vec<u8>>,
    pub(crate) batches: Vec<Written>,
    /// All records are joined, all batches claim what is so.
    pub(crate) honest: bool,
    base: Lsn,
    lsn: Lsn,
    chain: ChainHash,
    /// The chain hash of the newest segment without batches.
    start: ChainHash,
    epoch: u64,
    time_us: u64,
    index: Vec<u8>,
    index_batches: u32,
    heads: BTreeMap<u64, Lsn>,
    votes: BTreeMap<u64, Lsn>,
    /// Header checksum of the newest fragment of each chain.
    chains: BTreeMap<u64, u64>,
}

fn identity(segment: usize) -> SegmentIdentity {
    let number = segment as u64 + 1;
    SegmentIdentity {
        store: STORE,
        segment: SegmentId::new(number),
        incarnation: Incarnation::new(0x0fff + number),
    }
}

impl LogBuilder {
    pub(crate) fn new(honest: bool) -> Self {
        let mut log = Self {
            files: Vec::new(),
            batches: Vec::new(),
            honest,
            base: BASE,
            lsn: BASE,
            chain: ChainHash::default(),
            start: ChainHash::default(),
            epoch: 1,
            time_us: 1_000_000,
            index: Vec::new(),
            index_batches: 0,
            heads: BTreeMap::new(),
            votes: BTreeMap::new(),
            chains: BTreeMap::new(),
        };
        log.activate(None);
        log
    }

    /// All segments that were registered.
    pub(crate) fn registered(&self) -> Vec<RegisteredSegment> {
        let segments = (0..self.files.len()).map(identity);
        let registered = segments.map(|identity| RegisteredSegment {
            id: identity.segment,
            incarnation: identity.incarnation,
            capacity_bytes: CAPACITY as u64,
        });
        registered.collect()
    }

    fn activate(&mut self, predecessor: Option<Predecessor>) {
        let identity = identity(self.files.len());
        let stamped = Stamped {
            identity,
            capacity_bytes: CAPACITY as u64,
        };
        let activated = Activated {
            epoch: Epoch::new(self.epoch),
            base_lsn: self.lsn,
            last_time_us: self.time_us,
            predecessor,
        };
        let (activation, chain) = activated.encode(&identity);
        let mut file = [stamped.encode(), activation, activation]
            .as_bytes()
            .to_vec();
        file.resize(CAPACITY, 0);
        self.files.push(file);
        (self.base, self.start, self.chain) = (self.lsn, chain, chain);
        self.index.clear();
        self.index_batches = 0;
    }

    /// Leaves the newest segment for another one.
    pub(crate) fn next_segment(&mut self, with_index: bool) {
        if SEGMENTS_MAX <= self.files.len() as u64 {
            return;
        }
        let before = identity(self.files.len() - 1);
        let sealed = Sealed {
            base: self.base,
            end: self.lsn,
            chain: self.chain,
        };
        if with_index && let Some(file) = self.files.last_mut() {
            let header = SealedHeader::new(sealed, &before, self.index_batches, &self.index);
            file.extend_from_slice(header.encode(&before).as_bytes());
            file.extend_from_slice(&self.index);
            file.resize(file.len().next_multiple_of(BLOCK_BYTES), 0);
        }
        self.activate(Some(Predecessor {
            segment: before.segment,
            end: sealed.end,
            hash: sealed.chain,
        }));
    }

    /// Leaves a block of zeros: what comes behind it is no part of the log.
    pub(crate) fn skip_block(&mut self) {
        self.honest = false;
        if self.room() > BLOCK_BYTES {
            self.lsn = self.lsn.advance(BLOCK_BYTES as u64).unwrap_or(self.lsn);
        }
    }

    pub(crate) fn next_epoch(&mut self) {
        self.epoch += 1;
    }

    fn offset(&self) -> usize {
        (DATA_START + self.lsn.get() - self.base.get()) as usize
    }

    fn room(&self) -> usize {
        CAPACITY.saturating_sub(self.offset())
    }

    /// Writes a batch of up to `count` records of the input. `behind`: how far its durable watermark
    /// lies before it.
    pub(crate) fn batch(&mut self, input: &mut Input<'_>, count: u8, behind: u64) {
        let mut layout = BatchLayout::default();
        let mut records = Vec::new();
        for _ in 0..count {
            if input.is_empty() {
                break;
            }
            let joined = self.honest || input.u8() & 1 == 0;
            let bytes = input.list();
            if let Some(record) = self.record(bytes, joined, layout) {
                layout.add_record(&record);
                records.push(record);
            }
        }
        if records.is_empty() || self.room() < layout.batch_bytes() {
            return;
        }
        let place = BatchPlace {
            lsn: self.lsn,
            epoch: Epoch::new(self.epoch),
            durable: Lsn::new(self.lsn.get().saturating_sub(behind)),
        };
        let entries = records.iter().map(|record| {
            self.time_us += 1;
            BatchEntry {
                record,
                time_us: self.time_us,
            }
        });
        let entries: Vec<BatchEntry<'_>> = entries.collect();
        let identity = identity(self.files.len() - 1);
        let mut out: Vec<Block> = Vec::new();
        let Ok(encoded) = encode_batch(&identity, &place, &entries, &mut out) else {
            return;
        };
        let (offset, bytes) = (self.offset(), out.as_bytes().len());
        if let Some(file) = self.files.last_mut() {
            put(file, offset, out.as_bytes());
        }
        if add_batch(&mut self.index, out.as_bytes()).is_ok() {
            self.index_batches += 1;
        }
        self.batches.push(Written {
            segment: self.files.len() - 1,
            offset,
            bytes,
            durable: place.durable,
        });
        (self.lsn, self.chain) = (encoded.end, self.chain.extended(encoded.header_checksum));
    }

    /// A record of whatever bytes, with its checksums; `None` where it is not even of a kind.
    fn record(&mut self, bytes: &[u8], joined: bool, layout: BatchLayout) -> Option<EncodedRecord> {
        let mut bytes = bytes.to_vec();
        checksums::record(&mut bytes);
        let kind = struct_at::<RecordHeader>(&bytes, 0)?.kind.get();
        let kind = RecordKind::from_code(kind)?;
        if joined {
            self.join(kind, &mut bytes);
            checksums::record(&mut bytes);
        }
        let said = RawRecord(&bytes).verify(crc64(&bytes)).ok();
        if self.honest && said.is_none() {
            return None;
        }
        let databases = said
            .as_ref()
            .map_or_else(|| vec![DbId::new(1)], databases_of);
        // Where it comes to stand, behind the entries of its databases.
        let at = { layout }.add(bytes.len(), databases.len());
        let lsn = self.lsn.advance(at as u64)?;
        if let Some(record) = &said {
            self.remember(record, lsn);
        }
        let header = struct_at::<RecordHeader>(&bytes, 0)?;
        Some(EncodedRecord {
            checksum: crc64(&bytes),
            bytes: RecordBytes::copy_of(&bytes),
            kind,
            databases: databases.into(),
            header_checksum: header.header_checksum.get(),
            image_offsets: ImageOffsets::new(),
        })
    }

    /// Writes into a record what came before it.
    fn join(&self, kind: RecordKind, bytes: &mut [u8]) {
        const BODY: usize = size_of::<RecordHeader>();
        let head = |raw: u64| self.heads.get(&raw).map_or(0, |lsn| lsn.get());
        match kind {
            RecordKind::Commit | RecordKind::Fragment => {
                let Some(mut part) = struct_at::<PageRecord>(bytes, BODY) else {
                    return;
                };
                if 0 < part.fragment_index.get() {
                    let before = self.chains.get(&part.commit_id.get());
                    part.running_checksum = before.copied().unwrap_or_default().into();
                    put(bytes, BODY, part.as_bytes());
                }
                let members = BODY + size_of::<PageRecord>();
                for nth in 0..usize::from(part.members.get()) {
                    let at = members + nth * size_of::<Member>();
                    let Some(mut member) = struct_at::<Member>(bytes, at) else {
                        return;
                    };
                    if kind == RecordKind::Commit {
                        member.parent_lsn = head(member.database.get()).into();
                        put(bytes, at, member.as_bytes());
                    }
                }
            }
            RecordKind::Catalogue => {
                let at = BODY + offset_of!(bop_storage::log::format::record::Catalogue, parent_lsn);
                put(bytes, at, &head(0).to_le_bytes());
            }
            RecordKind::Append
            | RecordKind::Truncate
            | RecordKind::Purge
            | RecordKind::Vote
            | RecordKind::Relocate => {
                let at = BODY + size_of::<bop_storage::log::format::record::LogGroup>();
                if let Some(mut log) = struct_at::<LogRecord>(bytes, at) {
                    let database = log.database.get();
                    log.parent_lsn = head(database).into();
                    let vote = self.votes.get(&database).map_or(0, |lsn| lsn.get());
                    log.vote_lsn = vote.into();
                    put(bytes, at, log.as_bytes());
                }
            }
            RecordKind::Close => {
                for at in (BODY..bytes.len()).step_by(16) {
                    if let Some(database) = struct_at::<[u8; 8]>(bytes, at) {
                        let head = head(u64::from_le_bytes(database));
                        put(bytes, at + 8, &head.to_le_bytes());
                    }
                }
            }
            RecordKind::Abort | RecordKind::Note | RecordKind::SealIndex => {}
        }
    }

    /// A record is the newest of its databases from now on.
    fn remember(&mut self, record: &Record<'_>, lsn: Lsn) {
        match record {
            Record::Pages(pages) => {
                let (commit, is_commit) = match pages.part {
                    bop_storage::log::format::FragmentPart::Fragment { commit, .. } => {
                        (commit, false)
                    }
                    bop_storage::log::format::FragmentPart::Last { commit, .. } => (commit, true),
                    bop_storage::log::format::FragmentPart::Whole => (Default::default(), true),
                };
                self.chains.insert(commit.get(), pages.header_checksum);
                if is_commit {
                    let members = pages.members.iter();
                    self.heads
                        .extend(members.map(|member| (member.database.get(), lsn)));
                }
            }
            Record::Catalogue(_) => {
                self.heads.insert(0, lsn);
            }
            Record::Logs(logs) => {
                for log in &logs.logs {
                    self.heads.insert(log.database.get(), lsn);
                    if let Some(vote) = vote_of(log) {
                        let at = lsn.advance(u64::from(vote)).unwrap_or(lsn);
                        self.votes.insert(log.database.get(), at);
                    }
                }
            }
            Record::Abort { .. } | Record::Note(_) | Record::Close(_) | Record::SealIndex => {}
        }
    }
}

/// Where the payload of a hard state stands in its record.
fn vote_of(log: &LogMember) -> Option<u32> {
    let last = log.entries.last()?;
    (last.kind == bop_storage::log::format::EntryKind::Vote).then_some(last.offset)
}

/// The databases that a record touches, as a batch's directory has them.
fn databases_of(record: &Record<'_>) -> Vec<DbId> {
    match record {
        Record::Pages(pages) => pages.members.iter().map(|member| member.database).collect(),
        Record::Abort { database, .. } => vec![*database],
        Record::Catalogue(entries) => {
            let mut all = vec![DbId::CATALOGUE];
            all.extend(entries.iter().map(|entry| entry.database));
            all.sort_unstable();
            all.dedup();
            all
        }
        Record::Logs(logs) => logs.logs.iter().map(|log| log.database).collect(),
        Record::Note(_) | Record::Close(_) | Record::SealIndex => Vec::new(),
    }
}
