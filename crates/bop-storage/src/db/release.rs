//! Releasing the log: which segments go, and what stays for cursors over commits.
//!
//! ```text
//!   released | for cursors alone | needed: layers, catalogue, chains, record logs ... published
//!            |                   '--the log, whose cap commits feel
//!            '--the slowest cursor that fits its bound
//! ```
//! A cursor is alive while its lease lasts. The slowest live one decides what is kept, if all that is kept
//! for cursors alone is then within its bound; else it has lost its place, and the next slowest decides.
//! The bound is `cursor_log_bytes_max`, less where the log itself comes near its cap, and nothing while the
//! device has no room for spare segments.
//!
//! Invariants
//! - what is kept for cursors alone does not count against the log's cap: no commit waits for it, and no
//!   checkpoint is made because of it;
//! - it is looked at anew whenever a segment is sealed, also in the middle of a checkpoint, so that it and
//!   the log together exceed the log's cap by the segments that were sealed since, at most;
//! - the rows of cursors are looked at, and what they do not need is released, under one lock, which who
//!   opens a cursor takes too: no cursor begins at what is about to go;
//! - a cursor that has lost its place holds back nothing;
//! - a backup that copies the log is one more cursor while it does: within the same bound, and told when it
//!   has lost its place, since what it reads from then on may be another segment's bytes.
//!
//! Never: releases what a database needs.

use super::backup::BackupWatch;
use super::engine::Engine;
use super::relocate::is_aside;
use crate::canary::{Canary, is_planted};
use crate::error::CheckpointError;
use crate::ids::{DbId, Lsn};
use crate::log::{HoldReason, SealedSegment};
use crate::manifest::{ClosedRow, CursorPlace};
use crate::name::DbName;
use crate::runtime::sync::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// What is kept for cursors alone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct KeptForCursors {
    /// Bytes of the segments.
    pub(super) bytes: u64,
    /// The cursor that needs the oldest of them.
    pub(super) slowest: Option<DbName>,
}

/// How much of the log there may be for cursors, and which have to do without.
struct Bound {
    /// Segments that end at it, or before, go.
    release: Lsn,
    lost: Vec<(Kept, Lsn)>,
}

/// For whom alone a part of the log is kept.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    Cursor(DbName),
    Backup(Arc<LogLease>),
}

/// The backup that is being made, and what is known of those that were.
#[derive(Debug, Default)]
pub(super) struct BackingUp {
    /// What keeps the log, while it is copied.
    lease: Mutex<Weak<LogLease>>,
    /// Held while one is made.
    pub(super) alone: Mutex<()>,
    /// What is known of those that were made.
    pub(super) watch: Arc<BackupWatch>,
}

/// Keeps the log from a position on for a backup, until it is dropped or lost.
#[derive(Debug)]
pub(super) struct LogLease {
    from: AtomicU64,
    lost: AtomicBool,
}

impl LogLease {
    /// The oldest position that is kept.
    pub(super) fn from(&self) -> Lsn {
        Lsn::new(self.from.load(Ordering::Acquire))
    }

    /// What is before is not needed any more.
    pub(super) fn advance(&self, to: Lsn) {
        self.from.fetch_max(to.get(), Ordering::AcqRel);
    }

    /// Whether what was kept is released, or will be at once: what is read of it counts for nothing.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }
}

impl Engine {
    /// Releases the sealed segments below everything that is needed. What is needed for databases
    /// with a damaged chunk alone, or for cursors alone, stays, but does not count against the log's
    /// cap: it must not stop the others.
    pub(super) fn release_log(
        &self,
        cut: Lsn,
        kept_for: &BTreeSet<DbId>,
    ) -> Result<usize, CheckpointError> {
        let releasing = self.releasing.lock();
        let released = self.release_below(cut, kept_for);
        drop(releasing);
        let ring = self.log.ring();
        if ring.held_bytes() >= self.limits.log_bytes_max {
            self.log.holds().watch(ring.oldest_sealed_end());
        }
        released
    }

    /// Releases what was kept for cursors that do not need it any more, or may not have it: the log has
    /// become longer, or the device full.
    pub(super) fn shorten_for_cursors(&self) {
        let ring = self.log.ring();
        if ring.kept_bytes() == ring.held_bytes() {
            return;
        }
        // Who holds it releases, or opens a cursor, and waits for nobody's commit.
        let Some(_releasing) = self.releasing.try_lock() else {
            return;
        };
        let cut = self.manifest.state().watermarks().checkpointed;
        if let Err(error) = self.release_below(cut, &BTreeSet::new()) {
            tracing::warn!(%error, "the log keeps what cursors had it keep");
        }
    }

    /// What is kept for cursors alone at the moment.
    pub(super) fn kept_for_cursors(&self) -> KeptForCursors {
        let cut = self.manifest.state().watermarks().checkpointed;
        let needed = self.needed_from(cut, &self.closed.lock().clone());
        let (at, slowest) = match self.kept_before(needed).into_iter().next() {
            Some((at, Kept::Cursor(name))) => (at, Some(name)),
            Some((at, Kept::Backup(_))) => (at, None),
            None => return KeptForCursors::default(),
        };
        let kept = self.log.ring().releasable(needed);
        KeptForCursors {
            bytes: bytes_from(&kept, at),
            slowest,
        }
    }

    /// Under the lock `releasing`.
    fn release_below(&self, cut: Lsn, kept_for: &BTreeSet<DbId>) -> Result<usize, CheckpointError> {
        let (ring, holds) = (self.log.ring(), self.log.holds());
        let closed = self.closed.lock().clone();
        let aside = |reason: &HoldReason| is_aside(reason, kept_for) || is_of(reason, &closed);
        let sound = holds.oldest_but(aside);
        let aside = ring.set_aside(sound.unwrap_or(cut).min(cut));
        let bound = self.bound_for_cursors(self.needed_from(cut, &closed));
        let released = ring.releasable(bound.release);
        let count = released.len();
        let done = self.log.spares().release(released);
        // Also when a file could not be removed: the log is shorter all the same.
        if count > 0 || aside {
            self.log.room_made();
            self.records.room_made();
        }
        done?;
        for (kept, position) in bound.lost {
            match kept {
                Kept::Cursor(name) => {
                    tracing::warn!(name = name.as_str(), %position, "a cursor over commits has lost its place");
                }
                Kept::Backup(_) => {
                    tracing::warn!(%position, "a backup has lost the log that it copies")
                }
            }
        }
        Ok(count)
    }

    /// Keeps all of the log that there is, for a backup; the oldest position of it. Called under the lock
    /// `releasing`.
    pub(super) fn lease_log(&self) -> Arc<LogLease> {
        let from = self.manifest.state().watermarks().truncated;
        let lost = AtomicBool::new(false);
        let from = AtomicU64::new(from.get());
        let lease = Arc::new(LogLease { from, lost });
        *self.backing_up.lease.lock() = Arc::downgrade(&lease);
        lease
    }

    /// Whoever wants something before `needed` that is kept for it alone, slowest first.
    fn kept_before(&self, needed: Lsn) -> Vec<(Lsn, Kept)> {
        let cursors = self.cursors_before(needed);
        let mut kept: Vec<_> = cursors
            .into_iter()
            .map(|(at, name)| (at, Kept::Cursor(name)))
            .collect();
        if let Some(lease) = self.backup_before(needed) {
            let from = lease.from();
            let before = kept.partition_point(|(at, _)| *at < from);
            kept.insert(before, (from, Kept::Backup(lease)));
        }
        kept
    }

    /// The backup that copies the log, if it wants something before `needed` and has not lost it.
    pub(super) fn backup_before(&self, needed: Lsn) -> Option<Arc<LogLease>> {
        let lease = self.backing_up.lease.lock().upgrade();
        lease.filter(|lease| lease.from() < needed && !lease.is_lost())
    }

    /// Nothing before it is needed but by cursors. What a closed database needs is set aside when it is
    /// released.
    fn needed_from(&self, cut: Lsn, closed: &BTreeMap<DbId, ClosedRow>) -> Lsn {
        if is_planted(Canary::RecycledWithoutLease) {
            return cut;
        }
        let needed = self.log.holds().oldest_but(|reason| is_of(reason, closed));
        needed.unwrap_or(cut).min(cut)
    }

    /// The live cursors that want something before `needed` and have not lost it, slowest first.
    pub(super) fn cursors_before(&self, needed: Lsn) -> Vec<(Lsn, DbName)> {
        let rows = self.manifest.state();
        let (now_us, truncated) = (self.runtime.clock.wall_us(), rows.watermarks().truncated);
        let alive = rows.cursors().filter(|(_, row)| row.is_alive(now_us));
        let mut found: Vec<_> = alive
            .filter_map(|(_, row)| match row.place {
                CursorPlace::Commits { position, .. }
                    if truncated <= position && position < needed =>
                {
                    Some((position, row.name.clone()))
                }
                _ => None,
            })
            .collect();
        found.sort_unstable_by_key(|(position, _)| *position);
        found
    }

    fn bound_for_cursors(&self, needed: Lsn) -> Bound {
        let mut bound = Bound {
            release: needed,
            lost: Vec::new(),
        };
        let wanted = self.kept_before(needed);
        if wanted.is_empty() || is_planted(Canary::CursorIgnored) {
            return bound;
        }
        let (kept, most) = (self.log.ring().releasable(needed), self.most_for_cursors());
        for (position, by) in wanted {
            let bytes = bytes_from(&kept, position);
            if bytes <= most {
                bound.release = position;
                break;
            }
            if let Kept::Backup(lease) = &by {
                // Before a segment goes: who sees that it is not lost has read what it kept.
                lease.lost.store(true, Ordering::Release);
            }
            bound.lost.push((by, position));
        }
        bound
    }

    /// Bytes that may be kept for cursors alone.
    fn most_for_cursors(&self) -> u64 {
        let (ring, limits) = (self.log.ring(), &self.limits);
        let room = limits.log_bytes_max.saturating_sub(ring.held_bytes());
        let spares = limits.segments_spare_min as usize;
        let missing = spares.saturating_sub(ring.spare_count()) as u64;
        let maker = self.log.spares();
        let more = missing * maker.next_capacity_bytes();
        let needed = more + maker.reserve_bytes_for(more);
        let is_full = missing > 0 && self.disk.free_bytes().is_ok_and(|free| free < needed);
        if is_full {
            return 0;
        }
        limits.cursor_log_bytes_max.min(room)
    }
}

/// Bytes of the segments that have something from a position on.
fn bytes_from(segments: &[SealedSegment], position: Lsn) -> u64 {
    let from = segments.iter().filter(|sealed| position < sealed.end);
    from.map(|sealed| sealed.segment.capacity_bytes).sum()
}

fn is_of(reason: &HoldReason, closed: &BTreeMap<DbId, ClosedRow>) -> bool {
    matches!(
        reason, HoldReason::Pages(database) | HoldReason::Records(database)
            if closed.contains_key(database)
    )
}
