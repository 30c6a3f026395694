//! A bar for work that takes long, where a person watches.
//!
//! Never: writes to standard output, or where standard error is no terminal.

use bop_control::{Caller, Failure, Terminal};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Stdout, Write};
use std::time::Duration;

/// Counts pages, or bytes.
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar named `what`; none where nobody would see it.
    pub(super) fn new(what: &'static str, json: bool) -> Self {
        Self::with_template(what, json, "{msg} {wide_bar} {pos}/{len} pages {eta}")
    }

    /// The same of bytes.
    pub(super) fn of_bytes(what: &'static str, json: bool) -> Self {
        Self::with_template(what, json, "{msg} {wide_bar} {bytes}/{total_bytes} {eta}")
    }

    fn with_template(what: &'static str, json: bool, template: &str) -> Self {
        if json || !std::io::stderr().is_terminal() {
            return Self {
                bar: ProgressBar::hidden(),
            };
        }
        let bar = ProgressBar::new(0).with_message(what);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// Whether anybody sees it.
    fn is_shown(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// `done` of `total` are done.
    pub(super) fn set(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A terminal that shows how far the work is which is asked for.
pub(super) struct WithBar {
    terminal: Terminal<Stdout>,
    bar: Progress,
}

impl WithBar {
    /// Standard output, and this bar.
    pub(super) fn new(bar: Progress) -> Self {
        Self {
            terminal: Terminal::standard(),
            bar,
        }
    }
}

impl Caller for WithBar {
    fn out(&mut self) -> &mut dyn Write {
        self.bar.finish();
        self.terminal.out()
    }

    fn confirm(&mut self, name: &str, question: &str) -> Result<(), Failure> {
        self.terminal.confirm(name, question)
    }

    fn is_waiting(&mut self) -> bool {
        self.terminal.is_waiting()
    }

    fn shows_progress(&self) -> bool {
        self.bar.is_shown()
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.bar.set(done, total);
    }

    fn pause(&mut self, time: Duration) {
        self.terminal.pause(time);
    }
}
