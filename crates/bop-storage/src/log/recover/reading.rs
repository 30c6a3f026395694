//! What one activated segment says: by its index where it has a good one, else by its batches.
//!
//! Never: judges what it reads.

use super::inspect::Opened;
use super::links::Link;
use crate::error::Reject;
use crate::ids::Lsn;
use crate::io::DiskFile;
use crate::log::format::{ChainHash, Sealed};
use crate::log::scan::{Manner, Scanned, SegmentSpace, read_index, scan_segment};
use std::sync::Arc;

/// All that is needed to read a segment, on whatever thread.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    file: Arc<dyn DiskFile>,
    space: SegmentSpace,
    stop: Lsn,
    /// The segment's chain hash without batches and how the log left it, where both are known.
    sealed: Option<(ChainHash, Sealed)>,
}

/// What was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Read {
    pub(super) scanned: Scanned,
    /// It came from the index: the bodies were not looked at.
    pub(super) indexed: bool,
}

/// Where the segment has a sound part that this program must not pass over, and why.
pub(super) type Refused = (Lsn, Reject);

impl Reading {
    pub(super) fn of(opened: &Opened, link: Option<&Link>) -> Self {
        let space = opened.space;
        let end = link.and_then(|link| link.end);
        let sealed = end
            .zip(opened.activation)
            .map(|((end, chain), (_, start))| {
                let base = space.base;
                (start, Sealed { base, end, chain })
            });
        Self {
            file: Arc::clone(&opened.file),
            space,
            stop: end.map_or_else(|| space.limit(), |(end, _)| end),
            sealed,
        }
    }

    /// Reads the segment; `admit` is told of bytes that are kept, and may wait until there is room.
    pub(super) fn run(&self, admit: &dyn Fn(usize)) -> Result<Read, Refused> {
        if let Some(scanned) = self.by_index(admit) {
            return Ok(Read {
                scanned,
                indexed: true,
            });
        }
        let manner = Manner {
            keep: admit,
            images: false,
        };
        let scanned = scan_segment(Arc::clone(&self.file), &self.space, self.stop, manner)?;
        Ok(Read {
            scanned,
            indexed: false,
        })
    }

    /// A bad index costs the scan and nothing else; `verify` reports it.
    fn by_index(&self, admit: &dyn Fn(usize)) -> Option<Scanned> {
        let (start, sealed) = self.sealed.as_ref()?;
        let read = read_index(self.file.as_ref(), &self.space, *start, sealed, admit);
        read.unwrap_or_else(|reject| {
            let segment = self.space.identity.segment;
            tracing::warn!(%segment, %reject, "a bad index: the segment is scanned");
            None
        })
    }
}
