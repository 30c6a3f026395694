//! Session: one pager of a SQLite connection, and the transactions it has in the engine.
//!
//! This is the virtual WAL without its C types. The pager calls in an order that is fixed by
//! SQLite; each call moves the stage:
//!
//! ```text
//!  Idle --begin_read--> Reading --begin_write--> Writing --commit ok-----> Reading (at the commit)
//!   ^                      ^  ^                   |   |
//!   |                      |  +---- end_write ----+   +---commit failed--> Failed
//!   |                      +------------------------------- end_write -------+
//!   +------------------------------ end_read, from every stage --------------+
//! ```
//!
//! | stage | snapshot | private pages | writer slot |
//! |---|---|---|---|
//! | Idle | none | none | free |
//! | Reading | pinned | none | free |
//! | Writing | pinned | spilled ones | held |
//! | Failed | pinned, as before the commit | none; those spilled are still in the pager's cache | free |
//!
//! Invariants
//! - `cached` is the state that the pager's page cache reflects, or `None` when that is not certain;
//!   the pager drops its cache whenever a read begins at another one;
//! - no borrow of the state is held while SQLite's undo callback runs: it reads pages through this
//!   same session;
//! - `undo` forgets the private pages first and calls back then, so that what is read back is the
//!   state before the transaction.
//!
//! Never: waits for the writer slot (SQLite's busy handler does, outside of our locks), knows a C
//! type, or shows page 1 as it is stored.

use crate::engine_error::{EngineError, ErrorSlot};
use crate::faults::{self, Point};
use crate::group::Group;
use crate::hub::Hub;
use crate::page_one;
use crate::pages::{
    change_counter, file_bytes, page_within, resize, settle_page_size, write_page_one,
};
use crate::shown::Shown;
use bop_storage::ids::{Lsn, PageNo};
use bop_storage::{Durability, ReadTxn, Savepoint, WriteTxn};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// The state of one pager's transactions.
pub(crate) struct Session {
    hub: Arc<Hub>,
    shown: Shown,
    /// Of the connection.
    group: Rc<Group>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    stage: Stage,
    cached: Option<Lsn>,
    /// SQLite has a write transaction on the database, whatever became of ours.
    writes: bool,
    /// Pages of the newest commit, until SQLite asks for them once.
    committed_pages: i32,
    /// Page 1 in its stored form, while it is written.
    scratch: Vec<u8>,
}

#[derive(Default)]
#[expect(
    clippy::large_enum_variant,
    reason = "one a pager: a box would cost an allocation a commit"
)]
enum Stage {
    #[default]
    Idle,
    Reading(ReadTxn),
    Writing {
        read: ReadTxn,
        write: WriteTxn,
        staged: Option<Staged>,
    },
    Failed {
        read: ReadTxn,
        left: Left,
    },
}

/// A commit that SQLite has been told is good, and that is written at the end of the transaction,
/// together with those of other databases.
#[derive(Clone, Copy)]
struct Staged {
    durability: Durability,
    pages: i32,
}

/// What the pager's cache has of a transaction that could not be committed.
enum Left {
    /// Pages that were spilled: the commit took them along. The others the pager knows by itself.
    Spilled(Vec<PageNo>),
    /// All of them: the pager takes them for committed.
    Everything,
}

/// What a member brings into a group.
pub(crate) struct Member {
    pub(crate) write: WriteTxn,
    pub(crate) durability: Durability,
    pub(crate) pages: i32,
}

/// A commit, as the pager describes it.
#[derive(Clone, Copy)]
pub(crate) struct Frames {
    /// Bytes of each page.
    pub(crate) page_size: i64,
    /// Pages of the database after the commit; `None` for pages that are merely spilled.
    pub(crate) commit_page_count: Option<u32>,
    /// What a commit promises.
    pub(crate) durability: Durability,
}

/// Why the pager's cache does not show the state before the transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotUndone {
    /// A page could not be read again: the code that SQLite gave.
    Reload(i32),
    /// The pager takes its pages for committed; some it has dropped from the list that it gave.
    Unknown,
}

impl Session {
    /// A pager of the connection that has this group.
    pub(crate) fn new(shown: Shown, hub: Arc<Hub>, group: &Rc<Group>) -> Rc<Self> {
        let session = Rc::new(Self {
            hub,
            shown,
            group: Rc::clone(group),
            state: RefCell::default(),
        });
        group.join(&session);
        session
    }

    pub(crate) fn errors(&self) -> &ErrorSlot {
        self.group.errors()
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Pins the newest state, or the one that is shown. `true` when the pager's cache reflects another one.
    pub(crate) fn begin_read(&self) -> Result<bool, EngineError> {
        faults::hit(Point::BeginRead)?;
        self.end_read();
        let read = self.shown.begin_read()?;
        let mut state = self.state.borrow_mut();
        let changed = state.cached != Some(read.lsn());
        state.cached = Some(read.lsn());
        state.stage = Stage::Reading(read);
        Ok(changed)
    }

    /// Gives up the snapshot, and with it a transaction that was not committed. Idempotent.
    ///
    /// After a failed spill this is the only call that comes.
    pub(crate) fn end_read(&self) {
        let mut state = self.state.borrow_mut();
        if matches!(state.stage, Stage::Writing { .. }) {
            state.cached = None;
        }
        state.stage = Stage::Idle;
        state.writes = false;
    }

    /// Takes the writer slot, or says at once why not.
    pub(crate) fn begin_write(&self) -> Result<(), EngineError> {
        faults::hit(Point::BeginWrite)?;
        let mut state = self.state.borrow_mut();
        match std::mem::take(&mut state.stage) {
            Stage::Reading(read) => match self.shown.begin_write_at(&read) {
                Ok(write) => {
                    state.stage = Stage::Writing {
                        read,
                        write,
                        staged: None,
                    };
                    state.writes = true;
                    Ok(())
                }
                Err(error) => {
                    state.stage = Stage::Reading(read);
                    Err(error)
                }
            },
            writing @ Stage::Writing { .. } => {
                state.stage = writing;
                Ok(())
            }
            other => {
                state.stage = other;
                Err(EngineError::NoTransaction {
                    operation: "begin write",
                })
            }
        }
    }

    /// Gives the writer slot back; what was not committed is gone. Idempotent. A commit that is
    /// staged is written now, with those of the other databases.
    ///
    /// # Errors
    /// Why none of them is committed. The pager then has to forget its cache.
    pub(crate) fn end_write(&self) -> Result<(), EngineError> {
        let outcome = match self.is_staged() {
            true => self.group.commit(self),
            false => Ok(()),
        };
        let mut state = self.state.borrow_mut();
        if outcome.is_err() {
            state.cached = None;
        }
        state.writes = false;
        state.stage = match std::mem::take(&mut state.stage) {
            Stage::Writing { read, .. } | Stage::Failed { read, .. } => Stage::Reading(read),
            other => other,
        };
        outcome
    }

    /// SQLite has a write transaction on it.
    pub(crate) fn writes(&self) -> bool {
        self.state.borrow().writes
    }

    /// It has the writer slot of its database.
    pub(crate) fn holds_slot(&self) -> bool {
        matches!(self.state.borrow().stage, Stage::Writing { .. })
    }

    fn is_staged(&self) -> bool {
        let state = self.state.borrow();
        matches!(
            &state.stage,
            Stage::Writing {
                staged: Some(_),
                ..
            }
        )
    }

    /// Gives the staged commit away, if there is one. Until [`Session::committed`] it counts as
    /// failed.
    pub(crate) fn take_staged(&self) -> Option<Member> {
        let mut state = self.state.borrow_mut();
        match std::mem::take(&mut state.stage) {
            Stage::Writing {
                read,
                write,
                staged: Some(staged),
            } => {
                let left = Left::Everything;
                state.stage = Stage::Failed { read, left };
                Some(Member {
                    write,
                    durability: staged.durability,
                    pages: staged.pages,
                })
            }
            other => {
                state.stage = other;
                None
            }
        }
    }

    /// The commit that was given away is there.
    pub(crate) fn committed(&self, at: ReadTxn, pages: i32) {
        let mut state = self.state.borrow_mut();
        state.cached = Some(at.lsn());
        state.committed_pages = pages;
        state.stage = Stage::Reading(at);
    }

    /// Copies `page` into `out`: as much of it as fits, zeros behind it.
    ///
    /// `out` has the pager's page size, which at first is a guess.
    pub(crate) fn read_page(&self, page: PageNo, out: &mut [u8]) -> Result<(), EngineError> {
        faults::hit(Point::Read)?;
        let state = self.state.borrow();
        let (content, lsn) = match &state.stage {
            Stage::Idle => return Err(EngineError::NoTransaction { operation: "read" }),
            Stage::Reading(read) | Stage::Failed { read, .. } => (
                page_within(page, read.page_count(), || read.read_page(page))?,
                read.lsn(),
            ),
            Stage::Writing { write, .. } => (
                page_within(page, write.page_count(), || write.read_page(page))?,
                write.snapshot_lsn(),
            ),
        };
        let content = content.as_deref().unwrap_or_default();
        let bytes = content.len().min(out.len());
        out[..bytes].copy_from_slice(&content[..bytes]);
        out[bytes..].fill(0);
        if page == PageNo::FIRST && bytes > 0 {
            page_one::to_shown(out, change_counter(lsn));
        }
        Ok(())
    }

    /// Pages of the snapshot; 0 when there is none.
    pub(crate) fn page_count(&self) -> u32 {
        match &self.state.borrow().stage {
            Stage::Idle => 0,
            Stage::Reading(read) | Stage::Writing { read, .. } | Stage::Failed { read, .. } => {
                read.page_count()
            }
        }
    }

    /// Bytes of the database file that SQLite believes in.
    pub(crate) fn file_bytes(&self) -> Result<u64, EngineError> {
        let state = self.state.borrow();
        let of = |read: &ReadTxn| file_bytes(read.page_count(), read.page_size());
        match &state.stage {
            Stage::Idle => Ok(of(&self.shown.begin_read()?)),
            Stage::Reading(read) | Stage::Writing { read, .. } | Stage::Failed { read, .. } => {
                Ok(of(read))
            }
        }
    }

    /// Takes pages that the pager spills or commits. A commit is visible on return, and as durable
    /// as it asks for, unless it is one of several: those are staged, see [`Group`].
    ///
    /// `files_written` counts the files that SQLite has a write transaction of this connection on,
    /// those of the store among them.
    pub(crate) fn frames<'a>(
        &self,
        frames: Frames,
        pages: impl Iterator<Item = (PageNo, &'a [u8])>,
        files_written: impl FnOnce() -> usize,
    ) -> Result<(), EngineError> {
        let count = self.take_pages(frames.page_size, pages)?;
        let Some(page_count) = frames.commit_page_count else {
            return Ok(());
        };
        let joined = self.group.is_joined_by(self, files_written);
        let mut state = self.state.borrow_mut();
        let Stage::Writing {
            read,
            write,
            staged,
        } = &mut state.stage
        else {
            return Err(EngineError::NoTransaction {
                operation: "commit",
            });
        };
        let touched = write.touched_pages();
        let ready = resize(write, read.page_count(), page_count, &touched);
        if joined && ready.is_ok() {
            *staged = Some(Staged {
                durability: frames.durability,
                pages: count,
            });
            return Ok(());
        }
        let ready = ready.and_then(|()| faults::hit(Point::Commit));
        Self::commit(&mut state, ready, touched, count, frames.durability)
    }

    /// Makes the pages private ones; how many those are.
    fn take_pages<'a>(
        &self,
        page_size: i64,
        pages: impl Iterator<Item = (PageNo, &'a [u8])>,
    ) -> Result<i32, EngineError> {
        let mut state = self.state.borrow_mut();
        let State { stage, scratch, .. } = &mut *state;
        let Stage::Writing {
            read,
            write,
            staged,
        } = stage
        else {
            return Err(EngineError::NoTransaction { operation: "write" });
        };
        // A commit that SQLite began before and could not end: it goes on, or is repeated.
        *staged = None;
        settle_page_size(write, page_size)?;
        faults::hit(Point::Write)?;
        let mut count = 0i32;
        for (page, content) in pages {
            match page {
                PageNo::FIRST => write_page_one(read, write, content, scratch)?,
                _ => write.write_page(page, content)?,
            }
            count = count.saturating_add(1);
        }
        Ok(count)
    }

    /// Commits by itself, if that is `ready`.
    fn commit(
        state: &mut State,
        ready: Result<(), EngineError>,
        touched: Vec<PageNo>,
        pages: i32,
        durability: Durability,
    ) -> Result<(), EngineError> {
        let Stage::Writing { read, write, .. } = std::mem::take(&mut state.stage) else {
            return Err(EngineError::NoTransaction {
                operation: "commit",
            });
        };
        match ready.and_then(|()| write.commit_with(durability).map_err(EngineError::from)) {
            Ok(committed) => {
                state.cached = Some(committed.lsn());
                state.committed_pages = pages;
                state.stage = Stage::Reading(committed);
                Ok(())
            }
            Err(error) => {
                let left = Left::Spilled(touched);
                state.stage = Stage::Failed { read, left };
                Err(error)
            }
        }
    }

    /// Forgets all private pages, then calls `reload` for each: the pager drops or reads it again.
    ///
    /// # Errors
    /// The first code of `reload` that is not 0; [`NotUndone::Unknown`] when the pager has to forget
    /// its whole cache.
    pub(crate) fn undo(&self, mut reload: impl FnMut(PageNo) -> i32) -> Result<(), NotUndone> {
        let touched = {
            let mut state = self.state.borrow_mut();
            match &mut state.stage {
                Stage::Writing {
                    write,
                    staged: None,
                    ..
                } => {
                    let touched = write.touched_pages();
                    write.clear();
                    touched
                }
                Stage::Failed {
                    left: Left::Spilled(spilled),
                    ..
                } => std::mem::take(spilled),
                // The pager believes in the pages and the size of its commit, also in pages behind the
                // end that it never gave us. An error makes it drop them all, now and not when the
                // next read begins, which an open cursor puts off.
                believed => {
                    if let Stage::Writing { write, staged, .. } = believed {
                        write.clear();
                        *staged = None;
                    }
                    state.cached = None;
                    return Err(NotUndone::Unknown);
                }
            }
        };
        touched.into_iter().try_for_each(|page| match reload(page) {
            0 => Ok(()),
            code => Err(NotUndone::Reload(code)),
        })
    }

    /// Where the transaction stands, for [`Session::rollback_to`]; 0 when it has written nothing.
    pub(crate) fn savepoint(&self) -> u64 {
        match &mut self.state.borrow_mut().stage {
            Stage::Writing { write, .. } => write.savepoint().into_raw(),
            _ => 0,
        }
    }

    /// Forgets what was spilled since `savepoint`; may be repeated.
    pub(crate) fn rollback_to(&self, savepoint: u64) {
        if let Stage::Writing { write, staged, .. } = &mut self.state.borrow_mut().stage {
            *staged = None;
            write.rollback_to(Savepoint::from_raw(savepoint));
        }
    }

    /// SQLite will not come back to `savepoint`.
    pub(crate) fn forget(&self, savepoint: u64) {
        if let Stage::Writing { write, .. } = &mut self.state.borrow_mut().stage {
            write.forget(Savepoint::from_raw(savepoint));
        }
    }

    /// Pages of the newest commit, once; 0 from then on.
    pub(crate) fn take_committed_pages(&self) -> i32 {
        std::mem::take(&mut self.state.borrow_mut().committed_pages)
    }

    /// After a panic in a callback: the transaction is rolled back and nothing cached is believed.
    pub(crate) fn abandon(&self) {
        if let Ok(mut state) = self.state.try_borrow_mut() {
            state.cached = None;
            state.stage = match std::mem::take(&mut state.stage) {
                Stage::Writing {
                    read,
                    write,
                    staged,
                } => {
                    let left = match staged {
                        None => Left::Spilled(write.touched_pages()),
                        Some(_) => Left::Everything,
                    };
                    Stage::Failed { read, left }
                }
                other => other,
            };
        }
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
