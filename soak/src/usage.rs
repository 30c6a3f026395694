//! What the kernel says of this process, and what its store's directory takes.

use crate::Result;
use std::fs;
use std::path::Path;

/// What of it is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Held {
    /// Threads of its own.
    pub(crate) threads: u64,
    /// Threads that the kernel made for it, for calls of io_uring that would block: as many as it
    /// finds right, within a bound.
    pub(crate) workers: u64,
    /// Open files.
    pub(crate) descriptors: u64,
}

impl Held {
    pub(crate) fn read() -> Result<Self> {
        let (mut threads, mut workers) = (0, 0);
        for task in fs::read_dir("/proc/self/task")? {
            match fs::read_to_string(task?.path().join("comm")) {
                Ok(name) if name.starts_with("iou-") => workers += 1,
                Ok(_) => threads += 1,
                // It has ended meanwhile.
                Err(error) if has_ended(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self {
            threads,
            workers,
            // The one that reads the directory is open too.
            descriptors: fs::read_dir("/proc/self/fd")?.count() as u64 - 1,
        })
    }
}

/// What the kernel says of a thread that is gone.
fn has_ended(error: &std::io::Error) -> bool {
    const ESRCH: i32 = 3;
    error.kind() == std::io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

/// Resident bytes.
pub(crate) fn rss_bytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    Ok(field(&status, "VmRSS:")? * 1024)
}

/// Bytes of the files below a directory. A file that goes meanwhile is passed by.
pub(crate) fn dir_bytes(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes += dir_bytes(&entry.path())?,
            Ok(meta) => bytes += meta.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

/// The number behind `name`.
fn field(text: &str, name: &str) -> Result<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    let number = rest.and_then(|rest| rest.split_whitespace().next());
    let number = number.and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("no number behind {name}").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_thread_and_a_file_more_are_seen() {
        let before = Held::read().unwrap();
        let file = fs::File::open("/proc/self/status").unwrap();
        let (go, wait) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv());
        let with = Held::read().unwrap();
        assert!(before.threads < with.threads && before.descriptors < with.descriptors);
        drop((go, file));
        let _ = thread.join().unwrap();
        assert!(rss_bytes().unwrap() > 1 << 16);
        assert!(field("VmRSS: kB", "VmRSS:").is_err());
    }
}
