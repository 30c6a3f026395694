//! What a scan keeps of a record: everything but images and payloads, whose places are enough.

use crate::ids::{CommitId, DbId, Lsn};
use crate::log::format::record::RecordKind;
use crate::log::format::{
    CatalogueEntry, EntryLocation, LogMember, LogsRecord, MemberPages, PageLocation, PagesRecord,
    Record, VerifiedRecord,
};

/// One record of a sound batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScannedRecord {
    /// Where it starts.
    pub lsn: Lsn,
    /// When it was appended.
    pub time_us: u64,
    /// What it says.
    pub body: ScannedBody,
}

impl ScannedRecord {
    /// Memory that it takes, about.
    pub(super) fn kept_bytes(&self) -> usize {
        let behind = match &self.body {
            ScannedBody::Pages(pages) => {
                let member = |member: &MemberPages| {
                    size_of::<MemberPages>() + member.pages.len() * size_of::<PageLocation>()
                };
                pages.members.iter().map(member).sum()
            }
            ScannedBody::Close(heads) => heads.len() * size_of::<(DbId, Lsn)>(),
            ScannedBody::Catalogue(scanned) => scanned.kept_bytes(),
            ScannedBody::Logs(record) => {
                let member = |log: &LogMember| {
                    size_of::<LogMember>() + log.entries.len() * size_of::<EntryLocation>()
                };
                record.logs.iter().map(member).sum()
            }
            ScannedBody::Abort(_) | ScannedBody::Nothing(_) => 0,
        };
        size_of::<Self>() + behind
    }
}

/// What a record says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ScannedBody {
    /// A commit or a fragment.
    Pages(PagesRecord),
    /// A chain will not be committed.
    Abort(CommitId),
    /// A catalogue record.
    Catalogue(ScannedCatalogue),
    /// A record of record logs.
    Logs(LogsRecord),
    /// A clean end.
    Close(Vec<(DbId, Lsn)>),
    /// A note, or an index: nothing to replay.
    Nothing(RecordKind),
}

/// A catalogue record that owns its names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScannedCatalogue(Vec<(String, CatalogueEntry<'static>)>);

impl ScannedCatalogue {
    fn new(entries: &[CatalogueEntry<'_>]) -> Self {
        let owned = entries.iter().map(|entry| {
            let nameless = CatalogueEntry {
                database: entry.database,
                parent: entry.parent,
                op: entry.op.with_name(""),
            };
            (entry.op.name().unwrap_or("").to_owned(), nameless)
        });
        Self(owned.collect())
    }

    /// Its entries, in their order; at least one.
    pub fn entries(&self) -> Vec<CatalogueEntry<'_>> {
        let mut entries = Vec::with_capacity(self.0.len());
        for (name, entry) in &self.0 {
            entries.push(CatalogueEntry {
                database: entry.database,
                parent: entry.parent,
                op: entry.op.with_name(name),
            });
        }
        entries
    }

    fn kept_bytes(&self) -> usize {
        let one = |(name, _): &(String, CatalogueEntry<'static>)| {
            name.len() + size_of::<(String, CatalogueEntry<'static>)>()
        };
        self.0.iter().map(one).sum()
    }
}

impl From<VerifiedRecord<'_>> for ScannedRecord {
    fn from(verified: VerifiedRecord<'_>) -> Self {
        let body = match verified.record {
            Record::Pages(pages) => ScannedBody::Pages(pages),
            Record::Abort { commit, .. } => ScannedBody::Abort(commit),
            Record::Catalogue(entries) => ScannedBody::Catalogue(ScannedCatalogue::new(&entries)),
            Record::Logs(logs) => ScannedBody::Logs(logs),
            Record::Close(heads) => ScannedBody::Close(heads),
            Record::Note(_) => ScannedBody::Nothing(RecordKind::Note),
            Record::SealIndex => ScannedBody::Nothing(RecordKind::SealIndex),
        };
        Self {
            lsn: verified.lsn,
            time_us: verified.time_us,
            body,
        }
    }
}
