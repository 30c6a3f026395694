//! The scan: the blocks of one segment, classified.
//!
//! ```text
//! sound header, sound records   -> Batch
//! sound header, a bad record    -> Bad, with the header and its directory, if one of the two is sound
//! no header: block by block to the next sound header, a sound trailer, or the end
//!     all zeros                 -> Zeros
//!     a sound trailer           -> Bad, with the directory (what stands before it: Bad)
//!     else                      -> Bad
//! ```
//! Invariants
//! - the spans cover the scanned part of the segment without gap or overlap;
//! - a batch of an older epoch than a sound one before it counts as no batch: bytes torn off an
//!   earlier run never come back;
//! - memory is bounded by one window, or the largest batch, and what the records say without their
//!   images.
//!
//! Never: decides what is replayed (that is the [tail rule](super::tail_rule)), writes.

mod base;
mod images;
mod index;
mod record;
mod window;

pub use base::find_base;
pub use index::read_index;
pub use record::{ScannedBody, ScannedRecord};

use super::format::{
    DATA_START, DirectoryItem, SegmentIdentity, VerifiedHeader, VerifiedTrailer, all_zero,
    batch::DirectoryEntry, decode_directory, decode_header, decode_trailer, directory_by_records,
    directory_of, last_directory, spare_parts_damage, verify_records,
};
use crate::error::Reject;
use crate::ids::{Epoch, Lsn};
use crate::io::{BLOCK_BYTES, DiskFile};
use images::check_images;
use std::sync::Arc;
use window::Window;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// Which Lsns a segment holds, and where.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SegmentSpace {
    /// Whose file it is.
    pub identity: SegmentIdentity,
    /// The Lsn of the first byte behind the activation blocks.
    pub base: Lsn,
    /// Bytes of the file.
    pub capacity_bytes: u64,
    /// The epoch that activated it.
    pub epoch: Epoch,
}

impl SegmentSpace {
    /// The first Lsn that does not fit any more.
    pub fn limit(&self) -> Lsn {
        let room = self.capacity_bytes.saturating_sub(DATA_START);
        self.base.advance(room).unwrap_or(Lsn::LIMIT)
    }

    /// Where an Lsn of the segment is in its file.
    pub fn offset(&self, lsn: Lsn) -> u64 {
        DATA_START + lsn.get().saturating_sub(self.base.get())
    }
}

/// A part of a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Span {
    /// Where it starts.
    pub lsn: Lsn,
    /// Where it ends.
    pub end: Lsn,
    /// What it is.
    pub content: Content,
}

impl Span {
    /// Memory that it takes, about.
    fn kept_bytes(&self) -> usize {
        let content = match &self.content {
            Content::Batch(batch) => batch.records.iter().map(ScannedRecord::kept_bytes).sum(),
            Content::Bad(bad) => bad
                .directory
                .as_ref()
                .map_or(0, |items| items.len() * size_of::<DirectoryItem>()),
            Content::Zeros => 0,
        };
        size_of::<Self>() + content
    }
}

/// What a part of a segment is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// One sound batch.
    Batch(ScannedBatch),
    /// Bytes that are not a sound batch.
    Bad(BadBytes),
    /// Nothing was ever written here, or it is gone.
    Zeros,
}

/// One sound batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScannedBatch {
    /// Its header.
    pub header: SoundHeader,
    /// Its records.
    pub records: Vec<ScannedRecord>,
    /// Damage of parts that replay can do without.
    pub spare_damage: Option<Reject>,
}

/// What a sound header says, whatever became of its batch.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SoundHeader {
    /// Everything before it was durable.
    pub durable: Lsn,
    /// The opening of the store that wrote it.
    pub epoch: Epoch,
    /// What the segment's chain hash is extended by.
    pub checksum: u64,
}

/// Bytes that are not a sound batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadBytes {
    /// The place that was not believed: where the span starts, or a record in it.
    pub at: Lsn,
    /// Why not.
    pub reason: Reject,
    /// The header, if it is sound.
    pub header: Option<SoundHeader>,
    /// What the batch holds, if one of its directories is sound.
    pub directory: Option<Vec<DirectoryItem>>,
    /// Nothing sound follows in the scanned part: where the bad bytes really end is unknown.
    pub open_end: bool,
    /// The file ends before the batch, or in it, though segments are made in their full length: no
    /// torn write does that.
    pub cut_off: bool,
}

/// How a scan goes about it.
#[derive(Copy, Clone)]
pub struct Manner<'a> {
    /// Is told, after each part, how many bytes of memory it takes.
    pub keep: &'a dyn Fn(usize),
    /// Images are compared with their hashes too, beside the checksums of their records; of patches
    /// only their own checksums are looked at.
    pub images: bool,
}

/// What a scan found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scanned {
    /// The parts of the segment, in order.
    pub spans: Vec<Span>,
    /// Blocks that could not be read, wherever they are; of each run only the first.
    pub unreadable: Vec<(Lsn, Reject)>,
}

/// Classifies a segment from its base to `stop` (its limit, or where its successor says it ends).
///
/// # Errors
/// Where, and [`Reject::Features`]: a sound part that this program must not pass over.
pub fn scan_segment(
    file: Arc<dyn DiskFile>,
    space: &SegmentSpace,
    stop: Lsn,
    manner: Manner<'_>,
) -> Result<Scanned, (Lsn, Reject)> {
    let mut scan = Scan::new(file, space, stop, manner.images);
    let mut at = space.base;
    while at < stop {
        at = scan.step(at)?;
        (manner.keep)(scan.found.spans.last().map_or(0, Span::kept_bytes));
    }
    Ok(scan.found)
}

/// Reads a segment from a batch that starts at `from` on, part by part, until `enough` says so of
/// the last one, or to `stop`. `None` when no sound batch starts there.
///
/// # Errors
/// As for [`scan_segment`].
pub fn scan_batches(
    file: Arc<dyn DiskFile>,
    space: &SegmentSpace,
    (from, stop): (Lsn, Lsn),
    mut enough: impl FnMut(&Span) -> bool,
) -> Result<Option<Scanned>, (Lsn, Reject)> {
    let mut scan = Scan::new(file, space, stop, false);
    let mut at = from;
    while at < stop {
        at = scan.step(at)?;
        let Some(span) = scan.found.spans.last() else {
            break;
        };
        if span.lsn == from && !matches!(span.content, Content::Batch(_)) {
            return Ok(None);
        }
        if enough(span) {
            break;
        }
    }
    Ok(Some(scan.found))
}

fn read_header(
    window: &mut Window,
    identity: &SegmentIdentity,
    lsn: Lsn,
    offset: u64,
    room: u64,
) -> Result<VerifiedHeader, Reject> {
    decode_header(window.get(offset, BLOCK_BYTES)?, identity, lsn, room)
}

struct Scan {
    window: Window,
    /// Bytes of the file.
    file_bytes: u64,
    space: SegmentSpace,
    stop: Lsn,
    /// That of the newest sound batch so far.
    epoch: Epoch,
    found: Scanned,
    /// Behind the block that could not be read last.
    run_end: Option<Lsn>,
    /// Whether images are compared with their hashes.
    images: bool,
}

impl Scan {
    fn new(file: Arc<dyn DiskFile>, space: &SegmentSpace, stop: Lsn, images: bool) -> Self {
        // What cannot be told counts as whole: reading it will tell.
        let file_bytes = file.bytes().unwrap_or(u64::MAX);
        Self {
            window: Window::new(file, space.offset(stop)),
            file_bytes,
            space: *space,
            stop,
            epoch: space.epoch,
            found: Scanned {
                spans: Vec::new(),
                unreadable: Vec::new(),
            },
            run_end: None,
            images,
        }
    }

    /// Classifies what starts at `at`, and returns where it ends.
    fn step(&mut self, at: Lsn) -> Result<Lsn, (Lsn, Reject)> {
        let mut span = self.batch_at(at);
        if span.is_err() || matches!(&span, Ok(span) if matches!(span.content, Content::Bad(_))) {
            // The device may have answered wrongly once: believe its second answer.
            self.window.forget();
            span = self.batch_at(at);
        }
        match span {
            Ok(span) => {
                let end = span.end;
                match &span.content {
                    Content::Batch(batch) => self.epoch = batch.header.epoch,
                    Content::Bad(bad) => refuse_features(bad.at, &bad.reason)?,
                    Content::Zeros => {}
                }
                self.found.spans.push(span);
                Ok(end)
            }
            Err(reject) => {
                refuse_features(at, &reject)?;
                self.seek(at, reject)
            }
        }
    }

    /// Whether the file ends before `end`.
    fn is_cut_off(&self, end: Lsn) -> bool {
        self.file_bytes < self.space.offset(end)
    }

    fn header_at(&mut self, lsn: Lsn) -> Result<VerifiedHeader, Reject> {
        let room = self.stop.get().saturating_sub(lsn.get());
        let offset = self.space.offset(lsn);
        let identity = self.space.identity;
        let header = read_header(&mut self.window, &identity, lsn, offset, room)?;
        if header.place.epoch < self.epoch {
            return Err(Reject::Invalid("a batch of an older epoch"));
        }
        Ok(header)
    }

    fn batch_at(&mut self, lsn: Lsn) -> Result<Span, Reject> {
        let header = self.header_at(lsn)?;
        let sound = SoundHeader {
            durable: header.place.durable,
            epoch: header.place.epoch,
            checksum: header.checksum,
        };
        let length = usize::try_from(header.length_bytes).map_err(|_| Reject::Checksum)?;
        let whole = self.window.get(self.space.offset(lsn), length);
        let content = match whole.and_then(|bytes| Ok((decode_directory(&header, bytes)?, bytes))) {
            Err(reason) => {
                let directory = self.directory_in_parts(lsn, &header);
                bad(lsn, reason, sound, directory, self.is_cut_off(header.end))
            }
            Ok((directory, bytes)) => match verify_records(&header, &directory, bytes)
                .and_then(|records| check_images(self.images, &header, bytes, records))
            {
                Err((at, reason)) => bad(at, reason, sound, Some(directory), false),
                Ok(records) => {
                    let identity = &self.space.identity;
                    Content::Batch(ScannedBatch {
                        header: sound,
                        records: records.into_iter().map(ScannedRecord::from).collect(),
                        spare_damage: spare_parts_damage(&header, &directory, bytes, identity),
                    })
                }
            },
        };
        Ok(Span {
            lsn,
            end: header.end,
            content,
        })
    }

    /// The directory of a batch that cannot be read as a whole.
    fn directory_in_parts(
        &mut self,
        lsn: Lsn,
        header: &VerifiedHeader,
    ) -> Option<Vec<DirectoryItem>> {
        let start = self.space.offset(lsn);
        let (at, bytes) = last_directory(header);
        let window = &mut self.window;
        let at_the_end = window.get_anywhere(start + at as u64, bytes);
        if let Ok(directory) = at_the_end.and_then(|bytes| directory_of(header, bytes)) {
            return Some(directory);
        }
        let entry_at = |at: usize| {
            let entry = window.get_anywhere(start + at as u64, size_of::<DirectoryEntry>())?;
            Ok(entry.to_vec())
        };
        directory_by_records(header, entry_at).ok()
    }

    /// Goes on block by block from a place where no batch starts.
    fn seek(&mut self, from: Lsn, reason: Reject) -> Result<Lsn, (Lsn, Reject)> {
        let mut at = from;
        let mut zeros = true;
        while at < self.stop {
            let end = at.advance(BLOCK).unwrap_or(self.stop);
            let offset = self.space.offset(at);
            match self.window.get(offset, BLOCK_BYTES) {
                Ok(block) if all_zero(block) => {}
                Ok(_) => {
                    if at != from && self.sound_header_at(at)? {
                        self.close_span(from, at, zeros, reason, false);
                        return Ok(at);
                    }
                    zeros = false;
                    if let Some(trailer) = self.trailer_at(end, from) {
                        return Ok(self.close_named(from, trailer, reason));
                    }
                }
                Err(reject) => {
                    zeros = false;
                    self.unreadable(at, reject);
                }
            }
            at = end;
        }
        self.close_span(from, self.stop, zeros, reason, true);
        Ok(self.stop)
    }

    fn unreadable(&mut self, at: Lsn, reject: Reject) {
        if self.run_end != Some(at) {
            self.found.unreadable.push((at, reject));
        }
        self.run_end = at.advance(BLOCK);
    }

    fn sound_header_at(&mut self, at: Lsn) -> Result<bool, (Lsn, Reject)> {
        match self.header_at(at) {
            Ok(_) => Ok(true),
            Err(reject) => refuse_features(at, &reject).map(|()| false),
        }
    }

    /// The trailer that ends at `end`, of a batch that starts at or behind `from`.
    fn trailer_at(&mut self, end: Lsn, from: Lsn) -> Option<VerifiedTrailer> {
        let identity = self.space.identity;
        let mut blocks = 1;
        loop {
            let start = Lsn::new(end.get().checked_sub(blocks * BLOCK)?);
            if start < from {
                return None;
            }
            let bytes = usize::try_from(blocks * BLOCK).ok()?;
            let held = self.window.get(self.space.offset(start), bytes).ok()?;
            match decode_trailer(held, &identity, end) {
                Ok(trailer) => {
                    let fits = from <= trailer.lsn && self.epoch <= trailer.epoch;
                    return fits.then_some(trailer);
                }
                Err(Reject::Truncated { needed, .. }) => blocks = needed.div_ceil(BLOCK),
                Err(_) => return None,
            }
        }
    }

    fn close_named(&mut self, from: Lsn, trailer: VerifiedTrailer, reason: Reject) -> Lsn {
        if from < trailer.lsn {
            self.close_span(from, trailer.lsn, false, reason.clone(), false);
        }
        self.found.spans.push(Span {
            lsn: trailer.lsn,
            end: trailer.end,
            content: Content::Bad(BadBytes {
                at: trailer.lsn,
                reason,
                header: None,
                directory: Some(trailer.directory),
                open_end: false,
                cut_off: false,
            }),
        });
        trailer.end
    }

    fn close_span(&mut self, lsn: Lsn, end: Lsn, zeros: bool, reason: Reject, open_end: bool) {
        let content = if zeros {
            Content::Zeros
        } else {
            Content::Bad(BadBytes {
                at: lsn,
                reason,
                header: None,
                directory: None,
                open_end,
                cut_off: lsn.advance(BLOCK).is_none_or(|end| self.is_cut_off(end)),
            })
        };
        self.found.spans.push(Span { lsn, end, content });
    }
}

fn bad(
    at: Lsn,
    reason: Reject,
    sound: SoundHeader,
    directory: Option<Vec<DirectoryItem>>,
    cut_off: bool,
) -> Content {
    Content::Bad(BadBytes {
        at,
        reason,
        header: Some(sound),
        directory,
        open_end: false,
        cut_off,
    })
}

fn refuse_features(at: Lsn, reject: &Reject) -> Result<(), (Lsn, Reject)> {
    if matches!(reject, Reject::Features { .. }) {
        return Err((at, reject.clone()));
    }
    Ok(())
}
