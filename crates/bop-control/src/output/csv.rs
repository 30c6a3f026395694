//! Mode `csv`: a value is quoted when it is empty or has a blank, a quote, a comma, a control
//! character or a byte that is not ASCII; NULL is nothing. Rows end in a newline, as they do in
//! `sqlite3 -csv` (the shell's `.mode csv` ends them in CR LF).

use super::{Printer, before_nul};
use crate::cells::Cells;
use std::io::{self, Write};

/// See the module.
pub(super) struct Csv {
    /// Whether the column names come first.
    pub(super) header: bool,
}

impl Printer for Csv {
    fn row(
        &mut self,
        statement: &mut dyn Cells,
        is_first: bool,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let columns = statement.columns();
        let separator = |column| if column + 1 < columns { b"," } else { b"\n" };
        if is_first && self.header {
            for column in 0..columns {
                write_value(before_nul(&statement.column_name(column)), out)?;
                out.write_all(separator(column))?;
            }
        }
        for column in 0..columns {
            if let Some(text) = statement.text(column) {
                write_value(before_nul(text), out)?;
            }
            out.write_all(separator(column))?;
        }
        Ok(())
    }

    fn end(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

fn write_value(value: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b',');
    if !value.is_empty() && value.iter().all(is_plain) {
        return out.write_all(value);
    }
    out.write_all(b"\"")?;
    for (index, piece) in value.split(|byte| *byte == b'"').enumerate() {
        if 0 < index {
            out.write_all(b"\"\"")?;
        }
        out.write_all(piece)?;
    }
    out.write_all(b"\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &[u8], expected: &[u8]) {
        let mut out = Vec::new();
        write_value(value, &mut out).unwrap();
        assert_eq!(out, expected);
    }

    #[test]
    fn values_are_quoted_where_the_shell_quotes() {
        check(b"plain-1.5|x", b"plain-1.5|x");
        check(b"", b"\"\"");
        check(b"a b", b"\"a b\"");
        check(b"a,b", b"\"a,b\"");
        check(b"it's", b"\"it's\"");
        check(b"say \"hi\"", b"\"say \"\"hi\"\"\"");
        check(b"a\nb", b"\"a\nb\"");
        check(b"\x7f", b"\"\x7f\"");
        check("\u{e9}".as_bytes(), "\"\u{e9}\"".as_bytes());
    }
}
