//! Verification of the log: every batch of every segment that is in use, read from the device in
//! large pieces, and the indexes of the sealed ones.
//!
//! Invariant: a page is taken for proved only if the whole segment of its image was sound, and never
//! if that image is a patch: what it rests on was not looked for.
//!
//! Never: holds up the release of the log for longer than one segment takes.

use super::engine::Engine;
use crate::error::{Damage, Place, Reject};
use crate::ids::{Epoch, Lsn};
use crate::io::{BLOCK_BYTES, Block, layout};
use crate::log::LogSegment;
use crate::log::format::{Activated, ChainHash, Sealed, SegmentIdentity, all_zero};
use crate::log::scan::{Content, Manner, Scanned, SegmentSpace, read_index, scan_segment};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Parts of the log whose every byte was read and is right.
#[derive(Debug, Default)]
pub(super) struct ProvedLog {
    /// Ends by starts.
    parts: BTreeMap<Lsn, Lsn>,
}

impl ProvedLog {
    /// Whether the byte at `lsn`, and so the record it is in, is right.
    pub(super) fn has(&self, lsn: Lsn) -> bool {
        let before = self.parts.range(..=lsn).next_back();
        before.is_some_and(|(_, end)| lsn < *end)
    }
}

/// A segment, and where the log in it ends.
struct Part {
    segment: Arc<LogSegment>,
    end: Lsn,
    sealed: bool,
}

impl Engine {
    /// Reads the log. Findings go to `findings`, and what is right is in the result.
    pub(super) fn verify_log(&self, findings: &mut Vec<Damage>) -> ProvedLog {
        let mut proved = ProvedLog::default();
        let ring = self.log.ring();
        // In this order: what is published when the active segment is asked for lies in it, or in
        // one that is sealed by then.
        let active = ring.active();
        let published = self.log.published();
        let sealed = ring.sealed().into_iter().map(|sealed| Part {
            segment: sealed.segment,
            end: sealed.end,
            sealed: true,
        });
        let mut parts: Vec<Part> = sealed.collect();
        let known = |segment: &LogSegment| parts.iter().any(|part| part.segment.id == segment.id);
        if let Some(segment) = active.filter(|segment| !known(segment)) {
            let end = published;
            parts.push(Part {
                segment,
                end,
                sealed: false,
            });
        }
        for part in &parts {
            if self.lifecycle.is_closing() {
                return proved;
            }
            let _kept = ring.seals().pause();
            let here = ring.locate(part.segment.base);
            if here.is_some_and(|(segment, _)| segment.id == part.segment.id) {
                self.verify_segment(part, &mut proved, findings);
            }
        }
        proved
    }

    fn verify_segment(&self, part: &Part, proved: &mut ProvedLog, findings: &mut Vec<Damage>) {
        let Part { segment, end, .. } = part;
        let before = findings.len();
        let identity = SegmentIdentity {
            store: self.store,
            segment: segment.id,
            incarnation: segment.incarnation,
        };
        let Some((activated, start)) = verify_activation(part, &identity, findings) else {
            return;
        };
        let space = SegmentSpace {
            identity,
            base: segment.base,
            capacity_bytes: segment.capacity_bytes,
            epoch: activated.epoch,
        };
        let manner = Manner {
            keep: &|_| (),
            images: true,
        };
        let mut found = |lsn: Lsn, reject: Reject| {
            let segment = segment.id;
            findings.push(Damage::new(Place::Log { segment, lsn }, reject));
        };
        match scan_segment(Arc::clone(&segment.file), &space, *end, manner) {
            Err((lsn, reject)) => found(lsn, reject),
            Ok(scanned) => {
                let next_epoch = self.epoch_behind(*end);
                if let Some(chain) = check(&scanned, start, next_epoch, &mut found)
                    && part.sealed
                {
                    let (base, end) = (segment.base, *end);
                    let sealed = Sealed { base, end, chain };
                    let file = segment.file.as_ref();
                    if let Err(reject) = read_index(file, &space, start, &sealed, &|_| ()) {
                        let file = Place::File(layout::segment(segment.id));
                        findings.push(Damage::new(file, reject));
                    }
                }
            }
        }
        if findings.len() == before {
            proved.parts.insert(segment.base, *end);
        }
    }

    /// The epoch of the segment that starts at `end` or behind it, if there is one.
    fn epoch_behind(&self, end: Lsn) -> Option<Epoch> {
        let ring = self.log.ring();
        let sealed = ring.sealed().into_iter().map(|sealed| sealed.segment);
        let next = sealed.chain(ring.active()).find(|next| end <= next.base)?;
        let mut copies = [Block::ZERO; 2];
        next.file.read_at(BLOCK_BYTES as u64, &mut copies).ok()?;
        let identity = SegmentIdentity {
            store: self.store,
            segment: next.id,
            incarnation: next.incarnation,
        };
        let mut sound = copies
            .iter()
            .filter_map(|copy| Activated::decode(copy, &identity).ok());
        sound.next().map(|(activated, _)| activated.epoch)
    }
}

/// Both copies must be sound: a segment with a batch has had them durable.
fn verify_activation(
    part: &Part,
    identity: &SegmentIdentity,
    findings: &mut Vec<Damage>,
) -> Option<(Activated, ChainHash)> {
    let Part { segment, end, .. } = part;
    let mut copies = [Block::ZERO; 2];
    let file = || Place::File(layout::segment(segment.id));
    if let Err(failure) = segment.file.read_at(BLOCK_BYTES as u64, &mut copies) {
        findings.push(Damage::new(file(), Reject::Unreadable(failure)));
        return None;
    }
    let mut sound = None;
    for (copy, number) in copies.iter().zip(1..) {
        match Activated::decode(copy, identity) {
            Ok(read) => sound = sound.or(Some(read)),
            // A crash between the two left it, and no batch came behind.
            Err(_) if number == 2 && *end == segment.base && all_zero(&copy.0) => {}
            Err(reject) => findings.push(Damage::new(file(), reject)),
        }
    }
    sound
}

/// Tells what is wrong in a segment, and returns the fold of its batches if they are all there.
fn check(
    scanned: &Scanned,
    start: ChainHash,
    next_epoch: Option<Epoch>,
    found: &mut impl FnMut(Lsn, Reject),
) -> Option<ChainHash> {
    let mut chain = Some(start);
    let last = scanned.spans.last().map(|span| span.lsn);
    for span in &scanned.spans {
        match &span.content {
            Content::Batch(batch) => {
                chain = chain.map(|chain| chain.extended(batch.header.checksum));
                // The last batch of a run that did not end well may be torn.
                let torn = last == Some(span.lsn)
                    && next_epoch.is_some_and(|epoch| batch.header.epoch < epoch);
                if let Some(reject) = &batch.spare_damage
                    && !torn
                {
                    found(span.lsn, reject.clone());
                }
            }
            Content::Bad(bad) => {
                found(bad.at, bad.reason.clone());
                chain = None;
            }
            Content::Zeros => {
                found(span.lsn, Reject::Missing);
                chain = None;
            }
        }
    }
    for (lsn, reject) in &scanned.unreadable {
        found(*lsn, reject.clone());
    }
    chain
}
