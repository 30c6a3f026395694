//! The ways to read and write files, by name.

use super::IoFailure;
use std::fmt;
use std::str::FromStr;

/// How the files of a store are read and written.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub enum IoBackend {
    /// Direct where the file system allows it, with batches by io_uring where the kernel does; else
    /// through the page cache. What it became, and why, is in the store's status.
    #[default]
    Auto,
    /// Through the page cache; a durable write is a write and `fdatasync`.
    Std,
    /// Past the page cache; a durable write is one `pwritev2` with `RWF_DSYNC`.
    Direct,
    /// Past the page cache, and every transfer by io_uring.
    Uring,
}

impl IoBackend {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Std, Self::Direct, Self::Uring];

    /// The name that people write.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Std => "std",
            Self::Direct => "direct",
            Self::Uring => "uring",
        }
    }
}

impl fmt::Display for IoBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No backend has that name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no I/O backend is called {0:?}: auto, std, direct and uring are")]
pub struct UnknownBackend(String);

impl FromStr for IoBackend {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<Self, UnknownBackend> {
        let found = Self::ALL.into_iter().find(|known| known.as_str() == name);
        found.ok_or_else(|| UnknownBackend(name.to_owned()))
    }
}

/// A backend that was asked for by name is not to be had here.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("I/O backend {backend} is not to be had: {what}: {failure}")]
pub struct BackendUnavailable {
    /// The backend.
    pub backend: IoBackend,
    /// What was tried.
    pub what: String,
    /// How that failed.
    #[source]
    pub failure: IoFailure,
}

/// Why the directory of a store could not be opened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenDiskError {
    /// The kernel refused a call.
    #[error("{0}")]
    Io(#[from] IoFailure),
    /// The backend is not to be had.
    #[error("{0}")]
    Unavailable(#[from] BackendUnavailable),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for backend in IoBackend::ALL {
            assert_eq!(backend.to_string().parse(), Ok(backend));
        }
        let error = "Direct".parse::<IoBackend>().unwrap_err();
        assert!(error.to_string().contains("\"Direct\""), "{error}");
    }
}
