//! Who is asked: the store in this process, or the process that has it open.
//!
//! Invariant: an answer is what the command line prints, byte for byte, whoever gave it.
//!
//! Never: opens a store, takes its lock, or keeps a connection between two questions.

use bop_control::{Call, Caller, Client, Failure, Request};
use bop_storage::Manager;
use bop_storage::error::ErrorCode;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The most bytes of an answer: a line for each of a hundred thousand databases.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Whoever answers requests about a store.
pub trait Source: Send + Sync + 'static {
    /// Answers a request, which only reads, as text or as JSON. It may be over at `until`, and must be if it is in the
    /// hands of another process.
    ///
    /// # Errors
    /// What the command answers; nobody has the store open; there is no answer in time, or it is too long.
    fn answer(&self, request: &Request, json: bool, until: Instant) -> Result<Vec<u8>, Failure>;

    /// Has `told` called when the store is about to be closed, if that is known here. See [`Manager::before_close`].
    fn before_close(&self, _told: Box<dyn FnOnce() + Send>) {}
}

/// A store that this process has open. The exporter is a handle of it like any other.
impl Source for Manager {
    fn answer(&self, request: &Request, json: bool, until: Instant) -> Result<Vec<u8>, Failure> {
        let mut reader = Reader::until(until);
        bop_control::run(Call::new(self, None, json, &mut reader), request)?;
        Ok(reader.bytes)
    }

    fn before_close(&self, told: Box<dyn FnOnce() + Send>) {
        Self::before_close(self, told);
    }
}

/// A store that another process has open, now or later: each question goes to whoever listens at its control socket then.
///
/// # Example
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bop_control::Request;
/// use bop_exporter::{Source, StoreSocket};
/// use std::time::{Duration, Instant};
///
/// let store = StoreSocket::of("/var/lib/nobody-has-this-open");
/// let until = Instant::now() + Duration::from_secs(1);
/// assert!(store.answer(&Request::List, true, until).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreSocket {
    store: PathBuf,
}

impl StoreSocket {
    /// Of the store in this directory, which need not be there yet.
    pub fn of(store: impl Into<PathBuf>) -> Self {
        Self {
            store: store.into(),
        }
    }
}

impl Source for StoreSocket {
    fn answer(&self, request: &Request, json: bool, until: Instant) -> Result<Vec<u8>, Failure> {
        let Some(client) = Client::connect_until(&self.store, until)? else {
            let path = self.store.display();
            let message = format!("nobody who can be asked has the store at {path} open");
            return Err(Failure::new(ErrorCode::Control, message).with_hint(
                "start the application, with its control socket; it is looked for again by itself",
            ));
        };
        let mut reader = Reader::until(until);
        client.run(request, json, &mut reader)?;
        Ok(reader.bytes)
    }
}

/// The exporter as a caller of commands: it takes what they print, up to a bound.
struct Reader {
    bytes: Vec<u8>,
    until: Instant,
}

impl Reader {
    fn until(until: Instant) -> Self {
        Self {
            bytes: Vec::new(),
            until,
        }
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if ANSWER_BYTES_MAX < self.bytes.len() + bytes.len() {
            let what = format!("an answer of more than {ANSWER_BYTES_MAX} bytes");
            return Err(io::Error::other(what));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Caller for Reader {
    fn out(&mut self) -> &mut dyn Write {
        self
    }

    fn confirm(&mut self, name: &str, _question: &str) -> Result<(), Failure> {
        let message = format!("the exporter confirms nothing, and not that {name:?} is to go");
        Err(Failure::new(ErrorCode::Usage, message))
    }

    fn is_waiting(&mut self) -> bool {
        !self.left().is_zero()
    }

    fn pause(&mut self, time: Duration) {
        std::thread::sleep(time.min(self.left()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_bound() {
        let mut reader = Reader::until(Instant::now());
        reader.write_all(&vec![0; ANSWER_BYTES_MAX]).unwrap();
        let refused = reader.write_all(b"!").unwrap_err();
        assert!(refused.to_string().contains("more than"), "{refused}");
    }
}
