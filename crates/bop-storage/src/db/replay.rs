//! From the log's records to the state that users see: catalogue and views, as they were.
//!
//! Invariants
//! - what a checkpoint has covered is passed by, so replaying twice gives the same;
//! - a record that cannot be applied closes its database (or, of the catalogue, the catalogue), and
//!   no other.
//!
//! Never: writes.

use super::bases::Bases;
use super::chunks::ChunkSet;
use crate::cache::PageCache;
use crate::catalogue::{Catalogue, CatalogueChange, DatabaseState, Replayed};
use crate::error::{Damage, Place, Reject};
use crate::ids::{DbId, DbKind, Lsn, SegmentId};
use crate::limits::ValidLimits;
use crate::log::format::CatalogueEntry;
use crate::log::{
    HoldReason, LogHold, LogHolds, ReplaySink, ReplayedCatalogue, ReplayedCommit, ReplayedLog,
    ReplayedMember,
};
use crate::manifest::ManifestState;
use crate::recordlog::{LogIndex, Rebuild};
use crate::view::{CommitPages, CommittedPage, Head, NoBase, View};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Takes what recovery delivers.
pub(super) struct Replay<'a> {
    pub(super) rows: &'a ManifestState,
    pub(super) chunks: &'a ChunkSet,
    pub(super) cache: &'a Arc<PageCache>,
    pub(super) limits: &'a ValidLimits,
    pub(super) holds: &'a Arc<LogHolds>,
    /// The catalogue, up to the newest record.
    pub(super) catalogue: Catalogue,
    /// Held from the first catalogue record that no checkpoint covers.
    pub(super) catalogue_hold: Option<Arc<LogHold>>,
    /// Databases with commits that no checkpoint covers.
    pub(super) views: BTreeMap<DbId, View>,
    /// Record logs with records.
    pub(super) record_logs: BTreeMap<DbId, Rebuild>,
    /// Databases whose records could not be applied.
    pub(super) damaged: BTreeMap<DbId, Damage>,
}

impl ReplaySink for Replay<'_> {
    fn commit(&mut self, commit: ReplayedCommit) {
        for member in &commit.members {
            if let Err(reason) = self.apply_member(&commit, member) {
                let damage = damage(commit.segment, commit.lsn, reason);
                self.views.remove(&member.database);
                self.damaged.entry(member.database).or_insert(damage);
            }
        }
    }

    fn catalogue(&mut self, record: ReplayedCatalogue<'_>) {
        let lsn = record.lsn;
        let Some(gone) = replay_catalogue(&mut self.catalogue, record) else {
            return;
        };
        let hold = || self.holds.hold(lsn, HoldReason::Catalogue);
        self.catalogue_hold.get_or_insert_with(hold);
        for id in gone {
            self.views.remove(&id);
            self.record_logs.remove(&id);
            self.damaged.remove(&id);
        }
    }

    fn log_record(&mut self, record: ReplayedLog<'_>) {
        let id = record.log.database;
        if self.damaged.contains_key(&id) {
            return;
        }
        let entry = self
            .catalogue
            .entry(id)
            .map(|entry| (entry.state, entry.kind));
        let applied = match entry {
            Some((DatabaseState::Live, DbKind::Log)) => {
                self.record_logs.entry(id).or_default().apply(&record)
            }
            // It was dropped: nothing of it is needed.
            Some((
                DatabaseState::Dropped { .. } | DatabaseState::Tombstone { .. },
                DbKind::Log,
            )) => Ok(()),
            Some(_) => Err(Reject::Invalid("entries of a database of pages")),
            None => Err(Reject::Invalid("entries of a record log that is not there")),
        };
        if let Err(reason) = applied {
            self.record_logs.remove(&id);
            let damage = damage(record.segment, record.lsn, reason);
            self.damaged.entry(id).or_insert(damage);
        }
    }
}

impl Replay<'_> {
    /// The record logs, now that all of their records were read.
    pub(super) fn finish_record_logs(&mut self) -> BTreeMap<DbId, LogIndex> {
        let mut finished = BTreeMap::new();
        for (id, rebuild) in std::mem::take(&mut self.record_logs) {
            match rebuild.finish() {
                Ok(index) => {
                    finished.insert(id, index);
                }
                Err(reason) => {
                    let damage = Damage::new(Place::Database { database: id }, reason);
                    self.damaged.entry(id).or_insert(damage);
                }
            }
        }
        finished
    }

    /// What chunks hold of a database. The pages of its origin are put below it when all is replayed.
    fn checkpointed_view(&self, id: DbId, kind: DbKind) -> View {
        let bases = Bases {
            rows: self.rows,
            catalogue: &self.catalogue,
            chunks: self.chunks,
            cache: self.cache,
            limits: self.limits,
            in_log: &|_, _| Some(Arc::new(NoBase)),
        };
        bases.view(id, kind)
    }

    fn apply_member(
        &mut self,
        commit: &ReplayedCommit,
        member: &ReplayedMember,
    ) -> Result<(), Reject> {
        let id = member.database;
        if self.damaged.contains_key(&id) {
            return Ok(());
        }
        let entry = self.catalogue.entry(id);
        let entry = entry.ok_or(Reject::Invalid("a commit of a database that is not there"))?;
        let kind = entry.kind;
        if !self.catalogue.has_pages(id) {
            return Ok(());
        }
        if kind == DbKind::Log {
            return Err(Reject::Invalid("pages of a record log"));
        }
        if !self.views.contains_key(&id) {
            let view = self.checkpointed_view(id, kind);
            // A view without layers is made again when it is used.
            if commit.lsn <= view.head().lsn {
                return Ok(());
            }
            self.views.insert(id, view);
        }
        let Some(view) = self.views.get_mut(&id) else {
            return Ok(());
        };
        if commit.lsn <= view.head().lsn {
            return Ok(());
        }
        let page_size = view.head().page_size;
        if page_size.is_some_and(|size| size != member.page_size) {
            return Err(Reject::Invalid("a commit with another page size"));
        }
        add_commit(view, commit, member, self.holds);
        Ok(())
    }
}

/// Adds a commit to the view of one of its databases.
pub(super) fn add_commit(
    view: &mut View,
    commit: &ReplayedCommit,
    member: &ReplayedMember,
    holds: &Arc<LogHolds>,
) {
    let pages: Vec<CommittedPage> = member
        .pages
        .iter()
        .map(|page| CommittedPage {
            page: page.page,
            hash: page.hash,
            image_lsn: page.image,
            form: page.form,
        })
        .collect();
    let head = Head {
        lsn: commit.lsn,
        time_us: commit.time_us,
        page_size: Some(member.page_size),
        page_count: member.page_count,
        rolling_checksum: member.rolling,
    };
    let committed = CommitPages {
        version: commit.lsn,
        page_count: member.page_count,
        page_count_min: member.page_count_min,
        pages: &pages,
    };
    view.add_commit(head, &committed, || {
        holds.hold(commit.since, HoldReason::Pages(member.database))
    });
}

/// Applies a record of the catalogue, and answers the databases that have no pages from then on; `None`
/// when the catalogue is as before: it knew the record, or is damaged by it.
pub(super) fn replay_catalogue(
    catalogue: &mut Catalogue,
    record: ReplayedCatalogue<'_>,
) -> Option<BTreeSet<DbId>> {
    let ReplayedCatalogue {
        lsn,
        time_us,
        parent,
        entries,
    } = record;
    let change = |entry: &CatalogueEntry<'_>| CatalogueChange::from_op(entry.database, &entry.op);
    let changes: Result<Vec<_>, _> = entries.iter().map(change).collect();
    let applied = changes.and_then(|changes| catalogue.replay(&changes, parent, lsn, time_us));
    match applied {
        Ok(Replayed::Known) => None,
        Ok(Replayed::Applied(gone)) => Some(gone),
        Err(reason) => {
            catalogue.set_damaged(damage(SegmentId::default(), lsn, reason));
            None
        }
    }
}

fn damage(segment: SegmentId, lsn: Lsn, reason: Reject) -> Damage {
    Damage::new(Place::Log { segment, lsn }, reason)
}
