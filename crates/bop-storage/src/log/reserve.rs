//! The room that a checkpoint needs when the device has none: releasing space must not need space.
//!
//! ```text
//!   none --held--> held, longer with the log, shorter after it --lent--> lent --given back--> none
//! ```
//! While it is held, its file takes the place. A checkpoint that found no room is lent it: the file is
//! removed, and what it took is there for chunks and for the manifest. When the checkpoint has released the
//! log there is room for the file again, as the log is short then.
//!
//! Invariants
//! - it is held before segments are added to the log, and is then as long as the chunks of whole pages that
//!   the log can have: so what a commit added to the log can leave it again;
//! - while it is lent nothing is added to the log, so nobody takes what the checkpoint is to have;
//! - it is a file of zeros that nobody reads: lost in a crash, it is held anew.
//!
//! Never: fails an opening, or work that needs no room.

use crate::io::errno::ENOSPC;
use crate::io::{BLOCK_BYTES, Disk, DiskFile, IoFailure, IoOp, OpenMode, layout};
use crate::runtime::sync::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A chunk has an index beside its pages, and the manifest a few pages more.
const OVERHEAD_BYTES: u64 = 64 << 10;

/// The reserve of a store.
#[derive(Debug)]
pub struct Reserve {
    disk: Arc<dyn Disk>,
    /// It never becomes longer.
    bytes_max: u64,
    /// Changed under the lock.
    held_bytes: AtomicU64,
    state: Mutex<State>,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    /// The store has it, or nobody.
    Own,
    Lent,
}

/// Has the reserve's room until it is dropped.
#[derive(Debug)]
pub struct LentReserve<'a>(&'a Reserve);

impl Drop for LentReserve<'_> {
    fn drop(&mut self) {
        *self.0.state.lock() = State::Own;
    }
}

impl Reserve {
    /// The reserve of the store on `disk`, of `bytes_max` at most; with 0 there is none.
    pub fn new(disk: Arc<dyn Disk>, bytes_max: u64) -> Self {
        Self {
            disk,
            bytes_max,
            held_bytes: AtomicU64::new(0),
            state: Mutex::new(State::Own),
        }
    }

    /// Bytes that fit a log of `log_bytes`.
    pub fn fitting(&self, log_bytes: u64) -> u64 {
        let chunks = log_bytes + log_bytes / 16 + OVERHEAD_BYTES;
        let blocks = chunks.div_ceil(BLOCK_BYTES as u64);
        (blocks * BLOCK_BYTES as u64).min(self.bytes_max)
    }

    /// Bytes in hand.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// Holds at least as much as fits a log of `log_bytes`.
    ///
    /// # Errors
    /// `ENOSPC` when there is no room, or the room is lent; whatever the kernel says.
    pub fn hold(&self, log_bytes: u64) -> Result<(), IoFailure> {
        self.hold_in(&mut self.state.lock(), log_bytes)
    }

    /// The same for a committer: he does not wait for ever behind a thread that does not come back from the
    /// device. `false` when the deadline passed.
    ///
    /// # Errors
    /// As for [`Reserve::hold`].
    pub fn hold_until(&self, log_bytes: u64, deadline: Instant) -> Result<bool, IoFailure> {
        match self.state.try_lock_until(deadline) {
            Some(mut state) => self.hold_in(&mut state, log_bytes).map(|()| true),
            None => Ok(false),
        }
    }

    fn hold_in(&self, state: &mut State, log_bytes: u64) -> Result<(), IoFailure> {
        let wanted = self.fitting(log_bytes);
        if *state == State::Lent {
            return Err(no_room());
        }
        if wanted <= self.held_bytes() {
            return Ok(());
        }
        let file = self.file()?;
        let there = file.bytes()?;
        self.is_held(state, there);
        if wanted <= there {
            return Ok(());
        }
        // A device that is asked for more than it has may give a part before it says so.
        if self.disk.free_bytes()? < wanted - there {
            return Err(no_room());
        }
        let longer = file.allocate(wanted);
        self.is_held(state, file.bytes()?);
        longer
    }

    fn is_held(&self, state: &mut State, bytes: u64) {
        *state = State::Own;
        self.held_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Gives back most of what is held, when the log has become much shorter.
    ///
    /// # Errors
    /// As for [`Reserve::hold`].
    pub fn fit(&self, log_bytes: u64) -> Result<(), IoFailure> {
        let mut state = self.state.lock();
        if self.fitting(log_bytes).saturating_mul(2) < self.held_bytes() {
            self.remove()?;
        }
        self.hold_in(&mut state, log_bytes)
    }

    /// Gives the room away; `None` when there is none, or somebody has it.
    pub fn lend(&self) -> Option<LentReserve<'_>> {
        let mut state = self.state.lock();
        if self.held_bytes() == 0 {
            return None;
        }
        if let Err(failure) = self.remove() {
            tracing::warn!(%failure, "the reserve cannot be given away");
            return None;
        }
        *state = State::Lent;
        Some(LentReserve(self))
    }

    fn remove(&self) -> Result<(), IoFailure> {
        self.disk.remove(Path::new(layout::RESERVE))?;
        self.held_bytes.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// The one that an earlier opening has left, or a new one.
    fn file(&self) -> Result<Arc<dyn DiskFile>, IoFailure> {
        let path = Path::new(layout::RESERVE);
        match self.disk.open(path, OpenMode::Write) {
            Err(failure) if failure.is_not_found() => self.disk.open(path, OpenMode::CreateNew),
            opened => opened,
        }
    }
}

fn no_room() -> IoFailure {
    IoFailure {
        op: IoOp::Allocate,
        path: layout::RESERVE.into(),
        offset: None,
        errno: ENOSPC,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SimDisk;

    const MIB: u64 = 1 << 20;

    fn reserve(disk: &SimDisk) -> Reserve {
        Reserve::new(Arc::new(disk.clone()), 8 * MIB)
    }

    #[test]
    fn it_grows_with_the_log_up_to_its_bound_and_shrinks_after_it() {
        let disk = SimDisk::new(1);
        let reserve = reserve(&disk);
        reserve.hold(MIB).unwrap();
        let first = reserve.held_bytes();
        assert!((MIB..2 * MIB).contains(&first), "{first}");
        assert_eq!(disk.files(), [(layout::RESERVE.into(), first)]);
        reserve.hold(MIB / 2).unwrap();
        assert_eq!(reserve.held_bytes(), first, "a little less is no reason");
        reserve.hold(100 * MIB).unwrap();
        assert_eq!(reserve.held_bytes(), 8 * MIB);
        reserve.fit(MIB).unwrap();
        assert_eq!(reserve.held_bytes(), first);
        assert_eq!(disk.files(), [(layout::RESERVE.into(), first)]);
    }

    #[test]
    fn without_room_what_is_held_stays_and_what_is_lent_is_not_taken_by_others() {
        let disk = SimDisk::new(2);
        let reserve = reserve(&disk);
        assert!(reserve.lend().is_none(), "nothing is held");
        reserve.hold(MIB).unwrap();
        let first = reserve.held_bytes();
        disk.set_capacity(Some(first + MIB / 2));
        assert!(reserve.hold(2 * MIB).unwrap_err().is_out_of_space());
        assert_eq!(reserve.held_bytes(), first);
        let lent = reserve.lend().unwrap();
        assert!(disk.files().is_empty());
        assert!(reserve.hold(1).unwrap_err().is_out_of_space(), "it is lent");
        assert!(reserve.lend().is_none());
        drop(lent);
        reserve.hold(MIB).unwrap();
        assert_eq!(reserve.held_bytes(), first);
    }

    #[test]
    fn what_an_earlier_opening_held_is_held() {
        let disk = SimDisk::new(3);
        reserve(&disk).hold(MIB).unwrap();
        disk.set_capacity(Some(disk.files()[0].1));
        let again = reserve(&disk);
        again.hold(MIB).unwrap();
        assert_eq!(again.held_bytes(), disk.files()[0].1);
    }
}
