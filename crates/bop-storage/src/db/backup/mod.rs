//! Backups of a store that is in use, proof that one restores, and stores that are made of one.
//!
//! ```text
//!  frozen: rows of one transaction, the log's end, a lease on the log, the chunks held
//!    -> the log copied, up to there; the lease given back   (commits, checkpoints, releases go on meanwhile)
//!    -> chunks linked or copied, those that are not there yet
//!    -> the copied log replayed: which states it restores, with their checksums
//!    -> rows, directories synced, index                     (now it is a good backup)
//!    -> older backups and what nobody needs removed
//!
//!  restored: NEW.unfinished, filled and proved --> opened at positions of its own --> compared --> closed --> NEW
//!  verified: restored beside the backups, every page read, compared, removed --> recorded
//! ```
//! Invariants
//! - a backup is of one moment: every commit that was durable before is in it, and nothing that came after;
//! - no commit and no checkpoint waits for a backup: what is kept of the log for it has the bound of what is
//!   kept for cursors, and beyond that the backup fails;
//! - a chunk that a backup shares with the store by a link is never written again by anybody, only unlinked;
//! - what was finished before is as it was until the next one is finished, whatever happens.
//!
//! Never: backs up a store that is damaged, changes the store but for the note of where its backups are.

mod freeze;
mod known;
mod last;
mod make;
mod options;
mod restore;
mod scratch;
mod states;
mod verify;

pub(super) use known::BackupWatch;
pub use known::KnownBackups;
pub use last::{BackupInfo, LastBackup};
pub use make::BackupReport;
pub use options::{BackupOptions, BackupProgress, BackupStage};
pub use restore::RestoredStore;
pub use verify::VerifiedBackup;

use super::manager::Manager;
use super::options::Options;
use crate::error::BackupError;
use std::path::Path;

impl Manager {
    /// Backs up the store as it is now into the directory `dir`, which is made when it is missing, beside the
    /// backups that are there, while everything else goes on. What is there already is not copied again; one
    /// that was interrupted is gone on with. `progress` is told after each piece.
    ///
    /// # Errors
    /// [`BackupError`]: there is no new backup then, and those before are as they were. After an error of
    /// the last directory sync the new one may be there, and is good if it is.
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use bop_storage::{BackupOptions, DbKind, Manager, Options, PageNo};
    ///
    /// let store = Manager::open(dir.path().join("store"), Options::new())?;
    /// let db = store.create_database("orders", DbKind::Raw)?;
    /// let mut write = db.begin_write(std::time::Duration::from_secs(1))?;
    /// write.write_page(PageNo::FIRST, &[7; 4096])?;
    /// write.commit()?;
    ///
    /// let backups = dir.path().join("backups");
    /// let options = BackupOptions::new();
    /// let made = store.backup(&backups, &options, &mut |_| ())?;
    /// let verified = Manager::verify_backup(&backups, None, &Options::new(), &options, &mut |_| ())?;
    /// assert_eq!(verified.lsn, made.lsn);
    ///
    /// let new = dir.path().join("new");
    /// Manager::restore_backup(&backups, &new, &Options::new(), &options, &mut |_| ())?;
    /// let store = Manager::open(&new, Options::new())?;
    /// let db = store.database("orders")?;
    /// assert_eq!(db.begin_read()?.read_page(PageNo::FIRST)?[0], 7);
    /// # Ok(())
    /// # }
    /// ```
    pub fn backup(
        &self,
        dir: impl AsRef<Path>,
        options: &BackupOptions,
        progress: &mut dyn FnMut(BackupProgress),
    ) -> Result<BackupReport, BackupError> {
        let made = self.engine().backup(dir.as_ref(), options, progress);
        self.engine().told(made)
    }

    /// Restores a backup of `dir` into a scratch store, reads every page of it, compares the checksum of every
    /// database, fork and snapshot with what it was when the backup was made, and records in `dir` that
    /// it was. The scratch store is made in the directory `scratch`, or beside `dir`, and is gone afterwards.
    /// Others can be verified in the same `scratch` meanwhile; what one that was killed left there is removed.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] with every file that is not what was written; [`BackupError::Different`];
    /// [`BackupError::NotFound`]; that it could not be restored.
    pub fn verify_backup(
        dir: impl AsRef<Path>,
        scratch: Option<&Path>,
        options: &Options,
        backup: &BackupOptions,
        progress: &mut dyn FnMut(BackupProgress),
    ) -> Result<VerifiedBackup, BackupError> {
        verify::verify(dir.as_ref(), scratch, options, backup, progress)
    }

    /// Makes a store of a backup of `dir` at `new`, which is not there or is an empty directory. It is the
    /// store that was backed up, with all its databases, forks and snapshots; its log goes on far behind
    /// all positions that the other one can have reached since.
    ///
    /// # Errors
    /// [`BackupError`]: no new store is there then.
    pub fn restore_backup(
        dir: impl AsRef<Path>,
        new: impl AsRef<Path>,
        options: &Options,
        backup: &BackupOptions,
        progress: &mut dyn FnMut(BackupProgress),
    ) -> Result<RestoredStore, BackupError> {
        restore::restore(dir.as_ref(), new.as_ref(), options, backup, progress)
    }

    /// The finished backups in a directory, the oldest first.
    ///
    /// # Errors
    /// [`BackupError::NotFound`], [`BackupError::NotBackups`], [`BackupError::Damaged`] for an index that
    /// cannot be believed.
    pub fn backups(
        dir: impl AsRef<Path>,
        backup: &BackupOptions,
    ) -> Result<Vec<BackupInfo>, BackupError> {
        last::backups(dir.as_ref(), backup)
    }

    /// Where the last backup of this store went, and what is there: the newest one, and the newest that was
    /// verified; as it is now, or, where the directory of the backups does not answer within a moment, as it was
    /// when it did.
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use bop_storage::{BackupOptions, Manager, Options};
    ///
    /// let store = Manager::open(dir.path().join("store"), Options::new())?;
    /// store.backup(dir.path().join("backups"), &BackupOptions::new(), &mut |_| ())?;
    /// let known = store.known_backups();
    /// match (known.last, known.doubt) {
    ///     (Some(last), None) => println!("{:?} in {}", last.newest, last.dir.display()),
    ///     (None, None) => println!("none was ever made"),
    ///     (_, Some(doubt)) => println!("not known: {doubt}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn known_backups(&self) -> KnownBackups {
        self.engine().known_backups()
    }
}
