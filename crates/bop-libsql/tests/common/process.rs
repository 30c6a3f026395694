//! The test binary once more, as a process of its own, and the pipe that it announces itself on.
//!
//! A child is a test like any other that returns at once unless its variable is set. It speaks
//! through its standard output, where the test harness writes too, so each announcement is a line
//! that starts with `@`.
//!
//! Invariant: an announcement is one `write` of less than `PIPE_BUF` bytes, so it is there whole or
//! not at all, whatever happens to the child afterwards.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// The arguments after which the test binary runs `test` and nothing else.
pub(crate) fn arguments_for(test: &str) -> [&str; 4] {
    [test, "--exact", "--nocapture", "--test-threads=1"]
}

/// This test binary.
pub(crate) fn this_binary() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// Where a child announces itself.
pub(crate) struct Announcer(File);

impl Announcer {
    /// On standard output, past the buffer of the standard library.
    pub(crate) fn on_stdout() -> Self {
        let own = io::stdout().as_fd().try_clone_to_owned().unwrap();
        Self(File::from(own))
    }

    /// Announces `what`, which has no line break.
    pub(crate) fn say(&self, what: &str) {
        // The harness may have left a line unfinished.
        (&self.0)
            .write_all(format!("\n@{what}\n").as_bytes())
            .unwrap();
    }
}

/// What a line of a child's output announces.
pub(crate) fn announced(line: &str) -> Option<&str> {
    line.strip_prefix('@')
}

/// Bytes that the files in `dir` occupy on the device.
pub(crate) fn occupied_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(dir).unwrap();
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            match metadata.is_dir() {
                true => occupied_bytes(&entry.path()),
                false => metadata.blocks() * 512,
            }
        })
        .sum()
}
