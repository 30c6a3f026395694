//! Mode `table`: for people. The rows of a result are held until its end, since a column is as
//! wide as its widest value.

use super::Printer;
use crate::cells::{Cells, Kind};
use comfy_table::{Cell, CellAlignment, Table, presets};
use std::io::{self, Write};

/// See the module.
#[derive(Default)]
pub(super) struct TablePrinter {
    names: Vec<String>,
    rows: Vec<Vec<(String, bool)>>,
}

impl Printer for TablePrinter {
    fn row(
        &mut self,
        statement: &mut dyn Cells,
        is_first: bool,
        _out: &mut dyn Write,
    ) -> io::Result<()> {
        if is_first {
            self.rows.clear();
            self.names = (0..statement.columns())
                .map(|column| shown(&statement.column_name(column)))
                .collect();
        }
        let cells = (0..self.names.len()).map(|column| cell(statement, column));
        self.rows.push(cells.collect());
        Ok(())
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let rows = std::mem::take(&mut self.rows);
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        writeln!(out, "{}", render(&names, rows))
    }
}

/// A table of `rows`; a cell that is a number (`true`) stands at the right.
pub fn render(names: &[&str], rows: Vec<Vec<(String, bool)>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(names.iter().copied());
    for row in rows {
        table.add_row(row.into_iter().map(|(text, is_number)| {
            let alignment = if is_number {
                CellAlignment::Right
            } else {
                CellAlignment::Left
            };
            Cell::new(text).set_alignment(alignment)
        }));
    }
    table.to_string()
}

fn cell(statement: &mut dyn Cells, column: usize) -> (String, bool) {
    match statement.kind(column) {
        Kind::Null => (String::new(), false),
        Kind::Integer | Kind::Real => (shown(statement.text(column).unwrap_or_default()), true),
        Kind::Text => (shown(statement.text(column).unwrap_or_default()), false),
        Kind::Blob => (hexadecimal(statement.blob(column)), false),
    }
}

/// The text, without the characters that would break the table or the terminal.
fn shown(text: &[u8]) -> String {
    let keep = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
    String::from_utf8_lossy(text).chars().map(keep).collect()
}

/// The first bytes of a blob, and how many there are.
fn hexadecimal(blob: &[u8]) -> String {
    const SHOWN: usize = 16;
    let digits: String = blob
        .iter()
        .take(SHOWN)
        .map(|byte| format!("{byte:02X}"))
        .collect();
    if blob.len() <= SHOWN {
        format!("x'{digits}'")
    } else {
        format!("x'{digits}...' ({} bytes)", blob.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_at_the_right() {
        let rows = vec![
            vec![("1".to_owned(), true), ("a".to_owned(), false)],
            vec![("100".to_owned(), true), ("b".to_owned(), false)],
        ];
        let table = render(&["n", "t"], rows);
        assert!(table.lines().any(|line| line.contains("   1 ")), "{table}");
    }

    #[test]
    fn a_long_blob_is_cut() {
        assert_eq!(hexadecimal(&[0xab, 0]), "x'AB00'");
        assert!(hexadecimal(&[0; 100]).ends_with("...' (100 bytes)"));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(shown(b"a\x1b[2J\nb"), "a [2J\nb");
    }
}
