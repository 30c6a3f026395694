//! What the chunk files say of themselves: the sections of each, and the newest catalogue.
//!
//! Invariants
//! - a section is believed only if header, footer and directory of its chunk are sound and of this
//!   store and this chunk;
//! - what a damaged chunk may have held is not forgotten: by its directory if that is sound, else it
//!   may have been anything.
//!
//! Never: reads a page; writes.

use super::super::report::damage_of;
use crate::catalogue::{Catalogue, CatalogueSection, decode_section};
use crate::error::{Damage, OpenError, Place, ReadError, Reject};
use crate::ids::{ChunkId, CursorId, DbId, Generation, Lsn, StoreId};
use crate::io::{Disk, FileKind, IoFailure, layout};
use crate::manifest::CursorRow;
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
    /// Its chunk does not open.
    pub(super) lost: bool,
}

/// The newest catalogue.
#[derive(Debug)]
pub(super) struct FoundCatalogue {
    pub(super) catalogue: Catalogue,
    /// The subscribers of the feeds, at places that they had acknowledged.
    pub(super) cursors: Vec<(CursorId, CursorRow)>,
    pub(super) chunk: ChunkId,
    pub(super) index: u32,
    pub(super) generation: Generation,
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
    /// Whether the store has no chunk, damaged or not.
    pub(super) fn is_empty(&self) -> bool {
        self.identities.is_empty() && self.damaged.is_empty()
    }

    /// Databases that a chunk knows and the catalogue need not.
    pub(super) fn databases(&self) -> impl Iterator<Item = DbId> {
        self.sections.keys().copied()
    }
}

/// A catalogue section, before it is read.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct CataloguePlace {
    generation: Generation,
    cut: Lsn,
    chunk: ChunkId,
    index: u32,
    lost: bool,
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
    let mut found = FoundChunks {
        identities: BTreeMap::new(),
        sections: BTreeMap::new(),
        catalogue: None,
        lost_catalogue: None,
        unknown: BTreeMap::new(),
        damaged: BTreeMap::new(),
        foreign: BTreeSet::new(),
        next: ChunkId::new(1),
    };
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
        let index = section.index;
        match section.section {
            Section::Catalogue { generation, cut } => catalogues.push(CataloguePlace {
                generation,
                cut,
                chunk,
                index,
                lost,
            }),
            Section::Pages(meta) => {
                let sections = self.sections.entry(meta.database).or_default();
                sections.push(FoundSection {
                    chunk,
                    index,
                    meta,
                    lost,
                });
            }
        }
    }

    /// Reads the newest catalogue that is sound.
    fn read_catalogue(
        &mut self,
        disk: &dyn Disk,
        store: StoreId,
        places: &[CataloguePlace],
        judgement: Unreadable,
    ) -> Result<(), IoFailure> {
        for place in places.iter().rev() {
            let read = if place.lost {
                let file = Place::File(layout::chunk(place.chunk));
                let damage = self.damaged.get(&place.chunk).cloned();
                Err(damage.unwrap_or_else(|| Damage::new(file, Reject::Missing)))
            } else {
                read_section(disk, store, place, judgement)?
            };
            match read {
                Ok(CatalogueSection { catalogue, cursors }) => {
                    self.catalogue = Some(FoundCatalogue {
                        catalogue,
                        cursors,
                        chunk: place.chunk,
                        index: place.index,
                        generation: place.generation,
                    });
                    return Ok(());
                }
                Err(damage) => drop(self.lost_catalogue.get_or_insert(damage)),
            }
        }
        Ok(())
    }
}

fn read_section(
    disk: &dyn Disk,
    store: StoreId,
    place: &CataloguePlace,
    judgement: Unreadable,
) -> Result<Result<CatalogueSection, Damage>, IoFailure> {
    let at = || Place::File(layout::chunk(place.chunk));
    let read = ChunkReader::open(disk, store, place.chunk, None)
        .and_then(|chunk| chunk.payload(place.index));
    let read = judgement.of(read, at())?;
    Ok(read.and_then(|bytes| {
        let damage = |reason| Damage::new(at(), reason);
        let section = decode_section(&bytes).map_err(damage)?;
        if section.catalogue.last_lsn() == place.cut {
            Ok(section)
        } else {
            Err(damage(Reject::Invalid("a catalogue of another position")))
        }
    }))
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
