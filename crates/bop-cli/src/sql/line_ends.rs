//! Line ends of a script: CR LF is read as LF.
//!
//! SQLite's shell reads lines and drops their ends, so a text literal that spans lines of a script
//! written on Windows has LF in the database; `bop sql` does the same, for files and standard
//! input. SQL from the argument stays as it is, there as here.
//!
//! Invariant: a CR that is not followed by LF is passed on, at the latest at the end of the input.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The input, without the CR of each CR LF.
pub(crate) struct LineEnds<R> {
    input: R,
    /// A CR was read and what follows it was not.
    holds_cr: bool,
}

impl LineEnds<File> {
    /// Reads a file.
    ///
    /// # Errors
    /// What the operating system says; also of a directory, which can be opened and not read.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        match file.metadata()?.is_dir() {
            true => Err(io::ErrorKind::IsADirectory.into()),
            false => Ok(Self::new(file)),
        }
    }
}

impl<R: Read> LineEnds<R> {
    /// Reads from `input`.
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            holds_cr: false,
        }
    }
}

impl<R: Read> Read for LineEnds<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // One byte is kept free for a CR that turns out to be one.
        let Some(room) = buffer.len().checked_sub(1).filter(|room| 0 < *room) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        loop {
            let mut bytes = vec![0; room];
            let length = self.input.read(&mut bytes)?;
            bytes.truncate(length);
            let mut out = Vec::with_capacity(length + 1);
            if length == 0 && self.holds_cr {
                out.push(b'\r');
                self.holds_cr = false;
            }
            for byte in bytes {
                if self.holds_cr && byte != b'\n' {
                    out.push(b'\r');
                }
                self.holds_cr = byte == b'\r';
                if byte != b'\r' {
                    out.push(byte);
                }
            }
            // Nothing means the end of the input, so it is said only there.
            if !out.is_empty() || length == 0 {
                for (to, from) in buffer.iter_mut().zip(&out) {
                    *to = *from;
                }
                return Ok(out.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its input in pieces of `size` bytes.
    struct Pieces<'a> {
        input: &'a [u8],
        size: usize,
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let size = self.size.min(buffer.len());
            (&mut self.input).take(size as u64).read(buffer)
        }
    }

    impl Pieces<'_> {
        fn check(input: &str, expected: &str) {
            for size in 1..=input.len().max(1) {
                let mut out = Vec::new();
                let input = input.as_bytes();
                let mut reader = LineEnds::new(Pieces { input, size });
                let mut buffer = [0; 7];
                while let length @ 1.. = reader.read(&mut buffer).unwrap() {
                    out.extend_from_slice(&buffer[..length]);
                }
                assert_eq!(
                    String::from_utf8(out).unwrap(),
                    expected,
                    "pieces of {size}"
                );
            }
        }
    }

    #[test]
    fn only_the_cr_of_a_line_end_goes() {
        Pieces::check("a\r\nb\r\n", "a\nb\n");
        Pieces::check("a\nb", "a\nb");
        Pieces::check("a\rb\r\r\nc\r", "a\rb\r\nc\r");
        Pieces::check("\r", "\r");
        Pieces::check("", "");
        Pieces::check("\r\n\r\n", "\n\n");
    }
}
