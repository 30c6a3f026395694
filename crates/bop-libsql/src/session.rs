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
use crate::page_one;
use crate::shown::Shown;
use bop_storage::ids::{Lsn, PageNo, PageSize};
use bop_storage::{Durability, PageBytes, ReadTxn, Savepoint, WriteTxn};
use std::cell::RefCell;
use std::sync::Arc;

/// The state of one pager's transactions.
pub(crate) struct Session {
    shown: Shown,
    errors: Arc<ErrorSlot>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    stage: Stage,
    cached: Option<Lsn>,
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
    },
    Failed {
        read: ReadTxn,
        /// Spilled by the transaction that could not be committed: its commit took them along.
        spilled: Vec<PageNo>,
    },
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
    /// The transaction is committed.
    Committed,
}

impl Session {
    pub(crate) fn new(shown: Shown, errors: Arc<ErrorSlot>) -> Self {
        Self {
            shown,
            errors,
            state: RefCell::default(),
        }
    }

    pub(crate) fn errors(&self) -> &ErrorSlot {
        &self.errors
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
    }

    /// Takes the writer slot, or says at once why not.
    pub(crate) fn begin_write(&self) -> Result<(), EngineError> {
        faults::hit(Point::BeginWrite)?;
        let mut state = self.state.borrow_mut();
        match std::mem::take(&mut state.stage) {
            Stage::Reading(read) => match self.shown.begin_write_at(&read) {
                Ok(write) => {
                    state.stage = Stage::Writing { read, write };
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

    /// Gives the writer slot back; what was not committed is gone. Idempotent.
    pub(crate) fn end_write(&self) {
        let mut state = self.state.borrow_mut();
        state.stage = match std::mem::take(&mut state.stage) {
            Stage::Writing { read, .. } | Stage::Failed { read, .. } => Stage::Reading(read),
            other => other,
        };
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

    /// Takes pages that the pager spills or commits. A commit is visible on return, and
    /// as durable as it asks for.
    pub(crate) fn frames<'a>(
        &self,
        frames: Frames,
        pages: impl Iterator<Item = (PageNo, &'a [u8])>,
    ) -> Result<(), EngineError> {
        let mut state = self.state.borrow_mut();
        let State { stage, scratch, .. } = &mut *state;
        let Stage::Writing { read, write } = stage else {
            return Err(EngineError::NoTransaction { operation: "write" });
        };
        settle_page_size(write, frames.page_size)?;
        faults::hit(Point::Write)?;
        let mut count = 0i32;
        for (page, content) in pages {
            match page {
                PageNo::FIRST => write_page_one(read, write, content, scratch)?,
                _ => write.write_page(page, content)?,
            }
            count = count.saturating_add(1);
        }
        match frames.commit_page_count {
            None => Ok(()),
            Some(page_count) => self.commit(&mut state, page_count, count, frames.durability),
        }
    }

    fn commit(
        &self,
        state: &mut State,
        page_count: u32,
        pages: i32,
        durability: Durability,
    ) -> Result<(), EngineError> {
        let Stage::Writing { read, mut write } = std::mem::take(&mut state.stage) else {
            return Err(EngineError::NoTransaction {
                operation: "commit",
            });
        };
        let touched = write.touched_pages();
        let outcome = resize(&mut write, read.page_count(), page_count, &touched)
            .and_then(|()| faults::hit(Point::Commit))
            .and_then(|()| write.commit_with(durability).map_err(EngineError::from));
        match outcome {
            Ok(committed) => {
                state.cached = Some(committed.lsn());
                state.committed_pages = pages;
                state.stage = Stage::Reading(committed);
                Ok(())
            }
            Err(error) => {
                state.stage = Stage::Failed {
                    read,
                    spilled: touched,
                };
                Err(error)
            }
        }
    }

    /// Forgets all private pages, then calls `reload` for each: the pager drops or reads it again.
    ///
    /// # Errors
    /// The first code of `reload` that is not 0; [`NotUndone::Committed`] when it is too
    /// late.
    pub(crate) fn undo(&self, mut reload: impl FnMut(PageNo) -> i32) -> Result<(), NotUndone> {
        let touched = {
            let mut state = self.state.borrow_mut();
            match &mut state.stage {
                Stage::Writing { write, .. } => {
                    let touched = write.touched_pages();
                    write.clear();
                    touched
                }
                Stage::Failed { spilled, .. } => std::mem::take(spilled),
                // Committed already: another database of the same statement could not be. The pager
                // believes in the pages and the size from before; an error makes it drop both, now
                // and not when the next read begins, which an open cursor puts off.
                Stage::Reading(_) | Stage::Idle => {
                    state.cached = None;
                    return Err(NotUndone::Committed);
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
        if let Stage::Writing { write, .. } = &mut self.state.borrow_mut().stage {
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
                Stage::Writing { read, mut write } => {
                    let spilled = write.touched_pages();
                    write.clear();
                    Stage::Failed { read, spilled }
                }
                other => other,
            };
        }
    }
}

/// Page 1's first bytes as SQLite's open probes them, before any transaction.
pub(crate) fn read_header(shown: &Shown, out: &mut [u8]) -> Result<bool, EngineError> {
    let read = shown.begin_read()?;
    let found = read.page_count() > 0;
    out.fill(0);
    if found {
        let page = read.read_page(PageNo::FIRST)?;
        let bytes = page.len().min(out.len());
        out[..bytes].copy_from_slice(&page[..bytes]);
        page_one::to_shown(out, change_counter(read.lsn()));
    }
    Ok(found)
}

/// Bytes of a database file with so many pages.
pub(crate) fn file_bytes(page_count: u32, page_size: Option<PageSize>) -> u64 {
    u64::from(page_count) * page_size.map_or(0, |size| u64::from(size.get()))
}

/// The change counter that is shown for a state: another one for every commit. A commit record is
/// at least eight bytes long, so neighbouring ones differ for 32 GiB of log.
fn change_counter(lsn: Lsn) -> u32 {
    u32::try_from((lsn.get() >> 3) & u64::from(u32::MAX)).unwrap_or_default()
}

/// Reads a page, or nothing where the database ends before it.
fn page_within<E: Into<EngineError>>(
    page: PageNo,
    page_count: u32,
    read: impl FnOnce() -> Result<PageBytes, E>,
) -> Result<Option<PageBytes>, EngineError> {
    if page.get() > page_count {
        return Ok(None);
    }
    read().map(Some).map_err(Into::into)
}

/// The first write fixes the page size; later ones must agree.
fn settle_page_size(write: &mut WriteTxn, found: i64) -> Result<(), EngineError> {
    let expected = write.page_size();
    let size = u32::try_from(found).ok().and_then(PageSize::new);
    match (expected, size) {
        (Some(expected), Some(size)) if expected == size => Ok(()),
        (_, Some(size)) if write.page_count() == 0 => Ok(write.set_page_size(size)?),
        _ => Err(EngineError::PageSize {
            found,
            expected: expected.map_or(0, PageSize::get),
        }),
    }
}

/// Writes page 1 in its stored form, unless that is what the database has already: SQLite puts page
/// 1 into every commit that has no other page, and counts in it.
fn write_page_one(
    read: &ReadTxn,
    write: &mut WriteTxn,
    content: &[u8],
    scratch: &mut Vec<u8>,
) -> Result<(), EngineError> {
    scratch.clear();
    scratch.extend_from_slice(content);
    page_one::to_stored(scratch);
    let exists = read.page_count() > 0;
    if exists && write.read_page(PageNo::FIRST)?[..] == scratch[..] {
        return Ok(());
    }
    Ok(write.write_page(PageNo::FIRST, scratch)?)
}

/// Gives the database the size that SQLite says it has.
///
/// SQLite may allocate pages and never write them. They become zeros, so that every page of a
/// database exists and is part of its rolling checksum.
fn resize(
    write: &mut WriteTxn,
    old_count: u32,
    new_count: u32,
    touched: &[PageNo],
) -> Result<(), EngineError> {
    if write.page_count() > new_count {
        write.truncate(new_count);
    }
    let Some(size) = write.page_size() else {
        return Ok(());
    };
    let first_new = touched.partition_point(|page| page.get() <= old_count);
    let mut written = touched[first_new..].iter().peekable();
    for raw in old_count.saturating_add(1)..=new_count {
        if written.next_if(|page| page.get() == raw).is_some() || raw == size.lock_page() {
            continue;
        }
        if let Some(page) = PageNo::new(raw) {
            write.write_page(page, &vec![0; size.bytes()])?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
