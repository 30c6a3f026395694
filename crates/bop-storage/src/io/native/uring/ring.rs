//! One io_uring: submits the calls of a batch, and gives its buffers back when all have returned.
//! The only file of the backends with `unsafe` code, since the kernel gets addresses.
//!
//! Invariants
//! - between calls of [`Ring::run`] nothing is in flight: [`Flight`] waits for every call that it
//!   started, also when a panic unwinds it, so a buffer is never its owner's and the kernel's;
//! - the memory of registered buffers outlives the ring, which holds their pool;
//! - a ring that the kernel refuses to enter is not entered again: what it had not taken from it
//!   yet it never takes, since closing the ring throws that away.
//!
//! Never: gives up waiting for what the kernel has. A call that hangs there hangs its caller, as any
//! system call would; the watchdog tells.

use super::drive::{DEPTH, Kernel, drive};
use crate::io::errno::{EAGAIN, EBUSY, EINTR, EIO, ENOSYS};
use crate::io::native::{errno_of, transfer::Progress};
use crate::io::pool::{BUFFER_BYTES, BufferPool};
use io_uring::types::Fd;
use io_uring::{IoUring, Probe, opcode, squeue};
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::ReadWriteFlags;
use std::sync::Arc;
use std::time::Duration;

/// Buffers of the pool that each ring tells the kernel once and for all: 2 MiB.
const REGISTERED: usize = 8;
/// Kernel threads that a caller's slow calls may occupy, each kind.
const WORKERS_MAX: u32 = 4;
/// What one call moves at most: whole blocks, and within what the kernel takes.
const CALL_BYTES_MAX: usize = 1 << 30;
/// With so many calls to be submitted the kernel is told of them though others have come back: it is told of
/// many at once, and hardly ever idle.
const SUBMITTED_TOGETHER: usize = DEPTH / 2;
/// How long to wait before asking again a kernel that refused to be asked.
const REFUSED_PAUSE: Duration = Duration::from_millis(1);

/// One transfer.
pub(in crate::io::native) enum Part<'a> {
    /// Fills `bytes`.
    Read {
        /// Where in the file.
        offset: u64,
        /// What is filled.
        bytes: &'a mut [u8],
    },
    /// Writes `bytes`.
    Write {
        /// Where in the file.
        offset: u64,
        /// What is written.
        bytes: &'a [u8],
        /// `RWF_DSYNC`, or 0.
        flags: i32,
    },
}

impl<'a> Part<'a> {
    /// A read that fills `bytes`.
    pub(in crate::io::native) fn read(offset: u64, bytes: &'a mut [u8]) -> Self {
        Self::Read { offset, bytes }
    }

    /// A write of `bytes`.
    pub(in crate::io::native) fn write(
        offset: u64,
        bytes: &'a [u8],
        flags: ReadWriteFlags,
    ) -> Self {
        // The few flags there are fit any integer.
        let flags = flags.bits().cast_signed();
        Self::Write {
            offset,
            bytes,
            flags,
        }
    }

    /// Its bytes.
    pub(in crate::io::native) fn len(&self) -> usize {
        match self {
            Self::Read { bytes, .. } => bytes.len(),
            Self::Write { bytes, .. } => bytes.len(),
        }
    }
}

/// An io_uring of which at most one batch is in flight.
pub(super) struct Ring {
    ring: IoUring,
    /// Where each registered buffer begins, in the order of their numbers.
    registered: Vec<usize>,
    /// The kernel refused to be entered.
    broken: bool,
    _pool: Arc<BufferPool>,
}

impl Ring {
    /// Sets one up; what the kernel refused, and how.
    pub(super) fn new(pool: &Arc<BufferPool>) -> Result<Self, (&'static str, i32)> {
        let ring = build().map_err(|errno| ("io_uring_setup", errno))?;
        let submitter = ring.submitter();
        let mut probe = Probe::new();
        let asked = submitter.register_probe(&mut probe);
        asked.map_err(|error| ("io_uring_register", errno_of(&error)))?;
        let needed = [
            opcode::Read::CODE,
            opcode::Write::CODE,
            opcode::ReadFixed::CODE,
            opcode::WriteFixed::CODE,
        ];
        if !needed.iter().all(|code| probe.is_supported(*code)) {
            return Err(("io_uring reads and writes", ENOSYS));
        }
        // An older kernel has bounds of its own.
        let _own = submitter.register_iowq_max_workers(&mut [WORKERS_MAX; 2]);
        let mut this = Self {
            ring,
            registered: Vec::new(),
            broken: false,
            _pool: Arc::clone(pool),
        };
        this.register(pool);
        Ok(this)
    }

    /// Tells the kernel where buffers of the pool are. What it refuses (they count against the
    /// memory that a process may lock) is told with every call instead.
    fn register(&mut self, pool: &BufferPool) {
        let begins = pool.make_lasting(REGISTERED);
        let vectors: Vec<libc::iovec> = begins
            .iter()
            .map(|begin| libc::iovec {
                iov_base: std::ptr::with_exposed_provenance_mut(*begin),
                iov_len: BUFFER_BYTES,
            })
            .collect();
        if vectors.is_empty() {
            return;
        }
        // SAFETY: the ranges are allocations of the pool, which never moves or frees a buffer
        // before it is dropped itself; `self` holds it, and its field stands behind the ring's, so
        // the ring is closed first.
        #[expect(unsafe_code, reason = "the kernel keeps the addresses")]
        let answer = unsafe { self.ring.submitter().register_buffers(&vectors) };
        match answer {
            Ok(()) => self.registered = begins,
            Err(error) => tracing::debug!(%error, "buffers are not registered"),
        }
    }

    /// Whether buffers are registered.
    pub(super) fn has_registered(&self) -> bool {
        !self.registered.is_empty()
    }

    /// Whether it is good for nothing any more.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Makes every transfer of `parts` whole; the first that failed, and how. `progress` says how
    /// many bytes each moved, `length` how many the file has.
    pub(super) fn run(
        &mut self,
        file: BorrowedFd<'_>,
        parts: &mut [Part<'_>],
        progress: &mut [Progress],
        length: &dyn Fn() -> Result<u64, i32>,
    ) -> Result<(), (usize, i32)> {
        let mut flight = Flight {
            ring: self,
            file,
            parts,
            length,
            flying: Vec::new(),
            refused: None,
        };
        drive(&mut flight, progress)
    }

    /// The number of the registered buffer that holds all of a range.
    fn registered_at(&self, begin: usize, bytes: usize) -> Option<u16> {
        let holds = |at: &usize| *at <= begin && begin + bytes <= *at + BUFFER_BYTES;
        let number = self.registered.iter().position(holds)?;
        u16::try_from(number).ok()
    }
}

/// An io_uring, as quiet as the kernel knows to make it.
fn build() -> Result<IoUring, i32> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_clamp();
    let plain = builder.clone();
    builder.setup_coop_taskrun();
    let built = builder.build(DEPTH as u32);
    // The last flag is younger than the rest.
    let built = built.or_else(|_| plain.build(DEPTH as u32));
    built.map_err(|error| errno_of(&error))
}

/// A batch, from its first call to the return of its last.
struct Flight<'r, 'p, 'b> {
    ring: &'r mut Ring,
    file: BorrowedFd<'r>,
    parts: &'p mut [Part<'b>],
    length: &'r dyn Fn() -> Result<u64, i32>,
    /// The parts that have a call.
    flying: Vec<usize>,
    /// Why the kernel takes nothing more; it has nothing then.
    refused: Option<i32>,
}

impl Flight<'_, '_, '_> {
    fn entry(&mut self, part: usize, at: usize) -> squeue::Entry {
        let file = Fd(self.file.as_raw_fd());
        let place = |offset: u64| offset + at as u64;
        let len = |bytes: usize| u32::try_from(bytes.min(CALL_BYTES_MAX)).unwrap_or(0);
        match &mut self.parts[part] {
            Part::Read { offset, bytes } => {
                let rest = &mut bytes[at..];
                let (begin, len) = (rest.as_mut_ptr(), len(rest.len()));
                match self.ring.registered_at(begin.addr(), len as usize) {
                    Some(number) => opcode::ReadFixed::new(file, begin, len, number)
                        .offset(place(*offset))
                        .build(),
                    None => opcode::Read::new(file, begin, len)
                        .offset(place(*offset))
                        .build(),
                }
            }
            Part::Write {
                offset,
                bytes,
                flags,
            } => {
                let rest = &bytes[at..];
                let (begin, len) = (rest.as_ptr(), len(rest.len()));
                match self.ring.registered_at(begin.addr(), len as usize) {
                    Some(number) => opcode::WriteFixed::new(file, begin, len, number)
                        .offset(place(*offset))
                        .rw_flags(*flags)
                        .build(),
                    None => opcode::Write::new(file, begin, len)
                        .offset(place(*offset))
                        .rw_flags(*flags)
                        .build(),
                }
            }
        }
    }

    /// Submits what was pushed, and waits until `want` calls have come back.
    fn enter(&mut self, want: usize) {
        match self.ring.ring.submit_and_wait(want) {
            Ok(_) => {}
            Err(error) if [EINTR, EAGAIN, EBUSY].contains(&errno_of(&error)) => {}
            // It has taken none of them, and will not: closing the ring throws them away.
            Err(error) if self.ring.ring.submission().len() == self.flying.len() => {
                self.refused = Some(errno_of(&error));
                self.ring.broken = true;
            }
            Err(error) => {
                // It must not end here: the kernel has buffers.
                tracing::error!(%error, "io_uring does not answer");
                std::thread::sleep(REFUSED_PAUSE);
            }
        }
    }
}

impl Kernel for Flight<'_, '_, '_> {
    fn start(&mut self, part: usize, at: usize) {
        let entry = self.entry(part, at).user_data(part as u64);
        self.flying.push(part);
        while self.refused.is_none() {
            // SAFETY: the entry's address lies in a slice that `self.parts` borrows for longer than
            // `self` lives, nobody touches that slice while its call is in flight (`drive` has one
            // call a part), and `self`'s drop waits for all calls. The file is borrowed as long.
            #[expect(unsafe_code, reason = "the kernel gets an address")]
            let pushed = unsafe { self.ring.ring.submission().push(&entry) };
            if pushed.is_ok() {
                return;
            }
            self.enter(0);
        }
    }

    fn finished(&mut self, all: bool) -> (usize, Result<usize, i32>) {
        loop {
            if let Some(errno) = self.refused
                && let Some(part) = self.flying.pop()
            {
                return (part, Err(errno));
            }
            let none_is_back = self.ring.ring.completion().is_empty();
            if none_is_back || SUBMITTED_TOGETHER <= self.ring.ring.submission().len() {
                let wanted = if all { self.flying.len() } else { 1 };
                self.enter(if none_is_back { wanted } else { 0 });
            }
            if let Some(back) = self.ring.ring.completion().next() {
                let part = usize::try_from(back.user_data()).unwrap_or(usize::MAX);
                self.flying.retain(|flying| *flying != part);
                return (part, answer(back.result()));
            }
        }
    }

    fn bytes_behind(&self, part: usize) -> Result<usize, i32> {
        let (Part::Read { offset, .. } | Part::Write { offset, .. }) = &self.parts[part];
        let behind = (self.length)()?.saturating_sub(*offset);
        Ok(usize::try_from(behind).unwrap_or(usize::MAX))
    }
}

impl Drop for Flight<'_, '_, '_> {
    fn drop(&mut self) {
        while !self.flying.is_empty() {
            // Nobody is left to hear of it.
            let _unheard = self.finished(true);
        }
    }
}

/// Bytes, or the errno that a completion carries as a negative number.
fn answer(result: i32) -> Result<usize, i32> {
    match usize::try_from(result) {
        Ok(moved) => Ok(moved),
        Err(_) => Err(result.checked_neg().unwrap_or(EIO)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_carries_bytes_or_an_errno() {
        assert_eq!(answer(0), Ok(0));
        assert_eq!(answer(4096), Ok(4096));
        assert_eq!(answer(-EINTR), Err(EINTR));
        assert_eq!(answer(i32::MIN), Err(EIO));
    }
}
