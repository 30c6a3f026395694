//! SQL from the user to SQLite and its rows back: [`line_ends`] and [`input`] cut statements,
//! [`runner`] runs them,
//! Lines that begin with a dot are understood by [`dot`] and done by [`shell`].
//! [`literal`] writes SQL that comes back as what it was.

mod csv_import;
mod csv_rows;
pub(crate) mod dot;
mod dump;
pub(crate) mod input;
pub(crate) mod line_ends;
pub(crate) mod link;
mod literal;
pub(crate) mod runner;
pub(crate) mod shell;
