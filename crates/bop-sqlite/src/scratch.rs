//! Scratch: the bytes of a rollback journal or a super-journal. They are needed as long as the process
//! lives and no longer, since what they would undo is private until it is committed.
//!
//! ```text
//! memory --larger than 8 MiB--> a temporary file without a name
//! ```
//! Most transactions have a journal of some pages. Its memory goes from one to the next, warm in the processor's
//! cache; new memory would be grown, copied and filled piece by piece, each time.
//!
//! Invariants
//! - a failed write leaves what was there before it;
//! - what is kept for the next one has a bound, in number and in size.
//!
//! Never: found by anybody else; waits for another journal.

use parking_lot::Mutex;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicU64, Ordering};

/// So much is kept in memory.
const MEMORY_BYTES_MAX: u64 = 8 << 20;

/// What a transaction of a dozen pages needs.
const SPARE_BYTES: usize = 64 << 10;
/// Memory that has grown is kept up to here.
const SPARE_BYTES_MAX: usize = 4 * SPARE_BYTES;
/// Short transactions do not have more of them at once: SQLite ends a journal before its commit waits.
const SPARES_MAX: usize = 16;
static SPARES: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// The bytes.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    memory: Vec<u8>,
    file: Option<File>,
    bytes: u64,
}

impl Scratch {
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Copies bytes into `out`, zeros behind the end; `false` when it ends before `out` does.
    pub(crate) fn read(&self, out: &mut [u8], offset: u64) -> io::Result<bool> {
        let there = self.bytes.saturating_sub(offset).min(out.len() as u64);
        let there = usize::try_from(there).unwrap_or(out.len());
        let (now, behind) = out.split_at_mut(there);
        behind.fill(0);
        match &self.file {
            Some(file) => file.read_exact_at(now, offset)?,
            None => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                if let Some(from) = self.memory.get(start..) {
                    now.copy_from_slice(&from[..there]);
                }
            }
        }
        Ok(behind.is_empty())
    }

    /// Writes bytes; zeros between the end and `offset`.
    pub(crate) fn write(&mut self, content: &[u8], offset: u64) -> io::Result<()> {
        let end = offset
            .checked_add(content.len() as u64)
            .ok_or(ErrorKind::FileTooLarge)?;
        if self.file.is_none() && end > MEMORY_BYTES_MAX {
            self.move_to_file()?;
        }
        if let Some(file) = &self.file {
            if content.is_empty() && self.bytes < end {
                file.set_len(end)?;
            }
            file.write_all_at(content, offset)?;
        } else {
            let start = usize::try_from(offset).map_err(|_| ErrorKind::FileTooLarge)?;
            self.write_memory(content, start);
        }
        self.bytes = self.bytes.max(end);
        Ok(())
    }

    fn write_memory(&mut self, content: &[u8], start: usize) {
        let memory = &mut self.memory;
        if memory.capacity() == 0 {
            *memory = spare();
        }
        if memory.len() < start {
            memory.resize(start, 0);
        }
        let (over, behind) = content.split_at(content.len().min(memory.len() - start));
        memory[start..][..over.len()].copy_from_slice(over);
        memory.extend_from_slice(behind);
    }

    /// Cuts it, or lets it grow by zeros.
    pub(crate) fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.set_len(bytes)?;
            self.bytes = bytes;
        } else if bytes > self.bytes {
            self.write(&[], bytes)?;
        } else if bytes == 0 {
            // One that stays open has nothing in it between two transactions.
            self.give_back();
            self.bytes = 0;
        } else {
            self.memory
                .truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
            self.bytes = bytes;
        }
        Ok(())
    }

    /// Gives the memory to the next journal.
    fn give_back(&mut self) {
        let mut memory = std::mem::take(&mut self.memory);
        if !(SPARE_BYTES..=SPARE_BYTES_MAX).contains(&memory.capacity()) {
            return;
        }
        // A child may have been forked off while somebody had the lock, which nobody gives back there.
        let Some(mut spares) = SPARES.try_lock() else {
            return;
        };
        if spares.len() < SPARES_MAX {
            memory.clear();
            spares.push(memory);
        }
    }

    fn move_to_file(&mut self) -> io::Result<()> {
        let file = nameless_file()?;
        file.write_all_at(&self.memory, 0)?;
        self.memory = Vec::new();
        self.file = Some(file);
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Memory of a journal that is gone, or new.
fn spare() -> Vec<u8> {
    let spare = SPARES.try_lock().and_then(|mut spares| spares.pop());
    spare.unwrap_or_else(|| Vec::with_capacity(SPARE_BYTES))
}

fn nameless_file() -> io::Result<File> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bop-journal-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut options = OpenOptions::new();
        // Until it has lost its name, and whatever the umask: nobody else reads what it has.
        let options = options.read(true).write(true).create_new(true).mode(0o600);
        match options.open(&path) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn it_is_the_same_in_memory_and_in_a_file() {
        for base in [0, MEMORY_BYTES_MAX] {
            let mut scratch = Scratch::default();
            scratch.write(b"first", base).unwrap();
            scratch.write(b"IR", base + 1).unwrap();
            scratch.write(b"later", base + 10).unwrap();
            assert_eq!(scratch.file.is_some(), base > 0);
            let mut out = [7; 20];
            assert!(!scratch.read(&mut out, base).unwrap());
            assert_eq!(&out, b"fIRst\0\0\0\0\0later\0\0\0\0\0");
            scratch.truncate(base + 3).unwrap();
            assert_eq!(scratch.bytes(), base + 3);
            scratch.truncate(base + 5).unwrap();
            let mut out = [7; 5];
            assert!(scratch.read(&mut out, base).unwrap());
            assert_eq!(&out, b"fIR\0\0");
            assert!(!scratch.read(&mut out, base + 100).unwrap());
        }
    }

    #[test]
    fn memory_goes_to_the_next_one_without_what_was_in_it() {
        for _ in 0..2 {
            // More of them than are kept, and one that has grown too large.
            let scratches = [(); 2 * SPARES_MAX].map(|()| {
                let mut scratch = Scratch::default();
                scratch.write(b"end", 10).unwrap();
                let mut out = [7; 13];
                assert!(scratch.read(&mut out, 0).unwrap());
                assert_eq!(&out, b"\0\0\0\0\0\0\0\0\0\0end");
                scratch.write(&[9; 30], 0).unwrap();
                scratch
            });
            let mut grown = Scratch::default();
            grown.write(&vec![9; 5 * SPARE_BYTES], 0).unwrap();
            drop((scratches, grown));
        }
        // Other tests have journals, too.
        let spares = SPARES.lock();
        assert!((1..=SPARES_MAX).contains(&spares.len()));
        let is_bounded = |spare: &Vec<u8>| spare.capacity() <= SPARE_BYTES_MAX;
        assert!(spares.iter().all(|s| s.is_empty() && is_bounded(s)));
    }

    #[test]
    fn one_that_is_cut_to_nothing_begins_anew_and_one_that_grows_over_its_memory_is_zeros() {
        let mut scratch = Scratch::default();
        scratch.write(b"first", 0).unwrap();
        scratch.truncate(0).unwrap();
        assert_eq!((scratch.bytes(), scratch.memory.capacity()), (0, 0));
        scratch.write(b"next", 2).unwrap();
        scratch.truncate(MEMORY_BYTES_MAX + 3).unwrap();
        assert!(scratch.file.is_some());
        let mut out = [7; 6];
        assert!(scratch.read(&mut out, 0).unwrap());
        assert_eq!(&out, b"\0\0next");
        assert!(scratch.read(&mut out, MEMORY_BYTES_MAX - 3).unwrap());
        assert_eq!(out, [0; 6]);
    }

    #[test]
    fn what_was_in_memory_is_in_the_file() {
        let mut scratch = Scratch::default();
        scratch.write(b"begin", 0).unwrap();
        scratch.write(b"end", MEMORY_BYTES_MAX).unwrap();
        let mut out = [0; 5];
        assert!(scratch.read(&mut out, 0).unwrap());
        assert_eq!(&out, b"begin");
        let mode = scratch.file.as_ref().unwrap().metadata().unwrap().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }
}
