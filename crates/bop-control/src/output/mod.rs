//! How the rows of a statement are written: one [`Printer`] for each mode.
//!
//! Invariants
//! - `list` and `csv` write byte for byte what the shell of the same SQLite writes in these modes;
//! - a statement without rows writes nothing, in every mode.
//!
//! Never: flushes, reads the input, decides what an error is.

mod csv;
mod json;
mod list;
mod plan;
mod rows;
mod table;
mod time;

pub use rows::RowPrinter;
pub use table::render as render_table;
pub use time::utc;

use crate::cells::{Cells, Explain};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};

/// The ways to write rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Values with | between them, as `sqlite3 -list`
    List,
    /// Comma-separated values, as `sqlite3 -csv`
    Csv,
    /// An array of objects for each statement that answers rows
    Json,
    /// A table for people
    Table,
}

/// Writes the rows of one statement after the other.
pub trait Printer {
    /// Writes the current row of `statement`; `is_first` says that its result starts.
    ///
    /// # Errors
    /// What `out` answers.
    fn row(
        &mut self,
        statement: &mut dyn Cells,
        is_first: bool,
        out: &mut dyn Write,
    ) -> io::Result<()>;

    /// Ends a result that had rows.
    ///
    /// # Errors
    /// What `out` answers.
    fn end(&mut self, out: &mut dyn Write) -> io::Result<()>;
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::List, Self::Csv, Self::Json, Self::Table];

    /// What it is called, and what it is, for whoever explains a command line.
    pub const fn explained(self) -> (&'static str, &'static str) {
        match self {
            Self::List => ("list", "Values with | between them, as `sqlite3 -list`"),
            Self::Csv => ("csv", "Comma-separated values, as `sqlite3 -csv`"),
            Self::Json => (
                "json",
                "An array of objects for each statement that answers rows",
            ),
            Self::Table => ("table", "A table for people"),
        }
    }

    /// The mode of that name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|mode| mode.explained().0.eq_ignore_ascii_case(name))
    }

    /// The printer of this mode; `header` asks for column names where the mode can do without.
    pub fn printer(self, header: bool) -> Box<dyn Printer> {
        match self {
            Self::List => Box::new(list::List { header }),
            Self::Csv => Box::new(csv::Csv { header }),
            Self::Json => Box::new(json::Json::default()),
            Self::Table => Box::new(table::TablePrinter::default()),
        }
    }

    /// The printer of a statement that explains another; `None` where its rows are data.
    pub fn explainer(self, explain: Explain) -> Option<Box<dyn Printer>> {
        match explain {
            _ if self == Self::Json => None,
            Explain::No => None,
            Explain::Program => Some(Box::new(plan::Program::default())),
            Explain::QueryPlan => Some(Box::new(plan::Plan::default())),
        }
    }
}

/// What a C program sees of `text`: the bytes before the first NUL.
fn before_nul(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == 0).next().unwrap_or(text)
}
