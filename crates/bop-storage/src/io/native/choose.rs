//! Which backend a directory gets: tried, not guessed.
//!
//! ```text
//!   Std ------------------------------------------------------> page cache
//!   Auto, Direct, Uring --direct I/O works?--no--> Auto: page cache, with the reason; else error
//!                              |yes
//!           Direct ------------+-------> direct
//!           Auto, Uring --ring works?--no--> Auto: direct, with the reason; else error
//!                              |yes
//!           Auto --------------+-------> direct, batches by ring
//!           Uring -------------'-------> everything by ring
//! ```
//! Never: falls back in silence, or at all from what was asked for by name.

use super::probe::{self, Why};
use super::uring::Rings;
use crate::io::{BufferPool, IoBackend};
use rustix::fd::BorrowedFd;
use std::sync::Arc;

/// How the files of a disk are read and written.
#[derive(Debug)]
pub(super) struct Choice {
    /// Past the page cache.
    pub(super) direct: bool,
    /// For batches.
    pub(super) rings: Option<Rings>,
    /// For single transfers, too.
    pub(super) all_by_ring: bool,
    /// All this, for people.
    pub(super) describe: String,
}

impl Choice {
    pub(super) fn std(reason: &str) -> Self {
        Self {
            direct: false,
            rings: None,
            all_by_ring: false,
            describe: format!("std ({reason})"),
        }
    }

    fn direct(describe: String) -> Self {
        Self {
            direct: true,
            describe,
            ..Self::std("")
        }
    }
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum Refused {
    /// The directory could not be tried out.
    Broken(i32),
    /// What was asked for is not to be had.
    Unavailable(Why),
}

/// Tries out what `backend` asks for.
pub(super) fn choose(
    dir: BorrowedFd<'_>,
    backend: IoBackend,
    pool: &Arc<BufferPool>,
) -> Result<Choice, Refused> {
    if backend == IoBackend::Std {
        return Ok(Choice::std("as asked"));
    }
    let scratch = match probe::direct_scratch(dir).map_err(Refused::Broken)? {
        Ok(scratch) => scratch,
        Err(why) if backend == IoBackend::Auto => return Ok(Choice::std(&why.to_string())),
        Err(why) => return Err(Refused::Unavailable(why)),
    };
    if backend == IoBackend::Direct {
        return Ok(Choice::direct("direct".to_owned()));
    }
    match Rings::open(pool, scratch.as_ref()) {
        Ok(rings) => {
            let all_by_ring = backend == IoBackend::Uring;
            let name = if all_by_ring {
                "uring"
            } else {
                "direct, batches by io_uring"
            };
            let note = if rings.has_registered {
                ""
            } else {
                " (buffers not registered)"
            };
            Ok(Choice {
                all_by_ring,
                rings: Some(rings),
                ..Choice::direct(format!("{name}{note}"))
            })
        }
        Err(why) if backend == IoBackend::Auto => Ok(Choice::direct(format!("direct ({why})"))),
        Err(why) => Err(Refused::Unavailable(why)),
    }
}
