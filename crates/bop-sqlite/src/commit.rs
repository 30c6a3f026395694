//! Commit: one database, or several of them in one record of the log.
//!
//! | SQLite says | what is committed |
//! |---|---|
//! | `COMMIT_PHASETWO` on a file, no super-journal | it, and every file of the connection whose first phase came behind its own: where there is no super-journal all first phases come before the first second one, and in the same order |
//! | a super-journal is deleted | every file whose first phase named it |
//! | `COMMIT_PHASETWO` after that | nothing is left |
//!
//! A file whose first phase came before that has none in this commit. With `journal_mode=OFF` and
//! `locking_mode=EXCLUSIVE` SQLite rolls one back without a call, which we learn when it next looks at the file.
//!
//! Invariants
//! - databases that SQLite commits together are committed by one record, or none of them is;
//! - whoever is not committed shows the state before, and SQLite's cache of it is dropped.
//!
//! Never: holds the state of two files at once.

use crate::handle::{Handle, Leaving, Prepared};
use crate::hub::Hub;
use bop_sqlite_common::engine_error::EngineError;
use bop_storage::{ReadTxn, WriteTxn};
use std::sync::Arc;

/// SQLite has committed `handle`, as far as it is concerned.
///
/// # Errors
/// [`EngineError::Commit`]: SQLite drops the cache of this file, and rolls the others back.
pub(crate) fn phase_two(handle: &Arc<Handle>) -> Result<(), EngineError> {
    let hub = Arc::clone(handle.hub());
    hub.check_process("commit")?;
    let mut members = vec![Arc::clone(handle)];
    if let Some(Prepared::Alone(first)) = handle.prepared() {
        let mut others = hub.handles_of(handle.connection());
        let is_later = |phase| matches!(phase, Some(Prepared::Alone(phase)) if phase > first);
        others.retain(|other| is_later(other.prepared()));
        members.append(&mut others);
    }
    together(&hub, members)
}

/// SQLite deletes a super-journal: its members commit, unless one of them was rolled back. Then it stays
/// until all of them are.
///
/// # Errors
/// [`EngineError::Commit`]: SQLite rolls all of them back.
pub(crate) fn delete_super(hub: &Arc<Hub>, name: &str) -> Result<(), EngineError> {
    hub.check_process("commit")?;
    let Some(found) = hub.supers.find(name) else {
        return Ok(());
    };
    if !found.is_broken() {
        let staged = Some(Prepared::With(name.to_owned()));
        let mut members = hub.handles();
        members.retain(|handle| handle.prepared() == staged);
        together(hub, members)?;
    }
    // Whoever has still to be rolled back looks for it; he deletes it again.
    if !hub.handles().iter().any(|handle| handle.names(name)) {
        hub.supers.remove(name);
    }
    Ok(())
}

fn together(hub: &Hub, members: Vec<Arc<Handle>>) -> Result<(), EngineError> {
    let mut group = Group::default();
    for member in members {
        match member.leave() {
            Ok(None) => {}
            Ok(Some(leaving)) => {
                group.members.push(member);
                group.leaving.push(leaving);
            }
            Err(error) => {
                group.members.push(member);
                return Err(error);
            }
        }
    }
    let committed = commit(hub, std::mem::take(&mut group.leaving))?;
    for (member, committed) in group.members.drain(..).zip(committed) {
        member.arrived(committed);
    }
    Ok(())
}

fn commit(hub: &Hub, leaving: Vec<Leaving>) -> Result<Vec<ReadTxn>, EngineError> {
    let durability = leaving.first().map(|one| one.durability);
    let mut writes: Vec<WriteTxn> = leaving.into_iter().map(|one| one.write).collect();
    match (writes.len(), durability) {
        (1, Some(durability)) => {
            let alone = writes.pop().map(|write| write.commit_with(durability));
            Ok(alone.transpose()?.into_iter().collect())
        }
        _ => Ok(hub.manager().group_commit(writes)?),
    }
}

/// Those that are on their way. Whoever is left when this goes has not arrived, a panic included.
#[derive(Default)]
struct Group {
    members: Vec<Arc<Handle>>,
    leaving: Vec<Leaving>,
}

impl Drop for Group {
    fn drop(&mut self) {
        self.leaving.clear();
        self.members.iter().for_each(|member| member.lost());
    }
}
