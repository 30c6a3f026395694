//! The tail rule: what replay does with a batch, or with bytes where a batch should be.
//!
//! The unit is the batch, replayed whole or not at all. *Known* is the Lsn below which everything
//! was durable once: the largest of the next segment's predecessor end, what the manifest knows, the
//! close record, and the watermark in every sound batch header of this or a later segment. A *gap*
//! is a bad batch at or past it.
//!
//! A later sound batch proves nothing by itself, because unsynced sectors survive in any subset; only
//! its watermark does.
//!
//! Never: does I/O, looks at bytes.

/// What is known of a batch when the rule is asked.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Circumstances {
    /// It starts at or past the place where the next segment says this one ends.
    pub in_dead_zone: bool,
    /// Header and records are sound, and it is of no older epoch than a sound batch before it.
    pub valid: bool,
    /// A gap stands before it in its segment.
    pub gap_before: bool,
    /// It starts below *known*.
    pub below_known: bool,
}

/// What replay does.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// Not a part of the log: passed over.
    Dead,
    /// Replayed.
    Replay,
    /// Was acknowledged once, or may have been, and is lost: never the end of the log.
    Damaged,
    /// The log ends before it; everything from it on in this segment is dead.
    End,
}

/// One column of a row: what a circumstance must be for the row to match.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Must {
    Yes,
    No,
    Any,
}

impl Must {
    const fn admits(self, fact: bool) -> bool {
        match self {
            Self::Yes => fact,
            Self::No => !fact,
            Self::Any => true,
        }
    }
}

use Must::{Any, No, Yes};

/// The rule. The first row that matches holds; together they match everything.
///
/// ```text
/// in_dead_zone  valid  gap_before  below_known
/// ```
const RULE: &[([Must; 4], Verdict)] = &[
    // The log went on in the next segment: an unclean stop left these bytes, or a rewrite did.
    ([Yes, Any, Any, Any], Verdict::Dead),
    // The ordinary case.
    ([No, Yes, No, Any], Verdict::Replay),
    // Below a watermark: no crash does this, only a fault of the medium.
    ([No, No, Any, Yes], Verdict::Damaged),
    // A gap lies at or past *known*, so nothing behind it is below: should the caller ever say so,
    // it is not taken for the end.
    ([No, Yes, Yes, Yes], Verdict::Damaged),
    // The torn tail, and what survived behind it.
    ([No, Any, Any, No], Verdict::End),
];

/// What replay does with a batch in these circumstances.
pub fn verdict(of: Circumstances) -> Verdict {
    let facts = [of.in_dead_zone, of.valid, of.gap_before, of.below_known];
    RULE.iter()
        .find(|(row, _)| row.iter().zip(facts).all(|(must, fact)| must.admits(fact)))
        // A test walks all inputs: every one has a row. Damage is what can never lose a commit.
        .map_or(Verdict::Damaged, |(_, verdict)| *verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = Circumstances> {
        (0u8..16).map(|bits| Circumstances {
            in_dead_zone: bits & 8 != 0,
            valid: bits & 4 != 0,
            gap_before: bits & 2 != 0,
            below_known: bits & 1 != 0,
        })
    }

    /// The rule in words, written down a second time.
    fn in_words(of: Circumstances) -> Verdict {
        if of.in_dead_zone {
            return Verdict::Dead;
        }
        if of.valid && !of.gap_before {
            return Verdict::Replay;
        }
        if of.below_known {
            Verdict::Damaged
        } else {
            Verdict::End
        }
    }

    #[test]
    fn every_combination_has_the_verdict_of_the_words() {
        for of in all() {
            assert_eq!(verdict(of), in_words(of), "{of:?}");
        }
    }

    #[test]
    fn every_combination_has_a_row_and_every_row_a_combination() {
        let mut used = vec![0; RULE.len()];
        for of in all() {
            let facts = [of.in_dead_zone, of.valid, of.gap_before, of.below_known];
            let row = RULE
                .iter()
                .position(|(row, _)| row.iter().zip(facts).all(|(must, fact)| must.admits(fact)));
            used[row.unwrap()] += 1;
        }
        assert!(used.iter().all(|count| 0 < *count), "{used:?}");
    }

    #[test]
    fn nothing_below_a_watermark_is_ever_the_end() {
        let lost = |of: &Circumstances| of.below_known && verdict(*of) == Verdict::End;
        assert_eq!(all().find(lost), None);
    }
}
