//! A Rust source with its code, comments and literals told apart.
//!
//! Invariants
//! - `code` and `comments` have the same number of lines as the file, and every character stands
//!   in the column where the file has it: what belongs to the other is a space;
//! - the text of a string, character or byte literal is in neither.
//!
//! Never: parses. The checks work on lines and on matching brackets.

/// One file.
pub(crate) struct Source {
    /// Relative to the workspace, with `/`.
    pub(crate) path: String,
    /// The lines as they stand.
    pub(crate) raw: Vec<String>,
    /// The code alone.
    pub(crate) code: Vec<String>,
    /// The comments alone, with their slashes.
    pub(crate) comments: Vec<String>,
}

/// What the scanner is inside of.
#[derive(Clone, Copy, PartialEq)]
enum Inside {
    Code,
    LineComment,
    /// How deep block comments are nested.
    BlockComment(u32),
    /// A string with escapes.
    Text,
    /// A raw string that ends at a quote with this many hashes.
    RawText(usize),
}

impl Source {
    /// Tells the parts of `raw` apart.
    pub(crate) fn new(path: &str, raw: &str) -> Self {
        let mut scanner = Scanner::default();
        let characters: Vec<char> = raw.chars().collect();
        let mut at = 0;
        while let Some(rest) = characters.get(at..).filter(|rest| !rest.is_empty()) {
            at += scanner.take(rest);
        }
        Self {
            path: path.to_owned(),
            raw: raw.lines().map(str::to_owned).collect(),
            code: scanner.code.lines().map(str::to_owned).collect(),
            comments: scanner.comments.lines().map(str::to_owned).collect(),
        }
    }

    /// The code as one text; its lines are those of the file.
    pub(crate) fn joined_code(&self) -> String {
        self.code.join("\n")
    }
}

/// The line, counted from 1, of the byte `at` of `text`.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or_default();
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Where the bracket at byte `open` of `code` is closed.
pub(crate) fn closing(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether `word` stands at byte `at` of `code`, not as a part of a longer word.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            let bytes = code.as_bytes();
            let before = at.checked_sub(1).and_then(|before| bytes.get(before));
            !part(before) && !part(bytes.get(at + word.len()))
        })
}

struct Scanner {
    inside: Inside,
    code: String,
    comments: String,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            inside: Inside::Code,
            code: String::new(),
            comments: String::new(),
        }
    }
}

impl Scanner {
    /// Takes one token or character off `rest`, which is not empty; answers how many characters.
    fn take(&mut self, rest: &[char]) -> usize {
        match self.inside {
            Inside::Code => self.take_code(rest),
            Inside::LineComment => {
                if rest.first() == Some(&'\n') {
                    self.inside = Inside::Code;
                }
                self.comment(rest, 1)
            }
            Inside::BlockComment(depth) => self.take_block_comment(rest, depth),
            Inside::Text => match rest {
                ['\\', _, ..] => self.literal(rest, 2),
                ['"', ..] => {
                    self.inside = Inside::Code;
                    self.literal(rest, 1)
                }
                _ => self.literal(rest, 1),
            },
            Inside::RawText(hashes) => {
                let ends = rest.first() == Some(&'"')
                    && rest.iter().skip(1).take_while(|c| **c == '#').count() >= hashes;
                if ends {
                    self.inside = Inside::Code;
                    self.literal(rest, 1 + hashes)
                } else {
                    self.literal(rest, 1)
                }
            }
        }
    }

    fn take_code(&mut self, rest: &[char]) -> usize {
        if let Some((prefix, hashes)) = raw_string_start(rest)
            && !self.after_word()
        {
            self.inside = Inside::RawText(hashes);
            return self.literal(rest, prefix);
        }
        match rest {
            ['/', '/', ..] => {
                self.inside = Inside::LineComment;
                self.comment(rest, 2)
            }
            ['/', '*', ..] => {
                self.inside = Inside::BlockComment(1);
                self.comment(rest, 2)
            }
            ['"', ..] => {
                self.inside = Inside::Text;
                self.literal(rest, 1)
            }
            ['\'', '\\', ..] => {
                let length = rest.iter().skip(3).position(|c| *c == '\'');
                self.literal(rest, length.map_or(1, |length| length + 4))
            }
            ['\'', _, '\'', ..] => self.literal(rest, 3),
            _ => self.code(rest, 1),
        }
    }

    fn take_block_comment(&mut self, rest: &[char], depth: u32) -> usize {
        match rest {
            ['/', '*', ..] => {
                self.inside = Inside::BlockComment(depth + 1);
                self.comment(rest, 2)
            }
            ['*', '/', ..] => {
                self.inside = match depth {
                    0 | 1 => Inside::Code,
                    deeper => Inside::BlockComment(deeper - 1),
                };
                self.comment(rest, 2)
            }
            _ => self.comment(rest, 1),
        }
    }

    /// Whether the code so far ends in a word, so that an `r` here is not a literal's prefix.
    fn after_word(&self) -> bool {
        self.code
            .ends_with(|last: char| last.is_alphanumeric() || last == '_')
    }

    fn code(&mut self, rest: &[char], count: usize) -> usize {
        for c in rest.iter().take(count) {
            self.code.push(*c);
            self.comments.push(blank(*c));
        }
        count
    }

    fn comment(&mut self, rest: &[char], count: usize) -> usize {
        for c in rest.iter().take(count) {
            self.code.push(blank(*c));
            self.comments.push(*c);
        }
        count
    }

    fn literal(&mut self, rest: &[char], count: usize) -> usize {
        for c in rest.iter().take(count) {
            // A quote stays in the code, so that an expression that is only a literal is seen.
            self.code.push(if *c == '"' { '"' } else { blank(*c) });
            self.comments.push(blank(*c));
        }
        count
    }
}

fn blank(c: char) -> char {
    if c == '\n' { c } else { ' ' }
}

/// The length of a raw string's opening (`r#"`, `br"`, `cr##"`) at `rest`, and its hashes.
fn raw_string_start(rest: &[char]) -> Option<(usize, usize)> {
    let prefix = match rest {
        ['r', ..] => 1,
        ['b' | 'c', 'r', ..] => 2,
        _ => return None,
    };
    let hashes = rest.iter().skip(prefix).take_while(|c| **c == '#').count();
    (rest.get(prefix + hashes) == Some(&'"')).then_some((prefix + hashes + 1, hashes))
}
