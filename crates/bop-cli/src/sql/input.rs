//! Cuts the input into statements as it arrives.
//!
//! A statement is complete at the semicolon at which `sqlite3_complete` says so; unlike that
//! function, which starts anew at each call, this one reads every byte once, so that a statement
//! of a gigabyte costs as much as a gigabyte of statements. A test compares the two.
//!
//! ```text
//!            ;                    word                    ;
//!  Start --------> cut   Start ----------> Normal  -------------> cut
//!  Start -- EXPLAIN --> Explain -- CREATE --> Create -- TRIGGER --> Trigger
//!  Trigger -- ; --> Semicolon -- END --> End -- ; --> cut
//! ```
//! A line that begins with a dot where no statement is open is a command of the shell, up to its end.
//! What does not fit leads from `Explain` and `Create` to `Normal`, from `Semicolon` and `End`
//! back to `Trigger`. Blanks and comments change nothing.
//!
//! Never: looks into a statement further than that; SQLite parses.

use bop_control::Position;

/// A piece of the input that can be run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Statement {
    /// The text, with the blanks and comments before it.
    pub(crate) text: Vec<u8>,
    /// Where it starts.
    pub(crate) start: Position,
    /// The byte of `text` at which a command of the shell begins, where it is none of SQL.
    pub(crate) dot: Option<usize>,
}

/// Bytes in, statements out.
pub(crate) struct Splitter {
    pending: Vec<u8>,
    start: Position,
    /// How far `pending` was looked at.
    scanned: usize,
    token: Token,
    phase: Phase,
}

/// How far the statement is understood.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Phase {
    Start,
    Normal,
    Explain,
    Create,
    Trigger,
    Semicolon,
    End,
}

/// What the scan is inside of.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Token {
    Between,
    /// A word that starts at this byte of `pending`.
    Word(usize),
    /// After a `-` or a `/` that may start a comment.
    Dash,
    Slash,
    LineComment,
    BlockComment,
    /// After a `*` in a block comment.
    BlockCommentStar,
    /// A literal or a name in quotes, up to this byte.
    Quoted(u8),
    /// A command of the shell that starts at this byte of `pending`.
    Dot(usize),
}

/// The words that matter.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Word {
    Explain,
    Create,
    Temporary,
    Trigger,
    End,
    Other,
}

impl Splitter {
    /// An empty input.
    pub(crate) fn new() -> Self {
        Self {
            pending: Vec::new(),
            start: Position::START,
            scanned: 0,
            token: Token::Between,
            phase: Phase::Start,
        }
    }

    /// Takes more of the input.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next statement that is complete.
    pub(crate) fn next_statement(&mut self) -> Option<Statement> {
        while let Some(byte) = self.pending.get(self.scanned).copied() {
            let is_end = self.scan(byte);
            self.scanned += 1;
            if is_end {
                return Some(self.cut());
            }
        }
        None
    }

    /// At the end of the input: what is left, unless it is only blanks and comments.
    pub(crate) fn rest(&mut self) -> Option<Statement> {
        let is_something =
            self.is_open() || matches!(self.token, Token::Dash | Token::Slash | Token::Dot(_));
        let rest = self.cut();
        is_something.then_some(rest)
    }

    /// Whether a statement has begun and is not complete.
    pub(crate) fn is_open(&self) -> bool {
        self.phase != Phase::Start || matches!(self.token, Token::Word(_) | Token::Quoted(_))
    }

    /// Whether the next line continues this one: a statement or a block comment is open.
    pub(crate) fn continues(&self) -> bool {
        let in_comment = matches!(self.token, Token::BlockComment | Token::BlockCommentStar);
        self.is_open() || in_comment
    }

    /// Bytes of the statement that is not complete.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Forgets what is not complete.
    pub(crate) fn clear(&mut self) {
        self.scanned = self.pending.len();
        self.cut();
    }

    /// Takes what was scanned off the input.
    fn cut(&mut self) -> Statement {
        let rest = self.pending.split_off(self.scanned);
        let text = std::mem::replace(&mut self.pending, rest);
        let start = self.start;
        self.start = start.after(&text);
        self.scanned = 0;
        let dot = match self.token {
            Token::Dot(at) => Some(at),
            _ => None,
        };
        self.token = Token::Between;
        self.phase = Phase::Start;
        Statement { text, start, dot }
    }

    /// Whether the next byte is the first one of a line, and of a statement.
    fn starts_line(&self) -> bool {
        let is_first = match self.scanned.checked_sub(1) {
            None => self.start.column == 1,
            Some(before) => self.pending.get(before) == Some(&b'\n'),
        };
        is_first && self.phase == Phase::Start
    }

    /// Takes one byte; answers whether it completes a statement.
    fn scan(&mut self, byte: u8) -> bool {
        match self.token {
            Token::Between if byte == b'.' && self.starts_line() => {
                self.enter(Token::Dot(self.scanned))
            }
            Token::Between => self.scan_between(byte),
            Token::Dot(_) => byte == b'\n',
            Token::Word(_) if is_word(byte) => false,
            Token::Word(start) => {
                let word = self.pending.get(start..self.scanned).unwrap_or_default();
                self.phase = self.phase.after(Word::of(word));
                self.scan_between(byte)
            }
            Token::Dash if byte == b'-' => self.enter(Token::LineComment),
            Token::Slash if byte == b'*' => self.enter(Token::BlockComment),
            Token::Dash | Token::Slash => {
                self.phase = self.phase.after(Word::Other);
                self.scan_between(byte)
            }
            Token::LineComment if byte == b'\n' => self.enter(Token::Between),
            Token::BlockComment if byte == b'*' => self.enter(Token::BlockCommentStar),
            Token::BlockCommentStar if byte == b'/' => self.enter(Token::Between),
            Token::BlockCommentStar if byte != b'*' => self.enter(Token::BlockComment),
            Token::Quoted(close) if byte == close => {
                self.phase = self.phase.after(Word::Other);
                self.enter(Token::Between)
            }
            _ => false,
        }
    }

    fn scan_between(&mut self, byte: u8) -> bool {
        let token = match byte {
            b';' => {
                self.token = Token::Between;
                return match self.phase {
                    Phase::Trigger | Phase::Semicolon => {
                        self.phase = Phase::Semicolon;
                        false
                    }
                    _ => true,
                };
            }
            b' ' | b'\t' | b'\r' | b'\n' | b'\x0c' => Token::Between,
            b'-' => Token::Dash,
            b'/' => Token::Slash,
            b'\'' | b'"' | b'`' => Token::Quoted(byte),
            b'[' => Token::Quoted(b']'),
            _ if is_word(byte) => Token::Word(self.scanned),
            _ => {
                self.phase = self.phase.after(Word::Other);
                Token::Between
            }
        };
        self.enter(token)
    }

    fn enter(&mut self, token: Token) -> bool {
        self.token = token;
        false
    }
}

impl Phase {
    /// The phase after one more word, operator or literal.
    fn after(self, word: Word) -> Self {
        match (self, word) {
            (Self::Start, Word::Explain) => Self::Explain,
            (Self::Start | Self::Explain, Word::Create) => Self::Create,
            (Self::Explain, Word::Other) => Self::Explain,
            (Self::Create, Word::Temporary) => Self::Create,
            (Self::Create, Word::Trigger) => Self::Trigger,
            (Self::Semicolon, Word::End) => Self::End,
            (Self::Trigger | Self::Semicolon | Self::End, _) => Self::Trigger,
            _ => Self::Normal,
        }
    }
}

impl Word {
    fn of(word: &[u8]) -> Self {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if is("explain") {
            Self::Explain
        } else if is("create") {
            Self::Create
        } else if is("temp") || is("temporary") {
            Self::Temporary
        } else if is("trigger") {
            Self::Trigger
        } else if is("end") {
            Self::End
        } else {
            Self::Other
        }
    }
}

/// Whether SQLite takes `byte` for a part of a name.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;
