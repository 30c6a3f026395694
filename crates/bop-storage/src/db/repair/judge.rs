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

use super::chains::{FoundChain, Stand, chains};
use super::chunks::{FoundChunks, FoundSection, Unreadable};
use crate::checkpoint::Ranges;
use crate::checksum::{PageHash, RollingChecksum};
use crate::error::Place;
use crate::ids::{ChunkId, DbId, Generation, Lsn, PageNo, PageSize, StoreId};
use crate::io::{Disk, IoFailure, layout};
use crate::manifest::{
    CHAIN_MAX, CheckpointedHead, GenerationRow, HistoryLink, RangeKey, RangeRow,
};
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
    /// The newest first.
    pub(super) generations: Vec<(Generation, GenerationRow)>,
    /// Why nothing proves it whole, if so.
    pub(super) closed: Option<String>,
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

impl Judge<'_> {
    /// Whether the log has every commit behind `lsn`.
    pub(super) fn log_follows(&self, lsn: Lsn) -> bool {
        self.log_from
            .is_some_and(|from| lsn.next().is_some_and(|next| from <= next) || from == Lsn::ZERO)
    }

    /// The newest state of a database, proved or not, and the older ones that histories lead to.
    pub(super) fn database(&self, id: DbId) -> Result<Verdict, IoFailure> {
        let sections = self.sections(id);
        let mut verdict = self.newest_proved(id)?;
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
        self.add_past(id, &mut verdict)?;
        Ok(verdict)
    }

    fn sections(&self, id: DbId) -> &[FoundSection] {
        self.chunks.sections.get(&id).map_or(&[], Vec::as_slice)
    }

    fn stands(&self, id: DbId) -> BTreeSet<Stand> {
        self.sections(id).iter().map(Stand::of).collect()
    }

    /// The generations before, as far as a history leads from each to the one before, and that is proved.
    /// What is between two generations without a history nobody reads, or nobody can.
    fn add_past(&self, id: DbId, verdict: &mut Verdict) -> Result<(), IoFailure> {
        let stands = self.stands(id);
        let mut newer = Stand {
            generation: verdict.head.generation,
            cut: verdict.head.lsn,
        };
        // By range, the row that the generations behind read.
        let rows = verdict.ranges.iter().enumerate();
        let mut read: BTreeMap<u32, usize> = rows.map(|(nth, (key, _))| (key.range, nth)).collect();
        while let Some(history) = self.history(id, newer) {
            let before = stands.range(..newer).rev();
            let before = before
                .copied()
                .find(|stand| stand.cut == history.meta.since);
            let older = match before {
                Some(stand) => self.put_together(id, stand)?,
                None => Verdict::without(None),
            };
            let is_first = before.is_none() && history.meta.since == Lsn::ZERO;
            if older.closed.is_some() || (before.is_none() && !is_first) {
                break;
            }
            if let Some((_, row)) = verdict.generations.last_mut() {
                row.history = Some(HistoryLink {
                    chunk: history.chunk,
                    section: history.index,
                    bytes: history.bytes,
                });
            }
            let Some(stand) = before else {
                break;
            };
            let mut own = BTreeMap::new();
            for (key, row) in older.ranges {
                let behind = read.get(&key.range).copied();
                let same = behind.filter(|nth| verdict.ranges[*nth].1 == row);
                if let Some(nth) = same {
                    verdict.ranges[nth].0 = key;
                    own.insert(key.range, nth);
                    continue;
                }
                if behind.is_none() {
                    // Nothing is left of it later: it must not be read there.
                    let generation = newer.generation;
                    let hidden = (RangeKey { generation, ..key }, row.cut_to(0));
                    verdict.ranges.push(hidden);
                }
                own.insert(key.range, verdict.ranges.len());
                verdict.ranges.push((key, row));
            }
            read = own;
            verdict.generations.extend(older.generations);
            newer = stand;
        }
        Ok(())
    }

    /// The history of the interval that a state ends, if it is there.
    fn history(&self, id: DbId, stand: Stand) -> Option<&FoundSection> {
        let own = self.sections(id).iter();
        let mut own = own.filter(|one| one.meta.kind == SectionKind::History && !one.lost);
        own.find(|one| Stand::of(one) == stand)
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

    fn newest_proved(&self, id: DbId) -> Result<Verdict, IoFailure> {
        let stands = self.stands(id);
        let Some(newest) = stands.last().copied() else {
            return Ok(Verdict::without(None));
        };
        let mut failed: Option<Verdict> = None;
        for stand in stands.iter().rev() {
            // A checkpoint that was not published leaves the newest; the log still has what it held.
            let reachable = *stand == newest || self.log_follows_to(newest.cut);
            let verdict = self.put_together(id, *stand)?;
            match failed {
                _ if verdict.closed.is_none() && reachable => return Ok(verdict),
                None => failed = Some(verdict),
                Some(_) if !reachable => break,
                Some(_) => {}
            }
        }
        failed.map_or_else(|| self.put_together(id, newest), Ok)
    }

    /// Whether the log has the commit at `cut`.
    fn log_follows_to(&self, cut: Lsn) -> bool {
        self.log_from.is_some_and(|from| from <= cut)
    }

    /// All states that the chunks of a database prove, the newest first.
    pub(super) fn proved_states(&self, id: DbId) -> Result<Vec<Verdict>, IoFailure> {
        let mut proved = Vec::new();
        for stand in self.stands(id).into_iter().rev() {
            let verdict = self.put_together(id, stand)?;
            if verdict.closed.is_none() {
                proved.push(verdict);
            }
        }
        Ok(proved)
    }

    /// The rows of one state, and whether they add up to it.
    fn put_together(&self, id: DbId, stand: Stand) -> Result<Verdict, IoFailure> {
        let sections = self.sections(id);
        let own = sections.iter().filter(|one| Stand::of(one) == stand);
        let own: Vec<&FoundSection> = own.collect();
        let Some(first) = own.first() else {
            return Ok(Verdict::without(Some("no section names it".to_owned())));
        };
        let (head, page_size) = head_of(first);
        let ranges = Ranges::new(self.range_bytes, first.meta.page_size);
        let chains = chains(sections, stand, head.page_count, ranges);
        let generation = generation_of(&first.meta);
        let agree = own.iter().all(|one| generation_of(&one.meta) == generation);
        let mut closed = (!agree).then(|| "its sections contradict each other".to_owned());
        let mut kept = None;
        match self.prove(head.rolling_checksum, stand, &chains)? {
            Ok(cut) => kept = cut,
            Err(why) => drop(closed.get_or_insert(why)),
        }
        let rows = chains.iter().filter_map(|chain| chain.row(id, stand, kept));
        Ok(Verdict {
            head,
            page_size,
            ranges: rows.collect(),
            generations: vec![(head.generation, generation)],
            closed,
        })
    }

    /// Whether the pages of a state add up to its checksum. They may do so only without pages above
    /// some number: the database was shorter once since the older sections were written, and the log
    /// that said so is gone. The answer is that number.
    fn prove(
        &self,
        wanted: RollingChecksum,
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
        let mut older = Vec::new();
        for chain in chains {
            match self.pages(chain, stand)? {
                Ok(pages) => {
                    sum = pages
                        .values()
                        .fold(sum, |sum, (hash, _)| sum.toggled(*hash));
                    let old = pages.into_iter().filter(|(_, (_, is_own))| !is_own);
                    older.extend(old.map(|(page, (hash, _))| (page, hash)));
                }
                Err(why) => return Ok(Err(why)),
            }
        }
        if sum == wanted {
            return Ok(Ok(None));
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

    fn pages(&self, chain: &FoundChain<'_>, stand: Stand) -> Result<Pages, IoFailure> {
        let mut found = BTreeMap::new();
        for piece in &chain.pieces {
            let FoundSection {
                chunk, index, meta, ..
            } = piece.section;
            let read = ChunkReader::open(self.disk, self.store, *chunk, None)
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

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
