//! Reading every byte of a chunk, to find damage before somebody needs the bytes.
//!
//! Invariants
//! - all damage that can be told apart is reported, each with its own place; the digest covers what no
//!   slot does;
//! - whoever reads in the background is asked after each piece, of a few pages or buffers, whether to go on.
//!
//! Never: stops at the first finding, changes anything.

use super::bodies::Bodies;
use super::format::{CHUNK_FORMAT_VERSION_MIN, ChunkFooter, SectionKind};
use super::identity::ChunkHasher;
use super::patched::Prover;
use super::reader::ChunkReader;
use crate::error::{Damage, Place, ReadError, Reject};
use std::ops::ControlFlow;

/// Is told how many bytes were read, after each piece; may take its time, and may end it.
pub type Paced<'a> = dyn FnMut(u64) -> ControlFlow<()> + 'a;

impl ChunkReader {
    /// Reads everything and compares the digest, each index, each payload and each page. An empty
    /// list is a sound chunk.
    pub fn verify_all(&self) -> Vec<Damage> {
        let mut findings = Vec::new();
        let mut go_on = |_| ControlFlow::Continue(());
        // Nobody ends it.
        let _ = self.verify_digest(&mut findings, &mut go_on);
        for section in self.sections() {
            let _ = self.verify_section(section.index, &mut findings, &mut go_on);
        }
        findings
    }

    /// Reads everything, and compares the digest.
    ///
    /// # Errors
    /// `Break` when `paced` has ended it.
    pub fn verify_digest(
        &self,
        findings: &mut Vec<Damage>,
        paced: &mut Paced<'_>,
    ) -> ControlFlow<()> {
        let identity = self.identity();
        let end = identity.bytes - size_of::<ChunkFooter>() as u64;
        let mut digest = ChunkHasher::new(identity.bytes);
        let read = self.source.scan(end, |bytes| {
            digest.update(bytes);
            paced(bytes.len() as u64)
        });
        match read {
            Err(error) => findings.push(self.finding(error)),
            Ok(ControlFlow::Break(())) => return ControlFlow::Break(()),
            Ok(_) if digest.finish() == identity.digest => {}
            Ok(_) => {
                let place = Place::File(self.source.path());
                findings.push(Damage::new(place, Reject::Checksum));
            }
        }
        ControlFlow::Continue(())
    }

    /// Reads a section: its payload, its index and each of its pages.
    ///
    /// # Errors
    /// `Break` when `paced` has ended it.
    pub fn verify_section(
        &self,
        section: u32,
        findings: &mut Vec<Damage>,
        paced: &mut Paced<'_>,
    ) -> ControlFlow<()> {
        let before = findings.len();
        match self.payload(section) {
            Ok(payload) => paced(payload.len() as u64)?,
            Err(error) => findings.push(self.finding(error)),
        }
        let found = self.sections().get(section as usize);
        let meta = found.and_then(|section| section.meta());
        if before == findings.len()
            && meta.is_some_and(|meta| meta.kind == SectionKind::History)
            && CHUNK_FORMAT_VERSION_MIN < self.format_version()
            && let Err(error) = self.history(section)
        {
            findings.push(self.finding(error));
        }
        if meta.is_some() {
            self.verify_pages(section, findings, paced)?;
        }
        if before < findings.len() {
            let count = findings.len() - before;
            tracing::warn!(chunk = %self.id(), section, count, "damage");
        }
        ControlFlow::Continue(())
    }

    fn verify_pages(
        &self,
        section: u32,
        findings: &mut Vec<Damage>,
        paced: &mut Paced<'_>,
    ) -> ControlFlow<()> {
        let (meta, index) = match self.index(section) {
            Ok(found) => found,
            Err(error) => {
                findings.push(self.finding(error));
                return ControlFlow::Continue(());
            }
        };
        paced(index.bytes())?;
        let (mut bodies, mut prover) = (Bodies::new(self, &index), Prover::default());
        for (number, slot) in index.iter() {
            let body = bodies.next(meta, number, slot);
            let body = body.inspect_err(|_| prover.lose());
            let proved = body.and_then(|body| prover.next(self, meta, slot, &body));
            if let Err(error) = proved {
                findings.push(self.finding(error));
            }
            paced(slot.body_bytes.get().into())?;
        }
        ControlFlow::Continue(())
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
