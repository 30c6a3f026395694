//! One transaction over several databases: one record of the log, so that all of it is there after a
//! crash or nothing, and all of it becomes visible at one place of the store's order.
//!
//! ```text
//!   fits a record -> one record, with all pages of all members
//!   else          -> fragments, each with pages of some members -> a record that names all members
//! ```
//!
//! Isolation stays that of each database: a reader that looks at two of them while the group is
//! being published may see it in one and not yet in the other.
//!
//! Invariants
//! - the record that names the members is the group's place, and stands in it last: without it, or
//!   without one of the parts that it rests on, no member has anything of the group;
//! - every member holds the log from the first fragment on, whoever's pages that has.
//!
//! Never: more in memory than a fragment that is written, one that waits and the one that is made.

use super::chain::{Chain, part_bytes};
use super::commit::{End, Touched, Transaction};
use super::durability::Durability;
use super::engine::OpenStore;
use super::images::OwnPage;
use super::pending_commit::Visible;
use super::publish::{PublishCommit, next_offsets};
use super::read::ReadTxn;
use super::write::Changed;
use crate::canary::{Canary, is_planted};
use crate::checksum::RollingChecksum;
use crate::error::{CommitError, Rejection};
use crate::ids::PageNo;
use crate::log::format::{
    EncodedRecord, FragmentPart, MemberSpec, encode_pages, pages_record_bytes,
};
use crate::log::{Placed, Priority, Publish, Remains};
use smallvec::SmallVec;
use std::sync::Arc;

/// Publishes each member of a group.
struct PublishGroup(Vec<PublishCommit>);

impl Publish for PublishGroup {
    fn prepare(&mut self, at: Placed) {
        self.0.iter_mut().for_each(|member| member.prepare(at));
    }

    fn publish(mut self: Box<Self>, at: Placed) -> Remains {
        self.0.iter_mut().for_each(|member| member.make_visible(at));
        Some(self)
    }
}

/// Commits all of them; the snapshots that show it stand in the order of the transactions.
pub(super) fn group_commit(
    engine: &Arc<OpenStore>,
    group: Vec<Changed>,
    durability: Durability,
) -> Result<Vec<ReadTxn>, CommitError> {
    let mut reads: Vec<(usize, ReadTxn)> = Vec::with_capacity(group.len());
    let mut committers = Vec::with_capacity(group.len());
    for (index, one) in group.into_iter().enumerate() {
        match one {
            Changed::Yes(committer) => committers.push((index, committer)),
            Changed::No(snapshot) => reads.push((index, snapshot)),
        }
    }
    // A record lists its databases in ascending order.
    committers.sort_by_key(|(_, committer)| committer.state.id());
    let (mut order, mut members) = (Vec::new(), Vec::new());
    for (index, committer) in committers {
        order.push(index);
        members.push(committer.into_transaction()?);
    }
    if !members.is_empty() {
        let visible = append(engine, members, durability)?;
        let visible = visible.into_iter().map(Visible::into_read);
        reads.extend(order.into_iter().zip(visible));
    }
    reads.sort_by_key(|(index, _)| *index);
    Ok(reads.into_iter().map(|(_, read)| read).collect())
}

fn append(
    engine: &Arc<OpenStore>,
    members: Vec<Transaction>,
    durability: Durability,
) -> Result<Vec<Visible>, CommitError> {
    if is_planted(Canary::GroupRecordSplit) && members.len() > 1 {
        let one = |member| append(engine, vec![member], durability);
        let each = members.into_iter().map(one).collect::<Result<Vec<_>, _>>();
        return Ok(each?.into_iter().flatten().collect());
    }
    let touched: Vec<_> = members.iter().map(Transaction::touched).collect();
    let limit = engine.log().fragment_bytes_max();
    let named = pages_record_bytes(members.len(), 0, 0) as u64;
    if limit < named {
        // As many databases as no record can name.
        let bytes = named;
        return Err(Rejection::TooLarge { bytes, limit }.into());
    }
    let bytes = whole_bytes(&members, &touched);
    if limit < bytes {
        return append_chain(engine, members, &touched, bytes, durability);
    }
    let mut loaded = members
        .iter()
        .zip(&touched)
        .map(|(member, pages)| member.load_whole(pages))
        .collect::<Result<Vec<_>, _>>()?;
    let all: Vec<&Transaction> = members.iter().collect();
    let record = encode(FragmentPart::Whole, &all, &mut loaded)?;
    let ends = loaded.into_iter().map(|(own, rolling)| End {
        own,
        placed: Vec::new(),
        rolling,
        hold: None,
    });
    let how = (Priority::User, durability);
    land(engine, members, record, ends.collect(), how)
}

/// Bytes of the record that has all pages of all members as they are.
fn whole_bytes(members: &[Transaction], touched: &[Touched]) -> u64 {
    let pages = touched.iter().map(SmallVec::len).sum();
    let sizes = members
        .iter()
        .map(|member| member.overlay.page_size().bytes());
    let images = sizes.zip(touched).map(|(size, pages)| size * pages.len());
    pages_record_bytes(members.len(), pages, images.sum()) as u64
}

/// Commits in several parts.
fn append_chain(
    engine: &Arc<OpenStore>,
    members: Vec<Transaction>,
    touched: &[Touched],
    bytes: u64,
    durability: Durability,
) -> Result<Vec<Visible>, CommitError> {
    let Some(first) = members.first().map(|member| member.state.id()) else {
        return Ok(Vec::new());
    };
    let mut chain = Chain::begin(engine, first, members.len(), bytes)?;
    let ended =
        append_parts(engine, &mut chain, &members, touched).and_then(|(record, rolling)| {
            let end = |(member, rolling)| chain.end(member, Vec::new(), rolling);
            let ends = rolling.into_iter().enumerate().map(end).collect();
            let how = (Priority::ChainEnd, durability);
            land(engine, members, record, ends, how)
        });
    // Unknown: the last part may be there, and then it counts.
    if matches!(ended, Err(CommitError::Rejected(_))) {
        chain.abort();
    }
    ended
}

/// Writes all pages, and makes the record that commits them, with the checksums that it says.
fn append_parts(
    engine: &Arc<OpenStore>,
    chain: &mut Chain,
    members: &[Transaction],
    touched: &[Touched],
) -> Result<(EncodedRecord, Vec<RollingChecksum>), CommitError> {
    let both = members.iter().zip(touched);
    let mut rolling = both
        .map(|(member, pages)| member.rolling_without_cut(pages))
        .collect::<Result<Vec<_>, _>>()?;
    for cut in fragments(engine, members, touched) {
        let part = chain.next_part();
        let (mut all, mut loaded) = (Vec::new(), Vec::new());
        for (nth, pages) in &cut {
            let (own, next) = members[*nth].load(part, pages, rolling[*nth])?;
            rolling[*nth] = next;
            all.push(&members[*nth]);
            loaded.push((own, next));
        }
        let record = encode(part, &all, &mut loaded)?;
        let own = cut.iter().zip(loaded);
        let own = own.map(|((nth, _), (own, _))| (*nth, own)).collect();
        chain.append(record, own)?;
    }
    let mut none: Vec<_> = rolling
        .iter()
        .map(|rolling| (Vec::new(), *rolling))
        .collect();
    let all: Vec<&Transaction> = members.iter().collect();
    let record = encode(chain.last_part(), &all, &mut none)?;
    chain.land()?;
    Ok((record, rolling))
}

/// Which pages of which members each fragment has, so that none is larger than it may be.
fn fragments<'p>(
    engine: &Arc<OpenStore>,
    members: &[Transaction],
    touched: &'p [Touched],
) -> Vec<Vec<(usize, &'p [PageNo])>> {
    let limit = usize::try_from(engine.log().fragment_bytes_max()).unwrap_or(usize::MAX);
    let (mut cuts, mut cut) = (Vec::new(), Vec::new());
    let empty = pages_record_bytes(0, 0, 0);
    let named = pages_record_bytes(1, 0, 0) - empty;
    let room = |nth| part_bytes(limit, nth).saturating_sub(empty);
    let mut free = room(0);
    for (nth, (member, pages)) in members.iter().zip(touched).enumerate() {
        let size = member.overlay.page_size().bytes();
        let each = pages_record_bytes(1, 1, size) - pages_record_bytes(1, 0, 0);
        let mut left = pages.as_slice();
        while !left.is_empty() {
            let mut count = free.saturating_sub(named) / each;
            if count == 0 {
                if !cut.is_empty() {
                    cuts.push(std::mem::take(&mut cut));
                    free = room(cuts.len());
                    continue;
                }
                count = 1;
            }
            let (now, later) = left.split_at(count.min(left.len()));
            free = free.saturating_sub(named + now.len() * each);
            cut.push((nth, now));
            left = later;
        }
    }
    cuts.extend((!cut.is_empty()).then_some(cut));
    cuts
}

/// Appends the record that makes the group count, and waits for what was asked for.
fn land(
    engine: &Arc<OpenStore>,
    members: Vec<Transaction>,
    record: EncodedRecord,
    ends: Vec<End>,
    (priority, durability): (Priority, Durability),
) -> Result<Vec<Visible>, CommitError> {
    let mut offsets = record.image_offsets.as_slice();
    let (mut publishers, mut visible) = (Vec::new(), Vec::new());
    for (member, end) in members.into_iter().zip(ends) {
        let mine = next_offsets(&mut offsets, end.own.len());
        let (publisher, seen) = member.into_publisher(mine.into(), end);
        publishers.push(publisher);
        visible.push(seen);
    }
    let publish = Box::new(PublishGroup(publishers));
    match durability {
        Durability::Full => engine.log().append(record, priority, publish)?,
        Durability::Relaxed { max_delay } => engine
            .log()
            .append_relaxed(record, priority, max_delay, publish)?,
    };
    Ok(visible)
}

fn encode(
    part: FragmentPart,
    members: &[&Transaction],
    loaded: &mut [(Vec<OwnPage>, RollingChecksum)],
) -> Result<EncodedRecord, CommitError> {
    let both = members.iter().zip(loaded.iter_mut());
    let made: Vec<_> = both.map(|(member, (own, _))| member.images(own)).collect();
    let images: Vec<_> = made
        .iter()
        .zip(loaded.iter())
        .map(|(made, (own, _))| made.list(own))
        .collect();
    let specs: Vec<MemberSpec<'_>> = members
        .iter()
        .zip(images.iter().zip(loaded.iter()))
        .map(|(member, (images, (_, rolling)))| member.member(images, *rolling))
        .collect();
    Ok(encode_pages(part, &specs)?)
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
