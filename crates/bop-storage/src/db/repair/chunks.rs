//! What the chunk files say of themselves: the sections of each, and the newest catalogue.
//!
//! Invariants
//! - a section is believed only if header, footer and directory of its chunk are sound and of this
//!   store and this chunk;
//! - what a damaged chunk may have held is not forgotten: by its directory if that is sound, else it
//!   may have been anything.
//!
//! Never: reads a page; writes.

use super::super::verify::damage_of;
use super::catalogue::{CataloguePlace, FoundCatalogue};
use crate::error::{Damage, OpenError, Place, ReadError, Reject};
use crate::ids::{ChunkId, DbId, StoreId};
use crate::io::{Disk, FileKind, IoFailure, layout};
use crate::pagestore::{ChunkIdentity, ChunkReader, Section, SectionMeta, SectionRef};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What it means that the kernel cannot read a file: it may be able to the next time, so nothing is
/// closed for it, unless that is what is asked for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Unreadable {
    Fails,
    IsDamage,
}

impl Unreadable {
    /// What a read from a chunk is taken for.
    pub(super) fn of<T>(
        self,
        read: Result<T, ReadError>,
        place: Place,
    ) -> Result<Result<T, Damage>, IoFailure> {
        match read {
            Err(ReadError::Io(failure)) if self == Self::Fails => Err(failure),
            Err(error) => Ok(Err(damage_of(error, place))),
            Ok(read) => Ok(Ok(read)),
        }
    }
}

/// A section of pages, and where it is.
#[derive(Copy, Clone, Debug)]
pub(super) struct FoundSection {
    pub(super) chunk: ChunkId,
    pub(super) index: u32,
    pub(super) meta: SectionMeta,
    /// Bytes of the section in the file.
    pub(super) bytes: u64,
    /// Its chunk does not open.
    pub(super) lost: bool,
}

/// The page store, as its files tell.
#[derive(Debug)]
pub(super) struct FoundChunks {
    /// Sound chunks.
    pub(super) identities: BTreeMap<ChunkId, ChunkIdentity>,
    /// The sections of each database.
    pub(super) sections: BTreeMap<DbId, Vec<FoundSection>>,
    pub(super) catalogue: Option<FoundCatalogue>,
    /// A newer catalogue was there, which cannot be read.
    pub(super) lost_catalogue: Option<Damage>,
    /// Damaged chunks that may have held anything.
    pub(super) unknown: BTreeMap<ChunkId, Damage>,
    /// All damaged chunks.
    pub(super) damaged: BTreeMap<ChunkId, Damage>,
    /// Files of another store.
    pub(super) foreign: BTreeSet<ChunkId>,
    /// The smallest id above those of all files.
    pub(super) next: ChunkId,
}

impl FoundChunks {
    /// Of a store without a file.
    pub(super) fn none() -> Self {
        Self {
            identities: BTreeMap::new(),
            sections: BTreeMap::new(),
            catalogue: None,
            lost_catalogue: None,
            unknown: BTreeMap::new(),
            damaged: BTreeMap::new(),
            foreign: BTreeSet::new(),
            next: ChunkId::new(1),
        }
    }

    /// Whether the store has no chunk, damaged or not.
    pub(super) fn is_empty(&self) -> bool {
        self.identities.is_empty() && self.damaged.is_empty()
    }

    /// Databases that a chunk knows and the catalogue need not.
    pub(super) fn databases(&self) -> impl Iterator<Item = DbId> {
        self.sections.keys().copied()
    }
}

/// Looks at all chunk files.
///
/// # Errors
/// What the kernel refuses for reasons other than the bytes; a chunk of a newer format.
pub(super) fn find_chunks(
    disk: &dyn Disk,
    store: StoreId,
    judgement: Unreadable,
) -> Result<FoundChunks, OpenError> {
    let mut found = FoundChunks::none();
    let mut catalogues = Vec::new();
    for id in chunk_files(disk)? {
        found.next = found.next.max(id.next().unwrap_or(id));
        let at = Place::File(layout::chunk(id));
        let damage = match judgement.of(ChunkReader::open(disk, store, id, None), at)? {
            Ok(chunk) => {
                found.identities.insert(id, chunk.identity());
                for section in chunk.sections() {
                    found.add(id, section, false, &mut catalogues);
                }
                continue;
            }
            Err(damage) => damage,
        };
        match damage.reason {
            Reject::ForeignStore => {
                found.foreign.insert(id);
                continue;
            }
            Reject::Version { .. } => return Err(damage.into()),
            _ => {}
        }
        match ChunkReader::sections_of_damaged(disk, store, id) {
            Ok(sections) => {
                for section in &sections {
                    found.add(id, section, true, &mut catalogues);
                }
            }
            Err(_) => drop(found.unknown.insert(id, damage.clone())),
        }
        found.damaged.insert(id, damage);
    }
    catalogues.sort_unstable();
    found.read_catalogue(disk, store, &catalogues, judgement)?;
    Ok(found)
}

impl FoundChunks {
    fn add(
        &mut self,
        chunk: ChunkId,
        section: &SectionRef,
        lost: bool,
        catalogues: &mut Vec<CataloguePlace>,
    ) {
        let (index, bytes) = (section.index, section.file_bytes());
        match section.section {
            Section::Catalogue { generation, cut } => catalogues.push(CataloguePlace {
                generation,
                cut,
                chunk,
                index,
                lost,
                bytes,
            }),
            Section::Pages(meta) => {
                let sections = self.sections.entry(meta.database).or_default();
                sections.push(FoundSection {
                    chunk,
                    index,
                    meta,
                    bytes,
                    lost,
                });
            }
        }
    }
}

fn chunk_files(disk: &dyn Disk) -> Result<Vec<ChunkId>, IoFailure> {
    let entries = match disk.list(Path::new(layout::CHUNK_DIR)) {
        Err(failure) if failure.is_not_found() => return Ok(Vec::new()),
        entries => entries?,
    };
    let files = entries.iter().filter(|entry| entry.kind == FileKind::File);
    let mut ids: Vec<ChunkId> = files
        .filter_map(|entry| layout::chunk_of(&entry.name))
        .collect();
    ids.sort_unstable();
    Ok(ids)
}
