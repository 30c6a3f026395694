//! What each state-changing call does, and what it may leave behind when it does not get to its end.
//!
//! Invariant: a call that fails with an error and is not a write or a sync has done nothing.

use super::content::{Content, end_of};
use super::faults::{Faults, Lie};
use super::names::{Inode, Names, Node};
use super::tap::Tapped;
use crate::io::errno::ENOSPC;
use crate::io::{BLOCK_BYTES, Block};
use crate::runtime::sync::Mutex;
use crate::testing::SplitMix64;
use std::path::Path;
use std::sync::Arc;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// Everything of a disk, behind one lock.
#[derive(Debug)]
pub(super) struct State {
    pub(super) names: Names,
    pub(super) faults: Faults,
    pub(super) random: SplitMix64,
    pub(super) capacity: Option<u64>,
    pub(super) locked: bool,
    /// See [`digest`](super::digest).
    pub(super) trace: u64,
    pub(super) tap: Tapped,
}

/// How a call ended that did not end well.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    /// The kernel answered with an error.
    Error,
    /// The power went meanwhile, or the kernel still has it.
    InFlight,
}

/// A state-changing call.
#[derive(Copy, Clone)]
pub(super) enum Act<'a> {
    CreateFile(&'a Path),
    CreateDir(&'a Path),
    Rename(&'a Path, &'a Path),
    Remove(&'a Path),
    SyncDir(&'a Path),
    Write(&'a Inode, u64, &'a [Block]),
    WriteDurable(&'a Inode, u64, &'a [Block]),
    Sync(&'a Inode),
    Allocate(&'a Inode, u64),
    /// A step of something that keeps its own state, such as a manifest in memory.
    Tick,
}

impl State {
    pub(super) fn perform(&mut self, act: Act<'_>) -> Result<(), i32> {
        match act {
            Act::CreateFile(path) => {
                let inode = Arc::new(Mutex::new(Content::default()));
                self.names.create(path, Node::File(inode))
            }
            Act::CreateDir(path) => self.names.create(path, Node::Directory),
            Act::Rename(from, to) => self.names.rename(from, to),
            Act::Remove(path) => self.names.remove(path),
            Act::SyncDir(path) => self.names.sync(path),
            Act::Write(inode, first, blocks) => {
                self.reserve(inode, end_of(first, blocks))?;
                inode.lock().write(first, blocks);
                Ok(())
            }
            Act::WriteDurable(inode, first, blocks) => {
                self.reserve(inode, end_of(first, blocks))?;
                inode.lock().write_durable(first, blocks);
                Ok(())
            }
            Act::Sync(inode) => {
                inode.lock().sync();
                Ok(())
            }
            Act::Allocate(inode, bytes) => {
                self.reserve(inode, bytes)?;
                inode.lock().grow(bytes);
                Ok(())
            }
            Act::Tick => Ok(()),
        }
    }

    /// Answers well, as [`State::perform`] does, whatever became of a write.
    pub(super) fn perform_lying(&mut self, act: Act<'_>, lie: Lie) -> Result<(), i32> {
        match (act, lie) {
            (Act::Write(..) | Act::WriteDurable(..), Lie::Lost) => Ok(()),
            (Act::Write(inode, first, blocks), Lie::Misdirected(by)) => {
                self.perform(Act::Write(inode, first.saturating_add(by), blocks))
            }
            (Act::WriteDurable(inode, first, blocks), Lie::Misdirected(by)) => {
                self.perform(Act::WriteDurable(inode, first.saturating_add(by), blocks))
            }
            (other, _) => self.perform(other),
        }
    }

    /// Does the first part of a call: fewer blocks than it has, none of them durable, or fewer bytes.
    pub(super) fn perform_in_part(&mut self, act: Act<'_>) {
        match act {
            Act::Write(inode, first, blocks) | Act::WriteDurable(inode, first, blocks) => {
                let some = &blocks[..self.random.index(blocks.len().max(1))];
                let fits = self.reserve(inode, end_of(first, some)).is_ok();
                if fits && !some.is_empty() {
                    inode.lock().write(first, some);
                }
            }
            Act::Allocate(inode, bytes) => {
                let there = inode.lock().bytes();
                let more = bytes.saturating_sub(there) / BLOCK;
                let some = there + self.random.below(more.max(1)) * BLOCK;
                if self.reserve(inode, some).is_ok() {
                    inode.lock().grow(some);
                }
            }
            other => self.leave_behind(other, Broken::Error),
        }
    }

    /// What a broken call may have done all the same.
    pub(super) fn leave_behind(&mut self, act: Act<'_>, how: Broken) {
        match act {
            Act::Write(inode, first, blocks) | Act::WriteDurable(inode, first, blocks) => {
                let fits = self.reserve(inode, end_of(first, blocks)).is_ok();
                if fits && self.random.chance(3, 4) {
                    inode.lock().write_failed(first, blocks, &mut self.random);
                }
            }
            Act::Sync(inode) if how == Broken::Error => {
                inode.lock().sync_failed(&mut self.random);
            }
            Act::CreateFile(_) | Act::CreateDir(_) | Act::Rename(..) | Act::Remove(_)
                if how == Broken::InFlight && self.faults.is_cut() && self.random.chance(1, 2) =>
            {
                // Nobody will hear of its own errors.
                let _unheard = self.perform(act);
            }
            _ => {}
        }
    }

    /// Bytes that can still be allocated.
    pub(super) fn free_bytes(&self) -> u64 {
        if self.faults.full {
            return 0;
        }
        let Some(capacity) = self.capacity else {
            return u64::MAX / 2;
        };
        let used = self.names.live().values().map(|node| match node {
            Node::Directory => 0,
            Node::File(inode) => inode.lock().bytes(),
        });
        capacity.saturating_sub(used.sum())
    }

    fn reserve(&self, inode: &Inode, bytes: u64) -> Result<(), i32> {
        let there = inode.lock().bytes();
        let is_limited = self.capacity.is_some() || self.faults.full;
        if bytes > there && is_limited && bytes - there > self.free_bytes() {
            return Err(ENOSPC);
        }
        Ok(())
    }
}
