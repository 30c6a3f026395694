//! Reading the chunks of a database, in the background, to find damage before anybody needs the bytes.
//!
//! What is proved: each section that any generation of the database names, whole; a chunk that has
//! nothing else, byte for byte; that the hashes of the newest generation's pages, those that a fork has
//! from its origin among them, add up to the rolling checksum in the database's row. Of the whole store: the catalogue's sections and each chunk that
//! several databases share besides.
//!
//! Invariants
//! - chunks are held by name and not by a lock: checkpoints go on, and what they let go of is removed
//!   when it was read;
//! - bytes come from the device, never from a cache.
//!
//! Never: reads the log (recovery, and [`verify`](crate::Manager::verify), do), closes a database.

use super::chunks::ChunkFile;
use super::engine::Engine;
use super::page_hashes::PageHashes;
use crate::checksum::RollingChecksum;
use crate::error::{Damage, Place, ReadError, Reject};
use crate::ids::{ChunkId, DbId, DbKind, Generation, PageNo};
use crate::manifest::{ChunkRow, DatabaseRow, RangeRow};
use crate::pagestore::{ChunkDigest, ChunkIdentity, ChunkReader, Paced};
use crate::view::BasePages;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

/// What a scrub has found of one database, or of the shared chunks.
#[derive(Debug, Default)]
pub(super) struct Scrubbed {
    /// Pages of its newest generation.
    pub(super) pages: u32,
    /// What is wrong, or could not be read.
    pub(super) findings: Vec<Damage>,
}

/// A chunk, and what is to be read of it. Its file stays while this is held.
struct Part {
    row: ChunkRow,
    sections: BTreeSet<u32>,
    _file: Arc<ChunkFile>,
}

/// The chunk that was read last: the next database may have a section of it, too.
#[derive(Default)]
pub(super) struct LastChunk(Option<OpenChunk>);

struct OpenChunk {
    reader: ChunkReader,
    /// Whether all of it belongs to one database.
    is_of_one: bool,
}

/// The chunks of a database as of one transaction of the manifest.
struct Subject {
    /// Of the newest generation, unless only older ones are kept.
    row: Option<DatabaseRow>,
    /// Of a fork that has pages of its origin: all of its pages.
    pages: Option<Arc<dyn BasePages>>,
    newest: Vec<(u32, RangeRow)>,
    parts: BTreeMap<ChunkId, Part>,
}

impl Engine {
    /// The databases that a scrub of the whole store reads, in their order; the catalogue is the first.
    /// Those are among them that were dropped and have pages still.
    pub(super) fn scrub_targets(&self) -> Vec<DbId> {
        let cell = self.catalogue.lock();
        let paged = cell.catalogue.entries();
        let paged = paged.filter(|(_, entry)| entry.kind != DbKind::Log);
        let paged = paged.filter(|(id, _)| cell.catalogue.has_pages(*id));
        let paged: BTreeSet<DbId> = paged.map(|(id, _)| id).collect();
        std::iter::once(DbId::CATALOGUE).chain(paged).collect()
    }

    /// Whether a database can still be damaged.
    pub(super) fn has_pages(&self, id: DbId) -> bool {
        id == DbId::CATALOGUE || self.catalogue.lock().catalogue.has_pages(id)
    }

    /// Reads what a database, or the catalogue, has in chunks. Damage that it is closed for is a
    /// finding, and then nothing is read.
    ///
    /// # Errors
    /// `Break` when `paced` has ended it.
    pub(super) fn scrub_database(
        &self,
        id: DbId,
        last: &mut LastChunk,
        paced: &mut Paced<'_>,
    ) -> ControlFlow<(), Scrubbed> {
        let mut found = Scrubbed::default();
        if let Some(damage) = self.known_damage(id) {
            found.findings.push(damage);
            return ControlFlow::Continue(found);
        }
        let subject = self.subject(id);
        let mut hashes = PageHashes::of(
            subject.row.as_ref(),
            &subject.newest,
            self.limits.range_bytes,
        );
        for (chunk, part) in &subject.parts {
            let before = found.findings.len();
            let Some(open) = self.open_chunk(*chunk, &part.row, last, &mut found.findings) else {
                continue;
            };
            for section in &part.sections {
                open.reader
                    .verify_section(*section, &mut found.findings, paced)?;
                hashes.add(*chunk, *section, &open.reader);
                open.reader.release_indexes();
            }
            // Else it is damaged where a section is, or the bytes beside these are somebody else's.
            if before == found.findings.len() && open.is_of_one {
                open.reader.verify_digest(&mut found.findings, paced)?;
            }
        }
        if let Some(row) = subject.row {
            found.pages = row.checkpointed.page_count;
            let rolling = match &subject.pages {
                Some(pages) => rolling_of(pages.as_ref(), found.pages, paced)?,
                None => Ok(hashes.rolling()),
            };
            let place = Place::Database { database: id };
            let why = "its pages in chunks do not add up to its rolling checksum";
            let wrong = match rolling {
                Ok(rolling) if rolling == row.checkpointed.rolling_checksum => None,
                Ok(_) => Some(Damage::new(place, Reject::Invalid(why))),
                Err(error) => Some(super::verify::damage_of(error, place)),
            };
            found
                .findings
                .extend(wrong.filter(|_| found.findings.is_empty()));
        }
        ControlFlow::Continue(found)
    }

    /// Compares the digests of chunks that several databases share: between their sections are bytes
    /// that belong to none.
    ///
    /// # Errors
    /// `Break` when `paced` has ended it.
    pub(super) fn scrub_shared_chunks(&self, paced: &mut Paced<'_>) -> ControlFlow<(), Scrubbed> {
        let mut found = Scrubbed::default();
        let chunks: Vec<ChunkId> = self.manifest.state().chunks().map(|(id, _)| id).collect();
        for chunk in chunks {
            paced(0)?;
            // One at a time, so that checkpoints can take away what they let go of meanwhile.
            let Some(part) = self.hold_chunk(chunk) else {
                continue;
            };
            let mut last = LastChunk::default();
            if let Some(open) = self.open_chunk(chunk, &part.row, &mut last, &mut found.findings)
                && !open.is_of_one
            {
                open.reader.verify_digest(&mut found.findings, paced)?;
            }
        }
        ControlFlow::Continue(found)
    }

    fn known_damage(&self, id: DbId) -> Option<Damage> {
        if id == DbId::CATALOGUE {
            return self.catalogue.lock().catalogue.damage().cloned();
        }
        let met = || self.state_of(id).and_then(|state| state.damage().cloned());
        self.damaged.get(&id).cloned().or_else(met)
    }

    fn subject(&self, id: DbId) -> Subject {
        // Until the files are held.
        let _no_checkpoint = self.checkpointing.lock();
        let rows = self.manifest.state();
        let mut parts: BTreeMap<ChunkId, Part> = BTreeMap::new();
        let links = rows.ranges(id).flat_map(|(_, row)| row.links());
        let links = links.map(|link| (link.chunk, link.section));
        let histories = rows.generations(id).filter_map(|(_, row)| row.history);
        let histories = histories.map(|history| (history.chunk, history.section));
        for (chunk, section) in links.chain(histories) {
            // A chunk that is named and has no row is damage that closed the database.
            if let Some(row) = rows.chunk(chunk) {
                let part = parts.entry(chunk);
                let part = part.or_insert_with(|| self.part(chunk, row));
                part.sections.insert(section);
            }
        }
        let of_pages = (id != DbId::CATALOGUE).then(|| rows.database(id));
        let newest = of_pages
            .flatten()
            .map(|row| (row, row.checkpointed.generation));
        // Of one that is gone forks may keep older states alone.
        let generation = newest.and_then(|(_, newest)| rows.generation(id, newest));
        let row = newest
            .filter(|(_, newest)| generation.is_some() || *newest == Generation::default())
            .map(|(row, _)| row.clone());
        let inherits = generation.is_some_and(|row| row.inherited > 0);
        let pages = inherits.then(|| {
            self.with_bases(|bases| {
                let kind = bases.catalogue.entry(id).map(|entry| entry.kind);
                let view = bases.view(id, kind.unwrap_or(DbKind::Raw));
                Arc::clone(view.base())
            })
        });
        Subject {
            row,
            pages,
            newest: rows
                .newest_ranges(id)
                .map(|(range, row)| (range, row.clone()))
                .collect(),
            parts,
        }
    }

    /// A chunk, unless the manifest has forgotten it.
    fn hold_chunk(&self, id: ChunkId) -> Option<Part> {
        let _no_checkpoint = self.checkpointing.lock();
        let rows = self.manifest.state();
        rows.chunk(id).map(|row| self.part(id, row))
    }

    fn part(&self, id: ChunkId, row: &ChunkRow) -> Part {
        Part {
            row: *row,
            sections: BTreeSet::new(),
            _file: self.chunks.file(id, row),
        }
    }

    /// Opens a chunk anew: nothing of it is in memory.
    fn open_chunk<'a>(
        &self,
        chunk: ChunkId,
        row: &ChunkRow,
        last: &'a mut LastChunk,
        findings: &mut Vec<Damage>,
    ) -> Option<&'a OpenChunk> {
        if last
            .0
            .as_ref()
            .is_some_and(|open| open.reader.id() == chunk)
        {
            return last.0.as_ref();
        }
        let expected = ChunkIdentity {
            bytes: row.file_bytes,
            digest: ChunkDigest::from_bytes(row.digest.to_le_bytes()),
        };
        let opened = ChunkReader::open(self.disk.as_ref(), self.store, chunk, Some(&expected));
        let place = Place::Chunk { chunk, offset: 0 };
        let damage = |error: ReadError| super::verify::damage_of(error, place);
        let opened = opened.map_err(|error| findings.push(damage(error)));
        last.0 = opened.ok().map(|reader| OpenChunk {
            is_of_one: is_of_one(&reader),
            reader,
        });
        last.0.as_ref()
    }
}

/// What the hashes of the first pages come to.
fn rolling_of(
    pages: &dyn BasePages,
    page_count: u32,
    paced: &mut Paced<'_>,
) -> ControlFlow<(), Result<RollingChecksum, ReadError>> {
    let mut rolling = RollingChecksum::EMPTY;
    for page in (1..=page_count).filter_map(PageNo::new) {
        paced(0)?;
        match pages.version(page) {
            Ok(Some((hash, _))) => rolling = rolling.toggled(hash),
            Ok(None) => {}
            Err(error) => return ControlFlow::Continue(Err(error)),
        }
    }
    ControlFlow::Continue(Ok(rolling))
}

/// Whether all of a chunk belongs to one database.
fn is_of_one(reader: &ChunkReader) -> bool {
    let mut owners = reader.sections().iter();
    let owner = |section: &crate::pagestore::SectionRef| section.meta().map(|meta| meta.database);
    let first = owners.next().map(owner);
    owners.all(|section| Some(owner(section)) == first)
}
