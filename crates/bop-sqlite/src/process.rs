//! Process: whether this is still the process that opened a store.
//!
//! Every callback asks, some twenty times a transaction, and each would be a system call. So a mark is kept in
//! memory that the kernel clears in a child (`MADV_WIPEONFORK`, madvise(2), Linux 4.14). Where there is no such memory
//! the number of the process is asked for.
//!
//! Invariant: the answer is yes in the process that made the mark, and no in every child that has memory of its own.
//!
//! Never: waits, or takes a lock: a child has those of threads that it has not.

#![allow(unsafe_code, reason = "advice that a child's memory is to be cleared")]

use memmap2::MmapMut;
use rustix::mm::{Advice, madvise};

/// The kernel maps a page of whatever size it has.
const MARK_BYTES: usize = 1;
const MADE: u8 = 1;

/// The process that made it.
#[derive(Debug)]
pub(crate) struct Process {
    number: u32,
    /// [`MADE`], and cleared in a child; `None` where the kernel does not do that.
    mark: Option<MmapMut>,
}

impl Process {
    /// The one that calls.
    pub(crate) fn this() -> Self {
        Self {
            number: std::process::id(),
            mark: mark(),
        }
    }

    /// Whether the one that calls is the one that made it.
    pub(crate) fn is_this(&self) -> bool {
        match &self.mark {
            Some(mark) => mark.first() == Some(&MADE),
            None => self.number == std::process::id(),
        }
    }
}

fn mark() -> Option<MmapMut> {
    let mut mark = MmapMut::map_anon(MARK_BYTES).ok()?;
    let page: *mut u8 = mark.as_mut_ptr();
    let advise = |at: *mut u8| {
        // SAFETY: the mapping is `mark`'s alone, private and anonymous as this advice asks for, and nothing is in it
        // yet. Nobody holds a reference into it when a child comes about: each look lends it for one load, and a
        // child has no other thread than the one that forked.
        unsafe { madvise(at.cast(), MARK_BYTES, Advice::LinuxWipeOnFork) }
    };
    // An emulator that takes any advice, and follows none, takes that for no page, too.
    if advise(page.wrapping_add(1)).is_ok() {
        return None;
    }
    advise(page).ok()?;
    *mark.first_mut()? = MADE;
    Some(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_this_process_in_every_thread() {
        let process = Process::this();
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(process.is_this()));
        });
        assert!(process.is_this());
    }

    #[test]
    fn what_was_cleared_is_of_another_process() {
        // As a child finds it; `past.py` forks one off.
        let mut process = Process::this();
        let Some(mark) = &mut process.mark else {
            eprintln!("SKIPPED: this kernel clears nothing");
            return;
        };
        mark[0] = 0;
        assert!(!process.is_this());
    }

    #[test]
    fn without_a_mark_the_number_says_so() {
        let of = |number| Process { number, mark: None };
        assert!(of(std::process::id()).is_this());
        assert!(!of(std::process::id() + 1).is_this());
    }
}
