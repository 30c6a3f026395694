//! `bop-control`: one process owns a store, all others talk to it.
//!
//! The owner runs a [`Server`], which answers at `STORE/control/control.sock`; any other process of the same user
//! is a [`Client`]. What can be asked is a [`Request`], and [`run`] answers it: the same code for the process that
//! has the store open and asks itself, and for one that asks over the socket.
//!
//! | module | owns |
//! |---|---|
//! | `failure`, `position` | an error as people see it, and its place in their SQL |
//! | `cells`, `output` | rows, and how they are written |
//! | `request` | what can be asked |
//! | `sql` | what a front end supplies, so that SQL can be asked |
//! | `commands` | the answers |
//! | `wire`, `message`, `socket` | frames, what is said in them, and where |
//! | `server`, `client`, `terminal` | the two ends, and who sits at the nearer one |
#![deny(unsafe_code)]

mod failure;
mod position;

mod cells;
pub mod output;

mod request;
mod sql;

mod commands;

mod message;
mod socket;
mod wire;

mod client;
mod server;
mod terminal;

#[cfg(feature = "testing")]
pub mod testing;

pub use cells::{Cells, Explain, Kind};
pub use client::{Client, SqlClient};
pub use commands::{Call, Caller, run};
pub use failure::{Failure, code_of};
pub use message::{PROTOCOL, SqlPiece, SqlSpec};
pub use output::Mode;
pub use position::{Excerpt, Position};
pub use request::{Feed, Request, RetentionChange, check_name};
pub use server::{CLIENTS_MAX, Options, Server};
pub use socket::{CONTROL_DIR, SOCKET};
pub use sql::{
    ExportWanted, SqlDoor, SqlRefused, SqlRows, SqlRunError, SqlSession, SqlWanted, SqlWatch,
    Transferred,
};
pub use terminal::Terminal;
pub use wire::FRAME_BYTES_MAX;
