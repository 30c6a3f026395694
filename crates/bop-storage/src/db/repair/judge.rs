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
//! - a database is served only in a state whose page hashes add up to the checksum of that state, those of
//!   its origin among them that a fork reads;
//! - an older state than the newest that is known of is taken only where the log goes on from it.
//!
//! Never: writes.

use super::chains::{FoundChain, Stand, chains};
use super::chunks::{FoundChunks, FoundSection, Unreadable};
use crate::checkpoint::Ranges;
use crate::checksum::{PageHash, RollingChecksum};
use crate::error::Place;
use crate::ids::{ChunkId, DbId, Generation, Lsn, PageNo, PageSize, StoreId};
use crate::io::{Disk, IoFailure, layout};
use crate::manifest::{CHAIN_MAX, CheckpointedHead, GenerationRow, RangeKey, RangeRow};
use crate::pagestore::{ChunkReader, SectionKind, SectionMeta};
use crate::point::Point;
use crate::view::BasePages;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Why everything is closed.
pub(super) const LOG_MISSING: &str = "the log is missing";

/// What a database's row and its ranges are to say.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) head: CheckpointedHead,
    pub(super) page_size: Option<PageSize>,
    pub(super) ranges: Vec<(RangeKey, RangeRow)>,
    /// The newest first.
    pub(super) generations: Vec<(Generation, GenerationRow)>,
    /// Why nothing proves it whole, if so.
    pub(super) closed: Option<String>,
}

/// Who is judged.
pub(super) struct Case<'a> {
    pub(super) id: DbId,
    /// What it reads where it has no pages of its own.
    pub(super) origin: Option<&'a dyn BasePages>,
    /// The states that snapshots and forks need.
    pub(super) points: &'a BTreeMap<Lsn, Point>,
    /// Whether its newest state is needed.
    pub(super) newest: bool,
}

/// Of whom nobody needs a state of the past.
static NO_POINTS: BTreeMap<Lsn, Point> = BTreeMap::new();

impl Case<'_> {
    /// A database without an origin.
    pub(super) fn alone(id: DbId) -> Self {
        Self {
            id,
            origin: None,
            points: &NO_POINTS,
            newest: true,
        }
    }
}

/// Judges databases by their chunks.
pub(super) struct Judge<'a> {
    pub(super) disk: &'a Arc<dyn Disk>,
    pub(super) store: StoreId,
    pub(super) range_bytes: u64,
    pub(super) chunks: &'a FoundChunks,
    /// All that was committed from here on is in the log; `None` when there is no log.
    pub(super) log_from: Option<Lsn>,
    pub(super) unreadable: Unreadable,
}

impl Verdict {
    /// The chunks that its rows name.
    pub(super) fn chunks(&self) -> impl Iterator<Item = ChunkId> {
        let links = self.ranges.iter().flat_map(|(_, row)| row.links());
        let histories = self.generations.iter().filter_map(|(_, row)| row.history);
        links
            .map(|link| link.chunk)
            .chain(histories.map(|history| history.chunk))
    }

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

impl Judge<'_> {
    /// Whether the log has every commit behind `lsn`.
    pub(super) fn log_follows(&self, lsn: Lsn) -> bool {
        self.log_from
            .is_some_and(|from| lsn.next().is_some_and(|next| from <= next) || from == Lsn::ZERO)
    }

    /// The newest state of a database, proved or not, and the older ones that are needed.
    pub(super) fn database(&self, case: &Case<'_>) -> Result<Verdict, IoFailure> {
        let sections = self.sections(case.id);
        let mut verdict = self.newest_proved(case)?;
        let head = verdict.head.generation;
        let own = sections.iter().filter(|one| one.meta.generation == head);
        let newest = own.map(|one| one.chunk).max().unwrap_or_default();
        if let Some(chunk) = self.may_hide_newer(newest, verdict.head.lsn) {
            let why = format!("chunk {chunk}, which is damaged, may have held a newer state");
            verdict.closed.get_or_insert(why);
        }
        if self.log_from.is_none() {
            verdict.closed.get_or_insert(LOG_MISSING.to_owned());
        }
        self.add_past(case, &mut verdict)?;
        Ok(verdict)
    }

    pub(super) fn sections(&self, id: DbId) -> &[FoundSection] {
        self.chunks.sections.get(&id).map_or(&[], Vec::as_slice)
    }

    pub(super) fn stands(&self, id: DbId) -> BTreeSet<Stand> {
        self.sections(id).iter().map(Stand::of).collect()
    }

    /// The head that its chunks name last, for a database that was dropped.
    pub(super) fn last_head(&self, id: DbId) -> (CheckpointedHead, Option<PageSize>) {
        let sections = self.chunks.sections.get(&id).into_iter().flatten();
        let newest = sections.max_by_key(|section| Stand::of(section));
        newest.map_or((CheckpointedHead::NONE, None), |newest| head_of(newest, 0))
    }

    /// Whether a state of it is made of pages of its origin, too.
    pub(super) fn reads_origin(&self, id: DbId) -> bool {
        self.sections(id).iter().any(|one| one.meta.inherited > 0)
    }

    /// A damaged chunk that was written behind `chunk` and whose content nobody knows, unless the log
    /// tells all that was done behind `lsn`. Chunks are numbered as they are written.
    pub(super) fn may_hide_newer(&self, chunk: ChunkId, lsn: Lsn) -> Option<ChunkId> {
        let newest = self.chunks.unknown.keys().next_back().copied();
        newest.filter(|unknown| chunk < *unknown && !self.log_follows(lsn))
    }

    fn newest_proved(&self, case: &Case<'_>) -> Result<Verdict, IoFailure> {
        let stands = self.stands(case.id);
        let Some(newest) = stands.last().copied() else {
            return Ok(Verdict::without(None));
        };
        let mut failed: Option<Verdict> = None;
        for stand in stands.iter().rev() {
            // A checkpoint that was not published leaves the newest; the log still has what it held.
            let reachable = *stand == newest || self.log_follows_to(newest.cut);
            let verdict = self.put_together(case, *stand)?;
            match failed {
                _ if verdict.closed.is_none() && reachable => return Ok(verdict),
                None => failed = Some(verdict),
                Some(_) if !reachable => break,
                Some(_) => {}
            }
        }
        failed.map_or_else(|| self.put_together(case, newest), Ok)
    }

    /// Whether the log has the commit at `cut`.
    fn log_follows_to(&self, cut: Lsn) -> bool {
        self.log_from.is_some_and(|from| from <= cut)
    }

    /// All states that the chunks of a database prove without those of others, the newest first.
    pub(super) fn proved_states(&self, id: DbId) -> Result<Vec<Verdict>, IoFailure> {
        let mut proved = Vec::new();
        for stand in self.stands(id).into_iter().rev() {
            let verdict = self.put_together(&Case::alone(id), stand)?;
            if verdict.closed.is_none() {
                proved.push(verdict);
            }
        }
        Ok(proved)
    }

    /// The rows of one state, and whether they add up to it.
    pub(super) fn put_together(&self, case: &Case<'_>, stand: Stand) -> Result<Verdict, IoFailure> {
        let sections = self.sections(case.id);
        let own = sections.iter().filter(|one| Stand::of(one) == stand);
        let own: Vec<&FoundSection> = own.collect();
        let Some(first) = own.first() else {
            return Ok(Verdict::without(Some("no section names it".to_owned())));
        };
        let time_us = self.time_of(case, stand)?;
        let (head, page_size) = head_of(first, time_us);
        let ranges = Ranges::new(self.range_bytes, first.meta.page_size);
        let chains = chains(sections, stand, head.page_count, ranges);
        let generation = generation_of(&first.meta, time_us);
        let says = |one: &&FoundSection| generation_of(&one.meta, time_us) == generation;
        let agree = own.iter().all(says);
        let mut closed = (!agree).then(|| "its sections contradict each other".to_owned());
        let mut kept = None;
        match self.prove(case, &generation, stand, &chains)? {
            Ok(cut) => kept = cut,
            Err(why) => drop(closed.get_or_insert(why)),
        }
        let rows = chains
            .iter()
            .filter_map(|chain| chain.row(case.id, stand, kept));
        Ok(Verdict {
            head,
            page_size,
            ranges: rows.collect(),
            generations: vec![(head.generation, generation)],
            closed,
        })
    }

    /// When the commit of a state was made: a history has it, or who keeps the state; else it is 0.
    fn time_of(&self, case: &Case<'_>, stand: Stand) -> Result<u64, IoFailure> {
        if let Some(point) = case.points.get(&stand.cut) {
            return Ok(point.time_us);
        }
        let Some(section) = self.history(case.id, stand) else {
            return Ok(0);
        };
        let at = Place::File(layout::chunk(section.chunk));
        let read = ChunkReader::open(self.disk.as_ref(), self.store, section.chunk, None)
            .and_then(|reader| reader.history(section.index));
        let points = self.unreadable.of(read, at)?;
        let last = points.ok().and_then(|points| points.last().copied());
        Ok(last
            .filter(|last| last.lsn == stand.cut)
            .map_or(0, |last| last.time_us))
    }

    /// Whether the pages of a state add up to its checksum. They may do so only without pages above
    /// some number: the database was shorter once since the older sections were written, and the log
    /// that said so is gone. The answer is that number.
    fn prove(
        &self,
        case: &Case<'_>,
        wanted: &GenerationRow,
        stand: Stand,
        chains: &[FoundChain<'_>],
    ) -> Result<Result<Option<u32>, String>, IoFailure> {
        let mut pieces = chains.iter().flat_map(|chain| &chain.pieces);
        if let Some(piece) = pieces.find(|piece| piece.section.lost) {
            return Ok(Err(format!("chunk {} is damaged", piece.section.chunk)));
        }
        if chains.iter().any(|chain| CHAIN_MAX < chain.pieces.len()) {
            return Ok(Err("a chain of sections is too long".to_owned()));
        }
        let mut sum = RollingChecksum::EMPTY;
        let (mut older, mut own) = (Vec::new(), BTreeSet::new());
        for chain in chains {
            match self.pages(chain, stand)? {
                Ok(pages) => {
                    sum = pages
                        .values()
                        .fold(sum, |sum, (hash, _)| sum.toggled(*hash));
                    own.extend(pages.keys().copied());
                    let old = pages.into_iter().filter(|(_, (_, is_own))| !is_own);
                    older.extend(old.map(|(page, (hash, _))| (page, hash)));
                }
                Err(why) => return Ok(Err(why)),
            }
        }
        match self.inherited(case, wanted.inherited, chains, &own)? {
            Ok(hashes) => sum = hashes.into_iter().fold(sum, RollingChecksum::toggled),
            Err(why) => return Ok(Err(why)),
        }
        if sum == wanted.rolling_checksum {
            return Ok(Ok(None));
        }
        older.sort_unstable_by_key(|(page, _)| std::cmp::Reverse(*page));
        for (page, hash) in older {
            sum = sum.toggled(hash);
            if sum == wanted.rolling_checksum {
                return Ok(Ok(Some(page.get() - 1)));
            }
        }
        let generation = stand.generation;
        let why = format!("the pages of generation {generation} do not add up to its checksum");
        Ok(Err(why))
    }

    /// The pages that a state reads of its origin: those until `inherited` that no section has, nor a base
    /// says were never written.
    fn inherited(
        &self,
        case: &Case<'_>,
        inherited: u32,
        chains: &[FoundChain<'_>],
        own: &BTreeSet<PageNo>,
    ) -> Result<Result<Vec<PageHash>, String>, IoFailure> {
        let mut hashes = Vec::new();
        if inherited == 0 {
            return Ok(Ok(hashes));
        }
        let Some(origin) = case.origin else {
            return Ok(Err("what it reads of its origin is not known".to_owned()));
        };
        let bases = chains.iter().flat_map(|chain| &chain.pieces);
        let bases = bases.filter(|piece| piece.section.meta.kind == SectionKind::Base);
        let bases: Vec<(u32, u32)> = bases
            .map(|piece| (piece.section.meta.first_page.get(), piece.pages))
            .collect();
        let is_in_base = |page: PageNo| {
            // They ascend, as their ranges do.
            let nth = bases.partition_point(|(first, _)| *first <= page.get());
            let base = nth.checked_sub(1).and_then(|nth| bases.get(nth));
            base.is_some_and(|(first, pages)| page.get() - first < *pages)
        };
        let wanted = (1..=inherited).filter_map(PageNo::new);
        for page in wanted.filter(|page| !own.contains(page) && !is_in_base(*page)) {
            let place = Place::Database { database: case.id };
            match self.unreadable.of(origin.version(page), place)? {
                Ok(found) => hashes.extend(found.map(|(hash, _)| hash)),
                Err(damage) => return Ok(Err(format!("of its origin: {damage}"))),
            }
        }
        Ok(Ok(hashes))
    }

    fn pages(&self, chain: &FoundChain<'_>, stand: Stand) -> Result<Pages, IoFailure> {
        let mut found = BTreeMap::new();
        for piece in &chain.pieces {
            let FoundSection {
                chunk, index, meta, ..
            } = piece.section;
            let read = ChunkReader::open(self.disk.as_ref(), self.store, *chunk, None)
                .and_then(|reader| reader.pages(*index));
            let read = self
                .unreadable
                .of(read, Place::File(layout::chunk(*chunk)))?;
            let pages = match read {
                Ok(pages) => pages.into_iter(),
                Err(damage) => return Ok(Err(damage.to_string())),
            };
            let is_own = Stand::of(piece.section) == stand;
            let inside = |page: PageNo| page.get() - meta.first_page.get() < piece.pages;
            for (page, hash, _) in pages.filter(|(page, _, _)| inside(*page)) {
                found.entry(page).or_insert((hash, is_own));
            }
        }
        Ok(Ok(found))
    }
}

/// The pages of a chain, each with whether it is of the state's own section; or why it is not believed.
type Pages = Result<BTreeMap<PageNo, (PageHash, bool)>, String>;

/// The head that a section names. When its commit was made stands elsewhere.
fn head_of(section: &FoundSection, time_us: u64) -> (CheckpointedHead, Option<PageSize>) {
    let meta = &section.meta;
    let head = CheckpointedHead {
        generation: meta.generation,
        lsn: meta.cut,
        time_us,
        page_count: meta.page_count,
        rolling_checksum: meta.rolling_checksum,
    };
    (head, Some(meta.page_size))
}

/// The generation that a section was written for, without its history.
fn generation_of(meta: &SectionMeta, time_us: u64) -> GenerationRow {
    GenerationRow {
        lsn: meta.cut,
        time_us,
        page_size: Some(meta.page_size),
        page_count: meta.page_count,
        page_count_min: meta.page_count_min,
        rolling_checksum: meta.rolling_checksum,
        inherited: meta.inherited,
        history: None,
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
