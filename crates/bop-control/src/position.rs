//! Where in the user's input something is, and how it is shown.
//!
//! Invariant: lines and columns count from 1, columns in characters.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A place of the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The character of the line.
    pub column: u64,
}

impl Position {
    /// The first character.
    pub const START: Self = Self { line: 1, column: 1 };

    /// This position after `text` was passed.
    pub fn after(self, text: &[u8]) -> Self {
        text.iter().fold(self, |at, byte| match byte {
            b'\n' => Self {
                line: at.line + 1,
                column: 1,
            },
            // The further bytes of a UTF-8 character are no characters of their own.
            0x80..=0xBF => at,
            _ => Self {
                column: at.column + 1,
                ..at
            },
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// A line of the input with a mark below the place that is meant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Excerpt {
    /// The place.
    pub position: Position,
    line: String,
    mark: usize,
}

/// Characters of a line shown before and after the mark.
const CONTEXT: usize = 60;

impl Excerpt {
    /// The place of byte `offset` in `text`, which starts at `start` in the input. Of the line,
    /// what stands in `text` is shown.
    pub fn new(text: &[u8], start: Position, offset: usize) -> Self {
        let (before, after) = text.split_at(offset.min(text.len()));
        let position = start.after(before);
        let before = before
            .rsplit(|byte| *byte == b'\n')
            .next()
            .unwrap_or(before);
        let after = after.split(|byte| *byte == b'\n').next().unwrap_or(after);
        let before: Vec<char> = shown(before).collect();
        let skipped = before.len().saturating_sub(CONTEXT);
        let mut line: String = before.iter().skip(skipped).collect();
        let mark = line.chars().count();
        line.extend(shown(after).take(CONTEXT));
        Self {
            position,
            line,
            mark,
        }
    }
}

/// The characters of `bytes`, with those that would move the cursor made spaces.
fn shown(bytes: &[u8]) -> impl Iterator<Item = char> {
    let characters: Vec<char> = String::from_utf8_lossy(bytes).chars().collect();
    characters
        .into_iter()
        .map(|c| if c.is_control() { ' ' } else { c })
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.position.line.to_string();
        writeln!(f, "  {number} | {}", self.line.trim_end())?;
        write!(
            f,
            "  {:len$} | {:mark$}^",
            "",
            "",
            len = number.len(),
            mark = self.mark
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_characters_are_counted_from_one() {
        let at = |text: &str| Position::START.after(text.as_bytes());
        assert_eq!(at(""), Position { line: 1, column: 1 });
        assert_eq!(at("ab\n"), Position { line: 2, column: 1 });
        assert_eq!(at("ab\n\u{e9}\u{20ac}x"), Position { line: 2, column: 4 });
    }

    #[test]
    fn the_mark_stands_below_the_place() {
        let excerpt = Excerpt::new(b"select 1,\n  form t;\nnext", Position::START, 12);
        assert_eq!(excerpt.to_string(), "  2 |   form t;\n    |   ^");
        assert_eq!(excerpt.position, Position { line: 2, column: 3 });
    }

    #[test]
    fn a_long_line_is_shown_around_the_mark() {
        let text = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let shown = Excerpt::new(text.as_bytes(), Position::START, 500).to_string();
        let (line, mark) = shown.split_once('\n').unwrap();
        assert_eq!(line.find('X'), mark.find('^'));
        assert!(line.len() < 140, "{line}");
    }

    #[test]
    fn bytes_that_are_no_text_do_not_disturb() {
        let excerpt = Excerpt::new(b"\xff\x00\t select", Position::START, 400);
        assert!(excerpt.to_string().ends_with('^'));
    }
}
