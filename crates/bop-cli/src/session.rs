//! The store for the length of one command: opened, or asked of the process that has it open.
//!
//! ```text
//!   open --> socket bound --> the command --> closed, which takes the socket away --> what was held back is shown
//!     '--another process has it --socket--> it answers
//!                                   '--no socket--> the error of the open
//! ```
//! Invariants
//! - a store that was opened is closed, so that its last state is durable and the next open need not recover;
//!   where both the command and the close fail, the command's error counts;
//! - whoever opens a store lets others ask meanwhile, unless told otherwise. Without a socket the command goes on.

use crate::args::ControlMode;
use crate::commands::Context;
use bop_control::{Call, Caller, Client, Failure, Request, Server, Terminal};
use bop_libsql::Store;
use bop_libsql::control::Door;
use bop_storage::error::ErrorCode;
use bop_storage::io::IoBackend;
use bop_storage::{Compression, Manager, OpenError, Options};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a command's end waits for the store.
const CLOSE_DEADLINE: Duration = Duration::from_secs(60);

/// Whether a command may make a store where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WhenMissing {
    /// Make it.
    Create,
    /// Report it.
    Fail,
}

impl WhenMissing {
    /// Make it, unless that is refused.
    pub(crate) const fn create_unless(refused: bool) -> Self {
        match refused {
            true => Self::Fail,
            false => Self::Create,
        }
    }
}

/// Which store, and how it is opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    /// Its directory.
    pub(crate) path: PathBuf,
    /// How its files are read and written.
    pub(crate) io: IoBackend,
    /// How checkpoints compress pages.
    pub(crate) compression: Compression,
    /// What others may ask meanwhile.
    pub(crate) control: ControlMode,
}

/// A store that this process has open, or the process that has.
pub(crate) enum Opened {
    /// It is this one.
    Here(Session),
    /// It is another one, and it answers.
    There(Client),
}

/// An open store and its socket.
pub(crate) struct Session {
    store: Store,
    server: Option<Server>,
}

impl Session {
    /// Opens the store that `target` names.
    ///
    /// # Errors
    /// Why it cannot be opened.
    fn open(target: &Target, when_missing: WhenMissing) -> Result<Self, OpenFailure> {
        let options = Options::new()
            .create(when_missing == WhenMissing::Create)
            .io(target.io)
            .compression(target.compression);
        let manager = Manager::open(&target.path, options).map_err(OpenFailure::Open)?;
        let store = Store::new(manager).map_err(|error| OpenFailure::Sqlite(error.into()))?;
        let server = serve(&store, target.control);
        Ok(Self { store, server })
    }

    /// Runs `command` and closes the store.
    ///
    /// # Errors
    /// What the command or the close answers.
    pub(crate) fn run<T>(
        self,
        command: impl FnOnce(&Store) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let outcome = command(&self.store);
        let closed = self.store.manager().close(CLOSE_DEADLINE);
        // It was told by the close; its threads are waited for here.
        drop(self.server);
        let value = outcome?;
        closed?;
        Ok(value)
    }
}

/// Why a store was not opened.
enum OpenFailure {
    Open(OpenError),
    Sqlite(Failure),
}

impl From<OpenFailure> for Failure {
    fn from(error: OpenFailure) -> Self {
        match error {
            OpenFailure::Open(error) => error.into(),
            OpenFailure::Sqlite(failure) => failure,
        }
    }
}

/// Lets others ask. A store on a full or read-only device has no socket, and works.
fn serve(store: &Store, control: ControlMode) -> Option<Server> {
    let options = bop_control::Options::new()
        .sql(Arc::new(Door::new(store)))
        .allow_writes(control == ControlMode::Write);
    if control == ControlMode::Off {
        return None;
    }
    let started = Server::start(store.manager(), options);
    let started = started.inspect_err(|error| {
        tracing::warn!(%error, "there is no control socket");
    });
    started.ok()
}

/// Opens the store, or reaches the process that has it open.
///
/// # Errors
/// Neither can be done.
pub(crate) fn open(target: &Target, when_missing: WhenMissing) -> Result<Opened, Failure> {
    match Session::open(target, when_missing) {
        Ok(session) => Ok(Opened::Here(session)),
        Err(OpenFailure::Open(error)) if error.code() == ErrorCode::StoreLocked => {
            match Client::connect(&target.path)? {
                Some(client) => Ok(Opened::There(client)),
                None => Err(error.into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Opens the store, runs `command` on it and closes it: for commands that need it for themselves.
///
/// # Errors
/// What the open, the command or the close answers.
pub(crate) fn with_store<T>(
    target: &Target,
    when_missing: WhenMissing,
    command: impl FnOnce(&Store) -> Result<T, Failure>,
) -> Result<T, Failure> {
    Session::open(target, when_missing)?.run(command)
}

/// Has a request answered, and shows the answer; tells the exit status.
///
/// # Errors
/// What the open, the command or the close answers.
pub(crate) fn ask(
    context: &Context,
    when_missing: WhenMissing,
    request: &Request,
) -> Result<u8, Failure> {
    ask_as(context, when_missing, request, &mut Terminal::standard())
}

/// The same for a caller of its own.
///
/// # Errors
/// As for [`ask`].
pub(crate) fn ask_as(
    context: &Context,
    when_missing: WhenMissing,
    request: &Request,
    caller: &mut dyn Caller,
) -> Result<u8, Failure> {
    // Before a store is made for it.
    request.check()?;
    let answered = match open(&context.store, when_missing)? {
        Opened::Here(session) => session.run(|store| {
            let door = Door::new(store);
            let call = Call::new(store.manager(), Some(&door), context.json, caller);
            bop_control::run(call, request)
        }),
        Opened::There(client) => client.run(request, context.json, caller),
    };
    let shown = caller.out().flush();
    let status = answered?;
    shown.map_err(|error| Failure::of_output(&error))?;
    Ok(status)
}
