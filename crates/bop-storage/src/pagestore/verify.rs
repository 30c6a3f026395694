//! Reading every byte of a chunk, to find damage before somebody needs the bytes.
//!
//! Invariant: all damage that can be told apart is reported, each with its own place; the digest
//! comes first, because it covers what no slot does.
//!
//! Never: stops at the first finding, changes anything.

use super::format::ChunkFooter;
use super::identity::ChunkDigest;
use super::reader::ChunkReader;
use crate::error::{Damage, Place, ReadError, Reject};
use xxhash_rust::xxh3::Xxh3;

impl ChunkReader {
    /// Reads everything and compares the digest, each index, each payload and each page. An empty
    /// list is a sound chunk.
    pub fn verify_all(&self) -> Vec<Damage> {
        let mut findings = Vec::new();
        if let Err(error) = self.verify_digest() {
            findings.push(self.finding(error));
        }
        for section in self.sections() {
            let before = findings.len();
            if let Err(error) = self.payload(section.index) {
                findings.push(self.finding(error));
            }
            if section.meta().is_some() {
                self.verify_section(section.index, &mut findings);
            }
            if before < findings.len() {
                let count = findings.len() - before;
                tracing::warn!(chunk = %self.id(), section = section.index, count, "damage");
            }
        }
        findings
    }

    fn verify_digest(&self) -> Result<(), ReadError> {
        let identity = self.identity();
        let footer = size_of::<ChunkFooter>() as u64;
        let end = identity.bytes - footer;
        let mut digest = Xxh3::new();
        self.source.scan(end, |bytes| digest.update(bytes))?;
        if ChunkDigest::new(digest.digest128()) == identity.digest {
            return Ok(());
        }
        let place = Place::File(self.source.path());
        Err(Damage::new(place, Reject::Checksum).into())
    }

    fn verify_section(&self, section: u32, findings: &mut Vec<Damage>) {
        let (meta, index) = match self.index(section) {
            Ok(found) => found,
            Err(error) => {
                findings.push(self.finding(error));
                return;
            }
        };
        for (number, slot) in index.iter() {
            if let Err(error) = self.read_slot(meta, number, slot) {
                findings.push(self.finding(error));
            }
        }
    }

    fn finding(&self, error: ReadError) -> Damage {
        let file = || Place::File(self.source.path());
        match error {
            ReadError::Damaged(damage) => damage,
            ReadError::Io(failure) => {
                let place = failure.offset.map_or_else(file, |offset| Place::Chunk {
                    chunk: self.id(),
                    offset,
                });
                Damage::new(place, Reject::Unreadable(failure))
            }
            // A chunk belongs to no database and knows no store: neither can be answered here.
            ReadError::Dropped | ReadError::Closed => {
                Damage::new(file(), Reject::Invalid("not readable"))
            }
        }
    }
}
