//! The pages that a pager hands over, and their commit: at once, or staged for a [`Group`].
//!
//! Invariant: a commit that fails, or that was given away and did not come back, leaves the session
//! `Failed`.
//!
//! [`Group`]: super::Group

use super::{Left, Session, Stage, Staged, State};
use crate::engine_error::EngineError;
use crate::faults::{self, Point};
use crate::pages::{resize, settle_page_size, write_page_one};
use bop_storage::ids::PageNo;
use bop_storage::{Durability, NotCommitted, ReadTxn, WriteTxn};

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

/// What a member brings into a group.
pub(crate) struct Member {
    pub(crate) write: WriteTxn,
    pub(crate) durability: Durability,
    pub(crate) pages: i32,
}

impl Session {
    /// Takes pages that the pager spills or commits. A commit is visible on return, and as durable
    /// as it asks for, unless it is one of several: those are staged, see [`Group`](super::Group).
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
        let committed = match ready {
            Ok(()) => write.commit_and_read(read, durability).map_err(|failed| {
                let NotCommitted { error, reader } = *failed;
                (reader, error.into())
            }),
            Err(error) => Err((read, error)),
        };
        match committed {
            Ok(committed) => {
                state.cached = Some(committed.lsn());
                state.committed_pages = pages;
                state.stage = Stage::Reading(committed);
                Ok(())
            }
            Err((read, error)) => {
                let left = Left::Spilled(touched);
                state.stage = Stage::Failed { read, left };
                Err(error)
            }
        }
    }

    pub(super) fn is_staged(&self) -> bool {
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
}
