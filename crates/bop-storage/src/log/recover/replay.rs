//! Replay: judged spans become commits for the sink, and holes.
//!
//! Invariants
//! - records reach the sink in Lsn order, each once;
//! - a commit reaches it for those of its databases whose history is unbroken, and for no other.
//!
//! Never: reads a file.

use super::chains::Chains;
use super::databases::{Databases, Fit, Hole};
use super::sink::{
    ReplaySink, ReplayedCatalogue, ReplayedCommit, ReplayedLog, ReplayedMember, ReplayedPage,
};
use crate::error::{Damage, Place, Reject};
use crate::ids::{DbId, Lsn, SegmentId};
use crate::log::format::record::RecordKind;
use crate::log::format::{CatalogueOp, DirectoryItem, LogsRecord, MemberPages, PagesRecord};
use crate::log::scan::{BadBytes, ScannedBatch, ScannedBody, ScannedRecord};
use std::collections::BTreeMap;

pub(super) struct Replay<'a> {
    pub(super) databases: Databases,
    chains: Chains,
    sink: &'a mut dyn ReplaySink,
    /// The newest time stamp seen.
    pub(super) last_time_us: u64,
}

impl<'a> Replay<'a> {
    pub(super) fn new(databases: Databases, sink: &'a mut dyn ReplaySink) -> Self {
        Self {
            databases,
            chains: Chains::default(),
            sink,
            last_time_us: 0,
        }
    }

    /// Delivers a sound batch.
    pub(super) fn batch(&mut self, segment: SegmentId, batch: &ScannedBatch) {
        for record in &batch.records {
            self.last_time_us = self.last_time_us.max(record.time_us);
            self.record(segment, record);
        }
    }

    /// Notes that the log is lost from `lsn` to `end`. `bad` is what was found there, if anything
    /// is known of it. Returns what is reported.
    pub(super) fn lost(
        &mut self,
        segment: SegmentId,
        lsn: Lsn,
        end: Lsn,
        bad: Option<&BadBytes>,
    ) -> Damage {
        let reason = bad.map_or(Reject::Missing, |bad| bad.reason.clone());
        let at = bad.map_or(lsn, |bad| bad.at);
        let damage = Damage::new(Place::Log { segment, lsn: at }, reason);
        let directory = bad.and_then(|bad| bad.directory.as_deref());
        for (database, lsn) in unreadable(lsn, directory.unwrap_or_default()) {
            self.sink.undelivered(database, lsn);
        }
        let touched = |items: &[DirectoryItem]| touched(lsn, items);
        let (named, renamed) = match directory.map(touched) {
            Some((named, mut renamed)) => {
                renamed.retain(|database, _| self.sink.renamed(*database));
                (Some(named), renamed)
            }
            None => (None, BTreeMap::new()),
        };
        self.databases.hole(Hole {
            damage: damage.clone(),
            end,
            named,
            renamed,
        });
        damage
    }

    fn record(&mut self, segment: SegmentId, record: &ScannedRecord) {
        let at = Damage::new(
            Place::Log {
                segment,
                lsn: record.lsn,
            },
            Reject::Invalid("a record that cannot be replayed"),
        );
        match &record.body {
            ScannedBody::Pages(pages) => self.pages(segment, record, pages, &at),
            ScannedBody::Abort(commit) => self.chains.abort(*commit),
            ScannedBody::Catalogue(scanned) => {
                let entries = scanned.entries();
                let parent = entries.first().map_or(Lsn::ZERO, |entry| entry.parent);
                let fit = self.databases.fit(DbId::CATALOGUE, record.lsn, parent, &at);
                if fit == Fit::Refused {
                    self.sink.undelivered(DbId::CATALOGUE, record.lsn);
                    return;
                }
                for entry in &entries {
                    match entry.op {
                        // The first commit of a fork, too, has none before it: its origin is not
                        // one of its commits.
                        CatalogueOp::Create { .. } | CatalogueOp::Fork { .. } => {
                            self.databases.created(entry.database);
                        }
                        _ => {}
                    }
                }
                self.sink.catalogue(ReplayedCatalogue {
                    lsn: record.lsn,
                    time_us: record.time_us,
                    parent,
                    entries: &entries,
                });
            }
            ScannedBody::Logs(logs) => self.logs(segment, record, logs, &at),
            ScannedBody::Close(heads) => self.databases.closed(heads, &at),
            ScannedBody::Nothing(_) => {}
        }
    }

    fn logs(
        &mut self,
        segment: SegmentId,
        scanned: &ScannedRecord,
        record: &LogsRecord,
        at: &Damage,
    ) {
        let lsn = scanned.lsn;
        for log in &record.logs {
            self.databases.seen(log.database, lsn);
            match self.databases.fit_log(log.database, lsn, log.parent, at) {
                Fit::Next => self.sink.log_record(ReplayedLog {
                    lsn,
                    segment,
                    time_us: scanned.time_us,
                    kind: record.kind,
                    log,
                }),
                Fit::Refused => self.sink.undelivered(log.database, lsn),
                Fit::Covered => {}
            }
        }
    }

    fn pages(
        &mut self,
        segment: SegmentId,
        record: &ScannedRecord,
        pages: &PagesRecord,
        at: &Damage,
    ) {
        let since = self.chains.since(record.lsn, pages.part);
        let needed = [since, record.lsn];
        let needed = if pages.part.kind() == RecordKind::Commit {
            // Parts of it may have been other databases' alone.
            &needed[..]
        } else {
            &needed[1..]
        };
        for member in &pages.members {
            for lsn in needed {
                self.databases.seen(member.database, *lsn);
            }
        }
        let Some(gathered) = self.chains.part(record.lsn, pages) else {
            return;
        };
        let mut members = Vec::with_capacity(pages.members.len());
        let mut gathered = gathered.map(Vec::into_iter);
        for member in &pages.members {
            let found = gathered.as_mut().and_then(Iterator::next);
            let fit = self
                .databases
                .fit(member.database, record.lsn, member.parent, at);
            match (fit, found) {
                (Fit::Refused, _) => self.sink.undelivered(member.database, record.lsn),
                (Fit::Covered, None) => {}
                (Fit::Next, None) => {
                    self.sink.undelivered(member.database, record.lsn);
                    let reason = Reject::Invalid("a commit whose fragments are not all there");
                    let damage = Damage::new(at.place.clone(), reason);
                    self.databases.blame(member.database, damage);
                }
                (Fit::Next | Fit::Covered, Some(found)) => {
                    members.push(replayed(member, found));
                }
            }
        }
        if !members.is_empty() {
            self.sink.commit(ReplayedCommit {
                lsn: record.lsn,
                since,
                segment,
                time_us: record.time_us,
                members,
            });
        }
    }
}

fn replayed(member: &MemberPages, pages: Vec<ReplayedPage>) -> ReplayedMember {
    ReplayedMember {
        database: member.database,
        parent: member.parent,
        rolling: member.rolling,
        page_count: member.page_count,
        page_count_min: member.page_count_min,
        page_size: member.page_size,
        pages,
    }
}

/// The commits and other records that a directory names, with their databases.
fn unreadable(batch: Lsn, directory: &[DirectoryItem]) -> impl Iterator<Item = (DbId, Lsn)> {
    let told = |item: &&DirectoryItem| {
        let part = matches!(item.kind, RecordKind::Fragment | RecordKind::Abort);
        item.kind.touches_databases() && !part
    };
    directory.iter().filter(told).map(move |item| {
        let database = match item.kind {
            RecordKind::Catalogue => DbId::CATALOGUE,
            _ => item.database,
        };
        // Inside a batch that ends below the limit.
        let lsn = Lsn::new(batch.get() + u64::from(item.offset_bytes));
        (database, lsn)
    })
}

type Touched = (BTreeMap<DbId, Lsn>, BTreeMap<DbId, Lsn>);

/// The databases that a directory names: those whose commits it lists, and those whose name or
/// being it changes; with the last position of each.
fn touched(batch: Lsn, directory: &[DirectoryItem]) -> Touched {
    let (mut named, mut renamed) = (BTreeMap::new(), BTreeMap::new());
    for item in directory {
        if !item.kind.touches_databases() {
            continue;
        }
        // Inside a batch that ends below the limit.
        let lsn = Lsn::new(batch.get() + u64::from(item.offset_bytes));
        let by_catalogue = item.kind == RecordKind::Catalogue && item.database != DbId::CATALOGUE;
        let map = if by_catalogue {
            &mut renamed
        } else {
            &mut named
        };
        map.insert(item.database, lsn);
    }
    (named, renamed)
}
