//! The io_urings of a disk: a few, each used by one caller at a time.
//!
//! Since a ring has one user, its completions are its user's, and no thread hands them round. Who
//! finds no ring makes plain calls; that is slower and never a wait.
//!
//! Reading order: `drive` (a batch, from its first call to its last) -> `ring` (the kernel's side).
//!
//! Invariant: at most [`RINGS_MAX`] rings exist, whatever the number of callers.

mod drive;
mod ring;

pub(super) use ring::Part;

use super::probe::Why;
use super::transfer::Progress;
use crate::io::errno::{EDQUOT, EFBIG, EINVAL, ENOSPC};
use crate::io::{BLOCK_BYTES, Block, BufferPool, IoOp};
use parking_lot::Mutex;
use ring::Ring;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Rings of a disk.
const RINGS_MAX: usize = 4;

struct State {
    idle: Vec<Ring>,
    made: usize,
}

/// The rings of a disk.
pub(super) struct Rings {
    state: Mutex<State>,
    pool: Arc<BufferPool>,
    /// Whether the kernel took the pool's buffers from the first one.
    pub(super) has_registered: bool,
}

impl std::fmt::Debug for Rings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rings({} made)", self.state.lock().made)
    }
}

impl Rings {
    /// Sets the first one up and moves a block both ways through it; `scratch` is a file that may
    /// be written. There is none on a full disk, where the set-up has to be enough.
    pub(super) fn open(pool: &Arc<BufferPool>, scratch: Option<&OwnedFd>) -> Result<Self, Why> {
        let why = |(what, errno): (&str, i32)| Why {
            what: format!("no io_uring, {what}"),
            errno,
        };
        let mut first = Ring::new(pool).map_err(why)?;
        if let Some(scratch) = scratch {
            match moves_a_block(&mut first, scratch.as_fd()) {
                // A full disk is no reason: it has room again some day.
                Ok(()) | Err((_, ENOSPC | EDQUOT | EFBIG)) => {}
                Err(refusal) => return Err(why(refusal)),
            }
        }
        Ok(Self {
            has_registered: first.has_registered(),
            state: Mutex::new(State {
                idle: vec![first],
                made: 1,
            }),
            pool: Arc::clone(pool),
        })
    }

    /// Makes every transfer of `parts` whole through a ring that nobody uses; `None` where there is
    /// none. See [`Ring::run`].
    pub(super) fn run(
        &self,
        file: BorrowedFd<'_>,
        parts: &mut [Part<'_>],
        progress: &mut [Progress],
        length: &dyn Fn() -> Result<u64, i32>,
    ) -> Option<Result<(), (usize, i32)>> {
        let mut lease = self.lease()?;
        let ring = lease.ring.as_mut()?;
        Some(ring.run(file, parts, progress, length))
    }

    fn lease(&self) -> Option<Lease<'_>> {
        let mut state = self.state.lock();
        let idle = state.idle.pop();
        if idle.is_none() {
            if RINGS_MAX <= state.made {
                return None;
            }
            state.made += 1;
        }
        drop(state);
        let mut lease = Lease {
            ring: idle,
            rings: self,
        };
        if lease.ring.is_none() {
            let made = Ring::new(&self.pool);
            let made = made.inspect_err(|(what, errno)| {
                let error = std::io::Error::from_raw_os_error(*errno);
                tracing::debug!(what, %error, "no further ring");
            });
            lease.ring = Some(made.ok()?);
        }
        Some(lease)
    }
}

/// A ring in use. Given back when dropped, also by a panic, since nothing is in flight then.
struct Lease<'a> {
    ring: Option<Ring>,
    rings: &'a Rings,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut state = self.rings.state.lock();
        match self.ring.take().filter(|ring| !ring.is_broken()) {
            Some(ring) => state.idle.push(ring),
            None => state.made -= 1,
        }
    }
}

/// What failed, and how, when a block cannot be written and read back.
fn moves_a_block(ring: &mut Ring, file: BorrowedFd<'_>) -> Result<(), (&'static str, i32)> {
    let length = || Ok(BLOCK_BYTES as u64);
    let one = |op| [Progress::new(op, BLOCK_BYTES, BLOCK_BYTES)];
    let block = Block([0xB1; BLOCK_BYTES]);
    let mut write = [Part::Write {
        offset: 0,
        bytes: block.as_bytes(),
        flags: 0,
    }];
    let written = ring.run(file, &mut write, &mut one(IoOp::Write), &length);
    written.map_err(|(_, errno)| ("write", errno))?;
    let mut back = Block::ZERO;
    let mut read = [Part::Read {
        offset: 0,
        bytes: back.as_mut_bytes(),
    }];
    let found = ring.run(file, &mut read, &mut one(IoOp::Read), &length);
    found.map_err(|(_, errno)| ("read", errno))?;
    if back.0 == block.0 {
        Ok(())
    } else {
        Err(("it does not read back what it wrote", EINVAL))
    }
}
