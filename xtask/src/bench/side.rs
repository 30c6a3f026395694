//! One process that does one side's work, slice by slice.
//!
//! ```text
//!   start --"ready VERSION"--> idle --"go MS"--> busy --a JSON line--> idle -- end: input closed
//!                                |                                      '---- kill: SIGKILL
//! ```
//!
//! Invariant: a process that was started is gone when its [`Side`] is.

use super::works::{Figure, Program};
use super::{Place, failed};
use crate::tasks::Failure;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// One of the two processes.
pub(super) struct Side {
    name: &'static str,
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// What it says it is.
    pub(super) version: String,
}

/// What a side did in one slice.
#[derive(Clone, Debug, Default)]
pub(super) struct Slice {
    operations: f64,
    seconds: f64,
    log_bytes: Option<f64>,
    stored_bytes: Option<f64>,
    /// The most memory it ever had, less what it had before it began.
    pub(super) peak_bytes: f64,
    /// What its settings allow it, where it says so.
    pub(super) budget_bytes: Option<f64>,
    pub(super) rss_bytes: f64,
    pub(super) descriptors: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

impl Slice {
    fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let number = |name: &str| value.get(name)?.as_f64();
        Some(Self {
            operations: number("operations")?,
            seconds: number("seconds")?,
            log_bytes: number("log_bytes"),
            stored_bytes: number("stored_bytes"),
            peak_bytes: number("peak_bytes")?,
            budget_bytes: number("budget_bytes"),
            rss_bytes: number("rss_bytes")?,
            descriptors: number("descriptors")?,
            p50_us: number("p50_us")?,
            p99_us: number("p99_us")?,
        })
    }

    /// Operations a second.
    pub(super) fn rate(&self) -> f64 {
        self.operations / self.seconds
    }

    /// What is compared; `is_ours` where a figure differs by side.
    pub(super) fn figure(&self, figure: Figure, is_ours: bool) -> Option<f64> {
        match figure {
            Figure::Rate | Figure::Changes | Figure::Databases => Some(self.rate()),
            Figure::Reads(count) => Some(self.rate() * count),
            Figure::StoredBytes => self.stored_bytes,
            Figure::Mib(ours, theirs) => Some(self.rate() * if is_ours { ours } else { theirs }),
            Figure::LogBytes => Some(self.log_bytes? / self.operations),
            Figure::P99 => Some(self.p99_us),
            Figure::Seconds => Some(self.seconds / self.operations),
        }
    }
}

impl Side {
    /// Starts a program in a directory of its own, made if it is missing, and waits until it is
    /// ready.
    pub(super) fn start(place: &Place, program: &Program, dir: &Path) -> Result<Self, Failure> {
        let binary = place.binaries.join(program.binary);
        fs::create_dir_all(dir).map_err(|source| failed("make", dir.display(), source))?;
        let started = Command::new(&binary)
            .arg(program.work)
            .arg(dir)
            .args(["--databases", &program.databases.to_string()])
            .args(["--threads", &program.threads.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut process = started.map_err(|source| failed("start", binary.display(), source))?;
        let (input, output) = (process.stdin.take(), process.stdout.take());
        let output = output.ok_or_else(|| failed("start", program.name, "it has no pipes"))?;
        let mut side = Self {
            name: program.name,
            process,
            input,
            output: BufReader::new(output),
            version: String::new(),
        };
        let said = side.hear()?;
        let version = said.strip_prefix("ready ");
        side.version = version
            .ok_or_else(|| failed("start", program.name, &said))?
            .to_owned();
        Ok(side)
    }

    /// Lets it work for so many milliseconds.
    pub(super) fn slice(&mut self, ms: u32) -> Result<Slice, Failure> {
        let Some(input) = &mut self.input else {
            return Err(failed("run", self.name, "its input is closed"));
        };
        writeln!(input, "go {ms}").map_err(|source| failed("run", self.name, source))?;
        let said = self.hear()?;
        Slice::parse(&said).ok_or_else(|| failed("run", self.name, format!("it said {said:?}")))
    }

    fn hear(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(0) => Err(failed("run", self.name, "it ended early")),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(source) => Err(failed("hear", self.name, source)),
        }
    }

    /// Lets it end by itself.
    pub(super) fn end(mut self) -> Result<(), Failure> {
        self.input = None;
        match self.process.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(failed("end", self.name, status)),
            Err(source) => Err(failed("end", self.name, source)),
        }
    }

    /// Ends it as a crash of the process would: `SIGKILL`.
    pub(super) fn kill(mut self) -> Result<(), Failure> {
        let killed = self.process.kill().and_then(|()| self.process.wait());
        let status = killed.map_err(|source| failed("kill", self.name, source))?;
        match status.code() {
            None => Ok(()),
            Some(_) => Err(failed("kill", self.name, format!("it had ended: {status}"))),
        }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and need not.
        if self.process.kill().is_ok() {
            drop(self.process.wait());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"operations":200,"seconds":2.0,"log_bytes":null,"rss_bytes":1,"peak_bytes":6,"budget_bytes":7,
        "descriptors":2,"p50_us":3,"p95_us":4,"p99_us":5}"#;

    #[test]
    fn figures_are_read_off_a_line() {
        let slice = Slice::parse(LINE).unwrap();
        assert_eq!(slice.figure(Figure::Rate, true), Some(100.0));
        assert_eq!(slice.figure(Figure::Mib(16.0, 1.0), true), Some(1600.0));
        assert_eq!(slice.figure(Figure::Mib(16.0, 1.0), false), Some(100.0));
        assert_eq!(slice.figure(Figure::Seconds, true), Some(0.01));
        assert_eq!(slice.figure(Figure::P99, true), Some(5.0));
        assert_eq!(slice.figure(Figure::Reads(10.0), true), Some(1000.0));
        assert_eq!(slice.figure(Figure::LogBytes, true), None);
        assert_eq!(slice.figure(Figure::StoredBytes, true), None);
        assert_eq!((slice.peak_bytes, slice.budget_bytes), (6.0, Some(7.0)));
    }

    #[test]
    fn what_is_no_slice_is_none() {
        assert!(Slice::parse("ready").is_none());
        assert!(Slice::parse(r#"{"operations":200}"#).is_none());
    }
}
