//! Mode `list`: values as SQLite writes them, `|` between them, NULL as nothing.

use super::{Printer, before_nul};
use crate::cells::Cells;
use std::io::{self, Write};

/// See the module.
pub(super) struct List {
    /// Whether the column names come first.
    pub(super) header: bool,
}

impl Printer for List {
    fn row(
        &mut self,
        statement: &mut dyn Cells,
        is_first: bool,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let columns = statement.columns();
        let separator = |column| if column + 1 < columns { b"|" } else { b"\n" };
        if is_first && self.header {
            for column in 0..columns {
                out.write_all(before_nul(&statement.column_name(column)))?;
                out.write_all(separator(column))?;
            }
        }
        for column in 0..columns {
            out.write_all(before_nul(statement.text(column).unwrap_or_default()))?;
            out.write_all(separator(column))?;
        }
        Ok(())
    }

    fn end(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}
