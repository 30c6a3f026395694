//! No function is longer than a screen.

use super::Finding;
use super::source::{Source, closing, line_of, words};

/// The most lines of a function, from `fn` to its closing brace.
pub(crate) const FUNCTION_LINES_MAX: usize = 70;

/// Finds the functions that are too long.
pub(crate) fn check(source: &Source, findings: &mut Vec<Finding>) {
    let code = source.joined_code();
    for start in words(&code, "fn") {
        let Some((name, end)) = function(&code, start) else {
            continue;
        };
        let first = line_of(&code, start);
        let lines = line_of(&code, end) - first + 1;
        if lines > FUNCTION_LINES_MAX {
            findings.push(Finding {
                path: source.path.clone(),
                line: first,
                what: format!(
                    "function {name} has {lines} lines, at most {FUNCTION_LINES_MAX} are allowed"
                ),
            });
        }
    }
}

/// The name of the function whose `fn` is at `start`, and where its body ends; `None` for a
/// function type or a declaration without body.
fn function(code: &str, start: usize) -> Option<(&str, usize)> {
    let after = code.get(start + 2..)?;
    let name_at = start + 2 + (after.len() - after.trim_start().len());
    let rest = code.get(name_at..)?;
    let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    let name = rest.get(..length).filter(|name| !name.is_empty())?;
    let body = body_of(code, name_at + length)?;
    Some((name, closing(code, body)?))
}

/// Where the body's brace is: the first one outside the signature's own brackets.
fn body_of(code: &str, from: usize) -> Option<usize> {
    let mut depth = 0_u32;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.checked_sub(1)?,
            b'{' if depth == 0 => return Some(at),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}
