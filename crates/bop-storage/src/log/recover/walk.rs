//! The walk over the activated segments, from the oldest to the newest.
//!
//! Invariant: when a segment's batches are delivered, everything before them is delivered or known
//! to be lost.

use super::inspect::{Inspected, Opened};
use super::judge::{Judged, header_of, judge, known_by, unknown_tail};
use super::links::{Link, Links};
use super::readers::{Helpers, Readers};
use super::reading::{Read, Reading};
use super::replay::Replay;
use super::{ActiveSegment, LogState, SealedSegment};
use crate::error::{Damage, OpenError, Place, Reject};
use crate::ids::{DbId, Epoch, Lsn, SegmentId};
use crate::io::{BLOCK_BYTES, layout};
use crate::log::format::ChainHash;
use crate::log::scan::{BadBytes, Content, ScannedBatch, ScannedBody};
use crate::log::tail_rule::Verdict;
use std::collections::BTreeMap;

pub(super) struct Walk<'a> {
    truncated: Lsn,
    /// What the manifest proves.
    known: Lsn,
    replay: Replay<'a>,
    found: Walked,
}

/// What the walk found.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) end: Lsn,
    pub(super) last_time_us: u64,
    pub(super) max_epoch: Epoch,
    pub(super) clean: bool,
    pub(super) active: Option<ActiveSegment>,
    pub(super) sealed: Vec<SealedSegment>,
    pub(super) damaged: BTreeMap<DbId, Damage>,
    pub(super) spans: BTreeMap<DbId, (Lsn, Lsn)>,
    pub(super) findings: Vec<Damage>,
}

/// One segment, walked.
struct Passed {
    end: Lsn,
    /// The fold of its batches; `None` when not all of their headers could be read.
    chain: Option<ChainHash>,
    /// What a successor must name when the fold is not known either.
    chain_so_far: ChainHash,
    /// Where the newest batch starts; the end when there is none.
    tail: Lsn,
    /// A close record ends it, and only zeros follow.
    closed: bool,
    /// Its index was read, and no batch.
    indexed: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(state: &LogState<'_>, replay: Replay<'a>) -> Self {
        Self {
            truncated: state.truncated,
            known: state.known(),
            replay,
            found: Walked::default(),
        }
    }

    pub(super) fn run(
        mut self,
        segments: &[Inspected],
        links: &Links,
        helpers: Helpers<'_>,
    ) -> Result<Walked, OpenError> {
        let activated: Vec<&Opened> = segments.iter().filter_map(Inspected::opened).collect();
        let readings = activated.iter().enumerate();
        let readings =
            readings.map(|(index, opened)| Reading::of(opened, links.between.get(index)));
        let readers = Readers::start(readings.collect(), helpers);
        self.found.end = self.truncated;
        if let (Some(first), Some(damage)) = (activated.first(), &links.front) {
            self.hole(first.space.base, damage);
        }
        for (index, opened) in activated.iter().enumerate() {
            let link = links.between.get(index);
            let next = activated.get(index + 1);
            let read = readers.take(index).map_err(|(lsn, reject)| {
                let segment = opened.space.identity.segment;
                OpenError::Damaged(Damage::new(Place::Log { segment, lsn }, reject))
            })?;
            let passed = self.segment(opened, read, link, next.map(|next| next.space.epoch))?;
            self.found.end = passed.end;
            match (link, next) {
                (Some(link), Some(next)) => self.leave(opened, &passed, link, next),
                _ => self.stay(opened, &passed),
            }
        }
        self.behind_the_last(segments, &activated, links);
        self.found.last_time_us = self.found.last_time_us.max(self.replay.last_time_us);
        (self.found.damaged, self.found.spans) = self.replay.databases.finish();
        Ok(self.found)
    }

    fn segment(
        &mut self,
        opened: &Opened,
        read: Read,
        link: Option<&Link>,
        next_epoch: Option<Epoch>,
    ) -> Result<Passed, OpenError> {
        let space = &opened.space;
        let id = space.identity.segment;
        let dead_from = link.and_then(|link| link.end).map(|(end, _)| end);
        let Read { scanned, indexed } = read;
        let known = self.known.max(dead_from.unwrap_or(Lsn::ZERO));
        let known = known.max(known_by(&scanned.spans));
        if let Some((activated, _)) = opened.activation {
            let last_time_us = &mut self.found.last_time_us;
            *last_time_us = activated.last_time_us.max(*last_time_us);
        }
        self.found.max_epoch = self.found.max_epoch.max(space.epoch);
        let readable = scanned.unreadable.is_empty();
        for (lsn, reject) in scanned.unreadable {
            self.find(Damage::new(Place::Log { segment: id, lsn }, reject));
        }
        let left = dead_from.zip(next_epoch);
        let judged = judge(scanned.spans, dead_from, known);
        if link.is_none()
            && let Some(failure) = unknown_tail(&judged, known)
        {
            return Err(OpenError::Io(failure.clone()));
        }
        if let Err(reject) = &opened.second_copy
            && judged.iter().any(|one| one.verdict == Verdict::Replay)
        {
            let file = Place::File(layout::segment(id));
            self.find(Damage::new(file, reject.clone()));
        }
        let mut passed = self.spans(opened, &judged, known, left);
        passed.closed = readable && ends_closed(&judged);
        passed.indexed = indexed;
        Ok(passed)
    }

    /// `left`: where the segment was left, and the epoch that went on behind it.
    fn spans(
        &mut self,
        opened: &Opened,
        judged: &[Judged],
        known: Lsn,
        left: Option<(Lsn, Epoch)>,
    ) -> Passed {
        let space = &opened.space;
        let id = space.identity.segment;
        let chain = opened.activation.map(|(_, chain)| chain);
        let mut passed = Passed {
            end: space.base,
            chain,
            chain_so_far: chain.unwrap_or_default(),
            tail: space.base,
            closed: false,
            indexed: false,
        };
        for one in judged {
            let span = &one.span;
            let header = header_of(&span.content);
            if let Some(header) = header {
                self.found.max_epoch = self.found.max_epoch.max(header.epoch);
            }
            match (one.verdict, &span.content) {
                (Verdict::Dead | Verdict::End, _) => continue,
                (Verdict::Replay, Content::Batch(batch)) => {
                    self.replay.batch(id, batch);
                    // The last batch of a run that did not end well may be torn.
                    let torn = left
                        .is_some_and(|(end, epoch)| span.end == end && batch.header.epoch < epoch);
                    if !torn {
                        self.spare_damage(id, span.lsn, batch, known);
                    }
                    (passed.tail, passed.end) = (span.lsn, span.end);
                }
                (_, content) => {
                    let bad = match content {
                        Content::Bad(bad) => Some(bad),
                        Content::Batch(_) | Content::Zeros => None,
                    };
                    passed.end = one.end(known);
                    passed.tail = passed.end;
                    self.lost(id, span.lsn, passed.end, bad);
                }
            }
            match header {
                Some(header) => {
                    passed.chain_so_far = passed.chain_so_far.extended(header.checksum);
                    passed.chain = passed.chain.map(|_| passed.chain_so_far);
                }
                None => passed.chain = None,
            }
        }
        passed
    }

    /// Damage that costs nothing is reported all the same, unless a crash may have caused it.
    fn spare_damage(&mut self, segment: SegmentId, lsn: Lsn, batch: &ScannedBatch, known: Lsn) {
        if let Some(reject) = &batch.spare_damage
            && lsn < known
        {
            let place = Place::Log { segment, lsn };
            self.find(Damage::new(place, reject.clone()));
        }
    }

    fn lost(&mut self, segment: SegmentId, lsn: Lsn, end: Lsn, bad: Option<&BadBytes>) {
        if end <= self.truncated {
            // Released, and kept only because its segment is: reported, but nobody needs it.
            let reason = bad.map_or(Reject::Missing, |bad| bad.reason.clone());
            self.find(Damage::new(Place::Log { segment, lsn }, reason));
            return;
        }
        let damage = self.replay.lost(segment, lsn, end, bad);
        self.find(damage);
    }

    /// The log is lost from where it has come to, up to `end`, and nobody knows what was there.
    fn hole(&mut self, end: Lsn, damage: &Damage) {
        self.find(damage.clone());
        self.replay.databases.hole(super::databases::Hole {
            damage: damage.clone(),
            end,
            named: None,
            renamed: BTreeMap::new(),
        });
    }

    /// From a segment to the next one.
    fn leave(&mut self, opened: &Opened, passed: &Passed, link: &Link, next: &Opened) {
        let space = &opened.space;
        self.found.sealed.push(SealedSegment {
            identity: space.identity,
            capacity_bytes: space.capacity_bytes,
            base: space.base,
            end: passed.end,
            indexed: passed.indexed,
        });
        if let (Some((end, hash)), Some(found)) = (link.end, passed.chain)
            && hash != found
        {
            let place = Place::Log {
                segment: space.identity.segment,
                lsn: space.base,
            };
            let reason = Reject::Invalid("not the batches that the next segment follows");
            self.hole(end, &Damage::new(place, reason));
        }
        if let Some(damage) = &link.lost {
            self.hole(next.space.base, damage);
        }
    }

    /// In the newest segment.
    fn stay(&mut self, opened: &Opened, passed: &Passed) {
        let space = &opened.space;
        self.found.clean = passed.closed;
        self.found.active = Some(ActiveSegment {
            identity: space.identity,
            capacity_bytes: space.capacity_bytes,
            base: space.base,
            tail: passed.tail,
            end: passed.end,
            chain: passed.chain_so_far,
        });
    }

    fn behind_the_last(&mut self, segments: &[Inspected], activated: &[&Opened], links: &Links) {
        if let Some(damage) = &links.back {
            // After a clean close the next run writes its open note right behind the close record,
            // if one block is left there: it did not, so nothing went on in another segment.
            let room = self.found.active.is_some_and(|active| {
                let next = active.end.advance(BLOCK_BYTES as u64);
                let limit = activated.last().map(|opened| opened.space.limit());
                next <= limit && next.is_some()
            });
            if !(self.found.clean && room) {
                self.found.clean = false;
                self.hole(Lsn::LIMIT, damage);
            }
        } else if activated.is_empty() && Lsn::ZERO < self.known {
            let place = segments
                .first()
                .map_or_else(|| Place::File(layout::LOG_DIR.into()), Inspected::place);
            let reason = Reject::Invalid("the manifest knows of a log, but no segment has one");
            self.hole(Lsn::LIMIT, &Damage::new(place, reason));
        }
    }

    fn find(&mut self, damage: Damage) {
        if !self.found.findings.contains(&damage) {
            self.found.findings.push(damage);
        }
    }
}

/// Whether the log ends in a close record with nothing but zeros behind.
fn ends_closed(judged: &[Judged]) -> bool {
    let mut behind = judged.iter().rev();
    let last = behind.find(|one| one.span.content != Content::Zeros);
    let Some(Judged { span, verdict }) = last else {
        return false;
    };
    match &span.content {
        Content::Batch(batch) => {
            *verdict == Verdict::Replay
                && batch.spare_damage.is_none()
                && matches!(
                    batch.records.last().map(|record| &record.body),
                    Some(ScannedBody::Close(_))
                )
        }
        Content::Bad(_) | Content::Zeros => false,
    }
}
