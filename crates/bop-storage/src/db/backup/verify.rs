//! The proof that a backup restores: it is restored, and every byte of what comes of it read.
//!
//! ```text
//! index -> log and rows by their digests, chunks by link or by copy -> opened -> every chunk, batch and page read
//!   -> every database, fork, snapshot: its pages add up to what the index says -> removed -> recorded
//! ```
//! Invariants
//! - what is recorded was read from the backup's own files, and adds up to what was backed up;
//! - the record is bound to the index that was verified, and lies beside it: it tells whoever has the
//!   backups, also where the store is lost.
//!
//! Never: touches the store that was backed up.

use super::super::options::Options;
use super::options::{BackupOptions, BackupProgress, BackupStage, Told};
use super::restore::{CLOSE_WAIT, Filling, compare, counts, open_restored};
use super::scratch::ScratchPlace;
use crate::backup::format::Verified;
use crate::backup::{Access, BackupIndex, Shelf, names};
use crate::error::{BackupError, Damage, Place};
use crate::ids::{ChunkId, Lsn};
use crate::io::layout;
use std::path::Path;

/// A backup that was verified.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct VerifiedBackup {
    /// Its number.
    pub number: u64,
    /// Where its log ends.
    pub lsn: Lsn,
    /// The time of the newest record in it, in microseconds since the Unix epoch.
    pub state_us: u64,
    /// When it was made.
    pub made_us: u64,
    /// When it was verified.
    pub verified_us: u64,
    /// That it was, is recorded beside it: not where the directory can only be read.
    pub recorded: bool,
    /// Bytes of its files.
    pub bytes: u64,
    /// Chunks that were read.
    pub chunks: usize,
    /// Pages that were read.
    pub pages: u64,
    /// Entries of record logs that were read.
    pub entries: u64,
    /// Databases that were compared, forks among them.
    pub databases: usize,
    /// Snapshots that were compared.
    pub snapshots: usize,
}

/// What was read.
struct Proved {
    chunks: usize,
    pages: u64,
    entries: u64,
}

pub(super) fn verify(
    dir: &Path,
    scratch: Option<&Path>,
    options: &Options,
    backup: &BackupOptions,
    progress: &mut dyn FnMut(BackupProgress),
) -> Result<VerifiedBackup, BackupError> {
    let _span = tracing::info_span!("verify backup", dir = %dir.display()).entered();
    let shelf = Shelf::open(dir, Access::Use, backup.io, backup.disk.clone())?;
    let (index, checksum) = shelf.index(shelf.number(backup.number)?)?;
    let proved = prove(&shelf, &index, scratch, options, backup, progress)?;
    let verified_us = options.runtime.clock.wall_us();
    let recorded = shelf.write_verified(&Verified {
        store: index.store,
        number: index.number,
        lsn: index.lsn,
        verified_us,
        index_checksum: checksum,
    });
    if let Err(failure) = &recorded {
        tracing::warn!(%failure, "it is not recorded that a backup was verified");
    }
    let (databases, snapshots) = counts(&index);
    Ok(VerifiedBackup {
        number: index.number,
        lsn: index.lsn,
        state_us: index.state_us,
        made_us: index.made_us,
        verified_us,
        recorded: recorded.is_ok(),
        bytes: index.file_bytes(),
        chunks: proved.chunks,
        pages: proved.pages,
        entries: proved.entries,
        databases,
        snapshots,
    })
}

fn prove(
    shelf: &Shelf,
    index: &BackupIndex,
    scratch: Option<&Path>,
    options: &Options,
    backup: &BackupOptions,
    progress: &mut dyn FnMut(BackupProgress),
) -> Result<Proved, BackupError> {
    let place = ScratchPlace::take(&shelf.dir, scratch)?;
    let links = backup.disk.is_none();
    let mut told = Told::new(index.file_bytes(), progress);
    Filling::new(shelf, index, &place.at, options, links)?.fill(&mut told)?;
    let store = open_restored(&place.at, options)?;
    told.done(BackupStage::Compare, 0);
    let report = store.verify();
    let compared = compare(index, &store);
    let closed = store.close(CLOSE_WAIT);
    if !report.findings.is_empty() {
        let findings = report.findings.into_iter();
        let findings = findings.map(|damage| in_backup(damage, index)).collect();
        return Err(BackupError::Damaged { findings });
    }
    compared?;
    closed?;
    Ok(Proved {
        chunks: report.chunks,
        pages: report.pages,
        entries: report.entries,
    })
}

/// What was found in a chunk of the store that was made, said of the backup's file.
fn in_backup(damage: Damage, index: &BackupIndex) -> Damage {
    let of_name = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        let id = name.and_then(layout::chunk_of);
        id.filter(|id| layout::chunk(*id) == path)
    };
    let chunk: Option<ChunkId> = match &damage.place {
        Place::Chunk { chunk, .. } => Some(*chunk),
        Place::File(path) => of_name(path),
        _ => None,
    };
    let backed = chunk.and_then(|id| index.chunks.iter().find(|backed| backed.id == id));
    match backed {
        None => damage,
        Some(backed) => Damage::new(Place::File(names::chunk(backed)), damage.reason),
    }
}
