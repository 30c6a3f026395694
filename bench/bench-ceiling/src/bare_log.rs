//! Plain group commit: one durable write for all that wait, and a word to each of them.
//!
//! ```text
//!   batch n - 1   |---- the device writes ----| durable, all are woken
//!   batch n       | first comer ... others ... '-> the first comer writes it ----| durable, all are woken
//!   batch n + 1                                 | first comer ...
//! ```
//! What is written says nothing: an engine has to find it again besides, and to know what it wrote. Of few threads whoever
//! is about to write lets the others run before it does, so that more of them are in its batch; of many whoever is about to
//! park, so that it need not be woken. Each was the better one there; both together are worse than none.
//!
//! Invariants
//! - a commit returns when a write that began after it came is durable;
//! - after a failure every commit fails, also those that wait.
//!
//! Never: has two writes on their way, which gained less.

use bench_work::{MIB, Random, Result};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, pwrite};
use rustix::thread::futex;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::yield_now;

/// What direct I/O wants offsets, lengths and addresses to be multiples of.
const BLOCK: usize = 4096;
/// Bytes of the file, which the batches go round in.
const FILE_BYTES: usize = 512 * MIB;
/// Bytes of a batch at most.
const BATCH_BYTES: usize = MIB;
/// With more threads it is not the one who writes that lets others run.
const FEW_THREADS_MAX: usize = 16;
/// How often.
const YIELDS: usize = 4;
/// In place of the number of a batch: there are no more.
const FAILED: u32 = u32::MAX;

/// The batch that forms.
struct Forming {
    number: u32,
    commits: usize,
    /// Where it will be written.
    offset: usize,
}

/// Who lets others run.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Polite {
    /// There is no other.
    Nobody,
    Writer,
    Waiters,
}

impl Polite {
    fn of(threads: usize) -> Self {
        match threads {
            0 | 1 => Self::Nobody,
            2..=FEW_THREADS_MAX => Self::Writer,
            _ => Self::Waiters,
        }
    }
}

/// The log.
pub(crate) struct BareLog {
    file: OwnedFd,
    bytes: Vec<u8>,
    /// Of the first of them that is aligned.
    start: usize,
    commit_bytes: usize,
    polite: Polite,
    forming: Mutex<Forming>,
    /// The newest batch with an even number that is durable, and the newest with an odd one, so that the end of one wakes
    /// none of those who wait for the next, but for its first comer.
    durable: [AtomicU32; 2],
}

impl BareLog {
    /// A file that was written before, for so many threads; each commit takes `commit_bytes` of it.
    pub(crate) fn new(path: &Path, threads: usize, commit_bytes: usize) -> Result<Self> {
        let mut bytes = vec![0; BATCH_BYTES + BLOCK];
        Random::new(0).fill(&mut bytes);
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::DIRECT | OFlags::DSYNC;
        let log = Self {
            file: open(path, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)?,
            start: bytes.as_ptr().align_offset(BLOCK),
            bytes,
            commit_bytes,
            polite: Polite::of(threads),
            forming: Mutex::new(Forming {
                number: 1,
                commits: 0,
                offset: 0,
            }),
            durable: [AtomicU32::new(0), AtomicU32::new(0)],
        };
        for offset in (0..FILE_BYTES).step_by(BATCH_BYTES) {
            log.write(offset, BATCH_BYTES)?;
        }
        File::open(path)?.sync_all()?;
        Ok(log)
    }

    /// Returns when a commit is durable.
    pub(crate) fn commit(&self) -> Result<()> {
        let mut forming = self.forming();
        forming.commits += 1;
        let (number, is_first) = (forming.number, forming.commits == 1);
        drop(forming);
        if !is_first {
            self.let_others_run(Polite::Waiters, number);
            return self.wait_for(number);
        }
        let ended = self.wait_for(number - 1).and_then(|()| {
            self.let_others_run(Polite::Writer, number);
            self.write_next()
        });
        match ended {
            Ok(()) => self.tell(number, number),
            Err(error) => {
                self.tell(number, FAILED)?;
                self.tell(number + 1, FAILED)?;
                Err(error)
            }
        }
    }

    /// A few times, if it is up to `who`: until that batch is durable.
    fn let_others_run(&self, who: Polite, number: u32) {
        let yields = if self.polite == who { YIELDS } else { 0 };
        for _ in 0..yields {
            if number <= self.word(number).load(Ordering::Acquire) {
                return;
            }
            yield_now();
        }
    }

    /// Writes the batch that forms; who comes from now on is of the next one.
    fn write_next(&self) -> Result<()> {
        let mut forming = self.forming();
        let length = std::mem::take(&mut forming.commits) * self.commit_bytes;
        let length = length.next_multiple_of(BLOCK);
        if FILE_BYTES < forming.offset + length {
            forming.offset = 0;
        }
        let offset = forming.offset;
        forming.offset += length;
        forming.number += 1;
        drop(forming);
        self.write(offset, length)
    }

    /// Wakes those who wait for a batch, all by one call of the kernel.
    fn tell(&self, number: u32, newest: u32) -> Result<()> {
        let word = self.word(number);
        word.store(newest, Ordering::Release);
        futex::wake(word, futex::Flags::PRIVATE, i32::MAX.unsigned_abs())?;
        Ok(())
    }

    fn forming(&self) -> MutexGuard<'_, Forming> {
        self.forming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn word(&self, number: u32) -> &AtomicU32 {
        let [even, odd] = &self.durable;
        if number.is_multiple_of(2) { even } else { odd }
    }

    /// Waits until that batch is durable.
    fn wait_for(&self, number: u32) -> Result<()> {
        let word = self.word(number);
        loop {
            let newest = word.load(Ordering::Acquire);
            if newest == FAILED {
                return Err("a batch was not written".into());
            }
            if number <= newest {
                return Ok(());
            }
            match futex::wait(word, futex::Flags::PRIVATE, newest, None) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn write(&self, offset: usize, length: usize) -> Result<()> {
        let content = self.bytes.get(self.start..self.start + length);
        let content = content.ok_or_else(|| format!("a batch of {length} bytes"))?;
        match pwrite(&self.file, content, offset as u64)? == length {
            true => Ok(()),
            false => Err(format!("a batch of {length} bytes was not written whole").into()),
        }
    }
}
