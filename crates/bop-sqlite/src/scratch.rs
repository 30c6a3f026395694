//! Scratch: the bytes of a rollback journal or a super-journal. They are needed as long as the process
//! lives and no longer, since what they would undo is private until it is committed.
//!
//! ```text
//! memory --larger than 8 MiB--> a temporary file without a name
//! ```
//! Invariant: a failed write leaves what was there before it.
//!
//! Never: found by anybody else.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

/// So much is kept in memory.
const MEMORY_BYTES_MAX: u64 = 8 << 20;

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
            file.write_all_at(content, offset)?;
        } else {
            let range = usize::try_from(offset).and_then(|start| Ok(start..usize::try_from(end)?));
            let range = range.map_err(|_| ErrorKind::FileTooLarge)?;
            if self.memory.len() < range.end {
                self.memory.resize(range.end, 0);
            }
            self.memory[range].copy_from_slice(content);
        }
        self.bytes = self.bytes.max(end);
        Ok(())
    }

    /// Cuts it, or lets it grow by zeros.
    pub(crate) fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.set_len(bytes)?;
            self.bytes = bytes;
        } else if bytes > self.bytes {
            self.write(&[], bytes)?;
        } else {
            self.memory
                .truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
            self.bytes = bytes;
        }
        Ok(())
    }

    fn move_to_file(&mut self) -> io::Result<()> {
        let file = nameless_file()?;
        file.write_all_at(&self.memory, 0)?;
        self.memory = Vec::new();
        self.file = Some(file);
        Ok(())
    }
}

fn nameless_file() -> io::Result<File> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bop-journal-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut options = OpenOptions::new();
        match options.read(true).write(true).create_new(true).open(&path) {
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
    fn what_was_in_memory_is_in_the_file() {
        let mut scratch = Scratch::default();
        scratch.write(b"begin", 0).unwrap();
        scratch.write(b"end", MEMORY_BYTES_MAX).unwrap();
        let mut out = [0; 5];
        assert!(scratch.read(&mut out, 0).unwrap());
        assert_eq!(&out, b"begin");
    }
}
