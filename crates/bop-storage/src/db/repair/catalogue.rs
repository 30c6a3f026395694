//! The newest catalogue that the chunks have: a base, and what is newer, section upon section.
//!
//! ```text
//! newest section --a delta--> the one that it stands on --a delta--> ... --> base: put together
//!   '--one of them is missing or damaged--> begun anew with the section before the newest; told
//! ```
//! Invariant: no section is passed by in between.
//!
//! Never: asks the manifest.

use super::chunks::{FoundChunks, Unreadable};
use crate::catalogue::{Catalogue, CatalogueSection, decode_section};
use crate::error::{Damage, Place, Reject};
use crate::ids::{ChunkId, CursorId, Generation, Lsn, StoreId};
use crate::io::{Disk, IoFailure, layout};
use crate::manifest::CursorRow;
use crate::pagestore::ChunkReader;

/// A catalogue section, and where it is. Ordered by age.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct CataloguePlace {
    pub(super) generation: Generation,
    /// The newest record that it reflects.
    pub(super) cut: Lsn,
    pub(super) chunk: ChunkId,
    pub(super) index: u32,
    /// Its chunk does not open.
    pub(super) lost: bool,
    /// Bytes of the section in the file.
    pub(super) bytes: u64,
}

/// The newest catalogue.
#[derive(Debug)]
pub(super) struct FoundCatalogue {
    pub(super) catalogue: Catalogue,
    /// The subscribers of the feeds, at places that they had acknowledged.
    pub(super) cursors: Vec<(CursorId, CursorRow)>,
    /// The sections that it is put together from, the base first.
    pub(super) sections: Vec<CataloguePlace>,
}

impl FoundCatalogue {
    /// The chunk of its newest section.
    pub(super) fn newest_chunk(&self) -> ChunkId {
        let newest = self.sections.last();
        newest.map_or_else(ChunkId::default, |place| place.chunk)
    }
}

impl FoundChunks {
    /// Reads the newest catalogue that is sound; `places`: all its sections, by age.
    pub(super) fn read_catalogue(
        &mut self,
        disk: &dyn Disk,
        store: StoreId,
        places: &[CataloguePlace],
        judgement: Unreadable,
    ) -> Result<(), IoFailure> {
        for newest in (1..=places.len()).rev() {
            let reading = Reading {
                disk,
                store,
                judgement,
                found: self,
            };
            match reading.put_together(&places[..newest])? {
                Ok(found) => {
                    self.catalogue = Some(found);
                    return Ok(());
                }
                Err(damage) => drop(self.lost_catalogue.get_or_insert(damage)),
            }
        }
        Ok(())
    }
}

struct Reading<'a> {
    disk: &'a dyn Disk,
    store: StoreId,
    judgement: Unreadable,
    found: &'a FoundChunks,
}

impl Reading<'_> {
    /// The catalogue that ends with the last of these sections.
    fn put_together(
        &self,
        places: &[CataloguePlace],
    ) -> Result<Result<FoundCatalogue, Damage>, IoFailure> {
        let (mut taken, mut deltas) = (Vec::new(), Vec::new());
        let mut before = places;
        let mut next = places.last();
        let mut whole = loop {
            let Some(place) = next.copied() else {
                let delta = taken.last().copied();
                return Ok(Err(missing_below(delta)));
            };
            let section = match self.read(&place)? {
                Ok(section) => section,
                Err(damage) => return Ok(Err(damage)),
            };
            taken.push(place);
            if section.since == Lsn::ZERO {
                break section;
            }
            // The generations of sections that were published follow each other.
            let stands_on = |one: &CataloguePlace| {
                one.cut == section.since && one.generation.next() == Some(place.generation)
            };
            let at = before.iter().rposition(stands_on);
            before = &before[..at.map_or(0, |at| at + 1)];
            next = before.last();
            deltas.push(section);
        };
        for (delta, place) in deltas.into_iter().zip(taken.iter()).rev() {
            whole = match delta.on(whole) {
                Ok(whole) => whole,
                Err(reason) => return Ok(Err(damage_at(place, reason))),
            };
        }
        taken.reverse();
        Ok(Ok(FoundCatalogue {
            catalogue: whole.catalogue,
            cursors: whole.cursors,
            sections: taken,
        }))
    }

    fn read(&self, place: &CataloguePlace) -> Result<Result<CatalogueSection, Damage>, IoFailure> {
        if place.lost {
            let damage = self.found.damaged.get(&place.chunk).cloned();
            return Ok(Err(
                damage.unwrap_or_else(|| damage_at(place, Reject::Missing))
            ));
        }
        let at = Place::File(layout::chunk(place.chunk));
        let read = ChunkReader::open(self.disk, self.store, place.chunk, None)
            .and_then(|chunk| chunk.payload(place.index));
        let read = self.judgement.of(read, at)?;
        Ok(read.and_then(|bytes| {
            let section = decode_section(&bytes).map_err(|reason| damage_at(place, reason))?;
            if section.catalogue.last_lsn() == place.cut {
                Ok(section)
            } else {
                let why = Reject::Invalid("a catalogue of another position");
                Err(damage_at(place, why))
            }
        }))
    }
}

fn damage_at(place: &CataloguePlace, reason: Reject) -> Damage {
    Damage::new(Place::File(layout::chunk(place.chunk)), reason)
}

/// What a section stands on is not there.
fn missing_below(delta: Option<CataloguePlace>) -> Damage {
    let chunk = delta.map_or_else(ChunkId::default, |place| place.chunk);
    let why = Reject::Invalid("the catalogue's section before this one is missing");
    Damage::new(Place::File(layout::chunk(chunk)), why)
}
