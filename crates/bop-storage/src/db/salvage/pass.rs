//! One pass over the log: recovery, as an opening does it, into [`Lines`], and readers of what it found.
//!
//! Invariant: a record log is read from the place on that it is known to need, a database of pages from
//! wherever there is anything; the parents that commits name tell whether that is enough.
//!
//! Never: writes.

use super::super::log_sorted::SortingRoom;
use super::super::reader::PageReader;
use super::super::signals::Signals;
use super::lines::{Lines, Wanted, origins_of};
use super::source::{Base, Source};
use crate::catalogue::Catalogue;
use crate::error::{Damage, OpenError};
use crate::ids::{DbId, DbKind, Incarnation, Lsn, SegmentId};
use crate::io::{Disk, IoFailure, OpenMode, layout};
use crate::log::format::SegmentIdentity;
use crate::log::recover::Recovered;
use crate::log::{
    Checkpointed, Helpers, KeptBatches, LogHolds, LogSegment, LogState, RegisteredSegment, Ring,
    SealedSegment, Unwritten, recover,
};
use crate::recordlog::{RecentPayloads, RecordReader};
use crate::runtime::Errands;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a pass is to do.
pub(super) struct Pass {
    /// Nothing below is missed.
    pub(super) from: Lsn,
    /// Segments that were set aside are read, too.
    pub(super) aside: bool,
    pub(super) wanted: Wanted,
    pub(super) catalogue: Catalogue,
    /// Records of the catalogue are applied.
    pub(super) follow: bool,
    pub(super) bases: BTreeMap<DbId, Base>,
    pub(super) upto: BTreeMap<DbId, Lsn>,
    /// Every image is read, and commits are proved one by one.
    pub(super) prove: bool,
}

impl Pass {
    pub(super) fn over(from: Lsn, wanted: Wanted, catalogue: Catalogue) -> Self {
        Self {
            from,
            aside: true,
            wanted,
            catalogue,
            follow: false,
            bases: BTreeMap::new(),
            upto: BTreeMap::new(),
            prove: false,
        }
    }
}

/// What it gave.
pub(super) struct Passed<'a> {
    pub(super) lines: Lines<'a>,
    /// Databases that recovery cannot vouch for.
    pub(super) damaged: BTreeMap<DbId, Damage>,
    pub(super) pages: PageReader,
    pub(super) records: RecordReader,
}

impl Source {
    /// # Errors
    /// What the kernel refuses; formats of a newer program, segments that contradict each other.
    pub(super) fn pass(&self, pass: Pass) -> Result<Passed<'_>, OpenError> {
        let segments = match pass.aside {
            true => self.segments_from(pass.from),
            false => self.segments(),
        };
        if !pass.prove {
            let (mut lines, recovered) = self.recover(&segments, pass, None)?;
            let (pages, records) = self.readers(&recovered)?;
            lines.put_origins(&pages);
            return Ok(Passed {
                lines,
                damaged: recovered.damaged,
                pages,
                records,
            });
        }
        // Where each segment starts is known once recovery has been through.
        let nothing = Wanted::Only(BTreeSet::new());
        let looking = Pass::over(pass.from, nothing, Catalogue::new());
        let (_, looked) = self.recover(&segments, looking, None)?;
        let (pages, records) = self.readers(&looked)?;
        let readers = (pages.clone(), records.clone());
        let (mut lines, recovered) = self.recover(&segments, pass, Some(readers))?;
        lines.put_origins(&pages);
        Ok(Passed {
            lines,
            damaged: recovered.damaged,
            pages,
            records,
        })
    }

    /// Readers of the segments that were found, with their files open.
    fn readers(&self, recovered: &Recovered) -> Result<(PageReader, RecordReader), OpenError> {
        let open = |identity: &SegmentIdentity, base, capacity_bytes| {
            open_segment(self.disk.as_ref(), identity, base, capacity_bytes)
        };
        let sealed = recovered.sealed.iter().map(|found| {
            let segment = open(&found.identity, found.base, found.capacity_bytes)?;
            let end = found.end;
            Ok(SealedSegment { segment, end })
        });
        let sealed = sealed.collect::<Result<Vec<_>, IoFailure>>()?;
        let active = recovered.active.as_ref();
        let active = active.map(|found| open(&found.identity, found.base, found.capacity_bytes));
        let largest = recovered.max_segment_id;
        let ring = Arc::new(Ring::new(sealed, active.transpose()?, Vec::new(), largest));
        let unwritten = Arc::<Unwritten>::default();
        let cache = Arc::clone(&self.cache);
        let errands = Errands::new(Arc::clone(&self.runtime.spawn), 1);
        // Nothing is copied by way of it.
        let room = SortingRoom {
            disk: Arc::clone(&self.disk),
            free_bytes_min: u64::MAX,
        };
        let (log, records) = (Arc::clone(&ring), Arc::clone(&unwritten));
        let nothing = Arc::new(KeptBatches::new(0));
        let pages = PageReader::new(log, records, nothing, cache, &errands, room);
        let recent = Arc::new(RecentPayloads::new(self.limits.record_cache_bytes_max));
        Ok((pages, RecordReader::new(ring, unwritten, recent)))
    }

    fn recover(
        &self,
        segments: &[RegisteredSegment],
        pass: Pass,
        readers: Option<(PageReader, RecordReader)>,
    ) -> Result<(Lines<'_>, Recovered), OpenError> {
        let checkpointed = self.checkpointed(&pass);
        let state = LogState {
            store: self.store,
            segments,
            truncated: pass.from,
            catalogue: Checkpointed::at(self.rows.watermarks().catalogue),
            checkpointed: &checkpointed,
        };
        let signals = Arc::new(Signals::new(&self.limits));
        let mut lines = Lines {
            source: self,
            holds: LogHolds::new(signals),
            origins: origins_of(&pass.wanted, &pass.catalogue),
            catalogue: pass.catalogue,
            follow: pass.follow,
            wanted: pass.wanted,
            bases: pass.bases,
            upto: pass.upto,
            readers,
            pages: BTreeMap::new(),
            logs: BTreeMap::new(),
            behind: BTreeMap::new(),
            renamed: BTreeSet::new(),
        };
        let helpers = Helpers::new(self.runtime.spawn.as_ref());
        let recovered = recover(self.disk.as_ref(), &state, helpers, &mut lines)?;
        Ok((lines, recovered))
    }

    /// What the chunks hold of each database. All that a checkpoint counts as covered is so of those
    /// that are not closed, and of these nothing but the commit that they end with.
    fn checkpointed(&self, pass: &Pass) -> BTreeMap<DbId, Checkpointed> {
        let covered = self.rows.watermarks().checkpointed;
        let closed = self.closed();
        let rows = self.rows.databases().map(|(id, row)| {
            let head = row.checkpointed.lsn;
            let of_row = match row.kind {
                DbKind::Log => Checkpointed::default(),
                DbKind::Sqlite | DbKind::Raw if closed.contains_key(&id) => Checkpointed::at(head),
                DbKind::Sqlite | DbKind::Raw => Checkpointed { head, covered },
            };
            (id, of_row)
        });
        let mut all: BTreeMap<DbId, Checkpointed> = rows.collect();
        let given = pass.bases.iter();
        all.extend(given.map(|(id, base)| (*id, Checkpointed::at(base.head().lsn))));
        all
    }
}

fn open_segment(
    disk: &dyn Disk,
    identity: &SegmentIdentity,
    base: Lsn,
    capacity_bytes: u64,
) -> Result<Arc<LogSegment>, IoFailure> {
    let (id, incarnation): (SegmentId, Incarnation) = (identity.segment, identity.incarnation);
    let file = disk.open(&layout::segment(id), OpenMode::Read)?;
    let segment = LogSegment::new(id, incarnation, base, capacity_bytes, file);
    Ok(Arc::new(segment))
}
