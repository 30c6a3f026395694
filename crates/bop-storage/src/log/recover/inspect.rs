//! The first three blocks of each registered segment: what it is before a batch is read.
//!
//! ```text
//! stamp   activation 1, 2    what it is
//! any     one is sound       Activated (a bad stamp or a bad copy is reported)
//! sound   both zeros         Spare, unless batches stand behind them
//! bad     both zeros         Unusable, but never activated
//! any     neither, not zero  Activated without its activation, if a sound batch is in it;
//!                            else as with zeros: the activation was torn
//! the file is missing, is of another store, another segment, another life: Unusable
//! ```
//! What the device refuses to read is never guessed at: the log may go on there, and a store that
//! went on without it could not take it back. So opening fails, and nothing is changed.
//!
//! Never: writes; reads a file that is not registered.

use crate::error::{Damage, OpenError, Place, Reject};
use crate::ids::{Incarnation, Lsn, SegmentId, StoreId};
use crate::io::errno::{EINVAL, EISDIR, ELOOP, ENOENT, ENOTDIR, EROFS};
use crate::io::{Block, Disk, DiskFile, IoFailure, OpenMode, layout};
use crate::log::format::{Activated, ChainHash, DATA_START, SegmentIdentity, Stamped, all_zero};
use crate::log::scan::{SegmentSpace, find_base};
use std::sync::Arc;

/// A segment, as the manifest has it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct RegisteredSegment {
    /// The segment.
    pub id: SegmentId,
    /// The life of its file.
    pub incarnation: Incarnation,
    /// Bytes of its file.
    pub capacity_bytes: u64,
}

impl RegisteredSegment {
    fn identity(&self, store: StoreId) -> SegmentIdentity {
        SegmentIdentity {
            store,
            segment: self.id,
            incarnation: self.incarnation,
        }
    }
}

/// The block where batches start.
const FIRST_BATCH: u64 = DATA_START / size_of::<Block>() as u64;

/// What a registered segment turned out to be.
#[derive(Debug)]
pub(super) struct Inspected {
    pub(super) registered: RegisteredSegment,
    pub(super) state: State,
    /// What is wrong with it, for the report. Whether it matters is decided elsewhere.
    pub(super) findings: Vec<Damage>,
}

#[derive(Debug)]
pub(super) enum State {
    /// It is, or was, the active segment.
    Activated(Opened),
    /// It was never activated and can be.
    Spare(Arc<dyn DiskFile>),
    /// It was never activated, and must be stamped again before it can be.
    NeverActivated,
    /// Its activation was begun and given up: the log went on elsewhere, from the same place. What is
    /// in it never was a part of the log. It could not have held an Lsn from this one on.
    Abandoned(Lsn),
    /// Nobody can tell what was in it.
    Unusable(Damage),
}

/// An activated segment, ready to be scanned.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) space: SegmentSpace,
    /// `None` when both copies of the activation are lost.
    pub(super) activation: Option<(Activated, ChainHash)>,
    /// Why the second copy was not believed, if it is zeros: a crash between the two leaves that,
    /// but not behind it a batch.
    pub(super) second_copy: Result<(), Reject>,
}

impl Inspected {
    /// The segment's file, as a place.
    pub(super) fn place(&self) -> Place {
        place(self.registered.id)
    }

    pub(super) fn opened(&self) -> Option<&Opened> {
        match &self.state {
            State::Activated(opened) => Some(opened),
            State::Spare(_) | State::NeverActivated | State::Abandoned(_) | State::Unusable(_) => {
                None
            }
        }
    }

    /// Why nobody can tell what was in it, if so.
    pub(super) fn unusable(&self) -> Option<&Damage> {
        match &self.state {
            State::Unusable(damage) => Some(damage),
            State::Activated(_) | State::Spare(_) | State::NeverActivated | State::Abandoned(_) => {
                None
            }
        }
    }
}

fn place(id: SegmentId) -> Place {
    Place::File(layout::segment(id))
}

/// Looks at one registered segment.
///
/// # Errors
/// [`OpenError::Io`] when the process may not, or cannot now, open or read files;
/// [`OpenError::Damaged`]
/// with [`Reject::Version`] for a segment of a newer format.
pub(super) fn inspect(
    disk: &dyn Disk,
    store: StoreId,
    registered: RegisteredSegment,
) -> Result<Inspected, OpenError> {
    let mut inspected = Inspected {
        registered,
        state: State::NeverActivated,
        findings: Vec::new(),
    };
    let identity = registered.identity(store);
    let opened = match open(disk, registered.id)? {
        Ok(file) => look(file, identity, &mut inspected)?,
        Err(reject) => State::Unusable(Damage::new(place(registered.id), reject)),
    };
    if let State::Unusable(damage) = &opened {
        inspected.findings.push(damage.clone());
    }
    inspected.state = opened;
    Ok(inspected)
}

type Opening = Result<Arc<dyn DiskFile>, Reject>;

fn open(disk: &dyn Disk, id: SegmentId) -> Result<Opening, OpenError> {
    let file = match disk.open(&layout::segment(id), OpenMode::Read) {
        Ok(file) => file,
        Err(failure) if failure.errno == ENOENT => return Ok(Err(Reject::Missing)),
        Err(failure) if is_another_thing(&failure) => return Ok(Err(Reject::Unreadable(failure))),
        Err(failure) => return Err(OpenError::Io(failure)),
    };
    // What another process left in the kernel's cache is made durable before anything is decided
    // by it: it might be gone after the next power cut.
    match file.sync() {
        Err(failure) if failure.errno != EROFS => Err(OpenError::Io(failure)),
        _ => Ok(Ok(file)),
    }
}

/// Whether something that is no file has the name. Any other failure says nothing about the bytes.
fn is_another_thing(failure: &IoFailure) -> bool {
    [ELOOP, EISDIR, ENOTDIR, EINVAL].contains(&failure.errno)
}

fn look(
    file: Arc<dyn DiskFile>,
    identity: SegmentIdentity,
    inspected: &mut Inspected,
) -> Result<State, OpenError> {
    let registered = inspected.registered;
    let stamped = Stamped {
        identity,
        capacity_bytes: registered.capacity_bytes,
    };
    let head = block(&file, 0);
    let is_another = matches!(&head, Ok(head) if Stamped::is_of_another(head, &stamped));
    let stamp = head.and_then(|head| Stamped::decode_as(&head, &stamped));
    if let Err(newer @ Reject::Version { .. }) = stamp {
        return Err(OpenError::Damaged(Damage::new(place(registered.id), newer)));
    }
    let copies = [block(&file, 1), block(&file, 2)];
    let decoded = copies.each_ref().map(|block| {
        let block = block.as_ref().map_err(Clone::clone)?;
        Activated::decode(block, &identity)
    });
    let mut report = |reject: Reject| {
        let damage = Damage::new(place(registered.id), reject);
        inspected.findings.push(damage);
    };
    let mut second_copy = Ok(());
    let activation = match decoded {
        // One after the other is made durable: the second can be missing, the first cannot.
        [Ok(first), second] => {
            match second {
                Ok(_) => {}
                Err(reject) if is_zero(&copies[1]) => second_copy = Err(reject),
                Err(reject) => report(reject),
            }
            Some(first)
        }
        [Err(reject), Ok(second)] => {
            report(reject);
            Some(second)
        }
        [Err(_), Err(_)] => None,
    };
    if let Some((activated, _)) = activation {
        if let Err(reject) = stamp {
            report(reject);
        }
        let space = SegmentSpace {
            identity,
            base: activated.base_lsn,
            capacity_bytes: registered.capacity_bytes,
            epoch: activated.epoch,
        };
        return Ok(State::Activated(Opened {
            file,
            space,
            activation,
            second_copy,
        }));
    }
    let stamp = stamp.map_err(|reject| (reject, is_another));
    without_activation(file, identity, stamp, &copies, inspected)
}

fn without_activation(
    file: Arc<dyn DiskFile>,
    identity: SegmentIdentity,
    stamp: Result<(), (Reject, bool)>,
    copies: &[Result<Block, Reject>; 2],
    inspected: &mut Inspected,
) -> Result<State, OpenError> {
    for copy in copies {
        if let Err(Reject::Unreadable(failure)) = copy {
            return Err(OpenError::Io(failure.clone()));
        }
    }
    let registered = inspected.registered;
    let damage = |reject| Damage::new(place(registered.id), reject);
    // A segment that was activated has its first batch right behind.
    let first_batch = block(&file, FIRST_BATCH);
    let untouched = copies.iter().all(is_zero) && (first_batch.is_err() || is_zero(&first_batch));
    if !untouched || stamp.is_err() {
        let opened = by_its_batches(Arc::clone(&file), identity, inspected)?;
        if let Some(opened) = opened {
            return Ok(State::Activated(opened));
        }
    }
    if let Some(Err(reject)) = copies.iter().find(|copy| copy.is_err()) {
        return Ok(State::Unusable(damage(reject.clone())));
    }
    Ok(match stamp {
        Ok(()) => match short_by(&file, registered.capacity_bytes) {
            None => State::Spare(file),
            Some(reject) => {
                inspected.findings.push(damage(reject));
                State::NeverActivated
            }
        },
        // The stamp is sound and says that this is another file: the segment's own is gone.
        Err((reject, true)) => State::Unusable(damage(reject)),
        Err((reject, _)) if untouched => {
            inspected.findings.push(damage(reject));
            State::NeverActivated
        }
        Err((reject, _)) => State::Unusable(damage(reject)),
    })
}

/// Reads what looks like a spare to its end, for when no segment was found that the log was in: the
/// blocks that say so may be lost.
///
/// # Errors
/// As for [`inspect`].
pub(super) fn look_behind_zeros(
    store: StoreId,
    inspected: &mut Inspected,
) -> Result<(), OpenError> {
    let State::Spare(file) = &inspected.state else {
        return Ok(());
    };
    let file = Arc::clone(file);
    let identity = inspected.registered.identity(store);
    if let Some(opened) = by_its_batches(file, identity, inspected)? {
        inspected.state = State::Activated(opened);
    }
    Ok(())
}

/// A segment with batches and without an activation.
fn by_its_batches(
    file: Arc<dyn DiskFile>,
    identity: SegmentIdentity,
    inspected: &mut Inspected,
) -> Result<Option<Opened>, OpenError> {
    let RegisteredSegment {
        id, capacity_bytes, ..
    } = inspected.registered;
    let found = find_base(Arc::clone(&file), &identity, capacity_bytes)?;
    Ok(found.map(|(base, epoch)| {
        let lost = Reject::Invalid("both copies of the activation are lost");
        inspected.findings.push(Damage::new(place(id), lost));
        let space = SegmentSpace {
            identity,
            base,
            capacity_bytes,
            epoch,
        };
        Opened {
            file,
            space,
            activation: None,
            second_copy: Ok(()),
        }
    }))
}

fn is_zero(copy: &Result<Block, Reject>) -> bool {
    matches!(copy, Ok(block) if all_zero(&block.0))
}

fn short_by(file: &Arc<dyn DiskFile>, needed: u64) -> Option<Reject> {
    match file.bytes() {
        Ok(found) if found < needed => Some(Reject::Truncated { found, needed }),
        Ok(_) => None,
        Err(failure) => Some(Reject::Unreadable(failure)),
    }
}

fn block(file: &Arc<dyn DiskFile>, index: u64) -> Result<Block, Reject> {
    let mut blocks = [Block::ZERO];
    let block_bytes = size_of::<Block>();
    let offset = index * block_bytes as u64;
    let found = file.read_at(offset, &mut blocks);
    let found = found.map_err(Reject::Unreadable)?;
    if found < block_bytes {
        return Err(Reject::Truncated {
            found: offset + found as u64,
            needed: offset + block_bytes as u64,
        });
    }
    Ok(blocks[0])
}
