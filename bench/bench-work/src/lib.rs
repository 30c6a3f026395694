//! What both sides of a benchmark do: durable single-row inserts, counted in slices.
//!
//! ```text
//!   driver                      side
//!     starts it with a directory  opens its database there, says "ready VERSION"
//!     "slice MILLISECONDS"        commits that long, says "COMMITS MICROSECONDS"
//!     closes its input            ends
//! ```
//!
//! The driver lets the sides take turns, so both meet the same disk in the same mood.
//!
//! Never: knows which library is measured.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What a side answers.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The table that is written to.
pub const CREATE: &str = "CREATE TABLE IF NOT EXISTS entry(id INTEGER PRIMARY KEY, content BLOB)";
/// One commit; the key is SQLite's own, the content is the parameter.
pub const INSERT: &str = "INSERT INTO entry(content) VALUES (?)";

/// Bytes of a row's content.
const CONTENT_BYTES: usize = 100;

/// The directory that the driver gave.
///
/// # Errors
/// When it gave none.
pub fn directory() -> Result<PathBuf> {
    let given = std::env::args_os().nth(1);
    Ok(given.ok_or("one argument is needed: a directory")?.into())
}

/// Serves slices until the input ends. `insert` commits one row, durably.
///
/// # Errors
/// The first of `insert`, or of the pipes.
pub fn serve(version: &str, mut insert: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "ready {version}")?;
    output.flush()?;
    let mut random = SplitMix64(0x5eed);
    for line in io::stdin().lock().lines() {
        let line = line?;
        let length = line
            .strip_prefix("slice ")
            .ok_or_else(|| format!("not a slice: {line:?}"))?;
        let length = Duration::from_millis(length.parse()?);
        let (commits, took) = slice(length, &mut random, &mut insert)?;
        writeln!(output, "{commits} {}", took.as_micros())?;
        output.flush()?;
    }
    Ok(())
}

fn slice(
    length: Duration,
    random: &mut SplitMix64,
    insert: &mut impl FnMut(&[u8]) -> Result<()>,
) -> Result<(u64, Duration)> {
    let mut content = [0; CONTENT_BYTES];
    let mut commits = 0;
    let started = Instant::now();
    loop {
        random.fill(&mut content);
        insert(&content)?;
        commits += 1;
        let took = started.elapsed();
        if took >= length {
            return Ok((commits, took));
        }
    }
}

/// Random bytes that cost next to nothing.
struct SplitMix64(u64);

impl SplitMix64 {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            chunk.copy_from_slice(&mixed.to_le_bytes()[..chunk.len()]);
        }
    }
}
