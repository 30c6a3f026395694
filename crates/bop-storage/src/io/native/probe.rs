//! Finds out, at open, whether the directory's file system does direct I/O in our blocks.
//!
//! The kernel is asked first what alignment it wants (`statx`, Linux 6.1); where it does not say, or
//! is content with a block, a block is written and read back.
//!
//! Invariant: the probe leaves nothing behind, and where the kernel can make a file without a name
//! it never has one: a store that may not be ours yet is not written to.

use super::transfer;
use crate::io::errno::{EACCES, EDQUOT, EFBIG, EINVAL, ENOSPC, EOPNOTSUPP, EPERM, EROFS};
use crate::io::{BLOCK_BYTES, Block, IoOp};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use std::fmt;
use zerocopy::IntoBytes;

/// Why something is not to be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Why {
    /// What failed.
    pub(super) what: String,
    /// How.
    pub(super) errno: i32,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = std::io::Error::from_raw_os_error(self.errno);
        write!(f, "{}: {error}", self.what)
    }
}

/// A file that a block was written to and read back from without the page cache, or why that is
/// impossible. `None` on a full disk, which cannot be tried; an errno when it is about neither.
pub(super) fn direct_scratch(dir: BorrowedFd<'_>) -> Result<Result<Option<OwnedFd>, Why>, i32> {
    let file = match scratch(dir) {
        Ok(file) => file,
        Err(errno) => return verdict("no direct I/O, open", errno),
    };
    if let Some(why) = alignment(&file).and_then(|(memory, offset)| unfit(memory, offset)) {
        return Ok(Err(why));
    }
    let block = Block([0xB0; BLOCK_BYTES]);
    let written = transfer::write_all(IoOp::Write, BLOCK_BYTES, BLOCK_BYTES, |at| {
        rustix::io::pwrite(&file, &block.as_bytes()[at..], at as u64).map_err(|e| e.raw_os_error())
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
        Ok(bytes) if bytes == BLOCK_BYTES && back.0 == block.0 => Ok(Ok(Some(file))),
        Ok(_) => Ok(Err(Why {
            what: "direct I/O does not read back what it wrote".to_owned(),
            errno: EINVAL,
        })),
    }
}

/// The multiples of which addresses and offsets have to be, if the kernel says.
fn alignment(file: &OwnedFd) -> Option<(u32, u32)> {
    let flags = AtFlags::EMPTY_PATH;
    let stat = rustix::fs::statx(file, "", flags, StatxFlags::DIOALIGN).ok()?;
    let told = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::DIOALIGN);
    told.then_some((stat.stx_dio_mem_align, stat.stx_dio_offset_align))
}

/// Why blocks of ours do not fit such an alignment.
fn unfit(memory: u32, offset: u32) -> Option<Why> {
    let fits = |multiple: u32| multiple > 0 && (BLOCK_BYTES as u32).is_multiple_of(multiple);
    let what = if offset == 0 {
        "no direct I/O, the kernel says".to_owned()
    } else if fits(memory) && fits(offset) {
        return None;
    } else {
        let wanted = memory.max(offset);
        format!("direct I/O in units of {wanted} bytes, of which our {BLOCK_BYTES} are no multiple")
    };
    let errno = if offset == 0 { EOPNOTSUPP } else { EINVAL };
    Some(Why { what, errno })
}

fn verdict(what: &str, errno: i32) -> Result<Result<Option<OwnedFd>, Why>, i32> {
    let why = |what: &str| Why {
        what: what.to_owned(),
        errno,
    };
    match errno {
        // A full disk opened the file: it knows direct I/O, and open works on a full disk.
        ENOSPC | EDQUOT | EFBIG => Ok(Ok(None)),
        EINVAL | EOPNOTSUPP => Ok(Err(why(what))),
        // Nothing can be tried where nothing can be written; nor will anything be.
        EROFS | EACCES | EPERM => Ok(Err(why("direct I/O cannot be tried"))),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_fit_every_divisor_of_theirs_and_nothing_else() {
        for (memory, offset) in [(4, 512), (512, 512), (4096, 4096), (1, 1), (512, 4096)] {
            assert_eq!(unfit(memory, offset), None, "{memory}, {offset}");
        }
        for (memory, offset, says) in [
            (4, 8192, "8192 bytes"),
            (65_536, 512, "65536 bytes"),
            (512, 520, "520 bytes"),
            (0, 0, "the kernel says"),
        ] {
            let why = unfit(memory, offset).unwrap();
            assert!(why.to_string().contains(says), "{why}");
        }
    }

    #[test]
    fn what_the_kernel_says_of_a_file_agrees_with_what_it_does() {
        let dir = tempfile::tempdir().unwrap();
        let opened = rustix::fs::openat(
            rustix::fs::CWD,
            dir.path(),
            OFlags::RDONLY | OFlags::DIRECTORY,
            Mode::empty(),
        );
        let dir = opened.unwrap();
        use rustix::fd::AsFd;
        match direct_scratch(dir.as_fd()) {
            Ok(Ok(Some(file))) => {
                if let Some((memory, offset)) = alignment(&file) {
                    assert_eq!(unfit(memory, offset), None);
                }
            }
            other => println!("no direct I/O here: {other:?}"),
        }
    }
}
