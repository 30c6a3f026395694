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
//!
//!  Writing --commit, one of several--> Writing, staged --end_write of any--> Reading or Failed
//!     ^------ more pages, rollback_to -----'  '-- undo --> Writing
//! ```
//!
//! | stage | snapshot | private pages | writer slot |
//! |---|---|---|---|
//! | Idle | none | none | free |
//! | Reading | pinned | none | free |
//! | Writing | pinned | spilled ones; staged: all of the commit | held |
//! | Failed | pinned, as before the commit | none; those spilled, or all, are still in the pager's cache | free |
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

mod commit;
mod group;

use crate::engine_error::{EngineError, ErrorSlot};
use crate::faults::{self, Point};
use crate::hub::Hub;
use crate::lent::Lent;
use crate::page_one;
use crate::pages::{change_counter, file_bytes, page_at, page_within};
use crate::shown::Shown;
use crate::turns::Place;
use bop_storage::canary::{Canary, is_planted};
use bop_storage::ids::{Lsn, PageNo, PageSize};
use bop_storage::{Durability, ReadTxn, ResetTxn, Savepoint, WriteTxn};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

pub(crate) use commit::{Frames, Member};
pub(crate) use group::Group;

/// The state of one pager's transactions.
pub(crate) struct Session {
    hub: Arc<Hub>,
    shown: Shown,
    /// Of the connection.
    group: Rc<Group>,
    /// Where it waits to write; a state of the past is not written to.
    place: Option<Arc<Place>>,
    /// What SQLite looks at.
    lent: Lent,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    stage: Stage,
    /// What the next snapshot begins with.
    reset: Option<ResetTxn>,
    cached: Option<Lsn>,
    /// The turn to write came before this snapshot, which is therefore the newest.
    turn: bool,
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
        let place = match &shown {
            Shown::Present(db) => Some(hub.turns().place(group.id(), db)),
            Shown::State(_) => None,
        };
        let session = Rc::new(Self {
            hub,
            shown,
            group: Rc::clone(group),
            place,
            lent: Lent::default(),
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

    pub(crate) fn place(&self) -> Option<&Arc<Place>> {
        self.place.as_ref()
    }

    /// Pins the newest state, or the one that is shown. `true` when the pager's cache reflects another one.
    pub(crate) fn begin_read(&self) -> Result<bool, EngineError> {
        self.end_read();
        let before = self.state.borrow_mut().reset.take();
        let begun = faults::hit(Point::BeginRead);
        let begun = begun.and_then(|()| self.shown.begin_read_again(before));
        let turn = self.place.as_ref().is_some_and(|place| place.has_turn());
        let read = begun.inspect_err(|_| self.give_turn_back())?;
        let mut state = self.state.borrow_mut();
        let changed = state.cached != Some(read.lsn());
        state.cached = Some(read.lsn());
        state.stage = Stage::Reading(read);
        state.turn = turn;
        Ok(changed)
    }

    /// Gives up the snapshot, and with it a transaction that was not committed. Idempotent.
    ///
    /// After a failed spill this is the only call that comes.
    pub(crate) fn end_read(&self) {
        self.lent.let_go();
        let mut state = self.state.borrow_mut();
        if matches!(state.stage, Stage::Writing { .. }) {
            state.cached = None;
        }
        match std::mem::take(&mut state.stage) {
            Stage::Idle => {}
            Stage::Reading(read) | Stage::Writing { read, .. } | Stage::Failed { read, .. } => {
                state.reset = self.shown.end_read(read);
            }
        }
        self.stand_up(&mut state);
        if std::mem::take(&mut state.turn) {
            self.give_turn_back();
        }
    }

    /// The pager is closed.
    pub(crate) fn leave(&self) {
        self.end_read();
        self.state.borrow_mut().reset = None;
        self.give_turn_back();
    }

    fn give_turn_back(&self) {
        drop(self.place.as_ref().and_then(|place| place.take_turn()));
    }

    fn stand_up(&self, state: &mut State) {
        if std::mem::take(&mut state.writes)
            && let Some(place) = &self.place
        {
            place.stand_up();
        }
    }

    /// Takes the writer slot, or says at once why not.
    pub(crate) fn begin_write(&self) -> Result<(), EngineError> {
        faults::hit(Point::BeginWrite)?;
        let mut state = self.state.borrow_mut();
        match std::mem::take(&mut state.stage) {
            Stage::Reading(read) => match self.begin_write_at(&read, &mut state.turn) {
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

    fn begin_write_at(&self, read: &ReadTxn, turn: &mut bool) -> Result<WriteTxn, EngineError> {
        *turn = false;
        let turn = self.place.as_ref().and_then(|place| place.take_turn());
        let write = self.shown.begin_write_at(read, turn);
        if let Some(place) = &self.place {
            match &write {
                Ok(_) => place.sit(),
                Err(_) => place.give_back_forgotten(),
            }
        }
        write
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
        self.stand_up(&mut state);
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

    /// Where a page is, for a pager that only reads, until it gives it back. `None` for one that has to be copied:
    /// page 1, which is shown otherwise than it is stored, and one that is not there or not of `bytes` bytes.
    pub(crate) fn lend_page(
        &self,
        page: PageNo,
        bytes: usize,
    ) -> Result<Option<*const u8>, EngineError> {
        let Stage::Reading(read) = &self.state.borrow().stage else {
            return Ok(None);
        };
        if page == PageNo::FIRST {
            return Ok(None);
        }
        faults::hit(Point::Read)?;
        let content = page_within(page, read.page_count(), || read.read_page(page))?;
        let content = content.filter(|content| content.len() == bytes);
        Ok(content.and_then(|content| self.lent.lend(content)))
    }

    /// The pager looks no longer at what [`Session::lend_page`] gave it.
    pub(crate) fn take_page_back(&self, place: *const u8) {
        self.lent.take_back(place);
    }

    /// Reads bytes of the file that SQLite believes in, from the first one of a page other than page 1 on:
    /// what it does with a long row whose pages it wants to keep no copy of. `None`: it is no such place.
    pub(crate) fn read_file(&self, offset: u64, out: &mut [u8]) -> Result<Option<()>, EngineError> {
        let size = self.size_if_reading();
        let page = size.filter(|size| out.len() <= size.bytes());
        let page = page.and_then(|size| page_at(offset, size.get().into()));
        let page = page.filter(|page| *page != PageNo::FIRST);
        page.map(|page| self.read_page(page, out)).transpose()
    }

    /// Whether it only reads, and pages that are large enough.
    pub(crate) fn lends(&self) -> bool {
        let size = self.size_if_reading();
        size.is_some_and(|size| Lent::PAGE_MIN <= size)
    }

    fn size_if_reading(&self) -> Option<PageSize> {
        match &self.state.borrow().stage {
            Stage::Reading(read) => read.page_size(),
            Stage::Idle | Stage::Writing { .. } | Stage::Failed { .. } => None,
        }
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
                    if is_planted(Canary::UndoBeforeReset) {
                        drop(state);
                        let code = touched.into_iter().map(&mut reload).max().unwrap_or(0);
                        if let Stage::Writing { write, .. } = &mut self.state.borrow_mut().stage {
                            write.clear();
                        }
                        return if code == 0 {
                            Ok(())
                        } else {
                            Err(NotUndone::Reload(code))
                        };
                    }
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
