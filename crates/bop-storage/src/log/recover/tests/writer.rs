//! A log for tests: written batch by batch through the codecs, recovered into a list of lines.

use super::super::*;
use crate::checksum::{PageHash, RollingChecksum};
use crate::ids::{CommitId, Incarnation, PageNo, PageSize};
use crate::io::{Block, Disk, DiskFile, IoFailure, OpenMode, layout};
use crate::log::format::record::{Encoding, NoteKind};
use crate::log::format::*;
use crate::log::scan::SegmentSpace;
use crate::runtime::SystemSpawn;
use crate::testing::SimDisk;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

pub(super) const STORE: StoreId = StoreId::new([0xb0; 16]);
const CAPACITY: u64 = 64 << 10;
/// How far the log jumps after an unclean stop.
const JUMP: u64 = 1 << 20;

/// A record, and the databases whose head it moves.
pub(super) struct Part {
    pub(super) record: EncodedRecord,
    /// Its first page, if it has one.
    page: Option<u32>,
    pub(super) commits: Vec<u64>,
}

pub(super) struct TestLog {
    pub(super) disk: SimDisk,
    pub(super) segments: Vec<RegisteredSegment>,
    pub(super) checkpointed: BTreeMap<DbId, Checkpointed>,
    pub(super) catalogue: Checkpointed,
    pub(super) truncated: Lsn,
    pub(super) epoch: u64,
    pub(super) active: Option<ActiveSegment>,
    /// Newest commit of each database; 0 is the catalogue.
    pub(super) heads: BTreeMap<u64, Lsn>,
    /// Where each batch stands: segment, start, end.
    pub(super) batches: Vec<(SegmentId, Lsn, Lsn)>,
    clock: u64,
    /// The next segment to be activated, when that is not the one behind the active one.
    next: Option<u64>,
    /// Where the commit that wrote a page stands, if one was made.
    pub(super) page_lsns: BTreeMap<u32, Lsn>,
    /// Threads that help with recovery.
    pub(super) helpers: usize,
}

impl TestLog {
    /// A log whose first segment is active, with two spares behind it.
    pub(super) fn new() -> Self {
        let mut log = Self::empty();
        log.spares(3);
        log.activate();
        log
    }

    pub(super) fn empty() -> Self {
        let disk = SimDisk::new(7);
        disk.create_dir(Path::new(layout::LOG_DIR)).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        Self {
            disk,
            segments: Vec::new(),
            checkpointed: BTreeMap::new(),
            catalogue: Checkpointed::default(),
            truncated: Lsn::ZERO,
            epoch: 1,
            active: None,
            heads: BTreeMap::new(),
            batches: Vec::new(),
            clock: 1000,
            next: None,
            page_lsns: BTreeMap::new(),
            helpers: 0,
        }
    }

    pub(super) fn spares(&mut self, count: u64) {
        let next = self.segments.len() as u64 + 1;
        for id in (next..).map(SegmentId::new).take(count as usize) {
            let incarnation = Incarnation::new(0x1000 + id.get());
            let stamped = Stamped {
                identity: identity(id, incarnation),
                capacity_bytes: CAPACITY,
            };
            let path = layout::segment(id);
            let file = self.disk.open(&path, OpenMode::CreateNew).unwrap();
            file.allocate(CAPACITY).unwrap();
            file.write_at(0, &[stamped.encode()]).unwrap();
            file.sync().unwrap();
            self.segments.push(RegisteredSegment {
                id,
                incarnation,
                capacity_bytes: CAPACITY,
            });
        }
        self.disk.sync_dir(Path::new(layout::LOG_DIR)).unwrap();
    }

    /// Goes on in the next spare, right behind the active segment.
    pub(super) fn activate(&mut self) {
        let base = self.active.map_or(Lsn::ZERO, |active| active.end);
        self.activate_at(base);
    }

    pub(super) fn activate_at(&mut self, base: Lsn) {
        self.try_activate_at(base).unwrap();
    }

    /// Fails when the power is gone; the active segment stays the same then.
    pub(super) fn try_activate_at(&mut self, base: Lsn) -> Result<(), IoFailure> {
        let behind = |before: ActiveSegment| before.identity.segment.get() + 1;
        let next = self.next.take();
        let next = next.unwrap_or_else(|| self.active.map_or(1, behind));
        let segment = self.segments[next as usize - 1];
        let activated = Activated {
            epoch: Epoch::new(self.epoch),
            base_lsn: base,
            last_time_us: self.clock,
            predecessor: self.active.map(|before| Predecessor {
                segment: before.identity.segment,
                end: before.end,
                hash: before.chain,
            }),
        };
        let identity = identity(segment.id, segment.incarnation);
        let (block, chain) = activated.encode(&identity);
        let path = layout::segment(segment.id);
        let file = self.disk.open(&path, OpenMode::Write)?;
        file.write_durable_at(4096, &[block])?;
        file.write_durable_at(8192, &[block])?;
        self.active = Some(ActiveSegment {
            identity,
            capacity_bytes: CAPACITY,
            base,
            tail: base,
            end: base,
            chain,
        });
        Ok(())
    }

    /// The next activation takes this segment.
    pub(super) fn skip_to(&mut self, id: u64) {
        self.next = Some(id);
    }

    /// The log ends at `end` again: the batches behind were never acknowledged.
    pub(super) fn rewind(&mut self, end: Lsn, heads: &BTreeMap<u64, Lsn>) {
        self.batches.retain(|(_, _, behind)| *behind <= end);
        self.heads = heads.clone();
        let active = self.active.as_mut().unwrap();
        let header = |start: Lsn| {
            let mut block = [Block::ZERO];
            let file = self
                .disk
                .open(&layout::segment(active.identity.segment), OpenMode::Read);
            let offset = DATA_START + start.get() - active.base.get();
            file.unwrap().read_at(offset, &mut block).unwrap();
            decode_header(&block[0].0, &active.identity, start, u64::MAX).unwrap()
        };
        let mut activation = [Block::ZERO];
        let file = self
            .disk
            .open(&layout::segment(active.identity.segment), OpenMode::Read);
        file.unwrap().read_at(4096, &mut activation).unwrap();
        let (_, mut chain) = Activated::decode(&activation[0], &active.identity).unwrap();
        for (segment, start, _) in &self.batches {
            if *segment == active.identity.segment {
                chain = chain.extended(header(*start).checksum);
            }
        }
        (active.end, active.chain) = (end, chain);
    }

    /// The next run after a crash: a new epoch, far behind, in a new segment.
    pub(super) fn reopen_after_crash(&mut self, recovered: &Recovered) {
        self.epoch = recovered.max_epoch.get() + 1;
        self.active = recovered.active;
        self.activate_at(recovered.highest_possible_end.advance(JUMP).unwrap());
    }

    pub(super) fn file(&self, id: SegmentId) -> Arc<dyn DiskFile> {
        self.disk
            .open(&layout::segment(id), OpenMode::Write)
            .unwrap()
    }

    /// A commit of one page to each of the databases: a group, when there are several.
    pub(super) fn commit_part(&self, databases: &[u64], page: u32) -> Part {
        self.pages_part(FragmentPart::Whole, databases, &[page])
    }

    pub(super) fn pages_part(&self, part: FragmentPart, databases: &[u64], pages: &[u32]) -> Part {
        let content = [pages.first().map_or(0, |page| *page as u8); 512];
        let pages: Vec<PageImage<'_>> = pages
            .iter()
            .map(|number| PageNo::new(*number).unwrap())
            .map(|page| PageImage {
                page,
                hash: PageHash::of(page, &content),
                encoding: Encoding::Raw,
                content: &content,
            })
            .collect();
        let member = |database: &u64| MemberSpec {
            database: DbId::new(*database),
            parent: self.head(*database),
            rolling: RollingChecksum::EMPTY,
            page_count: 100,
            page_count_min: 0,
            page_size: PageSize::MIN,
            pages: &pages,
        };
        let members: Vec<_> = databases.iter().map(member).collect();
        let commits = part.kind() == record::RecordKind::Commit;
        Part {
            record: encode_pages(part, &members).unwrap(),
            page: pages.first().map(|page| page.page.get()),
            commits: if commits {
                databases.to_vec()
            } else {
                Vec::new()
            },
        }
    }

    pub(super) fn catalogue_part(&self, database: u64, op: CatalogueOp<'_>) -> Part {
        let entry = CatalogueEntry {
            database: DbId::new(database),
            parent: self.head(0),
            op,
        };
        Part {
            record: encode_catalogue(&[entry]).unwrap(),
            page: None,
            commits: vec![0],
        }
    }

    pub(super) fn plain(record: EncodedRecord) -> Part {
        Part {
            record,
            page: None,
            commits: Vec::new(),
        }
    }

    pub(super) fn head(&self, database: u64) -> Lsn {
        self.heads.get(&database).copied().unwrap_or(Lsn::ZERO)
    }

    /// One batch, durable before it returns; the Lsn of its last record.
    pub(super) fn write(&mut self, parts: &[Part]) -> Lsn {
        let watermark = self.active.unwrap().end;
        let (blocks, lsn) = self.make(parts, watermark);
        let (segment, start, _) = *self.batches.last().unwrap();
        let offset = self.space().offset(start);
        let written = self.file(segment).write_durable_at(offset, &blocks);
        written.unwrap();
        lsn
    }

    /// One batch that is not written, and the Lsn of its last record. The log goes on behind it.
    pub(super) fn make(&mut self, parts: &[Part], durable: Lsn) -> (Vec<Block>, Lsn) {
        let active = self.active.unwrap();
        let entries: Vec<BatchEntry<'_>> = parts
            .iter()
            .map(|part| {
                self.clock += 1;
                BatchEntry {
                    record: &part.record,
                    time_us: self.clock,
                }
            })
            .collect();
        let place = BatchPlace {
            lsn: active.end,
            epoch: Epoch::new(self.epoch),
            durable,
        };
        let mut blocks = Vec::new();
        let batch = encode_batch(&active.identity, &place, &entries, &mut blocks).unwrap();
        assert!(batch.end <= self.space().limit(), "no room: activate first");
        for (part, lsn) in parts.iter().zip(&batch.record_lsns) {
            for database in &part.commits {
                self.heads.insert(*database, *lsn);
            }
            if let Some(page) = part.page {
                self.page_lsns.insert(page, *lsn);
            }
        }
        self.batches
            .push((active.identity.segment, active.end, batch.end));
        let active = self.active.as_mut().unwrap();
        active.end = batch.end;
        active.chain = active.chain.extended(batch.header_checksum);
        (blocks, *batch.record_lsns.last().unwrap())
    }

    pub(super) fn commit(&mut self, database: u64, page: u32) -> Lsn {
        let part = self.commit_part(&[database], page);
        self.write(&[part])
    }

    pub(super) fn create(&mut self, database: u64, name: &str) -> Lsn {
        let kind = crate::ids::DbKind::Sqlite;
        let part = self.catalogue_part(database, CatalogueOp::Create { name, kind });
        self.write(&[part])
    }

    pub(super) fn note(&mut self) {
        self.write(&[Self::plain(encode_note(NoteKind::Idle).unwrap())]);
    }

    pub(super) fn close(&mut self) {
        let heads = self.heads.iter();
        let heads: Vec<_> = heads.map(|(db, lsn)| (DbId::new(*db), *lsn)).collect();
        self.write(&[Self::plain(encode_close(&heads).unwrap())]);
    }

    /// A chain of fragments, one page each, and the commit; each part is a batch of its own.
    pub(super) fn chain(&mut self, id: u64, databases: &[u64], pages: &[u32]) -> Lsn {
        let commit = CommitId::new(id);
        let mut previous = 0;
        let (last, first) = pages.split_last().unwrap();
        for (index, page) in (0..).zip(first) {
            let part = FragmentPart::Fragment {
                commit,
                index,
                previous,
            };
            let part = self.pages_part(part, databases, &[*page]);
            previous = part.record.header_checksum;
            self.write(&[part]);
        }
        let part = FragmentPart::Last {
            commit,
            index: first.len() as u32,
            previous,
        };
        let part = self.pages_part(part, databases, &[*last]);
        self.write(&[part])
    }

    pub(super) fn space(&self) -> SegmentSpace {
        let active = self.active.unwrap();
        SegmentSpace {
            identity: active.identity,
            base: active.base,
            capacity_bytes: active.capacity_bytes,
            epoch: Epoch::new(1),
        }
    }

    /// Flips bits of a byte of a batch, counted from its start (or, below zero, from its end).
    pub(super) fn flip_batch(&self, batch: usize, byte: i64) {
        let (segment, start, end) = self.batches[batch];
        let from = if byte < 0 { end } else { start };
        let base = self.base_of(segment);
        let offset = DATA_START + (from.get() - base.get());
        let offset = offset.checked_add_signed(byte).unwrap();
        self.disk.flip(&layout::segment(segment), offset, 0x40);
    }

    fn base_of(&self, segment: SegmentId) -> Lsn {
        let first = self.batches.iter().find(|batch| batch.0 == segment);
        first.unwrap().1
    }

    /// Makes a batch unreadable by every way: head and tail.
    pub(super) fn ruin_batch(&self, batch: usize) {
        self.flip_batch(batch, 8);
        self.flip_batch(batch, -8);
    }

    pub(super) fn recover(&self) -> (Recovered, Vec<String>) {
        self.recover_from(&self.disk)
    }

    pub(super) fn recover_from(&self, disk: &SimDisk) -> (Recovered, Vec<String>) {
        self.try_recover(disk).unwrap()
    }

    pub(super) fn try_recover(
        &self,
        disk: &SimDisk,
    ) -> Result<(Recovered, Vec<String>), OpenError> {
        let (recovered, heard) = self.hear(disk)?;
        Ok((recovered, heard.lines))
    }

    /// Which records are known to be lost: of which database, and where.
    pub(super) fn undelivered(&self) -> BTreeSet<(u64, Lsn)> {
        self.hear(&self.disk).unwrap().1.undelivered
    }

    fn hear(&self, disk: &SimDisk) -> Result<(Recovered, Heard), OpenError> {
        let mut heard = Heard::default();
        let state = LogState {
            store: STORE,
            segments: &self.segments,
            truncated: self.truncated,
            catalogue: self.catalogue,
            checkpointed: &self.checkpointed,
        };
        let changes = disk.op_count();
        let helpers = Helpers::at_most(&SystemSpawn, self.helpers);
        let recovered = recover(disk, &state, helpers, &mut heard)?;
        let syncs = self.segments.len() as u64;
        assert!(
            disk.op_count() <= changes + syncs,
            "recovery writes nothing"
        );
        Ok((recovered, heard))
    }
}

fn identity(segment: SegmentId, incarnation: Incarnation) -> SegmentIdentity {
    SegmentIdentity {
        store: STORE,
        segment,
        incarnation,
    }
}

/// What was delivered, a line each: `1:2,3` is a commit of pages 2 and 3 to database 1; and what was not.
#[derive(Default)]
struct Heard {
    lines: Vec<String>,
    undelivered: BTreeSet<(u64, Lsn)>,
}

impl ReplaySink for Heard {
    fn commit(&mut self, commit: ReplayedCommit) {
        let member = |member: &ReplayedMember| {
            let pages: Vec<String> = member.pages.iter().map(|p| p.page.to_string()).collect();
            format!("{}:{}", member.database, pages.join(","))
        };
        let pages = commit.members.iter().flat_map(|member| &member.pages);
        let mut images = pages.map(|page| page.image);
        // Each record of these tests is in a block of its own.
        let end = commit.lsn.advance(4096).unwrap();
        assert!(images.all(|image| commit.since <= image && image < end));
        assert!(commit.since <= commit.lsn);
        let members: Vec<String> = commit.members.iter().map(member).collect();
        self.lines.push(members.join(" "));
    }

    fn catalogue(&mut self, record: ReplayedCatalogue<'_>) {
        for entry in record.entries {
            let (kind, name) = (entry.op.kind(), entry.op.name().unwrap_or("-"));
            self.lines
                .push(format!("{kind:?} {} {name}", entry.database));
        }
    }

    fn log_record(&mut self, record: ReplayedLog<'_>) {
        let ReplayedLog { kind, log, .. } = record;
        let line = format!("{kind:?} {} {}..{}", log.database, log.first, log.next);
        self.lines.push(line);
    }

    fn undelivered(&mut self, database: DbId, lsn: Lsn) {
        self.undelivered.insert((database.get(), lsn));
    }
}

/// The databases that are damaged, as plain numbers.
pub(super) fn damaged(recovered: &Recovered) -> Vec<u64> {
    recovered
        .damaged
        .keys()
        .map(|database| database.get())
        .collect()
}
