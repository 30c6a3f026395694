//! The loops that make a transfer whole.
//!
//! Invariants
//! - after a short transfer the loop goes on at a multiple of `grain` (a block for direct I/O, a
//!   byte for buffered), so alignment is kept; bytes behind that multiple are transferred again;
//! - an interrupted call is made again; a loop that gets nowhere ends with `EIO`.
//!
//! Never: makes a system call itself (the caller's closure or ring does), so that a test can answer
//! badly.

use crate::io::IoOp;
use crate::io::errno::EIO;
use crate::io::policy::{self, Action};

/// How many answers in a row may bring no byte.
const IDLE_MAX: u32 = 1_000;

/// Counts the answers that brought nothing.
struct Patience {
    op: IoOp,
    idle: u32,
}

impl Patience {
    fn new(op: IoOp) -> Self {
        Self { op, idle: 0 }
    }

    /// Bytes moved; an error stands unless the policy says to make the call again.
    fn judge(&self, answer: Result<usize, i32>) -> Result<usize, i32> {
        match answer {
            Err(errno) if policy::action(self.op, errno) == Action::RetryNow => Ok(0),
            other => other,
        }
    }

    fn progress(&mut self, moved: usize) -> Result<(), i32> {
        self.idle = if moved == 0 { self.idle + 1 } else { 0 };
        if self.idle < IDLE_MAX {
            Ok(())
        } else {
            Err(EIO)
        }
    }
}

/// How far a transfer of `len` bytes has come, whoever makes its calls.
pub(super) struct Progress {
    patience: Patience,
    grain: usize,
    len: usize,
    done: usize,
    /// A read came to the end of the file.
    ended: bool,
}

impl Progress {
    pub(super) fn new(op: IoOp, len: usize, grain: usize) -> Self {
        Self {
            patience: Patience::new(op),
            grain,
            len,
            done: 0,
            ended: false,
        }
    }

    /// Where the next call begins; `None` when there is nothing left to do.
    pub(super) fn next(&self) -> Option<usize> {
        (self.done < self.len && !self.ended).then_some(self.done)
    }

    /// Bytes that went through.
    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// Takes in what a call answered. `end` says how many bytes the file has from the transfer's
    /// beginning on; it is asked only when a read stops inside a block.
    pub(super) fn take(
        &mut self,
        answer: Result<usize, i32>,
        end: impl FnOnce() -> Result<usize, i32>,
    ) -> Result<(), i32> {
        let is_read = self.patience.op == IoOp::Read;
        if is_read && answer == Ok(0) {
            self.ended = true;
            return Ok(());
        }
        let moved = self.patience.judge(answer)?;
        let reached = (self.done + moved).min(self.len);
        // The end of the last block needs no rounding: everything was moved.
        let kept = if reached == self.len {
            reached
        } else {
            reached - reached % self.grain
        };
        if is_read && kept < reached && end()? <= reached {
            self.done = reached;
            self.ended = true;
            return Ok(());
        }
        self.patience.progress(kept - self.done)?;
        self.done = kept;
        Ok(())
    }
}

/// Makes a call that moves no bytes, again as long as it is interrupted.
pub(super) fn uninterrupted(
    op: IoOp,
    mut call: impl FnMut() -> Result<(), i32>,
) -> Result<(), i32> {
    let mut patience = Patience::new(op);
    loop {
        if patience.judge(call().map(|()| 1))? == 1 {
            return Ok(());
        }
        patience.progress(0)?;
    }
}

/// Writes `bytes` bytes by calls of `write`, which takes what is behind so many of them.
pub(super) fn write_all(
    op: IoOp,
    bytes: usize,
    grain: usize,
    mut write: impl FnMut(usize) -> Result<usize, i32>,
) -> Result<(), i32> {
    let mut progress = Progress::new(op, bytes, grain);
    while let Some(at) = progress.next() {
        progress.take(write(at), || Ok(0))?;
    }
    Ok(())
}

/// Fills `bytes` by calls of `read(where in bytes, the rest)` up to the end of the file, which is
/// where a call moves nothing, or `end` (asked only when needed). Returns how many bytes there were.
pub(super) fn read_all(
    bytes: &mut [u8],
    grain: usize,
    mut read: impl FnMut(usize, &mut [u8]) -> Result<usize, i32>,
    mut end: impl FnMut() -> Result<usize, i32>,
) -> Result<usize, i32> {
    let mut progress = Progress::new(IoOp::Read, bytes.len(), grain);
    while let Some(at) = progress.next() {
        progress.take(read(at, &mut bytes[at..]), &mut end)?;
    }
    Ok(progress.done())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::BLOCK_BYTES;
    use crate::io::errno::{EAGAIN, EINTR};
    use crate::testing::SplitMix64;

    /// A file that transfers at most `step` bytes a call, and is interrupted now and then.
    struct Nasty {
        content: Vec<u8>,
        step: usize,
        random: SplitMix64,
        offsets: Vec<usize>,
    }

    impl Nasty {
        fn new(content: Vec<u8>, step: usize, seed: u64) -> Self {
            Self {
                content,
                step,
                random: SplitMix64::new(seed),
                offsets: Vec::new(),
            }
        }

        /// How many bytes the next call moves.
        fn next(&mut self, at: usize, wanted: usize) -> Result<usize, i32> {
            self.offsets.push(at);
            match self.random.index(6) {
                0 => Err(EINTR),
                1 => Err(EAGAIN),
                _ => Ok(wanted.min(1 + self.random.index(self.step))),
            }
        }

        fn write(&mut self, at: usize, bytes: &[u8]) -> Result<usize, i32> {
            let count = self.next(at, bytes.len())?;
            self.content[at..at + count].copy_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn read(&mut self, at: usize, bytes: &mut [u8]) -> Result<usize, i32> {
            let there = self.content.len().saturating_sub(at);
            if there == 0 {
                return Ok(0);
            }
            let count = self.next(at, bytes.len().min(there))?;
            bytes[..count].copy_from_slice(&self.content[at..at + count]);
            Ok(count)
        }
    }

    fn pattern(bytes: usize) -> Vec<u8> {
        let mut out = vec![0; bytes];
        SplitMix64::new(99).fill(&mut out);
        out
    }

    #[test]
    fn short_and_interrupted_transfers_end_whole_and_aligned() {
        let wanted = pattern(5 * BLOCK_BYTES);
        for seed in 0..200 {
            for (grain, step) in [(1, 3_000), (BLOCK_BYTES, 9_000)] {
                let mut file = Nasty::new(vec![0; wanted.len()], step, seed);
                write_all(IoOp::Write, wanted.len(), grain, |at| {
                    file.write(at, &wanted[at..])
                })
                .unwrap();
                assert!(file.content == wanted, "write, seed {seed}, grain {grain}");

                let mut found = vec![0; wanted.len()];
                let read = |at, b: &mut [u8]| file.read(at, b);
                let end = || Ok(wanted.len());
                assert_eq!(read_all(&mut found, grain, read, end), Ok(wanted.len()));
                assert!(found == wanted, "read, seed {seed}, grain {grain}");
                let aligned = file.offsets.iter().all(|at| at % grain == 0);
                assert!(aligned, "seed {seed}, grain {grain}: {:?}", file.offsets);
            }
        }
    }

    #[test]
    fn one_byte_a_call_is_enough_where_no_alignment_is_asked() {
        let wanted = pattern(2_000);
        let mut file = Nasty::new(vec![0; wanted.len()], 1, 7);
        write_all(IoOp::Write, wanted.len(), 1, |at| {
            file.write(at, &wanted[at..])
        })
        .unwrap();
        assert!(file.content == wanted);
    }

    #[test]
    fn a_read_stops_at_the_end_of_the_file_wherever_it_is() {
        for bytes in [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 10_000] {
            for seed in 0..40 {
                let mut file = Nasty::new(pattern(bytes), 2 * BLOCK_BYTES, seed);
                let mut found = vec![0xEE; 4 * BLOCK_BYTES];
                let read = |at, b: &mut [u8]| file.read(at, b);
                let there = read_all(&mut found, BLOCK_BYTES, read, || Ok(bytes));
                assert_eq!(there, Ok(bytes), "seed {seed}");
                assert!(found[..bytes] == pattern(bytes), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_call_that_gets_nowhere_is_an_error_not_a_loop() {
        let stuck = write_all(IoOp::Write, 8, 1, |_| Ok(0));
        assert_eq!(stuck, Err(EIO));
        let stuck = write_all(IoOp::Write, 8, 1, |_| Err(EINTR));
        assert_eq!(stuck, Err(EIO));
        let mut block = [0; BLOCK_BYTES];
        let end = || Ok(BLOCK_BYTES);
        let stuck = read_all(&mut block, BLOCK_BYTES, |_, _| Ok(1), end);
        assert_eq!(stuck, Err(EIO));
    }

    #[test]
    fn a_failed_sync_is_not_called_again_but_an_interrupted_one_is() {
        let mut answers = vec![Err(EIO), Err(EINTR)];
        let answer = uninterrupted(IoOp::Sync, || answers.pop().unwrap_or(Ok(())));
        assert_eq!((answer, answers.len()), (Err(EIO), 0));
        assert_eq!(uninterrupted(IoOp::Sync, || Ok(())), Ok(()));
        assert_eq!(uninterrupted(IoOp::Sync, || Err(EINTR)), Err(EIO));
    }

    #[test]
    fn an_error_stands() {
        let mut calls = 0;
        let answer = write_all(IoOp::Write, 8, 1, |_| {
            calls += 1;
            if calls == 1 { Ok(3) } else { Err(EIO) }
        });
        assert_eq!((answer, calls), (Err(EIO), 2));
    }
}
