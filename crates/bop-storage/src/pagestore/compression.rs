//! Which way pages are compressed in the chunks that are made from now on.
//!
//! Never: matters to a reader, whom each body tells its own encoding.

use std::fmt;
use std::str::FromStr;

/// How checkpoints compress pages. Chunks that are there stay as they are, and are read whatever they are.
///
/// With any but [`Compression::Off`] a version of the past is told as what it changed of the one before it, where
/// that saves half of the page.
///
/// # Example
/// ```
/// use bop_storage::{Compression, Options};
/// let options = Options::new().compression(Compression::Zstd { level: 3 });
/// assert_eq!("zstd:3".parse(), Ok(Compression::Zstd { level: 3 }));
/// ```
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    Off,
    /// LZ4. A page that a commit has compressed already goes from the log into the chunk as it is.
    #[default]
    Lz4,
    /// Zstandard: smaller, for more of a checkpoint's time, and of a reader's when he has to go to the chunk.
    Zstd {
        /// From 1, the fastest, to 19, the smallest; others are taken for the nearest of these.
        level: u8,
    },
}

impl Compression {
    /// Zstandard's own default.
    const LEVEL: u8 = 3;
    /// Zstandard's that need no memory out of the ordinary.
    pub(super) const LEVELS: std::ops::RangeInclusive<u8> = 1..=19;
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Lz4 => f.write_str("lz4"),
            Self::Zstd { level } => write!(f, "zstd:{level}"),
        }
    }
}

/// No compression has that name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no compression is called {0:?}: off, lz4, zstd and zstd:1 to zstd:19 are")]
pub struct UnknownCompression(String);

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(name: &str) -> Result<Self, UnknownCompression> {
        let unknown = || UnknownCompression(name.to_owned());
        match name.split_once(':') {
            None if name == "off" => Ok(Self::Off),
            None if name == "lz4" => Ok(Self::Lz4),
            None if name == "zstd" => Ok(Self::Zstd { level: Self::LEVEL }),
            Some(("zstd", level)) => {
                let level = level.parse().ok();
                let level = level.filter(|level| Self::LEVELS.contains(level));
                Ok(Self::Zstd {
                    level: level.ok_or_else(unknown)?,
                })
            }
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        for compression in [
            Compression::Off,
            Compression::Lz4,
            Compression::Zstd { level: 1 },
            Compression::Zstd { level: 19 },
        ] {
            assert_eq!(compression.to_string().parse(), Ok(compression));
        }
        assert_eq!("zstd".parse(), Ok(Compression::Zstd { level: 3 }));
        for name in ["", "LZ4", "lz4:1", "zstd:", "zstd:0", "zstd:20", "zstd:x"] {
            assert!(name.parse::<Compression>().is_err(), "{name:?}");
        }
    }
}
