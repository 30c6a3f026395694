//! From what files say to the rows of the new manifest.
//!
//! Invariants
//! - a name that may be lost closes the catalogue: no second database of that name comes into being;
//! - `next_database` is what the catalogue says and no more: the log's creations go on from there. A
//!   chunk that knows a younger database proves that names are lost, unless the log has them.
//!
//! Never: writes a file.

use super::catalogue::CataloguePlace;
use super::chunks::FoundChunks;
use super::databases::judge_all;
use super::judge::{Judge, Verdict};
use super::points::LostPoint;
use super::segments::FoundLog;
use crate::catalogue::{Catalogue, Entry};
use crate::error::{ManifestError, OpenError};
use crate::ids::{ChunkId, DbId, Generation, Lsn};
use crate::limits::ValidLimits;
use crate::manifest::{
    ClosedRow, DatabaseRow, Edit, LinkKind, RangeKey, RangeLink, RangeRow, SegmentRow,
};
use std::collections::{BTreeMap, BTreeSet};

/// What the new manifest is to say.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) catalogue: Catalogue,
    /// Why names may be missing, if so.
    pub(super) catalogue_closed: Option<String>,
    pub(super) databases: BTreeMap<DbId, Verdict>,
    /// Snapshots whose states cannot be had.
    pub(super) lost: Vec<LostPoint>,
    /// Nothing below is expected in the log.
    pub(super) truncated: Lsn,
    /// The sections of the catalogue.
    catalogue_ranges: Vec<(RangeKey, RangeRow)>,
}

impl Plan {
    /// Judges everything.
    pub(super) fn make(
        judge: &Judge<'_>,
        limits: &ValidLimits,
        log: &FoundLog,
    ) -> Result<Self, OpenError> {
        let found = judge.chunks.catalogue.as_ref();
        let catalogue = found.map_or_else(Catalogue::new, |found| found.catalogue.clone());
        let aside = log.salvage.values().map(|row| row.end).max();
        let judged = judge_all(judge, limits, &catalogue, aside)?;
        let sections = found.map(|found| found.sections.as_slice());
        Ok(Self {
            catalogue_closed: catalogue_doubt(judge, &catalogue, aside),
            lost: judged.lost,
            databases: judged.verdicts,
            catalogue,
            truncated: log.truncated.unwrap_or_default(),
            catalogue_ranges: catalogue_ranges(sections.unwrap_or_default()),
        })
    }

    /// The chunks that a row names.
    pub(super) fn chunks(&self) -> BTreeSet<ChunkId> {
        let of_catalogue = self.catalogue_ranges.iter();
        let of_catalogue = of_catalogue.flat_map(|(_, row)| row.links());
        let verdicts = self.databases.values();
        verdicts
            .flat_map(Verdict::chunks)
            .chain(of_catalogue.map(|link| link.chunk))
            .collect()
    }

    /// Puts it all into an empty manifest.
    pub(super) fn write(
        &self,
        chunks: &FoundChunks,
        log: &FoundLog,
        edit: &mut Edit<'_>,
    ) -> Result<(), ManifestError> {
        let from = log.salvage.values().map(|row| row.base).min();
        let draft = Draft {
            chunks,
            closed_from: from.unwrap_or(self.truncated).min(self.truncated),
            closed_to: log.limit.max(self.truncated),
        };
        for (id, entry) in self.catalogue.entries() {
            if let Some(verdict) = self.databases.get(&id) {
                draft.put(id, entry, verdict, edit)?;
                self.catalogue.write_snapshots(id, edit)?;
            }
        }
        for (key, row) in &self.catalogue_ranges {
            draft.put_chunks(row.links().iter().map(|link| link.chunk), edit)?;
            edit.put_range(*key, row.clone());
        }
        if let Some(why) = &self.catalogue_closed {
            draft.close(DbId::CATALOGUE, why, edit);
        }
        for segment in &log.registered {
            let row = SegmentRow {
                incarnation: segment.incarnation,
                capacity_bytes: segment.capacity_bytes,
            };
            edit.put_segment(segment.id, row)?;
        }
        for (id, row) in &log.salvage {
            edit.set_aside(*id, *row)?;
        }
        for (id, cursor) in chunks.catalogue.iter().flat_map(|found| &found.cursors) {
            edit.put_cursor(*id, cursor.clone());
        }
        edit.set_checkpointed(self.truncated);
        edit.set_truncated(self.truncated);
        edit.set_catalogue(self.catalogue.last_lsn());
        edit.set_next_database(self.catalogue.next_id());
        edit.set_next_chunk(chunks.next);
        edit.set_next_segment(log.next);
        Ok(())
    }
}

/// The rows of one database after the other.
pub(super) struct Draft<'a> {
    pub(super) chunks: &'a FoundChunks,
    /// What is closed needs the log from here,
    pub(super) closed_from: Lsn,
    /// and until before here.
    pub(super) closed_to: Lsn,
}

impl Draft<'_> {
    pub(super) fn put(
        &self,
        id: DbId,
        entry: &Entry,
        verdict: &Verdict,
        edit: &mut Edit<'_>,
    ) -> Result<(), ManifestError> {
        self.put_chunks(verdict.chunks(), edit)?;
        edit.put_database(id, row(entry, verdict))?;
        for (key, row) in &verdict.ranges {
            edit.put_range(*key, row.clone());
        }
        for (generation, row) in &verdict.generations {
            edit.put_generation(id, *generation, *row);
        }
        if let Some(why) = &verdict.closed {
            self.close(id, why, edit);
        }
        Ok(())
    }

    fn put_chunks(
        &self,
        named: impl Iterator<Item = ChunkId>,
        edit: &mut Edit<'_>,
    ) -> Result<(), ManifestError> {
        for id in named {
            let identity = self.chunks.identities.get(&id);
            let Some(identity) = identity.filter(|_| edit.state().chunk(id).is_none()) else {
                continue;
            };
            let digest = u128::from_le_bytes(identity.digest.to_bytes());
            edit.insert_chunk(id, identity.bytes, digest)?;
        }
        Ok(())
    }

    fn close(&self, id: DbId, why: &str, edit: &mut Edit<'_>) {
        edit.close_database(id, &ClosedRow::lost(why, self.closed_from, self.closed_to));
    }
}

fn catalogue_ranges(sections: &[CataloguePlace]) -> Vec<(RangeKey, RangeRow)> {
    let row = |(range, place): (u32, &CataloguePlace)| {
        let key = RangeKey {
            database: DbId::CATALOGUE,
            range,
            generation: place.generation,
        };
        let link = RangeLink {
            chunk: place.chunk,
            section: place.index,
            pages: 1,
            bytes: place.bytes,
            kind: LinkKind::Base,
        };
        (key, RangeRow::of(link))
    };
    (0..).zip(sections).map(row).collect()
}

/// Why names may be missing, unless the log has every record behind the catalogue that was found.
fn catalogue_doubt(judge: &Judge<'_>, catalogue: &Catalogue, aside: Option<Lsn>) -> Option<String> {
    let last = catalogue.last_lsn();
    if judge.log_follows(last) || (judge.log_from.is_none() && judge.chunks.is_empty()) {
        return None;
    }
    let Some(found) = &judge.chunks.catalogue else {
        return Some("no chunk has a catalogue, and the log has lost its beginning".to_owned());
    };
    if let Some(damage) = &judge.chunks.lost_catalogue {
        return Some(format!("the newest catalogue cannot be read: {damage}"));
    }
    if let Some(chunk) = judge.may_hide_newer(found.newest_chunk(), last) {
        let why = format!("chunk {chunk}, which is damaged, may have held a newer catalogue");
        return Some(why);
    }
    let unknown = judge
        .chunks
        .databases()
        .find(|id| catalogue.next_id() <= *id);
    if let Some(id) = unknown {
        let why =
            format!("a chunk has pages of database id {id}, which the catalogue does not know");
        return Some(why);
    }
    if aside.is_some_and(|end| last < end) {
        return Some("segments are set aside for what was closed, maybe the catalogue".to_owned());
    }
    judge
        .log_from
        .is_none()
        .then(|| "the log is missing".to_owned())
}

fn row(entry: &Entry, verdict: &Verdict) -> DatabaseRow {
    let known = verdict.head.generation != Generation::default();
    DatabaseRow {
        name: entry.name.clone(),
        kind: entry.kind,
        state: entry.state,
        page_size: verdict.page_size.filter(|_| known),
        created_us: entry.created_us,
        catalogue_lsn: entry.lsn,
        checkpointed: verdict.head,
        policy: entry.policy,
        origin: entry.origin.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{CatalogueChange, DbName, Point, decode_section, encode_delta};
    use crate::checksum::RollingChecksum;
    use crate::ids::{DbKind, PageSize, StoreId};
    use crate::manifest::{Manifest, ManifestStore, MemoryManifest};
    use std::sync::Arc;

    /// One, and what was made of its past; then a restore of it, whose records are in a section of their own.
    fn sections() -> (Catalogue, Vec<Vec<u8>>) {
        let point = |source, lsn| Point {
            source: DbId::new(source),
            lsn: Lsn::new(lsn),
            time_us: 1,
            page_size: Some(PageSize::MIN),
            page_count: 2,
            rolling_checksum: RollingChecksum::new(lsn),
        };
        let name = |text| DbName::new(text).unwrap();
        let one = DbId::new(1);
        let create = CatalogueChange::Create {
            id: one,
            name: name("one"),
            kind: DbKind::Raw,
        };
        let fork = CatalogueChange::Fork {
            id: DbId::new(2),
            name: name("fork"),
            kind: DbKind::Raw,
            origin: point(1, 3),
        };
        let snapshot = CatalogueChange::Snapshot {
            id: one,
            name: name("before"),
            point: point(1, 4),
        };
        let mut catalogue = Catalogue::new();
        for (change, lsn) in [create, fork, snapshot].iter().zip([10, 20, 30]) {
            catalogue.apply(change, Lsn::new(lsn), lsn).unwrap();
        }
        let base = encode_delta(&catalogue, Lsn::ZERO, &[], &[]);
        let restore = crate::catalogue::Restore {
            database: "one",
            target: point(1, 4),
            kept: "now",
            head: point(1, 5),
        };
        let changes = catalogue.plan_restore(&restore, &crate::Limits::default());
        let lsn = Lsn::new(40);
        catalogue.apply_all(&changes.unwrap(), lsn, 40).unwrap();
        let delta = encode_delta(&catalogue, Lsn::new(30), &[], &[]);
        (catalogue, vec![base, delta])
    }

    /// The manifest that is made anew has the snapshots and the origins, those of what was dropped and is
    /// pointed at among them.
    #[test]
    fn snapshots_and_origins_come_back() {
        let (wanted, sections) = sections();
        let [base, delta] = [0, 1].map(|at: usize| decode_section(&sections[at]).unwrap());
        let catalogue = delta.on(base).unwrap().catalogue;
        let databases = catalogue.entries().map(|(id, _)| id);
        let plan = Plan {
            databases: databases.map(|id| (id, Verdict::without(None))).collect(),
            catalogue,
            catalogue_closed: None,
            lost: Vec::new(),
            truncated: Lsn::new(50),
            catalogue_ranges: Vec::new(),
        };
        let chunks = FoundChunks::none();
        let log = FoundLog::default();
        let id = StoreId::new([3; 16]);
        let writes = Manifest::rebuilt_writes(id, |edit| plan.write(&chunks, &log, edit)).unwrap();
        let store = Arc::new(MemoryManifest::new());
        store.commit(&writes).unwrap();
        let manifest = Manifest::open(store, id).unwrap();
        let read = Catalogue::from_rows(&manifest.state());
        assert_eq!(read, wanted);
        assert_eq!(read.snapshots(DbId::new(3)).count(), 2);
        assert!(
            read.has_pages(DbId::new(1)),
            "three points are needed of it"
        );
        assert_eq!(manifest.verify().unwrap(), []);
    }
}
