//! SQL on a connection of some SQLite, for whoever asks over the control socket of a store: a client's session, and
//! what it may do.
//!
//! | file | owns |
//! |---|---|
//! | `functions` | the functions of a SQLite that are called |
//! | `handle`, `statement` | a connection and a statement, below every binding |
//! | `rules` | what other processes' SQL may do |
//! | `guard` | the callbacks by which SQLite asks that, and whether to go on |
//! | `run` | the statements of a text, one after the other |
//! | `refused` | SQLite's errors as people see them |
//! | `session` | all of it, as the control socket wants it |
//! | `files` | exports |
//!
//! Both doors have their SQLite run it, so that neither lets in more than the other, and both print the same bytes.
//! Whoever opens a connection says how by [`SqlConnection`].

mod files;
mod functions;
mod guard;
mod handle;
mod refused;
mod rules;
mod run;
mod session;
mod statement;

pub use files::export;
pub use functions::{SqlAddresses, SqlFunctions};
pub use guard::Watched;
pub use handle::{Handle, SqlFailure};
pub use refused::failure_of;
pub use run::{Stopped, TakeRows, run};
pub use session::Session;
pub use statement::Prepared;

use crate::engine_error::EngineError;

/// A connection of a door's, open for as long as this lives.
pub trait SqlConnection {
    /// The connection as SQLite has it.
    fn handle(&self) -> Handle<'_>;

    /// The engine's error behind one of SQLite's, which only knows a number.
    fn engine_error(&self, sql: &SqlFailure) -> Option<EngineError>;

    /// The state of a database that it shows, in the words of a person; `None`: the newest, whatever it is.
    fn state(&self) -> Option<&str>;
}
