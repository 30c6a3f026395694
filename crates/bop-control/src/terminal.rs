//! The caller at this end: standard output, and a person at a terminal.
//!
//! Invariant: what is not flushed is held back until the caller takes it ([`Terminal::finish`]): a reader that is
//! slow does not keep a store open.

use crate::commands::Caller;
use crate::failure::Failure;
use bop_storage::error::ErrorCode;
use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

/// A person or a program in front of this process.
#[derive(Debug)]
pub struct Terminal<W> {
    output: W,
    held: Vec<u8>,
}

impl Terminal<io::Stdout> {
    /// Standard output.
    pub fn standard() -> Self {
        Self::into(io::stdout())
    }
}

impl<W: Write> Terminal<W> {
    /// The answer goes there.
    pub fn into(output: W) -> Self {
        Self {
            output,
            held: Vec::new(),
        }
    }

    /// Writes what was held back.
    ///
    /// # Errors
    /// The output takes no more.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.flush().map_err(|error| Failure::of_output(&error))
    }

    /// The output, with all that was answered.
    ///
    /// # Errors
    /// It takes no more.
    pub fn into_output(mut self) -> Result<W, Failure> {
        self.finish()?;
        Ok(self.output)
    }
}

impl<W: Write> Write for Terminal<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        self.output.write_all(&held)?;
        self.output.flush()
    }
}

impl<W: Write> Caller for Terminal<W> {
    fn out(&mut self) -> &mut dyn Write {
        self
    }

    fn confirm(&mut self, name: &str, question: &str) -> Result<(), Failure> {
        let refused = |message: String| {
            Failure::new(ErrorCode::Usage, message).with_hint("--yes does it without asking")
        };
        if !io::stdin().is_terminal() {
            return Err(refused(format!(
                "not dropped: there is no terminal to confirm that {name:?} is to go"
            )));
        }
        let mut answer = String::new();
        let asked = write!(io::stderr(), "{question} [y/N] ")
            .and_then(|()| io::stderr().flush())
            .and_then(|()| io::stdin().lock().read_line(&mut answer));
        match asked {
            Ok(_) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
            _ => Err(refused(format!("not dropped: {name:?} was not confirmed"))),
        }
    }

    fn is_waiting(&mut self) -> bool {
        true
    }

    fn pause(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}
