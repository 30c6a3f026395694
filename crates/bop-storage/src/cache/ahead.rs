//! Pages that were read ahead of those who read one page behind the other.
//!
//! ```text
//!   a miss at a page --no stream expects it--> a new stream: load this page alone
//!                    '--a stream expects it--> the stream has it: hand it out
//!                                         '--> it has not: load four times as many as the last time
//! ```
//! They wait here and not among the cached pages: a page comes into the cache when it is asked for, as
//! one that was loaded alone does. Otherwise its first use would count as a second one, and a scan would
//! look like something that is read again and again.
//!
//! Invariants
//! - at most [`STREAMS_MAX`] streams wait, each with less than [`WINDOW_BYTES_MAX`] of pages; who was not
//!   used for longest gives way;
//! - a page is handed out once.
//!
//! Never: loads a page, holds its lock while somebody does.

use crate::ids::{ChunkId, PageNo};
use crate::page::PageBytes;
use parking_lot::Mutex;
use std::collections::VecDeque;

/// Scans that are followed at a time. With the next bound, 4 MiB are all that ever waits.
const STREAMS_MAX: usize = 16;
/// What is loaded for one miss.
const WINDOW_BYTES_MAX: usize = 256 << 10;
/// A scan may pass by so many pages: those of a table stand among those of its index.
const SKIPPED_MAX: u32 = 4;

/// Where a page of a chunk stands.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ChunkPlace {
    /// The chunk.
    pub chunk: ChunkId,
    /// The section, counted from 0.
    pub section: u32,
    /// The page.
    pub page: PageNo,
}

/// What to do about a page that the cache does not have.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Missed {
    /// It was read ahead.
    Ready(PageBytes),
    /// Load it, and those behind it: so many bytes in all.
    Load(usize),
}

/// All streams, the newest first.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    streams: Mutex<VecDeque<Stream>>,
}

#[derive(Debug)]
struct Stream {
    chunk: ChunkId,
    section: u32,
    /// The number of the first page that waits, or of the one that is wanted next.
    next: u32,
    pages: VecDeque<PageBytes>,
    /// What the last load was for.
    window_bytes: usize,
}

impl Stream {
    /// Whether it is here that `place` would be asked for.
    fn expects(&self, place: &ChunkPlace) -> bool {
        // Fewer than 512 pages wait: they are of 512 bytes at least.
        let last = self.next.saturating_add(self.pages.len() as u32);
        let pages = self.next..=last.saturating_add(SKIPPED_MAX);
        (self.chunk, self.section) == (place.chunk, place.section)
            && pages.contains(&place.page.get())
    }
}

impl ReadAhead {
    /// Asked for a page that the cache does not have.
    pub(super) fn missed(&self, place: &ChunkPlace) -> Missed {
        let mut streams = self.streams.lock();
        let found = streams.iter().position(|stream| stream.expects(place));
        let Some(mut stream) = found.and_then(|at| streams.remove(at)) else {
            return Missed::Load(0);
        };
        let skipped = (place.page.get() - stream.next) as usize;
        stream.pages.drain(..skipped.min(stream.pages.len()));
        let ready = stream.pages.pop_front();
        stream.next = place.page.get().saturating_add(1);
        let window_bytes = stream.window_bytes;
        streams.push_front(stream);
        match ready {
            Some(page) => Missed::Ready(page),
            None => Missed::Load((4 * window_bytes).min(WINDOW_BYTES_MAX)),
        }
    }

    /// `pages` were loaded, which stand behind `place`, when so many bytes were to be.
    pub(super) fn loaded(
        &self,
        place: &ChunkPlace,
        window_bytes: usize,
        pages: VecDeque<PageBytes>,
    ) {
        let next = place.page.get().saturating_add(1);
        let mut streams = self.streams.lock();
        let here = |stream: &Stream| {
            (stream.chunk, stream.section, stream.next) == (place.chunk, place.section, next)
        };
        if let Some(at) = streams.iter().position(here) {
            streams.remove(at);
        }
        streams.truncate(STREAMS_MAX - 1);
        streams.push_front(Stream {
            chunk: place.chunk,
            section: place.section,
            next,
            pages,
            window_bytes,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(page: u32) -> ChunkPlace {
        ChunkPlace {
            chunk: ChunkId::new(1),
            section: 0,
            page: PageNo::new(page).unwrap(),
        }
    }

    fn page(number: u32) -> PageBytes {
        PageBytes::copy_of(&number.to_le_bytes().repeat(1024))
    }

    /// Reads a page as the cache does; how many pages were loaded for it.
    fn read(ahead: &ReadAhead, number: u32) -> usize {
        match ahead.missed(&place(number)) {
            Missed::Ready(found) => {
                assert_eq!(found, page(number));
                0
            }
            Missed::Load(bytes) => {
                let bytes = bytes.max(4096);
                let count = bytes / 4096;
                let behind = (number + 1..).take(count - 1).map(page).collect();
                ahead.loaded(&place(number), bytes, behind);
                count
            }
        }
    }

    #[test]
    fn a_scan_loads_more_and_more_at_once_and_gets_every_page() {
        let ahead = ReadAhead::default();
        let loads: Vec<usize> = (1..=600).map(|number| read(&ahead, number)).collect();
        let loads: Vec<usize> = loads.into_iter().filter(|count| *count > 0).collect();
        assert_eq!(loads[..5], [1, 4, 16, 64, 64]);
        assert!(loads.len() < 14, "{} loads", loads.len());
    }

    #[test]
    fn pages_that_are_passed_by_are_dropped() {
        let ahead = ReadAhead::default();
        assert_eq!((read(&ahead, 1), read(&ahead, 2)), (1, 4));
        // 3, 4 and 5 wait.
        assert_eq!(read(&ahead, 5), 0);
        assert_eq!(read(&ahead, 9), 16);
        // What was passed by is loaded alone, and the scan goes on.
        assert_eq!(read(&ahead, 4), 1);
        assert_eq!(read(&ahead, 10), 0);
    }

    #[test]
    fn who_reads_at_random_loads_single_pages() {
        let ahead = ReadAhead::default();
        for step in 1..1000_u32 {
            assert_eq!(read(&ahead, 1 + step * 7919 % 100_003), 1, "at {step}");
        }
    }

    #[test]
    fn as_many_scans_as_are_followed_do_not_disturb_each_other_and_no_more_wait() {
        let ahead = ReadAhead::default();
        let scans = STREAMS_MAX as u32;
        let mut loads = 0;
        for step in 1..=100 {
            for scan in 0..scans {
                loads += usize::from(read(&ahead, scan * 10_000 + step) > 0);
            }
        }
        assert_eq!(loads, 5 * STREAMS_MAX);
        for scan in 0..10 * scans {
            read(&ahead, 1_000_000 + scan * 10_000);
        }
        let streams = ahead.streams.lock();
        assert_eq!(streams.len(), STREAMS_MAX);
        assert!(streams.iter().all(|stream| stream.pages.is_empty()));
    }
}
