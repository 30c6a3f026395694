//! What `/proc` says of this process.

use crate::Result;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;

/// Memory, descriptors and threads at one moment; bytes written until then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Resident, `VmRSS`.
    pub(crate) rss_bytes: u64,
    /// The most that was ever resident, `VmHWM`.
    pub(crate) peak_bytes: u64,
    /// Open files.
    pub(crate) descriptors: u64,
    /// Threads, those that work on the slice included.
    pub(crate) threads: u64,
    /// `write_bytes`: what it caused to be written to the device.
    pub(crate) written_bytes: u64,
}

impl Usage {
    pub(crate) fn read() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let io = fs::read_to_string("/proc/self/io")?;
        Ok(Self {
            rss_bytes: field(&status, "VmRSS:")? * 1024,
            peak_bytes: field(&status, "VmHWM:")? * 1024,
            // The one that reads the directory is open too.
            descriptors: fs::read_dir("/proc/self/fd")?.count() as u64 - 1,
            threads: field(&status, "Threads:")?,
            written_bytes: field(&io, "write_bytes:")?,
        })
    }
}

/// The number behind `name`.
fn field(text: &str, name: &str) -> Result<u64> {
    let mut lines = text.lines();
    let rest = lines.find_map(|line| line.strip_prefix(name));
    let number = rest.and_then(|rest| rest.split_whitespace().next());
    let number = number.and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("no number behind {name}").into())
}

/// What 10,000 SQLite databases need: three files each, and some.
const DESCRIPTORS: u64 = 40_000;

/// Lets the process have so many open files, or as many as it may without privileges.
pub(crate) fn raise_descriptor_limit() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // No maximum is no limit.
    let enough = maximum.map(|maximum| maximum.max(DESCRIPTORS));
    let limit = |most| Rlimit {
        current: most,
        maximum: most,
    };
    match setrlimit(Resource::Nofile, limit(enough)) {
        Ok(()) => Ok(()),
        Err(_) => Ok(setrlimit(Resource::Nofile, limit(maximum))?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_threads_and_descriptors() {
        let usage = Usage::read().unwrap();
        assert!(usage.peak_bytes >= usage.rss_bytes && usage.rss_bytes > 1 << 16);
        assert!(usage.threads > 0 && usage.descriptors >= 3);
        assert!(field("VmRSS:\t 12 kB\nx", "VmRSS:").unwrap() == 12);
        assert!(field("VmRSS: kB", "VmRSS:").is_err());
    }
}
