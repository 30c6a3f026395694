//! The caller of a request that came over the socket.
//!
//! Invariants
//! - whoever does not take what is sent to him in time is as good as gone;
//! - no work waits for one who is to be told how far it is: what he has no room for he is not told.

use crate::commands::Caller;
use crate::failure::Failure;
use crate::message::{Said, Told};
use crate::socket::{has_room, is_connected, wait_while_connected};
use crate::wire::{WireError, read_message, write_bytes, write_message};
use bop_storage::error::ErrorCode;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a client may take for a frame.
pub(super) const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// How long a person may take for an answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(120);

/// Bytes that are sent at once.
const HELD_BYTES: usize = 64 * 1024;

/// The shortest time between two words on how far the work is.
const PROGRESS_PAUSE: Duration = Duration::from_millis(100);

/// A client.
pub(super) struct RemoteCaller {
    stream: Arc<UnixStream>,
    stopping: Arc<AtomicBool>,
    held: Vec<u8>,
    shows_progress: bool,
    /// When it was told last how far the work is.
    told: Option<Instant>,
}

impl RemoteCaller {
    pub(super) fn new(stream: &Arc<UnixStream>, stopping: &Arc<AtomicBool>) -> Self {
        Self {
            stream: Arc::clone(stream),
            stopping: Arc::clone(stopping),
            held: Vec::new(),
            shows_progress: false,
            told: None,
        }
    }

    /// Whether it wants to be told how far the work is.
    pub(super) fn show_progress(&mut self, yes: bool) {
        self.shows_progress = yes;
    }

    /// Sends a message behind all that was written before.
    ///
    /// # Errors
    /// The client takes no more.
    pub(super) fn tell(&mut self, told: &Told) -> io::Result<()> {
        self.flush()?;
        write_message(&self.stream, told, WRITE_PATIENCE).map_err(gone)
    }

    /// Whether the client is there and the server goes on; for other threads, too.
    pub(super) fn is_wanted(stream: &UnixStream, stopping: &AtomicBool) -> bool {
        !stopping.load(Ordering::Acquire) && is_connected(stream)
    }
}

impl Write for RemoteCaller {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        if HELD_BYTES <= self.held.len() {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        write_bytes(&self.stream, &held, WRITE_PATIENCE).map_err(gone)
    }
}

impl Caller for RemoteCaller {
    fn out(&mut self) -> &mut dyn Write {
        self
    }

    fn confirm(&mut self, name: &str, question: &str) -> Result<(), Failure> {
        let ask = Told::Ask {
            name: name.to_owned(),
            question: question.to_owned(),
        };
        self.tell(&ask)
            .map_err(|error| Failure::of_output(&error))?;
        match read_message(&self.stream, ANSWER_PATIENCE) {
            Ok(Said::Answer(None)) => Ok(()),
            Ok(Said::Answer(Some(refused))) => Err(refused),
            Ok(_) => Err(Failure::new(
                ErrorCode::Control,
                "a question was answered with something else",
            )),
            Err(error) => Err(Failure::new(
                ErrorCode::Usage,
                format_args!("not dropped: {name:?} was not confirmed: {error}"),
            )),
        }
    }

    fn shows_progress(&self) -> bool {
        self.shows_progress
    }

    fn progress(&mut self, done: u64, total: u64) {
        let now = Instant::now();
        let is_soon =
            |told: Instant| now.saturating_duration_since(told) < PROGRESS_PAUSE && done < total;
        if !self.shows_progress || self.told.is_some_and(is_soon) || !has_room(&self.stream) {
            return;
        }
        self.told = Some(now);
        // Whether he is gone is asked for elsewhere.
        let _ = write_message(
            &self.stream,
            &Told::Progress { done, total },
            PROGRESS_PAUSE,
        );
    }

    fn is_waiting(&mut self) -> bool {
        Self::is_wanted(&self.stream, &self.stopping)
    }

    fn pause(&mut self, time: Duration) {
        // The end of the client wakes it, and so does that of the server, which reads no more.
        wait_while_connected(&self.stream, time);
    }
}

/// Nobody takes the answer any more.
fn gone(error: WireError) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, error.to_string())
}
