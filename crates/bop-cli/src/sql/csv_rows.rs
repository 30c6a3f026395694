//! Rows of a CSV file (RFC 4180), one after the other.
//!
//! ```text
//!  Start -- quote --> Quoted -- quote --> Quote -- quote --> Quoted
//!    '---- other --> Plain <--- other ------'
//! ```
//! A comma leads from everywhere but `Quoted` to the `Start` of the next value; LF, CR LF or CR ends the row there.
//! A value whose quote is not closed goes on to the end of the file.
//!
//! Invariant: an empty line is a row of one value, as it is for SQLite's shell. Who wants more values tells it from
//! others by [`Row::is_empty_line`].

use std::io::{self, BufRead};

/// What a file in UTF-8 may begin with, and no value does.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A file that is read row by row.
pub(super) struct Rows<R> {
    input: R,
    /// The one that is read next, from 1; line ends in quotes count.
    line: u64,
}

/// What stands before the end of a row.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Row {
    /// At least one.
    pub(super) values: Vec<String>,
    /// Where it begins.
    pub(super) line: u64,
    /// Whether there is nothing at all, not even quotes.
    pub(super) is_empty_line: bool,
}

/// Where in a value the next byte is.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Place {
    Start,
    Plain,
    Quoted,
    /// After a quote in a quoted one: its end, or the first of two.
    Quote,
}

impl<R: BufRead> Rows<R> {
    /// Reads from `input`.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn new(mut input: R) -> io::Result<Self> {
        if input.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
            input.consume(BYTE_ORDER_MARK.len());
        }
        Ok(Self { input, line: 1 })
    }

    /// The next row, if there is one.
    ///
    /// # Errors
    /// The input cannot be read, or a value is not UTF-8.
    pub(super) fn next_row(&mut self) -> io::Result<Option<Row>> {
        let line = self.line;
        let (mut values, mut value) = (Vec::new(), Vec::new());
        let (mut place, mut is_empty_line) = (Place::Start, true);
        loop {
            match (place, self.next_byte()?) {
                (_, None) if is_empty_line => return Ok(None),
                (_, None) => break,
                (Place::Quoted, Some(b'"')) => place = Place::Quote,
                (Place::Quoted, Some(byte)) => value.push(byte),
                (Place::Start, Some(b'"')) => place = Place::Quoted,
                (Place::Quote, Some(b'"')) => {
                    value.push(b'"');
                    place = Place::Quoted;
                }
                (_, Some(b',')) => {
                    values.push(text(std::mem::take(&mut value), line)?);
                    place = Place::Start;
                }
                (_, Some(b'\n')) => break,
                (_, Some(b'\r')) => {
                    self.end_line_at_cr()?;
                    break;
                }
                (_, Some(byte)) => {
                    value.push(byte);
                    place = Place::Plain;
                }
            }
            is_empty_line = false;
        }
        values.push(text(value, line)?);
        Ok(Some(Row {
            values,
            line,
            is_empty_line,
        }))
    }

    fn next_byte(&mut self) -> io::Result<Option<u8>> {
        let byte = self.input.fill_buf()?.first().copied();
        if byte.is_some() {
            self.input.consume(1);
        }
        self.line += u64::from(byte == Some(b'\n'));
        Ok(byte)
    }

    fn end_line_at_cr(&mut self) -> io::Result<()> {
        if self.input.fill_buf()?.first() == Some(&b'\n') {
            self.input.consume(1);
        }
        self.line += 1;
        Ok(())
    }
}

fn text(value: Vec<u8>, line: u64) -> io::Result<String> {
    let not_utf8 = |_| {
        let message = format!("line {line} has a value that is not UTF-8");
        io::Error::new(io::ErrorKind::InvalidData, message)
    };
    String::from_utf8(value).map_err(not_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    /// The line of each row and its values; the input comes in pieces of all sizes.
    fn rows_of(input: &[u8]) -> Vec<(u64, Vec<String>)> {
        let read = |size| {
            let mut rows = Rows::new(BufReader::with_capacity(size, input)).unwrap();
            let mut found = Vec::new();
            while let Some(row) = rows.next_row().unwrap() {
                found.push((row.line, row.values));
            }
            found
        };
        let found = read(input.len().max(3));
        for size in 3..input.len() {
            assert_eq!(read(size), found, "pieces of {size}");
        }
        found
    }

    #[track_caller]
    fn check(input: &str, expected: &[(u64, &[&str])]) {
        let expected: Vec<(u64, Vec<String>)> = expected
            .iter()
            .map(|(line, values)| (*line, values.iter().map(|v| (*v).to_owned()).collect()))
            .collect();
        assert_eq!(rows_of(input.as_bytes()), expected, "{input:?}");
    }

    #[test]
    fn values_and_rows_are_told_apart() {
        check("a,b\n1,2\n", &[(1, &["a", "b"]), (2, &["1", "2"])]);
        check(
            "a,b\r\n,\r\n1,",
            &[(1, &["a", "b"]), (2, &["", ""]), (3, &["1", ""])],
        );
        check("a\rb", &[(1, &["a"]), (2, &["b"])]);
        check("", &[]);
        check("\u{feff}\"a\"", &[(1, &["a"])]);
    }

    #[test]
    fn quotes_keep_commas_quotes_and_lines() {
        check(
            "\"a, b\",\"say \"\"no\"\"\"\n\"two\r\n\nlines\"\nend\n",
            &[
                (1, &["a, b", "say \"no\""]),
                (2, &["two\r\n\nlines"]),
                (5, &["end"]),
            ],
        );
        // What nobody should write is read as most others do.
        check("a\"b\",\"c\"d\n", &[(1, &["a\"b\"", "cd"])]);
        check("\"open\n", &[(1, &["open\n"])]);
    }

    #[test]
    fn an_empty_line_is_a_row() {
        check(
            "\n1\n\r\n2\n\n",
            &[(1, &[""]), (2, &["1"]), (3, &[""]), (4, &["2"]), (5, &[""])],
        );
        let mut rows = Rows::new(&b"\"\"\n\n"[..]).unwrap();
        assert!(!rows.next_row().unwrap().unwrap().is_empty_line);
        assert!(rows.next_row().unwrap().unwrap().is_empty_line);
        assert_eq!(rows.next_row().unwrap(), None);
    }

    #[test]
    fn what_is_not_utf8_is_told_with_its_line() {
        let mut rows = Rows::new(&b"a\n\xff\n"[..]).unwrap();
        rows.next_row().unwrap();
        let refused = rows.next_row().unwrap_err().to_string();
        assert_eq!(refused, "line 2 has a value that is not UTF-8");
    }
}
