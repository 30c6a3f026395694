//! `soak SECONDS DIR`: everything that a store can do, for so long, in a directory that is made; fails
//! on a wrong answer and when the process grows. `cargo xtask soak` builds and runs it.
//!
//! ```text
//!   open -> load, watched -> verify -> close -> [process as before?] -> open again ... -> [growth?]
//! ```
//! Invariants
//! - the data has a bound, so that what grows is a leak;
//! - each load remembers what it was told, and looks at the next opening whether it is there.

#![deny(unsafe_code)]

mod growth;
mod load;
mod random;
mod rounds;
mod stop;
mod usage;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Any error, told and nothing else.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    match arguments().and_then(|(length, dir)| rounds::soak(length, &dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<(Duration, PathBuf)> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(seconds), Some(dir), None) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: soak SECONDS DIR".into());
    };
    let seconds: u64 = seconds.to_string_lossy().parse()?;
    if seconds < rounds::SECONDS_MIN {
        let least = rounds::SECONDS_MIN;
        return Err(
            format!("{seconds} seconds are too few to see growth: at least {least}").into(),
        );
    }
    Ok((Duration::from_secs(seconds), dir.into()))
}
