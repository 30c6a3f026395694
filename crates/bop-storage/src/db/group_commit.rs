//! One transaction over several databases: one record of the log, so that all of it is there after a
//! crash or nothing, and all of it becomes visible at one place of the store's order.
//!
//! Isolation stays that of each database: a reader that looks at two of them while the group is
//! being published may see it in one and not yet in the other.
//!
//! Never: cut into fragments. A group that does not fit a record is refused.

use super::commit::{End, Transaction};
use super::engine::OpenStore;
use super::images::OwnPage;
use super::pending_commit::Visible;
use super::publish::PublishCommit;
use super::read::ReadTxn;
use super::write::Changed;
use crate::checksum::RollingChecksum;
use crate::error::{CommitError, Rejection};
use crate::log::format::{EncodedRecord, FragmentPart, MemberSpec, encode_pages};
use crate::log::{Placed, Priority, Publish};
use std::sync::Arc;

/// Publishes each member of a group.
struct PublishGroup(Vec<PublishCommit>);

impl Publish for PublishGroup {
    fn prepare(&mut self, at: Placed) {
        self.0.iter_mut().for_each(|member| member.prepare(at));
    }

    fn publish(self: Box<Self>, at: Placed) {
        for member in self.0 {
            Box::new(member).publish(at);
        }
    }
}

/// Commits all of them; the snapshots that show it stand in the order of the transactions.
pub(super) fn group_commit(
    engine: &Arc<OpenStore>,
    group: Vec<Changed>,
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
        let visible = append(engine, members)?;
        let visible = visible.into_iter().map(Visible::into_read);
        reads.extend(order.into_iter().zip(visible));
    }
    reads.sort_by_key(|(index, _)| *index);
    Ok(reads.into_iter().map(|(_, read)| read).collect())
}

fn append(engine: &Arc<OpenStore>, members: Vec<Transaction>) -> Result<Vec<Visible>, CommitError> {
    let mut loaded = members
        .iter()
        .map(|member| member.load_whole(&member.touched()))
        .collect::<Result<Vec<_>, _>>()?;
    let record = encode(&members, &mut loaded)?;
    let (bytes, limit) = (record.bytes.len() as u64, engine.log().fragment_bytes_max());
    if limit < bytes {
        return Err(Rejection::TooLarge { bytes, limit }.into());
    }
    let mut offsets = record.image_offsets.as_slice();
    let (mut publishers, mut visible) = (Vec::new(), Vec::new());
    for (member, (own, rolling)) in members.into_iter().zip(loaded) {
        let (mine, rest) = offsets.split_at(own.len().min(offsets.len()));
        offsets = rest;
        let end = End {
            own,
            placed: Vec::new(),
            rolling,
            hold: None,
        };
        let (publisher, seen) = member.into_publisher(mine.to_vec(), end);
        publishers.push(publisher);
        visible.push(seen);
    }
    let publish = Box::new(PublishGroup(publishers));
    engine.log().append(record, Priority::User, publish)?;
    Ok(visible)
}

fn encode(
    members: &[Transaction],
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
    Ok(encode_pages(FragmentPart::Whole, &specs)?)
}
