//! SQL from the user to SQLite and its rows back: [`input`] cuts statements, [`runner`] runs them,
//! [`statement`] is the unsafe part, [`position`] says where an error is.

pub(crate) mod input;
pub(crate) mod position;
pub(crate) mod runner;
pub(crate) mod statement;
