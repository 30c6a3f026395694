//! What client and server say to each other.
//!
//! ```text
//!   client            server
//!   Hello  ---------> Welcome, or Failed: another version, another user's, too many clients
//!   Run    ---------> bytes of the answer, Ask, Progress ... then Done or Failed: the end
//!     Answer ------->   what was asked
//!   Sql    ---------> Done: a session is open, or Failed: the end
//!     Piece -------->   bytes of the answer, then Done or Failed: the next piece
//! ```
//! Invariant: `PROTOCOL` changes whenever a message does that there was. A request that an owner does not know is refused by it,
//! and what a request prints may change.

use crate::failure::Failure;
use crate::output::Mode;
use crate::request::Request;
use crate::sql::SqlRefused;
use serde::{Deserialize, Serialize};

/// The version of what is said.
pub const PROTOCOL: u32 = 2;

/// From the client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Said {
    /// The first word.
    Hello {
        /// The client's [`PROTOCOL`].
        protocol: u32,
    },
    /// A request; the connection ends with its answer.
    Run {
        /// Whether the answer is JSON.
        json: bool,
        /// Whether it is to be told how far the work is, where it takes long.
        progress: bool,
        /// It.
        request: Request,
    },
    /// What a person answers to a question.
    Answer(
        /// Why it is not to be; none, if it is.
        Option<Failure>,
    ),
    /// A session of SQL.
    Sql(SqlSpec),
    /// SQL of the session.
    Piece(SqlPiece),
}

/// Which session of SQL.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SqlSpec {
    /// The database.
    pub database: String,
    /// The state of it, as people write it.
    pub at: Option<String>,
    /// Whether a missing database is made.
    pub create: bool,
    /// Whether it is to write.
    pub write: bool,
}

/// SQL to be run, of one statement or several.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SqlPiece {
    /// The SQL.
    pub sql: String,
    /// How rows are written.
    pub mode: Mode,
    /// Whether the names of columns come first, where the mode can do without.
    pub header: bool,
}

/// From the server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    /// The answer to a `Hello`.
    Welcome {
        /// The server's [`PROTOCOL`].
        protocol: u32,
    },
    /// A person is to confirm something.
    Ask {
        /// What it is about.
        name: String,
        /// In words.
        question: String,
    },
    /// So much is done. It is left out where the client has not taken what was told before.
    Progress {
        /// Bytes or pages.
        done: u64,
        /// Of so many.
        total: u64,
    },
    /// It was done.
    Done {
        /// The exit status that goes with it.
        status: u8,
        /// Of a session: whether a transaction is open.
        in_transaction: bool,
    },
    /// It was not done.
    Failed(Failure),
    /// SQLite refused a statement; the session goes on.
    Refused(SqlRefused),
}
