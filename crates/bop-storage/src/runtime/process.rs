//! What the process uses of the machine, as the kernel tells it.
//!
//! Invariant: what cannot be read is not known, and told as nothing; no reading fails for it.
//!
//! Never: read but when somebody asks: it costs a few calls to the kernel, and one for some dozens of open files.

use std::fs;

/// What this process uses. `None` where the kernel does not tell.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct ProcessUsage {
    /// Bytes of memory that are resident.
    pub(crate) resident_memory_bytes: Option<u64>,
    pub(crate) threads: Option<u64>,
    pub(crate) open_fds: Option<u64>,
    /// The most descriptors that may be open; `None` without a bound too.
    pub(crate) max_fds: Option<u64>,
}

impl ProcessUsage {
    /// Asks the kernel, through `/proc`.
    pub(crate) fn now() -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}"));
        let status = read("status").unwrap_or_default();
        let limits = read("limits").unwrap_or_default();
        Self {
            // In units of 1,024 bytes, whatever the file calls them.
            resident_memory_bytes: number_after(&status, "VmRSS:").map(|units| units << 10),
            threads: number_after(&status, "Threads:"),
            open_fds: open_fds(),
            max_fds: number_after(&limits, "Max open files"),
        }
    }
}

/// The number behind a name at the beginning of a line.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn open_fds() -> Option<u64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    // One of them is the reading of the directory itself.
    Some(open.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_the_beginning_of_their_line() {
        let status = "Name:\tVmRSS: 9\nVmRSS:\t  1736 kB\nThreads:\t12\n";
        assert_eq!(number_after(status, "VmRSS:"), Some(1736));
        assert_eq!(number_after(status, "Threads:"), Some(12));
        assert_eq!(number_after(status, "VmSwap:"), None);
        let limits = "Max open files            1024                 4096                 files\n";
        assert_eq!(number_after(limits, "Max open files"), Some(1024));
        let limits = "Max open files            unlimited            unlimited            files\n";
        assert_eq!(number_after(limits, "Max open files"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_opened_and_started_is_counted() {
        let before = ProcessUsage::now();
        // The other tests of this process open and close files meanwhile, fewer than these.
        let files: Vec<_> = (0..400)
            .map(|_| fs::File::open("/proc/self/status").unwrap())
            .collect();
        let now = ProcessUsage::now();
        let more = now.open_fds.unwrap() - before.open_fds.unwrap();
        assert!(300 < more, "{more} of {}", files.len());
        assert!(0 < now.threads.unwrap() && 1 << 20 < now.resident_memory_bytes.unwrap());
        assert!(now.max_fds.is_none_or(|most| now.open_fds.unwrap() <= most));
    }
}
