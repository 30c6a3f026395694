//! Group: the pagers of one connection, and a transaction over several of them.
//!
//! SQLite ends a transaction over attached databases in two phases: it hands over the pages of each
//! (`xFrames`), then ends the write transaction of each (`xEndWriteTransaction`).
//!
//! ```text
//!   frames A: staged   frames B: staged   end_write A: one record, A and B visible   end_write B: -
//!        |                  |                   |
//!        '--- undo, end_read, a panic ----------+--- fails: none is committed, the error goes up
//! ```
//!
//! Invariants
//! - a commit is staged when two databases of its store have a writer slot in this connection, and
//!   every file that the connection has a write transaction on is a database of a store: to a plain
//!   file SQLite may have given its word before the second phase, and then does not listen to its
//!   errors. `BEGIN IMMEDIATE` begins one on each file that is attached, written to or not;
//! - what is staged is private, is read by its own transaction only, and is gone by whatever ends the
//!   transaction otherwise;
//! - databases of several stores are one group for each store.
//!
//! Never: holds a pager: the WAL of each does.

use super::{Member, Session};
use crate::engine_error::{EngineError, ErrorSlot};
use crate::faults::{self, Point};
use crate::turns::ConnectionId;
use bop_storage::Durability;
use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// What the pagers of one connection share.
pub(crate) struct Group {
    id: ConnectionId,
    errors: Arc<ErrorSlot>,
    sessions: RefCell<Vec<Weak<Session>>>,
}

impl Group {
    /// Of a connection whose errors are kept there.
    pub(crate) fn new(errors: Arc<ErrorSlot>) -> Rc<Self> {
        Rc::new(Self {
            id: ConnectionId::new(),
            errors,
            sessions: RefCell::default(),
        })
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(crate) fn errors(&self) -> &ErrorSlot {
        &self.errors
    }

    /// One more pager.
    pub(crate) fn join(&self, session: &Rc<Session>) {
        let mut sessions = self.sessions.borrow_mut();
        sessions.retain(|other| other.strong_count() > 0);
        sessions.push(Rc::downgrade(session));
    }

    fn sessions(&self) -> Vec<Rc<Session>> {
        let sessions = self.sessions.borrow();
        sessions.iter().filter_map(Weak::upgrade).collect()
    }

    /// Whether the commit of `session` is one of several.
    pub(crate) fn is_joined_by(
        &self,
        session: &Session,
        files_written: impl FnOnce() -> usize,
    ) -> bool {
        if self.sessions.borrow().len() < 2 {
            return false;
        }
        let all = self.sessions();
        let with_slot = |other: &&Rc<Session>| other.holds_slot() && same_store(other, session);
        let ours = all.iter().filter(|other| other.writes()).count();
        all.iter().filter(with_slot).count() > 1 && ours == files_written()
    }

    /// Commits what is staged in the store of `session`, all of it or nothing.
    pub(crate) fn commit(&self, session: &Session) -> Result<(), EngineError> {
        let (mut members, mut writes) = (Vec::new(), Vec::new());
        let mut durability = None;
        for member in self.sessions() {
            if !same_store(&member, session) {
                continue;
            }
            let Some(Member {
                write,
                durability: own,
                pages,
            }) = member.take_staged()
            else {
                continue;
            };
            durability = Some(match durability {
                Some(Durability::Full) => Durability::Full,
                _ => own,
            });
            members.push((member, pages));
            writes.push(write);
        }
        faults::hit(Point::Group)?;
        let manager = session.hub().manager();
        let reads = manager.group_commit_with(writes, durability.unwrap_or_default())?;
        for ((member, pages), read) in members.into_iter().zip(reads) {
            member.committed(read, pages);
        }
        Ok(())
    }
}

/// A store can be known to SQLite twice; its directory is open once.
fn same_store(one: &Session, other: &Session) -> bool {
    Arc::ptr_eq(one.hub(), other.hub())
        || one.hub().manager().path() == other.hub().manager().path()
}
