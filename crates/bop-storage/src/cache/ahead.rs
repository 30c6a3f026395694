//! Pages that were read ahead of those who read one page behind the other.
//!
//! ```text
//!   a miss at a page --no stream expects it--> a new stream: load this page alone
//!                    |--a stream is to come to it later--> hand it out if it is there, else load it alone
//!                    '--a stream expects it now--> the stream has it: hand it out
//!                                             |--> it is coming: wait
//!                                             '--> it has not: load four times as many as the last time
//!   from the largest window on, whoever waits or loads has the next ones fetched
//! ```
//! They wait here and not among the cached pages: a page comes into the cache when it is asked for, as
//! one that was loaded alone does. Otherwise its first use would count as a second one, and a scan would
//! look like something that is read again and again.
//!
//! Of a table that grew at its end, a page of the index stands among the leaves below it, and a scan asks for it before
//! the first of them. So a page further on moves a stream only when the one behind it is asked for, too.
//!
//! Invariants
//! - at most [`STREAMS_MAX`] streams wait, each with less than [`WINDOW_BYTES_MAX`] of pages and
//!   [`COMING_MAX`] times as much that is coming; who was not used for longest gives way;
//! - what is coming for a stream ascends, and stands behind what waits;
//! - a page that a stream has gone past is not handed out by it.
//!
//! Never: loads a page, holds its lock while somebody does.

use crate::ids::{ChunkId, PageNo};
use crate::page::PageBytes;
use crate::runtime::sync::Mutex;
use crate::runtime::{Pending, Waited};
use std::cmp::Reverse;
use std::collections::VecDeque;

/// Scans that are followed at a time. With the next bounds, 4 MiB are all that ever waits, and 12 MiB come.
const STREAMS_MAX: usize = 16;
/// What is loaded for one miss.
const WINDOW_BYTES_MAX: usize = 256 << 10;
/// Windows that are fetched for a scan at a time: a device is quicker with several, and while one is read
/// another one is checked and copied. Whoever writes a chunk finds a thread, too.
const COMING_MAX: usize = 3;
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

/// Pages that somebody fetches; of what failed there is nothing.
pub(super) struct Coming {
    /// The number of the first.
    pub(super) first: u32,
    pub(super) pages: Pending<VecDeque<PageBytes>>,
}

/// What to do about a page that the cache does not have.
pub(super) enum Missed {
    /// It was read ahead.
    Ready(PageBytes),
    /// It may be among these.
    Wait(Coming),
    /// Load it, and those behind it: so many bytes in all.
    Load(usize),
}

/// All streams, the newest first.
#[derive(Default)]
pub(super) struct ReadAhead {
    streams: Mutex<VecDeque<Stream>>,
}

struct Stream {
    chunk: ChunkId,
    section: u32,
    /// The number of the first page that waits, or of the one that is wanted next.
    next: u32,
    /// Behind the page further on that was asked for last: if it goes on there, what is before is passed by.
    jumped: u32,
    pages: VecDeque<PageBytes>,
    coming: VecDeque<Coming>,
    /// What the last load was for.
    window_bytes: usize,
    /// Of each page.
    page_bytes: usize,
}

impl Stream {
    /// Nothing of it is there but that `place` was asked for.
    fn past(place: &ChunkPlace) -> Self {
        Self {
            chunk: place.chunk,
            section: place.section,
            next: place.page.get().saturating_add(1),
            jumped: 0,
            pages: VecDeque::new(),
            coming: VecDeque::new(),
            window_bytes: 0,
            page_bytes: 1,
        }
    }

    /// The page behind the last that was to be fetched from `first` on.
    fn window_end(&self, first: u32) -> u32 {
        let pages = (WINDOW_BYTES_MAX / self.page_bytes).max(1);
        // Fewer than 512.
        first.saturating_add(pages as u32)
    }

    /// The page behind all that waits or comes.
    fn end(&self) -> u32 {
        match self.coming.back() {
            Some(coming) => self.window_end(coming.first),
            // Fewer than 512 pages wait: they are of 512 bytes at least.
            None => self.next.saturating_add(self.pages.len() as u32),
        }
    }

    /// Whether it is here that `place` would be asked for.
    fn expects(&self, place: &ChunkPlace) -> bool {
        let pages = self.next..=self.end().saturating_add(SKIPPED_MAX);
        (self.chunk, self.section) == (place.chunk, place.section)
            && pages.contains(&place.page.get())
    }

    /// Whether a page that it expects is the one to go on with, and not one to come back from.
    fn goes_on_at(&self, page: u32) -> bool {
        page == self.next || (self.jumped..=self.jumped.saturating_add(SKIPPED_MAX)).contains(&page)
    }

    /// Whether `place` was the last one that it was asked for.
    fn is_past(&self, place: &ChunkPlace) -> bool {
        let past = place.page.get().saturating_add(1);
        (self.chunk, self.section, self.next) == (place.chunk, place.section, past)
    }
}

impl ReadAhead {
    /// Asked for a page that the cache does not have.
    pub(super) fn missed(&self, place: &ChunkPlace) -> Missed {
        let mut streams = self.streams.lock();
        // Of several the one that has most: another may have begun at a page that this one was to come to.
        let expecting = (0..streams.len()).filter(|at| streams[*at].expects(place));
        let found = expecting.max_by_key(|at| (streams[*at].window_bytes, Reverse(*at)));
        let Some(mut stream) = found.and_then(|at| streams.remove(at)) else {
            return Missed::Load(0);
        };
        let page = place.page.get();
        let skipped = (page - stream.next) as usize;
        if !stream.goes_on_at(page) {
            stream.jumped = page.saturating_add(1);
            let there = stream.pages.get(skipped).cloned();
            streams.push_front(stream);
            return there.map_or(Missed::Load(0), Missed::Ready);
        }
        stream.pages.drain(..skipped.min(stream.pages.len()));
        stream.next = page.saturating_add(1);
        // What lies behind it nobody will ask for.
        while let Some(coming) = stream.coming.front()
            && stream.window_end(coming.first) <= page
        {
            stream.coming.pop_front();
        }
        let missed = match (stream.pages.pop_front(), stream.coming.front()) {
            (Some(page), _) => Missed::Ready(page),
            // A window may have ended early: what is between it and the next one is loaded here.
            (None, Some(coming)) if page < coming.first => {
                let between = (coming.first - page) as usize * stream.page_bytes;
                Missed::Load(between.min(WINDOW_BYTES_MAX))
            }
            (None, Some(_)) => stream
                .coming
                .pop_front()
                .map_or(Missed::Load(0), Missed::Wait),
            (None, None) => {
                stream.window_bytes = (4 * stream.window_bytes).min(WINDOW_BYTES_MAX);
                Missed::Load(stream.window_bytes)
            }
        };
        streams.push_front(stream);
        missed
    }

    /// Waits for what is coming; the page, if it is among it.
    pub(super) fn wait(&self, place: &ChunkPlace, coming: &Coming) -> Option<PageBytes> {
        let Waited::Answer(mut pages) = coming.pages.wait(None) else {
            return None;
        };
        let skipped = place.page.get().checked_sub(coming.first)? as usize;
        pages.drain(..skipped.min(pages.len()));
        let page = pages.pop_front()?;
        self.loaded(place, page.len(), WINDOW_BYTES_MAX, pages);
        Some(page)
    }

    /// Whether somebody should fetch more for the stream that has just gone past `place`: from which
    /// page on, and how many bytes.
    pub(super) fn wants_more(&self, place: &ChunkPlace) -> Option<(PageNo, usize)> {
        let streams = self.streams.lock();
        let stream = streams.iter().find(|stream| stream.is_past(place))?;
        let is_due = stream.window_bytes == WINDOW_BYTES_MAX && stream.coming.len() < COMING_MAX;
        is_due.then_some((PageNo::new(stream.end())?, WINDOW_BYTES_MAX))
    }

    /// Somebody fetches them.
    pub(super) fn comes(&self, place: &ChunkPlace, coming: Coming) {
        let mut streams = self.streams.lock();
        let stream = streams.iter_mut().find(|stream| stream.is_past(place));
        if let Some(stream) = stream {
            stream.coming.push_back(coming);
        }
    }

    /// The page at `place`, of `page_bytes`, was loaded, and with it `pages`, which stand behind it, when
    /// `window_bytes` were to be.
    pub(super) fn loaded(
        &self,
        place: &ChunkPlace,
        page_bytes: usize,
        window_bytes: usize,
        pages: VecDeque<PageBytes>,
    ) {
        let mut streams = self.streams.lock();
        let past = streams.iter().position(|stream| stream.is_past(place));
        let known = past.and_then(|at| streams.remove(at));
        let mut stream = known.unwrap_or_else(|| Stream::past(place));
        stream.pages = pages;
        stream.window_bytes = stream.window_bytes.max(window_bytes);
        stream.page_bytes = page_bytes.max(1);
        streams.truncate(STREAMS_MAX - 1);
        streams.push_front(stream);
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
            Missed::Wait(_) => panic!("nobody fetches anything"),
            Missed::Load(bytes) => {
                let bytes = bytes.max(4096);
                let count = bytes / 4096;
                let behind = (number + 1..).take(count - 1).map(page).collect();
                ahead.loaded(&place(number), 4096, bytes, behind);
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

    /// A table that grew at its end: each 400 leaves have a page of the index among them, which a scan asks for before the
    /// first of them. That is loaded alone, or is there already, and the scan goes on as before.
    #[test]
    fn a_page_of_the_index_further_on_does_not_move_a_stream() {
        for (further, loaded_alone) in [(1, false), (30, false), (169, true)] {
            let ahead = ReadAhead::default();
            let order = (0..20).flat_map(|block| {
                let (first, index) = (400 * block + 1, 400 * block + 1 + further);
                let leaves = (first..first + 400).filter(move |leaf| *leaf != index);
                std::iter::once(index).chain(leaves)
            });
            let loads = order.map(|number| read(&ahead, number));
            let loads: Vec<usize> = loads.filter(|count| *count > 0).collect();
            let (alone, together): (Vec<usize>, Vec<usize>) =
                loads.into_iter().partition(|count| *count == 1);
            assert_eq!(together[..3], [4, 16, 64], "{further} further on");
            assert!(
                together[3..].iter().all(|count| *count == 64),
                "{together:?}"
            );
            assert!(together.len() <= 2 + 8000 / 64 + 1, "{together:?}");
            assert_eq!(alone.len() > 15, loaded_alone, "{alone:?}");
        }
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
