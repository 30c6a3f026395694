//! A cold page cache for the files of a directory, so that who reads directly and who does not
//! meet the same device.

use crate::Result;
use rustix::fs::{Advice, fadvise, sync};
use std::fs::{self, File};
use std::path::Path;

/// Where the kernel is told to forget what it can read again: 1 for the pages of files.
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

/// Writes back and forgets what the kernel holds of every file under `dir`; how, for people. Whoever
/// may, makes it forget the pages of all files; otherwise it is asked to forget those of `dir`.
///
/// # Errors
/// When a file cannot be read.
pub fn forget_pages(dir: &Path) -> Result<&'static str> {
    advise(dir)?;
    sync();
    match fs::write(DROP_CACHES, "1") {
        Ok(()) => Ok("drop_caches"),
        Err(_) => Ok("POSIX_FADV_DONTNEED"),
    }
}

fn advise(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            advise(&entry.path())?;
        } else if kind.is_file() {
            let file = File::open(entry.path())?;
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// Bytes that the files under `dir` occupy on the device, whatever length they say they have.
///
/// # Errors
/// When a directory cannot be read.
pub fn occupied_bytes(dir: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let found = entry.metadata()?;
        bytes += match found.is_dir() {
            true => occupied_bytes(&entry.path())?,
            false => found.blocks() * 512,
        };
    }
    Ok(bytes)
}
