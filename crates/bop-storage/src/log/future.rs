//! The end of a record that nobody waits for on a thread.

use super::member::Placed;
use super::ticket::{Answer, Ticket};
use crate::error::{CommitError, LogFailure};
use crate::ids::Lsn;
use crate::runtime::after;
use crate::runtime::sync::{elapsed, now};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Tells when an appended record is durable and visible, or why not. Dropping it changes nothing.
///
/// Polled again after it was ready it stays pending.
#[derive(Debug)]
#[must_use = "the record is on its way whatever becomes of this; use `drop` to say so"]
pub struct CommitFuture {
    ticket: Arc<Ticket>,
    /// Where the record was put; it may move before it is written.
    lsn: Lsn,
    asked: Instant,
}

impl CommitFuture {
    pub(super) fn new(ticket: Arc<Ticket>, lsn: Lsn) -> Self {
        let asked = now();
        Self { ticket, lsn, asked }
    }

    /// Waits on this thread instead.
    ///
    /// # Errors
    /// As for [`Log::append`](super::Log::append); `Unknown` when `patience` ends first.
    pub fn wait(self, patience: Duration) -> Result<Placed, CommitError> {
        let deadline = after(now(), patience);
        loop {
            match self.ticket.wait(deadline) {
                Answer::Done(outcome) => return outcome,
                // Nobody tells it to lead.
                Answer::Lead => {}
                Answer::TimedOut => {
                    let waited = elapsed(self.asked);
                    return Err(CommitError::Unknown {
                        lsn: self.lsn,
                        cause: Arc::new(LogFailure::Stalled { waited }),
                    });
                }
            }
        }
    }
}

impl Future for CommitFuture {
    type Output = Result<Placed, CommitError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.ticket.poll(context.waker())
    }
}
