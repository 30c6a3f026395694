//! Which backups there are, and where a store's last one went.
//!
//! The store has a note of the directory; what is in there, and what of it was verified, is read there. So
//! whoever verifies needs no store, and the note is never wrong about what a backup is worth.
//!
//! Never: takes the directory's lock.

use super::super::engine::Engine;
use super::options::BackupOptions;
use super::restore::counts;
use crate::backup::format::{decode_target, encode_target};
use crate::backup::{Access, Shelf, write_file};
use crate::error::{BackupError, Damage, Place, Reject};
use crate::ids::Lsn;
use crate::io::{Block, Disk, IoFailure, OpenMode, layout, remove_if_there};
use std::path::{Path, PathBuf};

/// A finished backup.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct BackupInfo {
    /// Its number in the directory.
    pub number: u64,
    /// Where its log ends.
    pub lsn: Lsn,
    /// The time of the newest record in it, in microseconds since the Unix epoch.
    pub state_us: u64,
    /// When it was finished.
    pub made_us: u64,
    /// Bytes of its files, shared ones among them.
    pub bytes: u64,
    /// Its chunks.
    pub chunks: usize,
    /// Databases in it, forks among them.
    pub databases: usize,
    /// Snapshots in it.
    pub snapshots: usize,
    /// When it was verified last.
    pub verified_us: Option<u64>,
}

/// What a store's backups were when they were looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LastBackup {
    /// Where the last one went.
    pub dir: PathBuf,
    /// The newest that is there.
    pub newest: Option<BackupInfo>,
    /// The newest of those that were verified.
    pub verified: Option<BackupInfo>,
    /// When one of those that are there was verified last, in microseconds since the Unix epoch; 0 when none was.
    pub last_verified_us: u64,
}

pub(super) fn backups(dir: &Path, options: &BackupOptions) -> Result<Vec<BackupInfo>, BackupError> {
    let shelf = Shelf::open(dir, Access::Look, options.io, options.disk.clone())?;
    let mut infos = Vec::new();
    for number in shelf.numbers()? {
        let (index, checksum) = match shelf.index(number) {
            Ok(found) => found,
            // Another backup was finished meanwhile.
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(error),
        };
        let (databases, snapshots) = counts(&index);
        infos.push(BackupInfo {
            number,
            lsn: index.lsn,
            state_us: index.state_us,
            made_us: index.made_us,
            bytes: index.file_bytes(),
            chunks: index.chunks.len(),
            databases,
            snapshots,
            verified_us: shelf.verified_us(&index, checksum),
        });
    }
    Ok(infos)
}

fn is_gone(error: &BackupError) -> bool {
    matches!(error, BackupError::Damaged { findings }
        if findings.iter().all(|one| one.reason == Reject::Missing))
}

/// What there is of the backups of the store on `disk`. It waits for their directory.
pub(super) fn last_backup(disk: &dyn Disk) -> Result<Option<LastBackup>, BackupError> {
    let Some(dir) = noted_target(disk)? else {
        return Ok(None);
    };
    let all = backups(&dir, &BackupOptions::new())?;
    let verified = |info: &&BackupInfo| info.verified_us.is_some();
    Ok(Some(LastBackup {
        dir,
        verified: all.iter().rev().find(verified).cloned(),
        last_verified_us: all
            .iter()
            .filter_map(|info| info.verified_us)
            .max()
            .unwrap_or(0),
        newest: all.into_iter().next_back(),
    }))
}

/// Where the last backup went, by the store's note.
fn noted_target(disk: &dyn Disk) -> Result<Option<PathBuf>, BackupError> {
    let path = Path::new(layout::BACKUP_NOTE);
    let mut block = [Block::ZERO];
    match disk.open(path, OpenMode::Read) {
        Err(failure) if failure.is_not_found() => return Ok(None),
        Err(failure) => return Err(failure.into()),
        Ok(file) => drop(file.read_at(0, &mut block)?),
    }
    let dir = decode_target(&block[0]).map_err(|reason| {
        BackupError::StoreDamaged(Damage::new(Place::File(path.to_owned()), reason))
    })?;
    Ok(Some(dir))
}

impl Engine {
    /// Notes where a backup went, if that is another place than before. The backup is good without.
    pub(super) fn note_target(&self, dir: &Path) {
        let noted = noted_target(self.disk.as_ref());
        if noted.is_ok_and(|noted| noted.as_deref() == Some(dir)) {
            return;
        }
        let Some(block) = encode_target(dir) else {
            tracing::warn!(dir = %dir.display(), "a path too long to be noted");
            return;
        };
        if let Err(failure) = self.replace_target_note(&block) {
            tracing::warn!(%failure, "it is not noted where the backup went");
        }
    }

    fn replace_target_note(&self, block: &Block) -> Result<(), IoFailure> {
        let path = Path::new(layout::BACKUP_NOTE);
        remove_if_there(self.disk.as_ref(), path)?;
        write_file(&self.disk, path, &block.0)
    }
}
