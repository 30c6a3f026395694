//! Makes spare segments, off the commit path and, when that was too late, on it.
//!
//! Owns: the files of segments that are not part of the log yet, or no longer.
//!
//! Order of making:      zeros and stamp -> sync -> directory sync -> register -> ring
//! Order of recycling:   unregister -> forget in ring -> rename -> making, as above
//! Order of deletion:    unregister -> forget in ring -> remove (of a spare: ring first)
//! Order of setting aside: registered as set aside -> forget in ring -> rename into `damaged/` ->
//!                       its directory sync -> the log's directory sync
//!
//! Invariants
//! - a file in the ring is registered, and a registered file is complete and durable: a file that
//!   is registered and missing is damage, one that is there unregistered is an orphan;
//! - one thread makes spares at a time;
//! - only files that this process released are recycled: they are of this format and store.
//!
//! Never: touches an activated segment.

use super::format::{DATA_START, SegmentIdentity, Stamped};
use super::recover::RegisteredSegment;
use super::reserve::Reserve;
use super::ring::Ring;
use super::segment::{SealedSegment, SpareSegment};
use super::segment_files::{fill, forget_index, move_to_damaged};
use crate::canary::{Canary, is_planted};
use crate::error::{ManifestError, SegmentError};
use crate::ids::{Incarnation, Lsn, SegmentId, StoreId};
use crate::io::{Block, Disk, DiskFile, IoFailure, OpenMode, layout};
use crate::limits::ValidLimits;
use crate::runtime::sync::{Mutex, now};
use crate::runtime::{Entropy, after};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// So many spares are registered together: what a store has by default.
const REGISTERED_AT_ONCE: usize = 2;

/// With so many sealed segments the log is long, and larger ones are made.
const SEALED_SEGMENTS_LONG: usize = 12;

/// Remembers which segment files are part of the store. The manifest implements it.
pub trait SegmentRegistry: Send + Sync + std::fmt::Debug {
    /// These files are part of the store from now on. Durable on return.
    ///
    /// # Errors
    /// The manifest's; [`ManifestError::Stalled`], with nothing registered, where another call keeps
    /// this one waiting for as long as `io_deadline`.
    fn register(&self, segments: &[RegisteredSegment]) -> Result<(), ManifestError>;

    /// These files are no longer part of the store, and nothing below `truncated` is, where that
    /// is given. Durable on return.
    ///
    /// # Errors
    /// The manifest's.
    fn unregister(
        &self,
        segments: &[SegmentId],
        truncated: Option<Lsn>,
    ) -> Result<(), ManifestError>;

    /// The log no longer needs these segments, oldest first, nor any before them. Those that a closed
    /// database needs are registered as set aside, and answered; the others are unregistered.
    /// Durable on return.
    ///
    /// # Errors
    /// The manifest's.
    fn release(&self, segments: &[SealedSegment]) -> Result<Vec<SegmentId>, ManifestError> {
        let ids: Vec<_> = segments.iter().map(|sealed| sealed.segment.id).collect();
        let truncated = segments.last().map(|sealed| sealed.end);
        self.unregister(&ids, truncated)?;
        Ok(Vec::new())
    }

    /// Why nothing can be registered until the store is opened again, if so.
    fn failure(&self) -> Option<ManifestError>;

    /// Whether a segment is registered, after a call that failed; `None` when that cannot be told.
    fn is_registered(&self, segment: SegmentId) -> Option<bool>;
}

/// Makes and recycles segment files.
#[derive(Debug)]
pub struct SpareMaker {
    disk: Arc<dyn Disk>,
    store: StoreId,
    entropy: Arc<dyn Entropy>,
    registry: Arc<dyn SegmentRegistry>,
    ring: Arc<Ring>,
    limits: ValidLimits,
    /// The size of the next segment.
    capacity_bytes: AtomicU64,
    /// The size that fits the length at which the log is checkpointed.
    fitting_bytes: AtomicU64,
    /// What checkpoints have when the device is full.
    reserve: Reserve,
    /// Released files that may be stamped anew. Locked while spares are made.
    recyclable: Mutex<Vec<SealedSegment>>,
}

impl SpareMaker {
    /// A maker for `ring`.
    pub fn new(
        disk: Arc<dyn Disk>,
        store: StoreId,
        entropy: Arc<dyn Entropy>,
        registry: Arc<dyn SegmentRegistry>,
        ring: Arc<Ring>,
        limits: ValidLimits,
    ) -> Self {
        let smallest = limits.segment_bytes_min;
        let largest = ring.largest_capacity_bytes().unwrap_or(smallest);
        let capacity_bytes = AtomicU64::new(largest.clamp(smallest, limits.segment_bytes_max));
        let recyclable = Mutex::default();
        let fitting_bytes = AtomicU64::new(limits.segment_bytes_max);
        let reserve = Reserve::new(Arc::clone(&disk), limits.checkpoint_reserve_bytes_max);
        Self {
            disk,
            store,
            entropy,
            registry,
            ring,
            limits,
            capacity_bytes,
            fitting_bytes,
            reserve,
            recyclable,
        }
    }

    /// A segment of this size was filled: the next ones are made twice as large while they are
    /// small for the log, or when the log has become long in spite of checkpoints.
    pub fn segment_filled(&self, capacity_bytes: u64) {
        let fitting = self.fitting_bytes.load(Ordering::Relaxed);
        let long = self.ring.sealed_count() >= SEALED_SEGMENTS_LONG;
        if capacity_bytes < fitting || long {
            let doubled = (capacity_bytes * 2).min(self.limits.segment_bytes_max);
            self.capacity_bytes.fetch_max(doubled, Ordering::Relaxed);
        }
    }

    /// The log is checkpointed at `log_bytes`: an eighth of that fits a segment. Larger segments
    /// are not made any more.
    pub fn fit_segments_to(&self, log_bytes: u64) {
        let (smallest, largest) = (self.limits.segment_bytes_min, self.limits.segment_bytes_max);
        let eighth = (log_bytes / 8).max(1);
        let fitting = (1 << eighth.ilog2()).clamp(smallest, largest);
        self.fitting_bytes.store(fitting, Ordering::Relaxed);
        if self.ring.sealed_count() < SEALED_SEGMENTS_LONG {
            self.capacity_bytes.fetch_min(fitting, Ordering::Relaxed);
        }
    }

    /// Makes spares until `wanted` are in the ring.
    ///
    /// # Errors
    /// What the disk, the manifest or the random source said; spares made before stay.
    pub fn ensure(&self, wanted: usize) -> Result<(), SegmentError> {
        self.make_missing(wanted, &mut self.recyclable.lock())
    }

    /// The same for a committer: it does not wait for ever behind a thread that makes spares and
    /// does not come back from the device. `false` when the deadline passed.
    ///
    /// # Errors
    /// As for [`SpareMaker::ensure`].
    pub fn ensure_until(&self, wanted: usize, deadline: Instant) -> Result<bool, SegmentError> {
        let Some(mut recyclable) = self.recyclable.try_lock_until(deadline) else {
            return Ok(false);
        };
        if self.ring.spare_count() < wanted {
            let more = self.spare_bytes(wanted);
            let log_bytes = self.ring.held_bytes() + more;
            if !self.reserve.hold_until(log_bytes, deadline)? {
                return Ok(false);
            }
        }
        self.make_missing(wanted, &mut recyclable).map(|()| true)
    }

    /// What checkpoints have when the device is full.
    pub fn reserve(&self) -> &Reserve {
        &self.reserve
    }

    /// Has the reserve fit the log: after an opening, and when the log has become shorter. Without room
    /// for it no segment is added to the log.
    pub fn fit_reserve(&self) {
        let more = self.spare_bytes(self.limits.segments_spare_min as usize);
        if let Err(failure) = self.reserve.fit(self.ring.held_bytes() + more) {
            tracing::warn!(%failure, "no room can be reserved for checkpoints");
        }
    }

    /// Bytes that the device must have before the log gets longer by `more`, for the reserve.
    pub fn reserve_bytes_for_log(&self, more: u64) -> u64 {
        let fitting = self.reserve.fitting(self.ring.held_bytes() + more);
        fitting.saturating_sub(self.reserve.held_bytes())
    }

    /// Bytes that the device must have before there are spares of `more` bytes beside those in hand, for the
    /// reserve.
    pub fn reserve_bytes_for(&self, more: u64) -> u64 {
        self.reserve_bytes_for_log(self.spare_bytes(0) + more)
    }

    /// Bytes of the spares when there are `wanted`.
    fn spare_bytes(&self, wanted: usize) -> u64 {
        let spares = self.ring.spares();
        let there: u64 = spares.iter().map(|spare| spare.capacity_bytes).sum();
        there + wanted.saturating_sub(spares.len()) as u64 * self.next_capacity_bytes()
    }

    fn make_missing(
        &self,
        wanted: usize,
        recyclable: &mut Vec<SealedSegment>,
    ) -> Result<(), SegmentError> {
        let missing = wanted.saturating_sub(self.ring.spare_count());
        if missing == 0 {
            return Ok(());
        }
        // What is made could not be registered, time after time.
        if let Some(failure) = self.registry.failure() {
            return Err(failure.into());
        }
        // Whoever needs one does not wait for all of them.
        for first in (0..missing).step_by(REGISTERED_AT_ONCE) {
            let count = REGISTERED_AT_ONCE.min(missing - first);
            self.make_some(count, recyclable)?;
        }
        Ok(())
    }

    fn make_some(
        &self,
        count: usize,
        recyclable: &mut Vec<SealedSegment>,
    ) -> Result<(), SegmentError> {
        let mut made = Vec::with_capacity(count);
        let mut failed = None;
        while made.len() < count && failed.is_none() {
            match self.make(self.take_recyclable(recyclable)) {
                Ok(spare) => made.push(spare),
                Err(error) => failed = Some(error),
            }
        }
        self.add(made)?;
        failed.map_or(Ok(()), Err)
    }

    /// A released file of the size that is wanted now; those of another one go.
    fn take_recyclable(&self, recyclable: &mut Vec<SealedSegment>) -> Option<SealedSegment> {
        let wanted = self.capacity_bytes.load(Ordering::Relaxed);
        while let Some(old) = recyclable.pop() {
            if old.segment.capacity_bytes == wanted {
                return Some(old);
            }
            self.remove_unregistered(old.segment.id);
        }
        None
    }

    /// Takes a spare out of use that is too small for a batch of `bytes`, and has the next ones made
    /// large enough.
    ///
    /// # Errors
    /// The manifest's; the spare is as it was then, or left alone.
    pub(super) fn discard(&self, small: SpareSegment, bytes: u64) -> Result<(), SegmentError> {
        if let Err(error) = self.registry.unregister(&[small.id], None) {
            self.keep(small, &error);
            return Err(error.into());
        }
        let needed = (bytes + DATA_START).next_power_of_two();
        let needed = needed.min(self.limits.segment_bytes_max);
        self.capacity_bytes.fetch_max(needed, Ordering::Relaxed);
        tracing::debug!(segment = %small.id, bytes, "a spare is too small for a batch");
        self.remove_unregistered(small.id);
        Ok(())
    }

    /// A spare that could not be discarded is one again: unless the manifest may have forgotten it, or
    /// another was taken meanwhile, since what is written to it then would not be found.
    fn keep(&self, spare: SpareSegment, error: &ManifestError) {
        let id = spare.id;
        let is_registered = matches!(error, ManifestError::Stalled { .. })
            || self.registry.is_registered(id) == Some(true);
        if !(is_registered && self.ring.give_back(spare)) {
            tracing::warn!(segment = %id, "a spare is left alone until the next open");
        }
    }

    /// Takes segments out of use whose activation failed.
    ///
    /// # Errors
    /// The manifest's; they are as they were then.
    pub(super) fn discard_abandoned(&self, abandoned: &[SegmentId]) -> Result<(), SegmentError> {
        self.registry.unregister(abandoned, None)?;
        for id in abandoned {
            self.remove_unregistered(*id);
        }
        Ok(())
    }

    /// What cannot be removed is a leftover, for the next open.
    fn remove_unregistered(&self, id: SegmentId) {
        if let Err(failure) = self.disk.remove(&layout::segment(id)) {
            tracing::warn!(%failure, "a segment file stays until the next open");
        }
    }

    /// Bytes of the largest batch that any segment takes.
    pub(super) fn data_bytes_max(&self) -> u64 {
        self.limits.segment_bytes_max - DATA_START
    }

    /// Bytes of the next segment that is made.
    pub fn next_capacity_bytes(&self) -> u64 {
        self.capacity_bytes.load(Ordering::Relaxed)
    }

    /// Registers spares that are complete and durable, but for their names, and puts them into the
    /// ring. When the registration fails their files stay, unless it is certain that the manifest
    /// does not have them.
    fn add(&self, made: Vec<SpareSegment>) -> Result<(), SegmentError> {
        if made.is_empty() {
            return Ok(());
        }
        if !is_planted(Canary::NoDirectorySync) {
            self.disk.sync_dir(Path::new(layout::LOG_DIR))?;
        }
        let rows: Vec<_> = made
            .iter()
            .map(|spare| RegisteredSegment {
                id: spare.id,
                incarnation: spare.incarnation,
                capacity_bytes: spare.capacity_bytes,
            })
            .collect();
        if let Err(error) = self.registry.register(&rows) {
            // It did not begin: that they are not registered needs no asking, which would wait again.
            let began = !matches!(error, ManifestError::Stalled { .. });
            let unregistered = |spare: &&SpareSegment| {
                !began || self.registry.is_registered(spare.id) == Some(false)
            };
            let useless = made.iter().filter(unregistered);
            useless.for_each(|spare| self.remove_unregistered(spare.id));
            return Err(error.into());
        }
        made.into_iter()
            .for_each(|spare| self.ring.add_spare(spare));
        Ok(())
    }

    /// Takes sealed segments out of the log: no Lsn of theirs is needed any more. A file that cannot be removed stays until
    /// the next open, and keeps none of the others.
    ///
    /// # Errors
    /// The manifest's, before anything changed; the disk's, when a file could not be removed.
    pub fn release(&self, released: Vec<SealedSegment>) -> Result<(), SegmentError> {
        if released.is_empty() {
            return Ok(());
        }
        let no_index = self.ring.seals().pause();
        let aside = self.registry.release(&released)?;
        self.ring.release(&released, &aside);
        drop(no_index);
        let (aside, released): (Vec<_>, Vec<_>) = released
            .into_iter()
            .partition(|sealed| aside.contains(&sealed.segment.id));
        let aside: Vec<_> = aside.iter().map(|sealed| sealed.segment.id).collect();
        let mut moved = move_to_damaged(self.disk.as_ref(), &aside);
        // Whoever makes spares may not come back from the device: then nothing is used again.
        let deadline = after(now(), self.limits.io_deadline);
        let mut recyclable = self.recyclable.try_lock_until(deadline);
        let wanted = self.capacity_bytes.load(Ordering::Relaxed);
        for sealed in released {
            let fits = sealed.segment.capacity_bytes == wanted && !sealed.segment.is_suspect();
            match &mut recyclable {
                Some(kept) if fits && kept.len() < self.limits.segments_spare_min as usize => {
                    kept.push(sealed);
                }
                _ => moved = moved.and(self.disk.remove(&layout::segment(sealed.segment.id))),
            }
        }
        Ok(moved?)
    }

    fn make(&self, recycled: Option<SealedSegment>) -> Result<SpareSegment, SegmentError> {
        let (id, path) = self.free_place()?;
        let mut random = [0; 8];
        self.entropy
            .fill(&mut random)
            .map_err(|error| SegmentError::Entropy(Arc::new(error)))?;
        let incarnation = Incarnation::new(u64::from_le_bytes(random));
        let made = self.stamped(&path, id, incarnation, recycled);
        if made.is_err() {
            // Space may be what was missing: a file that is of no use gives its own back. It may
            // not be there, and the next open removes what stays.
            let _ = self.disk.remove(&path);
        }
        made
    }

    fn stamped(
        &self,
        path: &Path,
        id: SegmentId,
        incarnation: Incarnation,
        recycled: Option<SealedSegment>,
    ) -> Result<SpareSegment, SegmentError> {
        let (file, capacity_bytes) = match recycled {
            Some(old) => {
                self.disk.rename(&layout::segment(old.segment.id), path)?;
                let file = self.disk.open(path, OpenMode::Write)?;
                forget_index(file.as_ref(), old.segment.capacity_bytes)?;
                (file, old.segment.capacity_bytes)
            }
            None => (
                self.disk.open(path, OpenMode::CreateNew)?,
                self.capacity_bytes.load(Ordering::Relaxed),
            ),
        };
        let identity = SegmentIdentity {
            store: self.store,
            segment: id,
            incarnation,
        };
        let stamped = Stamped {
            identity,
            capacity_bytes,
        };
        fill(file.as_ref(), capacity_bytes, &stamped.encode())?;
        Ok(SpareSegment {
            id,
            incarnation,
            capacity_bytes,
            file,
        })
    }

    /// The next number whose name is free. What an interrupted making left under it is removed; a
    /// segment of another store is somebody's mistake, and left alone.
    fn free_place(&self) -> Result<(SegmentId, PathBuf), SegmentError> {
        loop {
            let id = self.ring.next_id().ok_or(SegmentError::IdsExhausted)?;
            let path = layout::segment(id);
            match self.disk.open(&path, OpenMode::Read) {
                Err(failure) if failure.is_not_found() => return Ok((id, path)),
                Err(failure) => return Err(failure.into()),
                Ok(file) if self.is_strange(file.as_ref())? => {
                    tracing::warn!(segment = %id, "another store's segment has this name");
                }
                Ok(_) => {
                    self.disk.remove(&path)?;
                    return Ok((id, path));
                }
            }
        }
    }

    fn is_strange(&self, file: &dyn DiskFile) -> Result<bool, IoFailure> {
        let mut head = [Block::ZERO];
        file.read_at(0, &mut head)?;
        let stamp = Stamped::decode(&head[0]);
        Ok(stamp.is_ok_and(|stamp| stamp.identity.store != self.store))
    }
}

#[cfg(test)]
#[path = "spares_tests.rs"]
mod tests;
