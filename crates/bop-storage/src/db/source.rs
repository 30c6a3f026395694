//! A database as a checkpoint copies it: the frozen view, and what of its past is to stay readable.
//!
//! Invariants
//! - the view is frozen before it is asked who has pinned an older state of it: whoever pins later pins
//!   the frozen view or a newer one;
//! - a state that a reader, a snapshot or a fork has in the log is in the history, whatever the window of
//!   the database.
//!
//! Never: writes.

use super::engine::Engine;
use super::pages_ahead::PagesAhead;
use super::reader::PageReader;
use super::state::DbState;
use crate::catalogue::Entry;
use crate::checkpoint::{
    Chain, DirtyDatabase, History, Kept, LoadedPages, NewGeneration, Origin, RangeNo, Ranges,
    SectionSource, Superseded, Window, history,
};
use crate::error::{CheckpointError, ReadError};
use crate::ids::{PageNo, PageSize};
use crate::manifest::{LinkKind, ManifestState, RangeRow};
use crate::view::{BasePage, PageVersion, View};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where the owner has set no bound, the past of a database has at most so many times its size.
const WINDOW_SIZES: u64 = 10;

/// A database that the checkpoint copies.
pub(super) struct Source {
    pub(super) state: Arc<DbState>,
    pub(super) view: Arc<View>,
    /// Layers that the new base replaces.
    pub(super) covered: usize,
    pub(super) ranges: Ranges,
    pub(super) new: NewGeneration,
    pub(super) history: History,
    chains: BTreeMap<RangeNo, Chain>,
    origin: Origin,
    reader: PageReader,
}

impl SectionSource for Source {
    fn ranges(&self) -> Ranges {
        self.ranges
    }

    fn generation(&self) -> NewGeneration {
        self.new
    }

    fn history(&self) -> &History {
        &self.history
    }

    fn changed(&self, range: RangeNo) -> Vec<PageNo> {
        let last = self.ranges.last_page(range);
        let last = last.min(u64::from(self.new.page_count));
        let page = |raw: u64| u32::try_from(raw).ok().and_then(PageNo::new);
        let (Some(first), Some(last)) = (page(self.ranges.first_page(range)), page(last)) else {
            return Vec::new();
        };
        let layers = self.view.layers();
        let pages = layers.flat_map(|layer| layer.pages_in_range(first..=last));
        let pages: BTreeSet<PageNo> = pages.map(|(page, _)| page).collect();
        pages.into_iter().collect()
    }

    fn load(&self, pages: Vec<PageNo>) -> LoadedPages<'_> {
        Box::new(PagesAhead::new(&self.reader, &self.view, pages))
    }

    fn load_version(
        &self,
        page: PageNo,
        version: PageVersion,
        before: Option<&BasePage>,
    ) -> Result<BasePage, ReadError> {
        self.reader.load_version(&self.view, page, version, before)
    }

    fn expect_versions(&self, versions: &[Superseded]) {
        self.reader.expect_versions(&self.view, versions);
    }

    fn end_round(&self) {
        self.reader.end_round();
    }

    fn read_expected(&self) -> bool {
        self.reader.read_expected()
    }

    fn read_behind(&self) {
        self.reader.read_behind();
    }

    fn show_expected(&self) {
        self.reader.show_expected();
    }

    fn expect_nothing(&self) {
        self.reader.expect_nothing();
    }
}

impl Engine {
    /// Freezes every database with commits that no checkpoint covers.
    pub(super) fn freeze(&self) -> Result<Vec<Source>, CheckpointError> {
        let rows = self.manifest.state();
        let frozen = self
            .states()
            .into_iter()
            .filter_map(|state| self.freeze_in_use(state));
        frozen
            .map(|(state, view)| self.source(state, view, &rows))
            .collect()
    }

    /// The state of a database and its frozen view, if that has commits that no checkpoint covers. The one that was given
    /// may have been retired since: if the pages are kept another one has them, with all commits before the cut.
    fn freeze_in_use(&self, mut state: Arc<DbState>) -> Option<(Arc<DbState>, Arc<View>)> {
        let view = loop {
            match state.freeze() {
                Some(view) => break view,
                None => state = self.state_of(state.id())?,
            }
        };
        (view.layer_count() > 0).then_some((state, view))
    }

    fn source(
        &self,
        state: Arc<DbState>,
        view: Arc<View>,
        rows: &ManifestState,
    ) -> Result<Source, CheckpointError> {
        let (id, head) = (state.id(), *view.head());
        let points = state.pinned_in_log_below(head.lsn);
        let window = self.window_of(&state, &view);
        let page_size = head.page_size.unwrap_or(PageSize::DEFAULT);
        let ranges = Ranges::new(self.limits.range_bytes, page_size);
        let newest = rows.database(id).map(|row| row.checkpointed);
        let newest = newest.unwrap_or(crate::manifest::CheckpointedHead::NONE);
        let generation = newest.generation.next();
        let (commits, before) = (view.commits(), view.page_count_before());
        let history = history(&commits, before, page_size, &Kept { points, window });
        let page_count_min = view.page_count_min();
        let inherited = self.inherited(id, rows).min(page_count_min);
        let origin = match inherited {
            0 => Origin::None,
            inherited if self.is_to_be_folded(id, rows) => Origin::Folded(inherited),
            inherited => Origin::Inherited(inherited),
        };
        let chains = rows.newest_ranges(id);
        let chains = chains.map(|(range, row)| (RangeNo(range), chain(row)));
        Ok(Source {
            covered: view.layer_count(),
            ranges,
            new: NewGeneration {
                generation: generation.ok_or(CheckpointError::Limit("generations"))?,
                cut: head.lsn,
                since: newest.lsn,
                page_size,
                page_count: head.page_count,
                page_count_min,
                inherited: match origin {
                    Origin::Inherited(inherited) => inherited,
                    Origin::None | Origin::Folded(_) => 0,
                },
                rolling_checksum: head.rolling_checksum,
            },
            history,
            chains: chains.collect(),
            origin,
            reader: self.reader.clone(),
            state,
            view,
        })
    }

    /// How much of its past a database keeps, if any.
    pub(super) fn window_of(&self, state: &DbState, view: &View) -> Option<Window> {
        let cell = self.catalogue.lock();
        let entry = cell.catalogue.entry(state.id())?;
        self.window(entry, view.head().bytes())
    }

    /// The same for a database of `size` bytes.
    pub(super) fn window(&self, entry: &Entry, size: u64) -> Option<Window> {
        let retention = entry.policy.retention;
        let window_us = retention.window_us_or(self.limits.retention);
        let bytes = match retention.bytes {
            u64::MAX => size.saturating_mul(WINDOW_SIZES),
            bytes => bytes,
        };
        let kept = entry.state.has_pages() && window_us > 0 && bytes > 0;
        kept.then(|| Window {
            since_us: self.now_us().saturating_sub(window_us),
            bytes,
        })
    }
}

impl Source {
    /// What is dirty, for the plan.
    pub(super) fn dirty(&self) -> DirtyDatabase {
        let layers = self.view.layers().flat_map(|layer| layer.iter());
        let pages = layers
            .flat_map(|(first, extent)| (0..extent.pages()).map(move |nth| first.get() + nth))
            .filter_map(PageNo::new);
        let versions = self.history.versions.len() as u64;
        let history_bytes = versions * u64::from(self.new.page_size.get());
        DirtyDatabase {
            database: self.state.id(),
            oldest: self.view.oldest_uncheckpointed(),
            page_size: self.new.page_size,
            ranges: self.ranges,
            page_count: self.new.page_count,
            pages: pages.collect::<BTreeSet<_>>().into_iter().collect(),
            chains: self.chains.clone(),
            origin: self.origin,
            history_bytes: self.history.is_wanted().then_some(history_bytes),
        }
    }
}

fn chain(row: &RangeRow) -> Chain {
    let links = row.links();
    let bytes = |kind| {
        let of_kind = links.iter().filter(move |link| link.kind == kind);
        of_kind.map(|link| link.bytes).sum()
    };
    Chain {
        links: links.len(),
        base_bytes: bytes(LinkKind::Base),
        delta_bytes: bytes(LinkKind::Delta),
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
