//! One side of a benchmark: a crew of threads that serves the driver's slices.

use crate::crew::{Done, Go, Loop, Post, Word, empty};
use crate::process::{Usage, raise_descriptor_limit};
use crate::{Args, Result};
use serde_json::json;
use std::io::{self, BufRead, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

/// A side; what it does beside its threads' loops.
pub struct Side<'a> {
    /// Its engine and the engine's settings, for people.
    pub version: String,
    /// Bytes of log that were ever written, where the engine can tell.
    pub log_bytes: Option<Box<dyn Fn() -> Result<u64> + 'a>>,
    /// Bytes of its files, where they are what is compared.
    pub stored_bytes: Option<u64>,
    /// Bytes of memory that its settings allow it.
    pub budget_bytes: Option<u64>,
    /// Called after each slice, untimed: whatever must not run into the other side's slice.
    pub rest: Option<Box<dyn Fn() -> Result<()> + 'a>>,
}

impl<'a> Side<'a> {
    /// A side without either.
    pub fn new(version: impl Into<String>) -> Self {
        Self {
            version: version.into(),
            log_bytes: None,
            stored_bytes: None,
            budget_bytes: None,
            rest: None,
        }
    }

    /// Counts log bytes by `count`.
    #[must_use]
    pub fn log_bytes(self, count: impl Fn() -> Result<u64> + 'a) -> Self {
        Self {
            log_bytes: Some(Box::new(count)),
            ..self
        }
    }

    /// Tells the bytes of its files.
    #[must_use]
    pub fn stored_bytes(self, bytes: u64) -> Self {
        Self {
            stored_bytes: Some(bytes),
            ..self
        }
    }

    /// Tells how much memory its settings allow it.
    #[must_use]
    pub fn budget_bytes(self, bytes: u64) -> Self {
        Self {
            budget_bytes: Some(bytes),
            ..self
        }
    }

    /// Rests by `rest`.
    #[must_use]
    pub fn rest(self, rest: impl Fn() -> Result<()> + 'a) -> Self {
        Self {
            rest: Some(Box::new(rest)),
            ..self
        }
    }

    /// Starts the threads of `args`, each with `body`, which calls [`Post::serve`] once, and serves
    /// slices until the input ends.
    ///
    /// # Errors
    /// The first of a thread, of the side's own calls, or of the pipes.
    pub fn serve(
        &self,
        args: &Args,
        body: impl Fn(&Post) -> Result<()> + Send + Sync,
    ) -> Result<()> {
        raise_descriptor_limit()?;
        let body = &body;
        thread::scope(|scope| {
            let crew = Crew::start(scope, (args.threads, args.computing), body)?;
            let mut output = io::stdout().lock();
            writeln!(output, "ready {}", self.version)?;
            output.flush()?;
            for line in io::stdin().lock().lines() {
                let line = line?;
                let length = line
                    .strip_prefix("go ")
                    .ok_or_else(|| format!("not a slice: {line:?}"))?;
                let length = Duration::from_millis(length.parse()?);
                let figures = self.slice(&crew, length, args.rss_before)?;
                writeln!(output, "{figures}")?;
                output.flush()?;
            }
            Ok(())
        })
    }

    fn slice(&self, crew: &Crew, length: Duration, rss_before: u64) -> Result<serde_json::Value> {
        let count = || self.log_bytes.as_ref().map(|count| count()).transpose();
        let (before, log_before) = (Usage::read()?, count()?);
        let (operations, seconds, latencies) = crew.slice(length)?;
        let (after, log_after) = (Usage::read()?, count()?);
        if let Some(rest) = &self.rest {
            rest()?;
        }
        let log_bytes = log_before.zip(log_after).map(|(from, to)| to - from);
        let quantile = |at| latencies.value_at_quantile(at);
        Ok(json!({
            "operations": operations,
            "seconds": seconds,
            "written_bytes": after.written_bytes - before.written_bytes,
            "log_bytes": log_bytes,
            "stored_bytes": self.stored_bytes,
            "budget_bytes": self.budget_bytes,
            "peak_bytes": after.peak_bytes.saturating_sub(rss_before),
            "rss_bytes": after.rss_bytes,
            "descriptors": after.descriptors,
            "threads": after.threads,
            "p50_us": quantile(0.5),
            "p95_us": quantile(0.95),
            "p99_us": quantile(0.99),
        }))
    }
}

/// Says that all is written, and waits for the end that cannot be prepared for.
///
/// # Errors
/// When the driver went away instead.
pub fn wait_to_be_killed(version: &str) -> Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "ready {version}")?;
    output.flush()?;
    match io::stdin().lock().lines().next() {
        None => Err("nobody killed it".into()),
        Some(line) => Err(format!("it has to be killed, not told {:?}", line?).into()),
    }
}

/// Computes for a moment.
fn compute() -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1) {}
    Ok(())
}

/// The threads, and the ways to and from them.
struct Crew {
    slices: Vec<Sender<Go>>,
    words: Receiver<Word>,
}

impl Crew {
    fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        (threads, computing): (usize, usize),
        body: &'scope (impl Fn(&Post) -> Result<()> + Send + Sync),
    ) -> Result<Self> {
        let (sender, words) = channel();
        let mut crew = Self {
            slices: Vec::new(),
            words,
        };
        for thread in 0..threads + computing {
            let (go, slices) = channel();
            crew.slices.push(go);
            let post = Post {
                thread,
                slices,
                words: sender.clone(),
            };
            scope.spawn(move || {
                let ended = match thread < threads {
                    true => body(&post),
                    false => post.serve(Loop::COMPANY, |_| compute()),
                };
                if let Err(error) = ended {
                    // Who does not listen any more has an error already.
                    drop(post.words.send(Word::Failed(error)));
                }
            });
        }
        for _ in 0..threads + computing {
            match crew.words.recv()? {
                Word::Ready => {}
                Word::Done(_) => return Err("a thread was done before it began".into()),
                Word::Failed(error) => return Err(error),
            }
        }
        Ok(crew)
    }

    /// Operations, the seconds from the first beginning to the last end, latencies.
    fn slice(&self, length: Duration) -> Result<(u64, f64, hdrhistogram::Histogram<u64>)> {
        let start = Arc::new(Barrier::new(self.slices.len()));
        for thread in &self.slices {
            let start = Arc::clone(&start);
            thread.send(Go { length, start })?;
        }
        let (mut operations, mut latencies, mut span) = (0, empty()?, None);
        for _ in &self.slices {
            let Done {
                operations: own,
                latencies_us,
                began,
                ended,
            } = match self.words.recv()? {
                Word::Done(done) => done,
                Word::Ready => return Err("a thread is ready twice".into()),
                Word::Failed(error) => return Err(error),
            };
            operations += own;
            latencies.add(&latencies_us)?;
            let (first, last) = span.unwrap_or((began, ended));
            span = Some((first.min(began), last.max(ended)));
        }
        let (first, last) = span.ok_or("no threads")?;
        Ok((operations, (last - first).as_secs_f64(), latencies))
    }
}
