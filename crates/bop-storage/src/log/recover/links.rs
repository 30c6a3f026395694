//! The predecessor chain: which segment follows which, and what is missing between them. Pure.
//!
//! ```text
//!   1 <------------------ 4 <--- 5      4 names 1 at the end E: 2 and 3 start at E, so they were
//!   |  2 (abandoned)      |              to follow 1, and were given up
//!   |  3 (abandoned)      |
//!   E ------------------- E
//! ```
//! Invariants
//! - a segment that nobody can read is never passed over in silence: where it can have held a part
//!   of the log, the log has a hole there;
//! - the predecessors, walked from the newest activated segment backwards, are the log: what stands
//!   between two of them is *abandoned* if it started where the later one says that the earlier one
//!   ended, and else a contradiction; and so is what stands before a segment whose predecessor was
//!   released: the log is released from its beginning on.
//!
//! Never: reads a file.

use super::inspect::{Inspected, Opened, State};
use crate::error::{Damage, OpenError, Place, Reject};
use crate::ids::{Lsn, SegmentId};
use crate::io::layout;
use crate::log::format::{Activated, ChainHash, Predecessor};

/// What lies between an activated segment and the next one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Link {
    /// Where the next one says that this one ends, and with which fold.
    pub(super) end: Option<(Lsn, ChainHash)>,
    /// Why something may be missing between the two.
    pub(super) lost: Option<Damage>,
}

/// The whole chain.
#[derive(Debug)]
pub(super) struct Links {
    /// Why something may be missing before the first activated segment.
    pub(super) front: Option<Damage>,
    /// Behind each activated segment but the last.
    pub(super) between: Vec<Link>,
    /// Why something may be missing behind the last one.
    pub(super) back: Option<Damage>,
}

/// Finds the abandoned segments among the activated ones: a write of their activation failed, the
/// log went on in a later one from the same place, and that one does not know them. The newest
/// activated segment is never abandoned: nobody went on without it.
pub(super) fn set_aside_abandoned(segments: &mut [Inspected], truncated: Lsn) {
    let mut later: Option<Activated> = None;
    for segment in segments.iter_mut().rev() {
        let Some(opened) = segment.opened() else {
            continue;
        };
        let space = opened.space;
        let own = opened.activation.map(|(activated, _)| activated);
        if is_abandoned(space.identity.segment, own, later, truncated) {
            tracing::info!(segment = %space.identity.segment, "its activation was given up");
            segment.findings.clear();
            segment.state = State::Abandoned(space.limit());
        } else {
            later = own;
        }
    }
}

/// Whether the log went on without the segment `id` and came to `later`.
fn is_abandoned(
    id: SegmentId,
    own: Option<Activated>,
    later: Option<Activated>,
    truncated: Lsn,
) -> bool {
    let (Some(own), Some(later)) = (own, later) else {
        return false;
    };
    later.predecessor.is_some_and(|before| {
        // Behind an unclean stop a segment starts far behind the end of the one it follows.
        let same_place = own.base_lsn == before.end || own.predecessor == later.predecessor;
        let followed = before.segment < id && same_place;
        // Or those that went on in its place are released, as it would be if it were the log's.
        let outlived = id < before.segment && before.end <= truncated;
        own.epoch <= later.epoch && (followed || outlived)
    })
}

/// Links the segments, which stand in the order of their ids. Nothing below `truncated` is needed.
///
/// # Errors
/// [`OpenError::Damaged`] for sound activations that contradict each other: no fault of a medium
/// makes them, and no guess would be safe.
pub(super) fn link(segments: &[Inspected], truncated: Lsn) -> Result<Links, OpenError> {
    let activated: Vec<(usize, &Opened)> = segments
        .iter()
        .enumerate()
        .filter_map(|(index, segment)| Some((index, segment.opened()?)))
        .collect();
    let Some(((first_at, first), (last_at, _))) = activated.first().zip(activated.last()) else {
        return Ok(Links {
            front: None,
            between: Vec::new(),
            back: next_in_order(segments),
        });
    };
    let mut between = Vec::with_capacity(activated.len());
    for pair in activated.windows(2) {
        if let [(from, earlier), (to, later)] = pair {
            between.push(link_two(segments, (*from, earlier), (*to, later))?);
        }
    }
    Ok(Links {
        front: before_first(&segments[..*first_at], first, truncated),
        between,
        back: next_in_order(&segments[*last_at + 1..]),
    })
}

fn before_first(earlier: &[Inspected], first: &Opened, truncated: Lsn) -> Option<Damage> {
    let own = |what| Damage::new(file(first.space.identity.segment), Reject::Invalid(what));
    let lost = match first.activation {
        None => own("both copies of the activation are lost"),
        Some((activated, _)) => match activated.predecessor {
            Some(before) => return (truncated < before.end).then(|| missing(earlier, before)),
            // The first segment of a store starts at zero. Any other that follows none was
            // activated when nobody could read what was before it.
            None => {
                let mut unusable = earlier.iter().filter_map(Inspected::unusable);
                let named = unusable.next().cloned();
                named.unwrap_or_else(|| own("it starts the log anew, what was before is lost"))
            }
        },
    };
    (truncated < first.space.base).then_some(lost)
}

/// Why the segment that `before` names is not there.
fn missing(segments: &[Inspected], before: Predecessor) -> Damage {
    let named = segments
        .iter()
        .find(|segment| segment.registered.id == before.segment);
    match named.map(|segment| &segment.state) {
        Some(State::Unusable(damage)) => damage.clone(),
        Some(_) => Damage::new(
            file(before.segment),
            Reject::Invalid("the log went on behind it, but it was never activated"),
        ),
        None => Damage::new(file(before.segment), Reject::Missing),
    }
}

fn link_two(
    segments: &[Inspected],
    (from, earlier): (usize, &Opened),
    (to, later): (usize, &Opened),
) -> Result<Link, OpenError> {
    let space = later.space;
    let place = file(space.identity.segment);
    let contradiction = |what| {
        let damage = Damage::new(place.clone(), Reject::Invalid(what));
        Err(OpenError::Damaged(damage))
    };
    if space.base < earlier.space.base {
        return contradiction("it starts before the segment that it follows");
    }
    let Some((activated, _)) = later.activation else {
        let lost = Reject::Invalid("both copies of the activation are lost");
        return Ok(Link {
            end: None,
            lost: Some(Damage::new(place, lost)),
        });
    };
    let own_id = earlier.space.identity.segment;
    match activated.predecessor {
        Some(before) if before.segment == own_id => {
            if before.end < earlier.space.base || earlier.space.limit() < before.end {
                return contradiction("its predecessor cannot end where it says");
            }
            Ok(Link {
                end: Some((before.end, before.hash)),
                lost: next_in_order(&segments[from + 1..to]),
            })
        }
        Some(before) if own_id < before.segment => Ok(Link {
            end: None,
            lost: Some(missing(segments, before)),
        }),
        // The earlier one could not be read when this one was activated: nobody knew its end.
        None => Ok(Link {
            end: None,
            lost: Some(Damage::new(
                file(own_id),
                Reject::Invalid("the log went on without it, where it ended is not known"),
            )),
        }),
        Some(_) => contradiction("it does not follow the segment before it"),
    }
}

/// Spares are activated in the order of their ids: if the first of these cannot be read, it may
/// have been the active segment.
fn next_in_order(segments: &[Inspected]) -> Option<Damage> {
    segments.first()?.unusable().cloned()
}

fn file(segment: SegmentId) -> Place {
    Place::File(layout::segment(segment))
}
