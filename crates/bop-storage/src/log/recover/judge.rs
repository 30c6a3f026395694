//! The tail rule, applied to the spans of one segment. Pure.
//!
//! Never: reads a file, knows what a database is.

use crate::canary::{Canary, is_planted};
use crate::error::Reject;
use crate::ids::Lsn;
use crate::io::{BLOCK_BYTES, IoFailure};
use crate::log::scan::{BadBytes, Content, SoundHeader, Span};
use crate::log::tail_rule::{Circumstances, Verdict, verdict};

/// A span and what becomes of it.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) span: Span,
    pub(super) verdict: Verdict,
}

impl Judged {
    /// Where the span ends as a part of the log. Bad bytes without a known end reach as far as the
    /// log was durable, and no further; a part that the file has lost may have been full of it.
    pub(super) fn end(&self, known: Lsn) -> Lsn {
        let open = match &self.span.content {
            Content::Zeros => true,
            Content::Bad(bad) => bad.open_end && !bad.cut_off,
            Content::Batch(_) => false,
        };
        if !open {
            return self.span.end;
        }
        let block = BLOCK_BYTES as u64;
        let least = self.span.lsn.advance(block).unwrap_or(self.span.end);
        let durable = Lsn::new(known.get().next_multiple_of(block));
        least.max(durable).min(self.span.end)
    }
}

/// What the headers of a segment prove: everything before the result was durable once.
pub(super) fn known_by(spans: &[Span]) -> Lsn {
    if is_planted(Canary::WatermarkIgnored) {
        return Lsn::ZERO;
    }
    let proved = |span: &Span| {
        let header = header_of(&span.content)?;
        if is_planted(Canary::LaterBatchIsProof) {
            return Some(span.lsn);
        }
        Some(header.durable)
    };
    spans.iter().filter_map(proved).max().unwrap_or(Lsn::ZERO)
}

/// The span's header, if it is sound.
pub(super) fn header_of(content: &Content) -> Option<SoundHeader> {
    match content {
        Content::Batch(batch) => Some(batch.header),
        Content::Bad(bad) => bad.header,
        Content::Zeros => None,
    }
}

/// What becomes of each span. `dead_from` is where the next segment says this one ends.
pub(super) fn judge(spans: Vec<Span>, dead_from: Option<Lsn>, known: Lsn) -> Vec<Judged> {
    let mut gap_before = false;
    let judged = spans.into_iter().map(|span| {
        let valid = matches!(span.content, Content::Batch(_));
        let circumstances = Circumstances {
            in_dead_zone: !is_planted(Canary::ReplayPastPredecessorEnd)
                && dead_from.is_some_and(|dead| dead <= span.lsn),
            valid,
            gap_before,
            // What a device refuses to read, or a file has lost, is no torn write: it is never
            // taken for the end.
            below_known: span.lsn < known || (unreadable(&span.content) && !gap_before),
        };
        gap_before |= !valid && !circumstances.below_known;
        Judged {
            span,
            verdict: verdict(circumstances),
        }
    });
    judged.collect()
}

fn unreadable(content: &Content) -> bool {
    let cut_off = matches!(content, Content::Bad(bad) if bad.cut_off);
    cut_off || refused_read(content).is_some()
}

/// The read that the device refused, if that is all that is wrong with the span.
fn refused_read(content: &Content) -> Option<&IoFailure> {
    match content {
        Content::Bad(BadBytes {
            reason: Reject::Unreadable(failure),
            ..
        }) => Some(failure),
        _ => None,
    }
}

/// A part of the log that the device refused to read and nothing tells the end of: it may be all of
/// the log's newest part, or none.
pub(super) fn unknown_tail(judged: &[Judged], known: Lsn) -> Option<&IoFailure> {
    let lost = judged
        .iter()
        .filter(|one| one.verdict == Verdict::Damaged && known <= one.span.lsn);
    lost.filter_map(|one| refused_read(&one.span.content))
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Epoch;
    use crate::io::IoOp;
    use crate::io::errno::EIO;
    use crate::log::scan::{BadBytes, ScannedBatch};

    fn refused() -> IoFailure {
        IoFailure {
            op: IoOp::Read,
            path: "1.seg".into(),
            offset: None,
            errno: EIO,
        }
    }

    /// `b` a sound batch, `h` a bad one with a sound header, `x` bad bytes, `u` what the device
    /// refused to read, `0` zeros; one block each. A sound header has the watermark given, or its own place.
    fn spans(picture: &str, watermark: Option<u64>) -> Vec<Span> {
        let span = |(index, sort): (usize, char)| {
            let lsn = Lsn::new(index as u64 * 4096);
            let header = SoundHeader {
                durable: watermark.map_or(lsn, Lsn::new),
                epoch: Epoch::new(1),
                checksum: 0,
            };
            let bad = |header, reason| {
                Content::Bad(BadBytes {
                    at: lsn,
                    reason,
                    header,
                    directory: None,
                    open_end: false,
                    cut_off: false,
                })
            };
            Span {
                lsn,
                end: lsn.advance(4096).unwrap(),
                content: match sort {
                    'b' => Content::Batch(ScannedBatch {
                        header,
                        records: Vec::new(),
                        spare_damage: None,
                    }),
                    'h' => bad(Some(header), Reject::Checksum),
                    'x' => bad(None, Reject::Checksum),
                    'u' => bad(None, Reject::Unreadable(refused())),
                    _ => Content::Zeros,
                },
            }
        };
        picture.chars().enumerate().map(span).collect()
    }

    /// `R`eplay, `D`amaged, `E`nd, dead `.`
    fn letters(spans: Vec<Span>, dead_from: Option<Lsn>, known: Lsn) -> String {
        judge(spans, dead_from, known)
            .iter()
            .map(|judged| match judged.verdict {
                Verdict::Replay => 'R',
                Verdict::Damaged => 'D',
                Verdict::End => 'E',
                Verdict::Dead => '.',
            })
            .collect()
    }

    fn check(picture: &str, watermark: Option<u64>, dead_from: Option<u64>, verdicts: &str) {
        let spans = spans(picture, watermark);
        let known = known_by(&spans).max(dead_from.map_or(Lsn::ZERO, Lsn::new));
        let found = letters(spans, dead_from.map(Lsn::new), known);
        assert_eq!(found, verdicts, "{picture}");
    }

    /// The rule in words, for a whole segment: nothing from where the next one says that this one
    /// ends; all of what was durable once, or it is damaged; then what is sound and what cannot be
    /// read, up to the first torn bytes, at which the log ends.
    fn in_words(picture: &str, dead_from: Option<Lsn>, known: Lsn) -> String {
        let place = |index: usize| Lsn::new(index as u64 * 4096);
        let torn = |(index, sort): (usize, char)| known <= place(index) && "hx0".contains(sort);
        let end = picture.chars().enumerate().position(torn);
        let word = |(index, sort): (usize, char)| match sort {
            _ if dead_from.is_some_and(|dead| dead <= place(index)) => '.',
            _ if end.is_some_and(|end| end <= index) => 'E',
            'b' => 'R',
            _ => 'D',
        };
        picture.chars().enumerate().map(word).collect()
    }

    /// All segments of up to four spans.
    fn all_pictures() -> Vec<String> {
        let mut all = vec![String::new()];
        let mut from = 0;
        for _ in 0..4 {
            let shorter = all[from..].to_vec();
            from = all.len();
            for picture in shorter {
                all.extend("bhxu0".chars().map(|sort| format!("{picture}{sort}")));
            }
        }
        all
    }

    #[test]
    fn every_short_segment_is_judged_by_the_words() {
        let places = || (0..=4).map(|block| block * 4096);
        let maybe = || places().map(Some).chain([None]);
        let mut judged = 0;
        for picture in all_pictures() {
            for (watermark, dead_from) in maybe().flat_map(|a| maybe().map(move |b| (a, b))) {
                let dead_from = dead_from.map(Lsn::new);
                for told in places().map(Lsn::new) {
                    let spans = spans(&picture, watermark);
                    let dead = dead_from.unwrap_or(Lsn::ZERO);
                    let known = known_by(&spans).max(dead).max(told);
                    let found = letters(spans, dead_from, known);
                    let words = in_words(&picture, dead_from, known);
                    assert_eq!(
                        found, words,
                        "{picture}, {watermark:?}, {dead_from:?}, {told}"
                    );
                    judged += 1;
                }
            }
        }
        assert_eq!(judged, 781 * 36 * 5);
    }

    #[test]
    fn a_torn_tail_is_the_end_and_a_later_watermark_makes_it_damage() {
        check("bb0", None, None, "RRE");
        check("bbx0", None, None, "RREE");
        check("bbh0", None, None, "RREE");
        // The batch behind was written with the watermark before the bad one.
        check("bxb0", Some(0), None, "REEE");
        // The batch behind says that the bad one was durable.
        check("bxb0", None, None, "RDRE");
        check("b0b0", None, None, "RDRE");
        // A bad batch's sound header says so too.
        check("bxh0", None, None, "RDEE");
    }

    #[test]
    fn what_the_next_segment_cuts_off_is_dead_and_all_before_it_was_durable() {
        check("bbbb", None, Some(8192), "RR..");
        check("bxbb", None, Some(8192), "RD..");
        check("b0", None, Some(8192), "RD");
    }

    /// Four blocks of bad bytes, in blocks: where they end, by what is known.
    fn bad_end(open_end: bool, cut_off: bool, known: Lsn) -> u64 {
        let mut span = spans("x", None).remove(0);
        span.end = Lsn::new(4 * 4096);
        if let Content::Bad(bad) = &mut span.content {
            (bad.open_end, bad.cut_off) = (open_end, cut_off);
        }
        let verdict = Verdict::Damaged;
        Judged { span, verdict }.end(known).get() / 4096
    }

    #[test]
    fn bad_bytes_without_an_end_reach_as_far_as_the_log_was_durable_but_a_lost_part_was_full() {
        let known = |bytes| Lsn::new(bytes);
        assert_eq!(bad_end(true, false, known(0)), 1, "one block at least");
        assert_eq!(bad_end(true, false, known(4097)), 2);
        assert_eq!(bad_end(true, false, known(90 * 4096)), 4, "no further");
        assert_eq!(bad_end(false, false, known(0)), 4, "its header says so");
        assert_eq!(bad_end(true, true, known(0)), 4, "the file has lost it");
    }

    #[test]
    fn only_a_refused_read_behind_what_is_known_may_hide_the_end_of_the_log() {
        let hides = |picture: &str, dead_from: Option<u64>, known: u64| {
            let known = Lsn::new(known * 4096);
            let judged = judge(
                spans(picture, Some(0)),
                dead_from.map(|block| Lsn::new(block * 4096)),
                known,
            );
            unknown_tail(&judged, known).is_some()
        };
        assert!(hides("bu", None, 1));
        assert!(!hides("bub", None, 2), "it was durable, and is damaged");
        assert!(!hides("bu", Some(1), 1), "the log went on elsewhere");
        assert!(!hides("bxu", None, 1), "the log ends before it");
        assert!(!hides("bx", None, 1), "torn bytes end it");
    }
}
