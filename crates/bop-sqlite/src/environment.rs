//! How a store is opened: what the environment of the process says, since a name of a file has no room for it.
//!
//! | variable | says |
//! |---|---|
//! | `BOP_IO` | how files are read and written: `auto`, `std`, `direct` or `uring` |
//! | `BOP_COMPRESSION` | how checkpoints compress pages: `off`, `lz4`, `zstd` or `zstd:1` to `zstd:19` |
//! | `BOP_CONTROL` | what other processes may ask: `off`: nothing; `read`: SQL reads; `write`, as without it: all |
//! | `BOP_SQL_DEADLINE_SECONDS` | how long one piece of others' SQL may run: 60 without it |
//!
//! Invariant: a variable that is empty is as good as none; one that says nothing known is an error.

use bop_sqlite_common::engine_error::EngineError;
use bop_storage::{Compression, Options};
use std::fmt::Display;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

/// How a store is opened.
///
/// # Errors
/// [`EngineError::Refused`]: a variable says nothing that is known.
pub(crate) fn options() -> Result<Options, EngineError> {
    let (io, compression) = (set("BOP_IO")?, set("BOP_COMPRESSION")?);
    let options = Options::new().compression(compression.unwrap_or_else(Compression::default));
    Ok(match io {
        Some(io) => options.io(io),
        None => options,
    })
}

/// What the control socket offers, but for SQL; `None`: there is none.
///
/// # Errors
/// As for [`options`].
pub(crate) fn control() -> Result<Option<bop_control::Options>, EngineError> {
    let control = set("BOP_CONTROL")?.unwrap_or(Control::Write);
    let deadline: Option<NonZeroU32> = set("BOP_SQL_DEADLINE_SECONDS")?;
    let options = bop_control::Options::new().allow_writes(control == Control::Write);
    let options = match deadline {
        Some(seconds) => options.sql_deadline(Duration::from_secs(seconds.get().into())),
        None => options,
    };
    Ok((control != Control::Off).then_some(options))
}

/// What `BOP_CONTROL` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Control {
    /// There is no control socket.
    Off,
    /// SQL of others reads.
    Read,
    /// It may write where that is asked for.
    Write,
}

impl FromStr for Control {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "off" => Ok(Self::Off),
            "read" => Ok(Self::Read),
            "write" => Ok(Self::Write),
            _ => Err(format!("{name:?} is none of off, read and write")),
        }
    }
}

fn set<T: FromStr<Err: Display>>(variable: &str) -> Result<Option<T>, EngineError> {
    let Some(value) = std::env::var_os(variable).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let said = value.to_string_lossy().parse();
    let said = said.map_err(|error| format!("{variable}: {error}"));
    said.map(Some)
        .map_err(|why| EngineError::Refused(why.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_ask_has_a_name() {
        assert_eq!("off".parse(), Ok(Control::Off));
        assert_eq!("read".parse(), Ok(Control::Read));
        assert_eq!("write".parse(), Ok(Control::Write));
        let error = "on".parse::<Control>().unwrap_err();
        assert!(error.contains("off, read and write"), "{error}");
    }
}
