//! Finds out, at open, whether the directory's file system does direct I/O.
//!
//! Invariant: the probe leaves nothing behind, and where the kernel can make a file without a name
//! it never has one: a store that may not be ours yet is not written to.

use super::transfer;
use crate::io::errno::{EACCES, EDQUOT, EFBIG, EINVAL, ENOSPC, EOPNOTSUPP, EPERM, EROFS};
use crate::io::{BLOCK_BYTES, Block, IoOp};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use zerocopy::IntoBytes;

/// Why direct I/O is not to be had.
#[derive(Debug)]
pub(super) struct Why {
    /// What failed.
    pub(super) what: &'static str,
    /// How.
    pub(super) errno: i32,
}

/// Writes a block and reads it back without the page cache; `None` when that works.
pub(super) fn why_not_direct(dir: BorrowedFd<'_>) -> Result<Option<Why>, i32> {
    let file = match scratch(dir) {
        Ok(file) => file,
        Err(errno) => return verdict("no direct I/O, open", errno),
    };
    let block = Block([0xB0; BLOCK_BYTES]);
    let written = transfer::write_all(IoOp::Write, block.as_bytes(), BLOCK_BYTES, |at, rest| {
        rustix::io::pwrite(&file, rest, at as u64).map_err(|e| e.raw_os_error())
    });
    if let Err(errno) = written {
        return verdict("no direct I/O, write", errno);
    }
    let mut back = Block::ZERO;
    let read = transfer::read_all(
        back.as_mut_bytes(),
        BLOCK_BYTES,
        |at, rest| rustix::io::pread(&file, rest, at as u64).map_err(|e| e.raw_os_error()),
        || Ok(BLOCK_BYTES),
    );
    match read {
        Err(errno) => verdict("no direct I/O, read", errno),
        Ok(bytes) if bytes == BLOCK_BYTES && back.0 == block.0 => Ok(None),
        Ok(_) => Ok(Some(Why {
            what: "direct I/O does not read back what it wrote",
            errno: EINVAL,
        })),
    }
}

fn verdict(what: &'static str, errno: i32) -> Result<Option<Why>, i32> {
    match errno {
        // A full disk opened the file: it knows direct I/O, and open works on a full disk.
        ENOSPC | EDQUOT | EFBIG => Ok(None),
        EINVAL | EOPNOTSUPP => Ok(Some(Why { what, errno })),
        // Nothing can be tried where nothing can be written; nor will anything be.
        EROFS | EACCES | EPERM => Ok(Some(Why {
            what: "direct I/O cannot be tried",
            errno,
        })),
        other => Err(other),
    }
}

/// A file of the directory without a name, or one whose name is gone already.
fn scratch(dir: BorrowedFd<'_>) -> Result<OwnedFd, i32> {
    let flags = OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let nameless = rustix::fs::openat(dir, ".", flags | OFlags::TMPFILE, mode);
    match nameless.map_err(|e| e.raw_os_error()) {
        Ok(file) => return Ok(file),
        Err(errno @ (EROFS | EACCES | EPERM | ENOSPC | EDQUOT)) => return Err(errno),
        // Not every file system makes files without a name.
        Err(_) => {}
    }
    let name = format!("probe-{}", std::process::id());
    let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let opened = rustix::fs::openat(dir, name.as_str(), flags, mode);
    if !matches!(opened, Err(rustix::io::Errno::EXIST)) {
        // Linux makes the name before it refuses the flag. A name that stays is an orphan, no more.
        let _gone = rustix::fs::unlinkat(dir, name.as_str(), AtFlags::empty());
    }
    opened.map_err(|e| e.raw_os_error())
}
