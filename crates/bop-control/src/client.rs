//! The client: has the owner of a store answer, and hands his answer on.
//!
//! Invariant: what a request prints is what its owner wrote, byte for byte.
//!
//! Never: opens the store.

use crate::commands::Caller;
use crate::failure::Failure;
use crate::message::{PROTOCOL, Said, SqlPiece, SqlSpec, Told};
use crate::request::Request;
use crate::socket::{ControlDir, check_server};
use crate::sql::SqlRefused;
use crate::wire::{Frame, WireError, read_frame, read_message, write_message};
use bop_storage::error::ErrorCode;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the owner may take for a greeting, and for taking what is asked.
const GREETING_PATIENCE: Duration = Duration::from_secs(10);

/// As long as it takes: the kernel says when the owner is gone, and a person can interrupt.
const ANSWER_PATIENCE: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// A connection to the process that has a store open.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    /// When nothing is waited for any more.
    until: Option<Instant>,
}

impl Client {
    /// Connects to the owner of the store at `store`; `None` when nobody listens there.
    ///
    /// # Errors
    /// [`ErrorCode::Control`]: somebody listens, and cannot be asked.
    pub fn connect(store: &Path) -> Result<Option<Self>, Failure> {
        Self::reach(store, None)
    }

    /// The same for one who does not wait for ever: whatever the owner does, connecting and what is asked of the
    /// client later is over at `until`, if need be with an error.
    ///
    /// # Errors
    /// As for [`Client::connect`].
    pub fn connect_until(store: &Path, until: Instant) -> Result<Option<Self>, Failure> {
        Self::reach(store, Some(until))
    }

    fn reach(store: &Path, until: Option<Instant>) -> Result<Option<Self>, Failure> {
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        let connected = ControlDir::open(store).and_then(|dir| match until {
            Some(until) => dir.connect_within(left(until)),
            None => dir.connect(),
        });
        match connected {
            Ok(stream) => Self::greet(stream, until).map(Some),
            Err(error) if is_nobody(&error) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(broken(&WireError::TooSlow))
            }
            Err(error) => Err(broken(&error)),
        }
    }

    fn greet(stream: UnixStream, until: Option<Instant>) -> Result<Self, Failure> {
        check_server(&stream).map_err(|error| broken(&error))?;
        let client = Self { stream, until };
        client.say(&Said::Hello { protocol: PROTOCOL })?;
        match read_message(&client.stream, client.at_most(GREETING_PATIENCE)) {
            Ok(Told::Welcome { protocol }) if protocol == PROTOCOL => Ok(client),
            Ok(Told::Failed(failure)) => Err(failure),
            Ok(_) => Err(broken(&"it did not greet")),
            Err(error) => Err(broken(&error)),
        }
    }

    /// This patience, or what is left of the client's.
    fn at_most(&self, patience: Duration) -> Duration {
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        self.until
            .map_or(patience, |until| patience.min(left(until)))
    }

    /// Has a request answered: `caller` gets what it prints, and is asked what the owner wants to be asked.
    ///
    /// # Errors
    /// What the owner answers; [`ErrorCode::Control`] when the connection breaks; `caller` takes no more.
    pub fn run(
        &self,
        request: &Request,
        json: bool,
        caller: &mut dyn Caller,
    ) -> Result<u8, Failure> {
        self.say(&Said::Run {
            json,
            progress: caller.shows_progress(),
            request: request.clone(),
        })?;
        loop {
            let told = match self.hear()? {
                Frame::Message(told) => told,
                Frame::Bytes(bytes) => {
                    hand_on(&bytes, caller.out())?;
                    continue;
                }
            };
            match told {
                Told::Progress { done, total } => caller.progress(done, total),
                Told::Ask { name, question } => {
                    let why_not = caller.confirm(&name, &question).err();
                    self.say(&Said::Answer(why_not))?;
                }
                Told::Done { status, .. } => return Ok(status),
                Told::Failed(failure) => return Err(failure),
                _ => return Err(broken(&"it answered something else")),
            }
        }
    }

    /// Begins a session of SQL.
    ///
    /// # Errors
    /// As for [`Client::run`].
    pub fn sql(self, spec: &SqlSpec) -> Result<SqlClient, Failure> {
        self.say(&Said::Sql(spec.clone()))?;
        match self.hear_told(&mut io::sink())? {
            Told::Done { .. } => Ok(SqlClient {
                client: self,
                in_transaction: false,
            }),
            Told::Failed(failure) => Err(failure),
            _ => Err(broken(&"it answered something else")),
        }
    }

    fn say(&self, said: &Said) -> Result<(), Failure> {
        match write_message(&self.stream, said, self.at_most(GREETING_PATIENCE)) {
            Ok(()) => Ok(()),
            // He may have said why before he closed.
            Err(WireError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                match read_message(&self.stream, self.at_most(GREETING_PATIENCE)) {
                    Ok(Told::Failed(failure)) => Err(failure),
                    _ => Err(broken(&error)),
                }
            }
            Err(error) => Err(broken(&error)),
        }
    }

    fn hear(&self) -> Result<Frame<Told>, Failure> {
        let frame = read_frame(&self.stream, self.at_most(ANSWER_PATIENCE));
        frame.map_err(|error| broken(&error))
    }

    /// Hands bytes on until a message comes.
    fn hear_told(&self, out: &mut dyn Write) -> Result<Told, Failure> {
        loop {
            match self.hear()? {
                Frame::Bytes(bytes) => hand_on(&bytes, out)?,
                Frame::Message(told) => return Ok(told),
            }
        }
    }
}

/// A session of SQL. Dropped, what is open in it is rolled back.
#[derive(Debug)]
pub struct SqlClient {
    client: Client,
    in_transaction: bool,
}

impl SqlClient {
    /// Runs SQL; what it prints goes to `out`, also before an error. `Ok(Some)`: SQLite refused a statement, and
    /// the session goes on.
    ///
    /// # Errors
    /// The session is over: the connection broke, the owner ended it, or `out` takes no more.
    pub fn run(
        &mut self,
        piece: SqlPiece,
        out: &mut dyn Write,
    ) -> Result<Option<SqlRefused>, Failure> {
        self.client.say(&Said::Piece(piece))?;
        match self.client.hear_told(out)? {
            Told::Done { in_transaction, .. } => {
                self.in_transaction = in_transaction;
                Ok(None)
            }
            Told::Refused(refused) => Ok(Some(refused)),
            Told::Failed(failure) => Err(failure),
            _ => Err(broken(&"it answered something else")),
        }
    }

    /// Whether a transaction was open after the newest SQL that was not refused.
    pub fn is_in_transaction(&self) -> bool {
        self.in_transaction
    }
}

fn hand_on(bytes: &[u8], out: &mut dyn Write) -> Result<(), Failure> {
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|error| Failure::of_output(&error))
}

/// No socket, or one that was left behind.
fn is_nobody(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused)
}

fn broken(why: &dyn std::fmt::Display) -> Failure {
    let message = format!("the process that has the store open cannot be asked: {why}");
    Failure::new(ErrorCode::Control, message)
}
