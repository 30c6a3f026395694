//! Mode `json`: an array of objects for each result, one object a line, as the shell writes it.
//!
//! Three things differ from the shell of SQLite 3.47, whose output is no JSON there or hard to
//! read: control characters and bytes that are not UTF-8 are escaped as JSON wants it, the bytes
//! of a blob are the characters U+0000 to U+00FF, and a real has the fewest digits that give the
//! same number back. Infinity is 9.0e+999, as in the shell.

use super::Printer;
use crate::cells::{Cells, Kind};
use std::io::{self, Write};

/// See the module.
#[derive(Default)]
pub(super) struct Json {
    /// The keys of the result, in quotes.
    keys: Vec<String>,
}

impl Printer for Json {
    fn row(
        &mut self,
        statement: &mut dyn Cells,
        is_first: bool,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let columns = statement.columns();
        if is_first {
            self.keys = (0..columns)
                .map(|column| quoted(&String::from_utf8_lossy(&statement.column_name(column))))
                .collect();
        }
        out.write_all(if is_first { b"[{" } else { b",\n{" })?;
        for (column, key) in self.keys.iter().enumerate() {
            if 0 < column {
                out.write_all(b",")?;
            }
            write!(out, "{key}:{}", value(statement, column))?;
        }
        out.write_all(b"}")
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(b"]\n")
    }
}

fn value(statement: &mut dyn Cells, column: usize) -> String {
    match statement.kind(column) {
        Kind::Null => "null".to_owned(),
        Kind::Real => real(statement.real(column)),
        Kind::Blob => {
            let text: String = statement
                .blob(column)
                .iter()
                .map(|b| char::from(*b))
                .collect();
            quoted(&text)
        }
        Kind::Integer => {
            String::from_utf8_lossy(statement.text(column).unwrap_or_default()).into_owned()
        }
        Kind::Text => quoted(&String::from_utf8_lossy(
            statement.text(column).unwrap_or_default(),
        )),
    }
}

fn real(number: f64) -> String {
    if number.is_infinite() {
        return if 0.0 < number {
            "9.0e+999"
        } else {
            "-9.0e+999"
        }
        .to_owned();
    }
    // Debug writes the fewest digits and always a point or an exponent.
    format!("{number:?}")
}

/// `text` as a JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reals_read_back_as_the_same_number() {
        for number in [0.1, -2.0, 1e300, 5e-324, 123_456_789.125] {
            assert_eq!(
                real(number).parse::<f64>().unwrap().to_bits(),
                number.to_bits()
            );
            assert!(
                serde_json::from_str::<f64>(&real(number)).is_ok(),
                "{}",
                real(number)
            );
        }
        assert_eq!(real(2.0), "2.0");
        assert_eq!(real(f64::NEG_INFINITY), "-9.0e+999");
    }

    #[test]
    fn strings_are_escaped() {
        assert_eq!(quoted("a\"\\\n\u{1b}"), r#""a\"\\\n\u001b""#);
    }
}
