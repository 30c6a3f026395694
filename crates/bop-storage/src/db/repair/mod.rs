//! Repair: a lost or damaged manifest made anew, from what chunks and log say of themselves.
//!
//! ```text
//! lock -> superblock -> is the manifest sound? -> chunks, segments (read) -> judge -> plan
//!   -> the new manifest in scratch/, synced -> the old one to damaged/manifest-<n> -> the new one named
//!   -> (the next opening replays the log)
//! ```
//! Invariants
//! - no chunk and no segment is changed, moved or removed, and the old manifest is kept;
//! - whoever is killed leaves a store that is repaired by doing it again;
//! - what is not proved is closed and reported, never served;
//! - a manifest that is sound, or of which nobody can tell, is left alone unless that is asked for.
//!
//! What no file tells: when the commit was made that a database's chunks end with, where no history and no
//! snapshot has it (its time is 0 until the next one); that a chunk or a segment is gone without a trace, where nothing names it.
//!
//! Never: replays the log; touches a manifest of a newer program.

mod catalogue;
mod chains;
mod chunks;
mod databases;
mod evidence;
mod judge;
mod past;
mod plan;
mod points;
mod report;
mod segments;

pub(super) use evidence::{Evidence, ProvedState};
pub use points::LostPoint;
pub use report::{RepairReport, RepairedDatabase};

use self::chunks::{Unreadable, find_chunks};
use self::judge::Judge;
use self::plan::Plan;
use self::segments::find_log;
use super::open::LockedStore;
use super::options::Options;
use super::strangers::check_unregistered;
use crate::error::{Damage, ManifestError, OpenError, Reject, RepairError};
use crate::ids::StoreId;
use crate::io::Disk;
use crate::limits::ValidLimits;
use crate::manifest::{
    LmdbManifest, Manifest, ManifestState, ManifestStore, Table, Write, fenced, scan_all,
};
use crate::runtime::sync::now;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a manifest is repaired.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct RepairMode {
    /// Also when it is sound, or when nobody can tell; and chunks that the kernel cannot read are taken
    /// for damaged.
    pub force: bool,
    /// Only says what would be done.
    pub dry_run: bool,
}

/// Repairs the manifest of a store that nobody has open.
pub(super) fn repair(
    path: &Path,
    options: &Options,
    mode: RepairMode,
) -> Result<RepairReport, RepairError> {
    let _span = tracing::info_span!("repair", path = %path.display()).entered();
    let options = options.clone().create(false);
    let locked = LockedStore::open(path, &options)?;
    let target = Target::of(path, &locked, &options);
    let reason = target.reason(mode.force)?;
    let mut report = target.rebuild(reason, mode)?;
    report.done = !mode.dry_run;
    Ok(report)
}

/// What the manifest of a store says that nobody has open.
///
/// # Errors
/// That it is damaged, missing, or older than the log; that it cannot be read.
pub(super) fn sound_rows(
    path: &Path,
    locked: &LockedStore,
    options: &Options,
) -> Result<ManifestState, OpenError> {
    Target::of(path, locked, options).examine()
}

/// The store whose manifest is made anew.
struct Target<'a> {
    path: &'a Path,
    disk: &'a Arc<dyn Disk>,
    store: StoreId,
    limits: &'a ValidLimits,
    /// The manifest is kept by somebody else.
    given: Option<&'a Arc<dyn ManifestStore>>,
}

impl<'a> Target<'a> {
    fn of(path: &'a Path, locked: &'a LockedStore, options: &'a Options) -> Self {
        Self {
            path,
            disk: &locked.disk,
            store: locked.store,
            limits: &locked.limits,
            given: options.manifest.as_ref(),
        }
    }

    /// What is wrong with the manifest.
    ///
    /// # Errors
    /// Nothing is, or nobody can tell, and it is not to be rebuilt all the same; it is a newer program's.
    fn reason(&self, force: bool) -> Result<Option<String>, RepairError> {
        match self.examine() {
            Ok(_) if force => Ok(None),
            Ok(_) => Err(RepairError::Sound),
            Err(error) if is_newer(&error) => Err(error.into()),
            Err(
                OpenError::Damaged(damage) | OpenError::Manifest(ManifestError::Damaged(damage)),
            ) => Ok(Some(damage.to_string())),
            Err(error) if force => Ok(Some(error.to_string())),
            Err(error) => Err(RepairError::Unknown(Box::new(error))),
        }
    }

    /// Reads all of the present manifest.
    fn examine(&self) -> Result<ManifestState, OpenError> {
        let rows = match self.given {
            Some(given) => Arc::clone(given),
            None => fenced("opened the manifest", || {
                let lmdb = LmdbManifest::open(self.path, self.limits)?;
                Ok::<Arc<dyn ManifestStore>, ManifestError>(Arc::new(lmdb))
            })?,
        };
        let read = Manifest::open(rows, self.store).map_err(OpenError::from);
        let manifest = read?;
        let found = manifest.verify();
        let state = manifest.state();
        if self.given.is_none() {
            // Before the directory may get another name.
            manifest.close(now());
        }
        if let Some(damage) = found?.into_iter().next() {
            return Err(damage.into());
        }
        check_unregistered(self.disk.as_ref(), self.store, &state)?;
        Ok(state)
    }

    fn rebuild(
        &self,
        reason: Option<String>,
        mode: RepairMode,
    ) -> Result<RepairReport, RepairError> {
        let unreadable = match mode.force {
            true => Unreadable::IsDamage,
            false => Unreadable::Fails,
        };
        let chunks = find_chunks(self.disk.as_ref(), self.store, unreadable)?;
        let log = find_log(
            self.disk.as_ref(),
            self.store,
            self.limits.segment_bytes_max,
        )?;
        let judge = Judge {
            disk: self.disk,
            store: self.store,
            range_bytes: self.limits.range_bytes,
            chunks: &chunks,
            log_from: log.truncated,
            unreadable,
        };
        let plan = Plan::make(&judge, self.limits, &log)?;
        let mut report = RepairReport::of(self.store, reason, &plan, &chunks, &log);
        // Also without being written: what would be refused is better known before.
        let rows = Manifest::rebuilt_writes(self.store, |edit| plan.write(&chunks, &log, edit));
        let rows = rows.map_err(OpenError::from)?;
        for damage in &report.chunks_damaged {
            tracing::warn!(%damage, "a chunk cannot be used");
        }
        if !mode.dry_run {
            report.kept = self.put(&rows).map_err(OpenError::from)?;
            tracing::info!(kept = ?report.kept, whole = report.is_whole(), "manifest rebuilt");
        }
        Ok(report)
    }

    /// Makes the manifest of these rows; answers where the old one is kept.
    fn put(&self, rows: &[Write]) -> Result<Option<PathBuf>, ManifestError> {
        match self.given {
            None => fenced("made the manifest anew", || {
                LmdbManifest::replace(self.path, self.limits, rows)
            }),
            Some(given) => fenced("made the manifest anew", || {
                let mut writes = Vec::new();
                for table in Table::ALL {
                    scan_all(given.as_ref(), table, |key, _| {
                        writes.push(Write::Delete { table, key });
                    })?;
                }
                writes.extend_from_slice(rows);
                given.commit(&writes)?;
                Ok(None)
            }),
        }
    }
}

/// Whether a newer program wrote it: that is no damage.
pub(super) fn is_newer(error: &OpenError) -> bool {
    let newer = |damage: &Damage| {
        matches!(&damage.reason, Reject::Features { .. })
            || matches!(damage.reason, Reject::Version { found, supported } if supported < found)
    };
    match error {
        OpenError::Damaged(damage) | OpenError::Manifest(ManifestError::Damaged(damage)) => {
            newer(damage)
        }
        _ => false,
    }
}
