//! SQL from the user to SQLite and its rows back: [`line_ends`] and [`input`] cut statements,
//! [`runner`] runs them, [`statement`] is the unsafe part, [`position`] says where an error is.
//! Lines that begin with a dot are understood by [`dot`] and done by [`shell`].

mod csv_import;
pub(crate) mod dot;
mod dump;
pub(crate) mod input;
pub(crate) mod line_ends;
pub(crate) mod position;
pub(crate) mod runner;
pub(crate) mod shell;
pub(crate) mod statement;
