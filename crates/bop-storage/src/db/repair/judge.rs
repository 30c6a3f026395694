//! Which state of a database its chunks prove, and what cannot be proved.
//!
//! ```text
//! newest (generation, cut) that a section names -- its sections add up to its rolling checksum --> it
//!   | they do not                                                                                 |
//!   v                                                                                             |
//! the one before, if the log has the newer cut: replay proves or refuses the way there ---------->|
//!   | no such                                                                                     v
//!   v                                          a damaged chunk may have held a newer one: closed, else served
//! closed
//! ```
//! Invariants
//! - a database is served only in a state whose page hashes add up to the checksum of that state;
//! - an older state than the newest that is known of is taken only where the log goes on from it.
//!
//! Never: writes.

use super::chunks::{FoundChunks, FoundSection, Unreadable};
use crate::checkpoint::{RangeNo, Ranges};
use crate::checksum::{PageHash, RollingChecksum};
use crate::error::Place;
use crate::ids::{ChunkId, DbId, Generation, Lsn, PageNo, PageSize, StoreId};
use crate::io::{Disk, IoFailure, layout};
use crate::manifest::{CheckpointedHead, GenerationRow, LinkKind, RangeKey, RangeLink, RangeRow};
use crate::pagestore::{ChunkReader, SectionKind, SectionMeta};
use std::collections::{BTreeMap, BTreeSet};

/// Why everything is closed.
pub(super) const LOG_MISSING: &str = "the log is missing";

/// What a database's row and its ranges are to say.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) head: CheckpointedHead,
    pub(super) page_size: Option<PageSize>,
    pub(super) ranges: Vec<(RangeKey, RangeRow)>,
    pub(super) generations: Vec<(Generation, GenerationRow)>,
    /// Why nothing proves it whole, if so.
    pub(super) closed: Option<String>,
}

/// One state of a database that a section names.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Stand {
    generation: Generation,
    cut: Lsn,
}

/// Judges databases by their chunks.
pub(super) struct Judge<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) store: StoreId,
    pub(super) range_bytes: u64,
    pub(super) chunks: &'a FoundChunks,
    /// All that was committed from here on is in the log; `None` when there is no log.
    pub(super) log_from: Option<Lsn>,
    pub(super) unreadable: Unreadable,
}

impl Verdict {
    /// Of a database that has no chunks.
    pub(super) fn without(closed: Option<String>) -> Self {
        Self {
            head: CheckpointedHead::NONE,
            page_size: None,
            ranges: Vec::new(),
            generations: Vec::new(),
            closed,
        }
    }
}

impl Stand {
    fn of(section: &FoundSection) -> Self {
        Self {
            generation: section.meta.generation,
            cut: section.meta.cut,
        }
    }
}

impl Judge<'_> {
    /// Whether the log has every commit behind `lsn`.
    pub(super) fn log_follows(&self, lsn: Lsn) -> bool {
        self.log_from
            .is_some_and(|from| lsn.next().is_some_and(|next| from <= next) || from == Lsn::ZERO)
    }

    /// The newest state of a database, proved or not.
    pub(super) fn database(&self, id: DbId) -> Result<Verdict, IoFailure> {
        let none = Vec::new();
        let sections = self.chunks.sections.get(&id).unwrap_or(&none);
        let bases = sections.iter();
        let bases: Vec<&FoundSection> = bases
            .filter(|section| section.meta.kind == SectionKind::Base)
            .collect();
        let stands: BTreeSet<Stand> = bases.iter().map(|section| Stand::of(section)).collect();
        let mut verdict = self.newest_proved(id, &bases, &stands)?;
        if bases.len() < sections.len() {
            let why = "it has sections of a kind that this version cannot put together";
            verdict.closed.get_or_insert(why.to_owned());
        }
        let head = verdict.head.generation;
        let own = bases.iter().filter(|base| base.meta.generation == head);
        let newest = own.map(|base| base.chunk).max().unwrap_or_default();
        if let Some(chunk) = self.may_hide_newer(newest, verdict.head.lsn) {
            let why = format!("chunk {chunk}, which is damaged, may have held a newer state");
            verdict.closed.get_or_insert(why);
        }
        if self.log_from.is_none() {
            verdict.closed.get_or_insert(LOG_MISSING.to_owned());
        }
        Ok(verdict)
    }

    /// The head that its chunks name last, for a database that was dropped.
    pub(super) fn last_head(&self, id: DbId) -> (CheckpointedHead, Option<PageSize>) {
        let sections = self.chunks.sections.get(&id).into_iter().flatten();
        let newest = sections.max_by_key(|section| Stand::of(section));
        newest.map_or((CheckpointedHead::NONE, None), head_of)
    }

    /// A damaged chunk that was written behind `chunk` and whose content nobody knows, unless the log
    /// tells all that was done behind `lsn`. Chunks are numbered as they are written.
    pub(super) fn may_hide_newer(&self, chunk: ChunkId, lsn: Lsn) -> Option<ChunkId> {
        let newest = self.chunks.unknown.keys().next_back().copied();
        newest.filter(|unknown| chunk < *unknown && !self.log_follows(lsn))
    }

    fn newest_proved(
        &self,
        id: DbId,
        bases: &[&FoundSection],
        stands: &BTreeSet<Stand>,
    ) -> Result<Verdict, IoFailure> {
        let Some(newest) = stands.last().copied() else {
            return Ok(Verdict::without(None));
        };
        let mut failed: Option<Verdict> = None;
        for stand in stands.iter().rev() {
            // A checkpoint that was not published leaves the newest; the log still has what it held.
            let reachable = *stand == newest || self.log_follows_to(newest.cut);
            let verdict = self.put_together(id, *stand, bases, stands)?;
            match failed {
                _ if verdict.closed.is_none() && reachable => return Ok(verdict),
                None => failed = Some(verdict),
                Some(_) if !reachable => break,
                Some(_) => {}
            }
        }
        failed.map_or_else(|| self.put_together(id, newest, bases, stands), Ok)
    }

    /// Whether the log has the commit at `cut`.
    fn log_follows_to(&self, cut: Lsn) -> bool {
        self.log_from.is_some_and(|from| from <= cut)
    }

    /// All states that the chunks of a database prove, the newest first.
    pub(super) fn proved_states(&self, id: DbId) -> Result<Vec<Verdict>, IoFailure> {
        let sections = self.chunks.sections.get(&id).into_iter().flatten();
        let bases = sections.filter(|section| section.meta.kind == SectionKind::Base);
        let bases: Vec<&FoundSection> = bases.collect();
        let stands: BTreeSet<Stand> = bases.iter().map(|section| Stand::of(section)).collect();
        let mut proved = Vec::new();
        for stand in stands.iter().rev() {
            let verdict = self.put_together(id, *stand, &bases, &stands)?;
            if verdict.closed.is_none() {
                proved.push(verdict);
            }
        }
        Ok(proved)
    }

    /// The rows of one state, and whether they add up to it.
    fn put_together(
        &self,
        id: DbId,
        stand: Stand,
        bases: &[&FoundSection],
        stands: &BTreeSet<Stand>,
    ) -> Result<Verdict, IoFailure> {
        let own: Vec<_> = bases
            .iter()
            .filter(|base| Stand::of(base) == stand)
            .collect();
        let Some(first) = own.first() else {
            return Ok(Verdict::without(Some("no section names it".to_owned())));
        };
        let (head, page_size) = head_of(first);
        let agree = own.iter().all(|base| head_of(base) == (head, page_size));
        let pieces = self.pieces(head, stand, first.meta.page_size, bases, stands);
        let mut closed = (!agree).then(|| "its sections contradict each other".to_owned());
        let mut kept = None;
        match self.prove(head.rolling_checksum, stand, &pieces)? {
            Ok(cut) => kept = cut,
            Err(why) => drop(closed.get_or_insert(why)),
        }
        let row = |piece: &Piece<'_>| {
            let meta = &piece.section.meta;
            let pages = match kept {
                Some(kept) if Stand::of(piece.section) != stand => piece.up_to(kept),
                _ => piece.pages,
            };
            let shortened = pages != meta.pages;
            let key = RangeKey {
                database: id,
                range: meta.range,
                generation: if shortened {
                    head.generation
                } else {
                    meta.generation
                },
            };
            let link = RangeLink {
                chunk: piece.section.chunk,
                section: piece.section.index,
                pages,
                bytes: piece.section.bytes,
                kind: LinkKind::Base,
            };
            (0 < pages && !piece.section.lost).then(|| (key, RangeRow::of(link)))
        };
        Ok(Verdict {
            head,
            page_size,
            ranges: pieces.iter().filter_map(row).collect(),
            generations: vec![(head.generation, generation_of(&first.meta))],
            closed,
        })
    }

    /// The newest section of each range of a state, with the pages that it still answers for: those
    /// that a later state had not are cut off.
    fn pieces<'s>(
        &self,
        head: CheckpointedHead,
        stand: Stand,
        page_size: PageSize,
        bases: &[&'s FoundSection],
        stands: &BTreeSet<Stand>,
    ) -> Vec<Piece<'s>> {
        let ranges = Ranges::new(self.range_bytes, page_size);
        let counts: BTreeMap<Stand, u32> = bases
            .iter()
            .map(|base| (Stand::of(base), base.meta.page_count))
            .collect();
        let mut newest: BTreeMap<u32, &'s FoundSection> = BTreeMap::new();
        for base in bases.iter().filter(|base| Stand::of(base) <= stand) {
            let before = newest.entry(base.meta.range).or_insert(base);
            if (Stand::of(before), before.chunk) < (Stand::of(base), base.chunk) {
                *before = base;
            }
        }
        let piece = |section: &'s FoundSection| {
            let meta = &section.meta;
            let fits = u64::from(meta.first_page.get()) == ranges.first_page(RangeNo(meta.range));
            let later = stands
                .iter()
                .filter(|later| Stand::of(section) < **later && **later <= stand);
            let kept = later.filter_map(|later| counts.get(later)).min().copied();
            let mut piece = Piece {
                section,
                pages: meta.pages,
            };
            piece.pages = piece.up_to(kept.unwrap_or(u32::MAX).min(head.page_count.max(1)));
            (fits && 0 < piece.pages).then_some(piece)
        };
        newest.into_values().filter_map(piece).collect()
    }

    /// Whether the pages of a state add up to its checksum. They may do so only without pages above
    /// some number: the database was shorter once since the older sections were written, and the log
    /// that said so is gone. The answer is that number.
    fn prove(
        &self,
        wanted: RollingChecksum,
        stand: Stand,
        pieces: &[Piece<'_>],
    ) -> Result<Result<Option<u32>, String>, IoFailure> {
        if let Some(piece) = pieces.iter().find(|piece| piece.section.lost) {
            return Ok(Err(format!("chunk {} is damaged", piece.section.chunk)));
        }
        let mut sum = RollingChecksum::EMPTY;
        for piece in pieces {
            match self.pages(piece)? {
                Ok(pages) => sum = pages.iter().fold(sum, |sum, (_, hash)| sum.toggled(*hash)),
                Err(why) => return Ok(Err(why)),
            }
        }
        if sum == wanted {
            return Ok(Ok(None));
        }
        let mut older = Vec::new();
        let old = |piece: &&Piece<'_>| Stand::of(piece.section) != stand;
        for piece in pieces.iter().filter(old) {
            older.extend(self.pages(piece)?.unwrap_or_default());
        }
        older.sort_unstable_by_key(|(page, _)| std::cmp::Reverse(*page));
        for (page, hash) in older {
            sum = sum.toggled(hash);
            if sum == wanted {
                return Ok(Ok(Some(page.get() - 1)));
            }
        }
        let generation = stand.generation;
        let why = format!("the pages of generation {generation} do not add up to its checksum");
        Ok(Err(why))
    }

    fn pages(&self, piece: &Piece<'_>) -> Result<Pages, IoFailure> {
        let FoundSection {
            chunk, index, meta, ..
        } = piece.section;
        let read = ChunkReader::open(self.disk, self.store, *chunk, None)
            .and_then(|reader| reader.pages(*index));
        let read = self
            .unreadable
            .of(read, Place::File(layout::chunk(*chunk)))?;
        let inside = |page: PageNo| page.get() - meta.first_page.get() < piece.pages;
        Ok(read.map_err(|damage| damage.to_string()).map(|pages| {
            let pages = pages.into_iter().filter(|(page, _, _)| inside(*page));
            pages.map(|(page, hash, _)| (page, hash)).collect()
        }))
    }
}

/// The pages of a section, or why it is not believed.
type Pages = Result<Vec<(PageNo, PageHash)>, String>;

/// A section, as far as it answers.
struct Piece<'s> {
    section: &'s FoundSection,
    /// Pages from the start of its range.
    pages: u32,
}

impl Piece<'_> {
    /// Its pages in a database of which `kept` pages are left.
    fn up_to(&self, kept: u32) -> u32 {
        let before = self.section.meta.first_page.get() - 1;
        self.pages.min(kept.saturating_sub(before))
    }
}

/// The head that a section names. When its commit was made stands only in the log.
fn head_of(section: &FoundSection) -> (CheckpointedHead, Option<PageSize>) {
    let meta = &section.meta;
    let head = CheckpointedHead {
        generation: meta.generation,
        lsn: meta.cut,
        time_us: 0,
        page_count: meta.page_count,
        rolling_checksum: meta.rolling_checksum,
    };
    (head, Some(meta.page_size))
}

/// The generation that a section was written for, without its history.
fn generation_of(meta: &SectionMeta) -> GenerationRow {
    GenerationRow {
        lsn: meta.cut,
        time_us: 0,
        page_size: Some(meta.page_size),
        page_count: meta.page_count,
        page_count_min: meta.page_count_min,
        rolling_checksum: meta.rolling_checksum,
        inherited: meta.inherited,
        history: None,
    }
}
