//! Brings the parts of a batch to their ends, whatever the kernel answers and in which order.
//!
//! ```text
//!   waiting --start--> in flight --short, interrupted--> waiting
//!                          |--whole, or end of file----> done
//!                          '--error--------------------> failed: nothing more is started
//! ```
//! Invariants
//! - at most [`DEPTH`] calls are in flight, and none when [`drive`] returns;
//! - a part has at most one call in flight, so what it moved stays in order;
//! - what a call answered goes through [`Progress`], as with every other backend.

use crate::io::native::transfer::Progress;
use std::collections::VecDeque;

/// Calls of one batch that the kernel has at a time.
pub(super) const DEPTH: usize = 32;

/// Who makes the calls.
pub(super) trait Kernel {
    /// Starts the call that moves part `part` from its byte `at` on.
    fn start(&mut self, part: usize, at: usize);

    /// A call that came back: its part, and the bytes it moved. Waits for one when none has, and
    /// for `all` that are in flight where nothing can be started before anyway.
    fn finished(&mut self, all: bool) -> (usize, Result<usize, i32>);

    /// How many bytes the file has from the beginning of `part` on.
    fn bytes_behind(&self, part: usize) -> Result<usize, i32>;
}

/// Makes all calls that `parts` need. The first part that failed, and how.
pub(super) fn drive(kernel: &mut impl Kernel, parts: &mut [Progress]) -> Result<(), (usize, i32)> {
    let mut waiting: VecDeque<usize> = (0..parts.len()).collect();
    let mut in_flight = 0;
    let mut failed: Option<(usize, i32)> = None;
    loop {
        while failed.is_none()
            && in_flight < DEPTH
            && let Some(part) = waiting.pop_front()
        {
            if let Some(at) = parts[part].next() {
                kernel.start(part, at);
                in_flight += 1;
            }
        }
        if in_flight == 0 {
            return failed.map_or(Ok(()), Err);
        }
        let (part, answer) = kernel.finished(waiting.is_empty() || failed.is_some());
        in_flight -= 1;
        match parts[part].take(answer, || kernel.bytes_behind(part)) {
            Ok(()) => waiting.push_back(part),
            Err(errno) => {
                let first = failed.is_none_or(|(before, _)| part < before);
                failed = if first { Some((part, errno)) } else { failed };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::errno::{EAGAIN, EINTR, EIO, ENOSPC};
    use crate::io::{BLOCK_BYTES, IoOp};
    use crate::testing::SplitMix64;

    const PART: usize = 5 * BLOCK_BYTES;

    /// A kernel that answers in any order, moves what it likes and is interrupted now and then.
    struct Nasty {
        random: SplitMix64,
        step: usize,
        /// Bytes of the file behind its beginning; part `n` begins at `n * PART`.
        file_bytes: usize,
        moved: Vec<Vec<bool>>,
        flying: Vec<(usize, usize)>,
        most: usize,
        started: usize,
        /// The errors to come, each of a part.
        errors: Vec<(usize, i32)>,
    }

    impl Nasty {
        fn new(parts: usize, step: usize, seed: u64) -> Self {
            Self {
                random: SplitMix64::new(seed),
                step,
                file_bytes: parts * PART,
                moved: vec![vec![false; PART]; parts],
                flying: Vec::new(),
                most: 0,
                started: 0,
                errors: Vec::new(),
            }
        }
    }

    impl Kernel for Nasty {
        fn start(&mut self, part: usize, at: usize) {
            assert!(self.flying.iter().all(|(other, _)| *other != part));
            self.flying.push((part, at));
            self.most = self.most.max(self.flying.len());
            self.started += 1;
        }

        fn finished(&mut self, _all: bool) -> (usize, Result<usize, i32>) {
            let pick = self.random.index(self.flying.len());
            let (part, at) = self.flying.swap_remove(pick);
            if let Some((_, errno)) = self.errors.iter().find(|(of, _)| *of == part) {
                return (part, Err(*errno));
            }
            let there = self.file_bytes.saturating_sub(part * PART + at);
            let wanted = (PART - at).min(there);
            let answer = match self.random.index(6) {
                0 => Err(EINTR),
                1 => Err(EAGAIN),
                _ => Ok(wanted.min(1 + self.random.index(self.step))),
            };
            for byte in 0..answer.unwrap_or(0) {
                self.moved[part][at + byte] = true;
            }
            (part, answer)
        }

        fn bytes_behind(&self, part: usize) -> Result<usize, i32> {
            Ok(self.file_bytes.saturating_sub(part * PART))
        }
    }

    fn parts(op: IoOp, count: usize) -> Vec<Progress> {
        let one = || Progress::new(op, PART, BLOCK_BYTES);
        std::iter::repeat_with(one).take(count).collect()
    }

    #[test]
    fn every_byte_of_every_part_is_moved_and_the_depth_is_kept() {
        for seed in 0..50 {
            for count in [0, 1, 7, 2 * DEPTH + 3] {
                let mut kernel = Nasty::new(count, 3 * BLOCK_BYTES, seed);
                let mut parts = parts(IoOp::Write, count);
                assert_eq!(drive(&mut kernel, &mut parts), Ok(()), "seed {seed}");
                assert!(kernel.moved.iter().flatten().all(|moved| *moved));
                assert!(kernel.most <= DEPTH && kernel.flying.is_empty());
                assert!(count < DEPTH || kernel.most == DEPTH, "seed {seed}");
            }
        }
    }

    #[test]
    fn reads_end_where_the_file_does() {
        for seed in 0..50 {
            let mut kernel = Nasty::new(4, 3 * BLOCK_BYTES, seed);
            kernel.file_bytes = 2 * PART + BLOCK_BYTES + 100;
            let mut parts = parts(IoOp::Read, 4);
            assert_eq!(drive(&mut kernel, &mut parts), Ok(()));
            let done: Vec<usize> = parts.iter().map(Progress::done).collect();
            assert_eq!(done, [PART, PART, BLOCK_BYTES + 100, 0], "seed {seed}");
        }
    }

    #[test]
    fn the_first_part_that_failed_is_told_after_all_have_come_back() {
        for seed in 0..50 {
            let count = 3 * DEPTH;
            let mut kernel = Nasty::new(count, PART, seed);
            kernel.errors = vec![(9, ENOSPC), (3, EIO)];
            let answer = drive(&mut kernel, &mut parts(IoOp::Write, count));
            let (part, errno) = answer.unwrap_err();
            assert!(
                [(9, ENOSPC), (3, EIO)].contains(&(part, errno)),
                "seed {seed}"
            );
            assert!(
                kernel.flying.is_empty(),
                "seed {seed}: the kernel has a buffer"
            );
        }
        let mut kernel = Nasty::new(2, PART, 1);
        kernel.errors = vec![(1, ENOSPC), (0, EIO)];
        let answer = drive(&mut kernel, &mut parts(IoOp::Write, 2));
        assert_eq!(
            answer,
            Err((0, EIO)),
            "both were in flight: the first counts"
        );
    }

    #[test]
    fn after_a_failure_nothing_is_started() {
        let count = 3 * DEPTH;
        let mut kernel = Nasty::new(count, PART, 5);
        kernel.errors = (0..count).map(|part| (part, EIO)).collect();
        assert!(drive(&mut kernel, &mut parts(IoOp::Write, count)).is_err());
        assert_eq!(kernel.started, DEPTH);
    }

    #[test]
    fn a_part_that_gets_nowhere_is_an_error_not_a_loop() {
        let mut kernel = Nasty::new(2, PART, 5);
        kernel.errors = vec![(1, EAGAIN)];
        assert_eq!(
            drive(&mut kernel, &mut parts(IoOp::Write, 2)),
            Err((1, EIO))
        );
    }
}
