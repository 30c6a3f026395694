//! The seam of the simulated disk: checks a call, counts it, asks the plan, does it.
//!
//! Invariants
//! - every call of [`Disk`] and [`DiskFile`] passes [`SimDisk::change`] or [`SimDisk::look`];
//! - a hung call holds no lock while it hangs.

use super::act::{Act, Broken, State};
use super::digest::traced;
use super::faults::{Class, Fault, Faults, Verdict};
use super::file::SimFile;
use super::names::Names;
use super::tap::Tapped;
use crate::io::errno::{EINVAL, EIO};
use crate::io::{
    BufferPool, Disk, DiskFile, FileEntry, IoFailure, IoOp, LockFailure, OpenMode, StoreLock,
    layout,
};
use crate::runtime::sync::{Condvar, Mutex, now};
use crate::testing::SplitMix64;
use std::fmt;
use std::path::{Component, Path};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of the pool of buffers.
const POOL_BYTES_MAX: u64 = 8 << 20;

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    hang: Condvar,
    pool: Arc<BufferPool>,
}

/// A disk in memory that can fail, hang, lose its power, and show what a crash would leave.
///
/// A clone is the same disk. See [`crash_image`](Self::crash_image) and [`fail_at`](Self::fail_at).
#[derive(Clone)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

impl SimDisk {
    /// An empty disk; `seed` decides what broken calls leave behind.
    pub fn new(seed: u64) -> Self {
        Self::with(Names::default(), seed, None)
    }

    pub(super) fn with(names: Names, seed: u64, capacity: Option<u64>) -> Self {
        let state = State {
            names,
            faults: Faults::default(),
            random: SplitMix64::new(seed),
            capacity,
            locked: false,
            trace: 0,
            tap: Tapped::default(),
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                hang: Condvar::new(),
                pool: BufferPool::new(POOL_BYTES_MAX),
            }),
        }
    }

    pub(super) fn state<T>(&self, body: impl FnOnce(&mut State) -> T) -> T {
        body(&mut self.shared.state.lock())
    }

    /// How many state-changing calls there were: the number of the next one.
    pub fn op_count(&self) -> u64 {
        self.state(|s| s.faults.count(Class::Change))
    }

    /// How many reading calls there were (open of an existing file, list, length, read, free bytes,
    /// lock): the number of the next one.
    pub fn read_count(&self) -> u64 {
        self.state(|s| s.faults.count(Class::Read))
    }

    /// Plans `fault` for the state-changing call number `op`, counted from 0.
    pub fn fail_at(&self, op: u64, fault: Fault) {
        self.state(|s| s.faults.fail_at(Class::Change, op, fault));
    }

    /// Plans `fault` for a state-changing call that is yet to come, whoever calls meanwhile: the next
    /// one, or one that is `later` behind that. Returns its number.
    pub fn fail_in(&self, later: u64, fault: Fault) -> u64 {
        self.state(|s| {
            let op = s.faults.count(Class::Change) + later;
            s.faults.fail_at(Class::Change, op, fault);
            op
        })
    }

    /// Plans `fault` for the reading call number `read`, counted from 0.
    pub fn fail_read_at(&self, read: u64, fault: Fault) {
        self.state(|s| s.faults.fail_at(Class::Read, read, fault));
    }

    /// Plans `fault` for the next call that is an `op`.
    pub fn fail_next(&self, op: IoOp, fault: Fault) {
        self.state(|s| s.faults.fail_next(op, fault));
    }

    /// Forgets all planned and sticky faults; a power cut stays.
    pub fn heal(&self) {
        self.state(|s| s.faults.heal());
    }

    /// Cuts the power now: every later call, and every hung one, fails with `EIO`.
    pub fn power_cut(&self) {
        self.state(|s| s.faults.cut());
        self.shared.hang.notify_all();
    }

    /// Whether the power was cut.
    pub fn is_cut(&self) -> bool {
        self.state(|s| s.faults.is_cut())
    }

    /// The call during which the power went, when a planned fault cut it.
    pub fn cut_during(&self) -> Option<IoOp> {
        self.state(|s| s.faults.cut_during)
    }

    /// Lets all calls that hang now go on.
    pub fn release_hung(&self) {
        self.state(|s| s.faults.releases += 1);
        self.shared.hang.notify_all();
    }

    /// Returns when at least `count` calls hang.
    ///
    /// # Panics
    /// When they do not within a minute: the test waits for calls that nobody makes.
    pub fn wait_until_hung(&self, count: usize) {
        let deadline = now() + Duration::from_secs(60);
        let mut state = self.shared.state.lock();
        while state.faults.hung < count {
            let timed_out = self
                .shared
                .hang
                .wait_until(&mut state, deadline)
                .timed_out();
            let hung = state.faults.hung;
            assert!(!timed_out || count <= hung, "{hung} of {count} calls hang");
        }
    }

    /// Limits the sum of all files' lengths; `None` for no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state(|s| s.capacity = bytes);
    }

    /// Counts as a state-changing call and meets its faults, but does nothing: the gate for what
    /// keeps its durable state elsewhere, such as a manifest in memory.
    ///
    /// # Errors
    /// The planned fault. Whether the commit behind it got durable is then open.
    pub fn tick(&self, op: IoOp, path: &Path) -> Result<(), IoFailure> {
        self.change(op, path, None, Act::Tick)
    }

    pub(super) fn change(
        &self,
        op: IoOp,
        path: &Path,
        offset: Option<u64>,
        act: Act<'_>,
    ) -> Result<(), IoFailure> {
        let mut state = self.shared.state.lock();
        state.trace = traced(state.trace, op, path, offset);
        let answer = match state.faults.next(Class::Change, op) {
            Verdict::Go => self.perform_seen(&mut state, op, act),
            Verdict::Lie(lie) => state.perform_lying(act, lie),
            Verdict::Fail(errno) => {
                if !state.faults.is_cut() {
                    state.leave_behind(act, Broken::Error);
                }
                Err(errno)
            }
            Verdict::Short(errno) => {
                state.perform_in_part(act);
                Err(errno)
            }
            Verdict::Panic => {
                state.leave_behind(act, Broken::Error);
                drop(state);
                panics(op, path)
            }
            Verdict::Hang => {
                state.leave_behind(act, Broken::InFlight);
                self.hang(&mut state);
                if state.faults.is_cut() {
                    Err(EIO)
                } else {
                    state.perform(act)
                }
            }
            Verdict::Cut => {
                state.leave_behind(act, Broken::InFlight);
                self.shared.hang.notify_all();
                Err(EIO)
            }
        };
        drop(state);
        answer.map_err(|errno| failure(op, path, offset, errno))
    }

    pub(super) fn look<T>(
        &self,
        op: IoOp,
        path: &Path,
        offset: Option<u64>,
        body: impl FnOnce(&mut State) -> Result<T, i32>,
    ) -> Result<T, IoFailure> {
        let mut state = self.shared.state.lock();
        let answer = match state.faults.next(Class::Read, op) {
            Verdict::Go | Verdict::Lie(_) => body(&mut state),
            Verdict::Fail(errno) | Verdict::Short(errno) => Err(errno),
            Verdict::Panic => {
                drop(state);
                panics(op, path)
            }
            Verdict::Hang => {
                self.hang(&mut state);
                if state.faults.is_cut() {
                    Err(EIO)
                } else {
                    body(&mut state)
                }
            }
            Verdict::Cut => {
                self.shared.hang.notify_all();
                Err(EIO)
            }
        };
        drop(state);
        answer.map_err(|errno| failure(op, path, offset, errno))
    }

    fn hang(&self, state: &mut crate::runtime::sync::MutexGuard<'_, State>) {
        let since = state.faults.releases;
        state.faults.hung += 1;
        self.shared.hang.notify_all();
        while state.faults.releases == since && !state.faults.is_cut() {
            self.shared.hang.wait(state);
        }
        state.faults.hung -= 1;
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimDisk(op {})", self.op_count())
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn DiskFile>, IoFailure> {
        check_path(IoOp::Open, path)?;
        if mode.creates() {
            self.change(IoOp::Open, path, None, Act::CreateFile(path))?;
        }
        let inode = if mode.creates() {
            self.state(|s| s.names.file(path))
                .map_err(|errno| failure(IoOp::Open, path, None, errno))?
        } else {
            self.look(IoOp::Open, path, None, |s| s.names.file(path))?
        };
        let writable = mode != OpenMode::Read;
        Ok(Arc::new(SimFile::new(self.clone(), path, inode, writable)))
    }

    fn list(&self, dir: &Path) -> Result<Vec<FileEntry>, IoFailure> {
        check_path(IoOp::Directory, dir)?;
        self.look(IoOp::Directory, dir, None, |s| s.names.list(dir))
    }

    fn create_dir(&self, dir: &Path) -> Result<(), IoFailure> {
        check_path(IoOp::Directory, dir)?;
        self.change(IoOp::Directory, dir, None, Act::CreateDir(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoFailure> {
        check_path(IoOp::Rename, from)?;
        check_path(IoOp::Rename, to)?;
        self.change(IoOp::Rename, from, None, Act::Rename(from, to))
    }

    fn remove(&self, path: &Path) -> Result<(), IoFailure> {
        check_path(IoOp::Remove, path)?;
        self.change(IoOp::Remove, path, None, Act::Remove(path))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), IoFailure> {
        check_path(IoOp::SyncDirectory, dir)?;
        self.change(IoOp::SyncDirectory, dir, None, Act::SyncDir(dir))
    }

    fn free_bytes(&self) -> Result<u64, IoFailure> {
        self.look(IoOp::Directory, Path::new(""), None, |s| Ok(s.free_bytes()))
    }

    fn lock(&self) -> Result<Box<dyn StoreLock>, LockFailure> {
        let path = Path::new(layout::LOCK);
        let free = self.look(IoOp::Lock, path, None, |s| {
            if s.names.file(path).is_err() {
                s.perform(Act::CreateFile(path))?;
            }
            Ok(!std::mem::replace(&mut s.locked, true))
        })?;
        if free {
            Ok(Box::new(SimLock { disk: self.clone() }))
        } else {
            let holder_pid = Some(std::process::id());
            Err(LockFailure::Held { holder_pid })
        }
    }

    fn describe(&self) -> String {
        "simulated".to_owned()
    }

    fn buffers(&self) -> &Arc<BufferPool> {
        &self.shared.pool
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
}

impl StoreLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state(|s| s.locked = false);
    }
}

pub(super) fn failure(op: IoOp, path: &Path, offset: Option<u64>, errno: i32) -> IoFailure {
    IoFailure {
        op,
        path: path.to_owned(),
        offset,
        errno,
    }
}

/// The panic of [`Fault::Panic`] and [`Fault::StickyPanic`].
fn panics(op: IoOp, path: &Path) -> ! {
    panic!("the disk panics at {op:?} of {}", path.display())
}

/// Refuses a path that could lead out of the store.
fn check_path(op: IoOp, path: &Path) -> Result<(), IoFailure> {
    if path
        .components()
        .all(|part| matches!(part, Component::Normal(_)))
    {
        Ok(())
    } else {
        Err(failure(op, path, None, EINVAL))
    }
}
