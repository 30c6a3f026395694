//! A cold page cache for the files of a directory, so that who reads directly and who does not
//! meet the same device.

use crate::Result;
use rustix::fs::{Advice, fadvise};
use std::fs::{self, File};
use std::path::Path;

/// Writes back and forgets what the kernel holds of every file under `dir`.
///
/// # Errors
/// When a file cannot be read.
pub fn forget_pages(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            forget_pages(&entry.path())?;
        } else if kind.is_file() {
            let file = File::open(entry.path())?;
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}
