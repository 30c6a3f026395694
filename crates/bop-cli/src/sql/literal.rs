//! Values and statements as SQL that a script brings back.
//!
//! Whoever reads a script drops the CR of each CR LF (`line_ends`; SQLite's shell does it, too), and takes no NUL.
//!
//! Invariant: what is written here comes back with the same bytes and of the same type.

use super::input::Splitter;
use rusqlite::Statement;
use rusqlite::types::ValueRef;
use std::fmt::Write;

/// A value; `quote` is `SELECT quote(?1)`.
///
/// # Errors
/// What SQLite says to that.
pub(super) fn value(value: ValueRef<'_>, quote: &mut Statement<'_>) -> rusqlite::Result<String> {
    Ok(match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) if number.is_infinite() => {
            let sign = if number < 0.0 { "-" } else { "" };
            format!("{sign}1e999")
        }
        // How many digits SQLite needs to read the same number again, it knows best.
        ValueRef::Real(number) => quote.query_row([number], |row| row.get(0))?,
        ValueRef::Text(bytes) => text(bytes),
        ValueRef::Blob(bytes) => blob(bytes),
    })
}

/// A text, or what somebody stored as one.
pub(super) fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => of_lines(text),
        _ => format!("CAST({} AS TEXT)", blob(bytes)),
    }
}

/// A text in quotes. What stands for its CRs is in no other place of it; it begins with a character that it has once,
/// so that nothing else reads like it either.
fn of_lines(text: &str) -> String {
    if !text.contains('\r') {
        return quoted_text(text);
    }
    let mut mark = "\\r".to_owned();
    let mut number = 0_u64;
    while text.contains(&mark) {
        mark = format!("\\r{number};");
        number += 1;
    }
    let marked = quoted_text(&text.replace('\r', &mark));
    format!("replace({marked},'{mark}',char(13))")
}

fn blob(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * bytes.len() + 3);
    hex.push_str("X'");
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02X}");
    }
    hex.push('\'');
    hex
}

/// SQL as it has to stand in a script so that each CR LF of it is one: whoever reads it drops one CR.
pub(super) fn in_script(sql: &str) -> String {
    sql.replace("\r\n", "\r\r\n")
}

/// A statement of the schema, with its semicolon behind the comment that may be open at its end.
pub(super) fn statement(sql: &str) -> String {
    let is_complete = |end: &&str| {
        let mut splitter = Splitter::new();
        splitter.push(format!("{sql}{end};").as_bytes());
        splitter.next_statement().is_some()
    };
    let end = ["", "\n", "*/"].into_iter().find(is_complete);
    in_script(&format!("{sql}{};", end.unwrap_or_default()))
}

/// A name, in double quotes.
pub(super) fn quoted_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in quotes, for SQL that is run here.
pub(super) fn quoted_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
