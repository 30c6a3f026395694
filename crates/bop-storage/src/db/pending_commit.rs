//! A commit that nobody waits for on a thread.

use super::engine::OpenStore;
use super::lifecycle::Inside;
use super::read::ReadTxn;
use super::state::DbState;
use crate::error::CommitError;
use crate::log::CommitFuture;
use crate::runtime::sync::Mutex;
use crate::view::Pin;
use std::future::Future;
use std::pin::Pin as PinFuture;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The pin that a commit leaves when it is published: of whoever committed. What is in it before, a reader's of the
/// state that the commit replaces, moves on to it.
pub(super) type Pinned = Arc<Mutex<Option<Pin>>>;

/// What a commit shows once it is visible.
#[derive(Debug)]
pub(super) struct Visible {
    pub(super) engine: Arc<OpenStore>,
    pub(super) state: Arc<DbState>,
    pub(super) inside: Inside,
    /// Filled when the commit is published.
    pub(super) pinned: Pinned,
}

impl Visible {
    /// The state of the database with the commit.
    pub(super) fn into_read(self) -> ReadTxn {
        let pinned = self.pinned.lock().take();
        let pin = pinned.unwrap_or_else(|| self.state.pin());
        ReadTxn::new(self.engine, self.state, pin, self.inside)
    }
}

/// A commit on its way, see [`WriteTxn::commit_async`](crate::WriteTxn::commit_async). Dropping it
/// changes nothing: the commit becomes durable and visible all the same.
///
/// Polled again after it was ready it stays pending.
#[derive(Debug)]
#[must_use = "the commit is on its way whatever becomes of this; use `drop` to say so"]
pub struct PendingCommit {
    /// `None` for a commit that is visible already.
    future: Option<CommitFuture>,
    visible: Option<Visible>,
}

impl PendingCommit {
    pub(super) fn new(future: Option<CommitFuture>, visible: Visible) -> Self {
        Self {
            future,
            visible: Some(visible),
        }
    }

    /// A transaction that changed nothing.
    pub(super) fn unchanged(snapshot: ReadTxn) -> Self {
        let visible = Some(snapshot.into_visible());
        Self {
            future: None,
            visible,
        }
    }

    /// Waits on this thread.
    ///
    /// # Errors
    /// As for [`WriteTxn::commit`](crate::WriteTxn::commit).
    pub fn wait(self) -> Result<ReadTxn, CommitError> {
        let engine = self.visible.as_ref().map(|of| Arc::clone(&of.engine));
        let ended = self.visible();
        match engine {
            Some(engine) => engine.told(ended),
            None => ended,
        }
    }

    /// The same, for a caller who counts errors by itself.
    pub(super) fn visible(self) -> Result<ReadTxn, CommitError> {
        let Self { future, visible } = self;
        let Some(visible) = visible else {
            return Err(crate::error::Rejection::Closed.into());
        };
        if let Some(future) = future {
            let patience = visible.engine.limits().io_deadline;
            future.wait(patience)?;
        }
        Ok(visible.into_read())
    }
}

impl Future for PendingCommit {
    type Output = Result<ReadTxn, CommitError>;

    fn poll(mut self: PinFuture<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(future) = &mut self.future {
            match PinFuture::new(future).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => {
                    if let Some(visible) = &self.visible {
                        visible.engine.meters.error(error.code());
                    }
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(Ok(_)) => {}
            }
        }
        match self.visible.take() {
            Some(visible) => Poll::Ready(Ok(visible.into_read())),
            None => Poll::Pending,
        }
    }
}
