//! The current row of a statement, as whoever writes it down sees it.
//!
//! Never: goes to another row.

/// The type that a value has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// NULL.
    Null,
    /// A 64-bit integer.
    Integer,
    /// A floating-point number.
    Real,
    /// A text.
    Text,
    /// Bytes.
    Blob,
}

/// Whether a statement explains another instead of running it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Explain {
    /// It does not.
    No,
    /// `EXPLAIN`
    Program,
    /// `EXPLAIN QUERY PLAN`
    QueryPlan,
}

/// The values of a row, by column, from 0 on.
pub trait Cells {
    /// How many columns a row has.
    fn columns(&self) -> usize;

    /// The name of a column.
    fn column_name(&self, column: usize) -> Vec<u8>;

    /// The type of a value.
    fn kind(&self, column: usize) -> Kind;

    /// A value as a number.
    fn real(&self, column: usize) -> f64;

    /// A value as SQLite writes it in text; `None` for NULL.
    fn text(&mut self, column: usize) -> Option<&[u8]>;

    /// A blob.
    fn blob(&mut self, column: usize) -> &[u8];
}
