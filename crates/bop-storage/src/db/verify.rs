//! Whether every byte of a store is right.
//!
//! Invariants
//! - what is read comes from the device, or was proved with the chunk or segment that it stands in;
//! - of each state that somebody can ask for by name, the hashes of its pages add up to the rolling checksum
//!   that its commit had.
//!
//! Never: closes a database, stops at the first finding, calls it damage that the store is closed.

use super::closed::missing_salvage;
use super::engine::Engine;
use super::report::VerifyReport;
use super::state::DbState;
use super::verify_log::ProvedLog;
use crate::catalogue::Point;
use crate::checksum::RollingChecksum;
use crate::error::{Damage, Place, ReadError, Reject};
use crate::ids::{ChunkId, DbId, DbKind, PageNo};
use crate::log::format::record::Encoding;
use crate::pagestore::{ChunkDigest, ChunkIdentity, ChunkReader};
use crate::superblock::Superblock;
use crate::view::{Found, Pin};

impl Engine {
    /// Checks superblock, manifest, chunks, log, every page of every database and of its snapshots, and
    /// every entry of every record log; what recovery found is part of the findings.
    pub(super) fn verify(&self) -> VerifyReport {
        let Some(_work) = self.lifecycle.enter_work() else {
            return VerifyReport {
                closed: true,
                ..VerifyReport::default()
            };
        };
        let mut report = VerifyReport {
            findings: self.findings.clone(),
            ..VerifyReport::default()
        };
        report.findings.extend(self.damaged.values().cloned());
        self.verify_superblock(&mut report);
        match self.manifest.verify() {
            Ok(findings) => report.findings.extend(findings),
            Err(error) => report
                .findings
                .push(unreadable("manifest", &error.to_string())),
        }
        let missing = missing_salvage(self.disk.as_ref(), &self.manifest.state());
        report.findings.extend(missing);
        self.verify_chunks(&mut report);
        let proved = self.verify_log(&mut report.findings);
        let kept: Vec<(DbId, DbKind, String)> = {
            let cell = self.catalogue.lock();
            let entries = cell.catalogue.entries();
            let kept = entries.filter(|(_, entry)| entry.state.has_pages());
            kept.map(|(id, entry)| (id, entry.kind, entry.name.to_string()))
                .collect()
        };
        for (id, kind, name) in kept {
            if self.damaged.contains_key(&id) {
                continue;
            }
            if kind == DbKind::Log {
                self.verify_record_log(id, &mut report);
                continue;
            }
            // One that is gone meanwhile is passed by.
            if let Ok(state) = self.load_state_of(id, &name, |_| true) {
                report.databases += 1;
                self.verify_state(&state, &state.pin(), &proved, &mut report);
                self.verify_snapshots(&state, &proved, &mut report);
            }
        }
        dedup(&mut report.findings);
        // Whatever was passed by for that reason. The work that this is keeps the files until here.
        report.closed = self.lifecycle.is_closing();
        report
    }

    fn verify_superblock(&self, report: &mut VerifyReport) {
        let place = Place::File(crate::io::layout::SUPERBLOCK.into());
        match Superblock::read(self.disk.as_ref()) {
            Ok(Some(found)) => {
                report.findings.extend(found.damaged_slot);
                if found.superblock.store != self.store {
                    report
                        .findings
                        .push(Damage::new(place, Reject::ForeignStore));
                }
            }
            Ok(None) => report.findings.push(Damage::new(place, Reject::Missing)),
            Err(crate::error::OpenError::Damaged(damage)) => report.findings.push(damage),
            Err(error) => report
                .findings
                .push(unreadable("superblock", &error.to_string())),
        }
    }

    fn verify_chunks(&self, report: &mut VerifyReport) {
        // Their files stay while they are held, whatever a checkpoint publishes meanwhile.
        let held: Vec<_> = {
            let _no_checkpoint = self.checkpointing.lock();
            let rows = self.manifest.state();
            let held = rows.chunks();
            held.map(|(id, row)| (id, *row, self.chunks.file(id, row)))
                .collect()
        };
        for (id, row, _held) in held {
            if self.lifecycle.is_closing() {
                return;
            }
            let identity = ChunkIdentity {
                bytes: row.file_bytes,
                digest: ChunkDigest::from_bytes(row.digest.to_le_bytes()),
            };
            self.verify_chunk(id, identity, report);
        }
    }

    fn verify_chunk(&self, id: ChunkId, expected: ChunkIdentity, report: &mut VerifyReport) {
        report.chunks += 1;
        match ChunkReader::open(self.disk.as_ref(), self.store, id, Some(&expected)) {
            Ok(reader) => report.findings.extend(reader.verify_all()),
            Err(error) => report.findings.push(damage_of(
                error,
                Place::Chunk {
                    chunk: id,
                    offset: 0,
                },
            )),
        }
    }

    fn verify_snapshots(&self, state: &DbState, proved: &ProvedLog, report: &mut VerifyReport) {
        let points: Vec<Point> = {
            let cell = self.catalogue.lock();
            let snapshots = cell.catalogue.snapshots(state.id());
            snapshots.map(|snapshot| snapshot.point).collect()
        };
        for point in points {
            let pin = state.pin_view(self.view_at(state.id(), &point));
            self.verify_state(state, &pin, proved, report);
        }
    }

    /// Reads every page of a state past the cache's answer for it, and computes the rolling checksum anew.
    fn verify_state(
        &self,
        state: &DbState,
        pin: &Pin,
        proved: &ProvedLog,
        report: &mut VerifyReport,
    ) {
        let (database, expected) = (state.id(), pin.view().head().rolling_checksum);
        let place = Place::Database { database };
        match self.recomputed_checksum(pin, proved, report) {
            Ok(rolling) if rolling == expected => {}
            // Dropped meanwhile, or the store is closed.
            _ if state.check_live().is_err() => {}
            Err(ReadError::Closed) => {}
            Ok(_) => {
                let reason = Reject::Invalid("its pages do not add up to its rolling checksum");
                report.findings.push(Damage::new(place, reason));
            }
            Err(error) => report.findings.push(damage_of(error, place)),
        }
    }

    fn recomputed_checksum(
        &self,
        pin: &Pin,
        proved: &ProvedLog,
        report: &mut VerifyReport,
    ) -> Result<RollingChecksum, ReadError> {
        let mut rolling = RollingChecksum::EMPTY;
        let page_count = pin.view().head().page_count;
        for page in (1..=page_count).filter_map(PageNo::new) {
            // Asked for at each page, so that a checkpoint can take the log away from below it.
            let view = pin.view();
            // Closing the store does not wait for the rest.
            if self.lifecycle.is_closing() {
                return Err(ReadError::Closed);
            }
            // Pages in chunks were read with their chunk: their hash is enough.
            let hash = match view.find(page) {
                Found::Zero => None,
                Found::Base => view.base().version(page)?.map(|(hash, _)| hash),
                Found::Log(version) => {
                    // So were full images in sound segments; what a patch rests on was not.
                    let patch = version.form.encoding() == Encoding::Patch;
                    if patch || !proved.has(version.image_lsn) {
                        self.reader.check_log(&view, page, version)?;
                    }
                    Some(version.hash)
                }
            };
            if let Some(hash) = hash {
                report.pages += 1;
                rolling = rolling.toggled(hash);
            }
        }
        Ok(rolling)
    }
}

pub(super) fn damage_of(error: ReadError, place: Place) -> Damage {
    match error {
        ReadError::Damaged(damage) => damage,
        ReadError::Io(failure) => Damage::new(place, Reject::Unreadable(failure)),
        ReadError::Dropped | ReadError::Closed => Damage::new(place, Reject::Missing),
    }
}

fn unreadable(what: &'static str, why: &str) -> Damage {
    tracing::warn!(what, why, "verification could not read");
    Damage::new(
        Place::File(what.into()),
        Reject::Invalid("it could not be read"),
    )
}

fn dedup(findings: &mut Vec<Damage>) {
    let mut seen = std::collections::HashSet::new();
    findings.retain(|finding| seen.insert(finding.clone()));
}
