//! How a store is opened: what the environment of the process says, since a name of a file has no room for it.
//!
//! | variable | says |
//! |---|---|
//! | `BOP_IO` | how files are read and written: `auto`, `std`, `direct` or `uring` |
//! | `BOP_COMPRESSION` | how checkpoints compress pages: `off`, `lz4`, `zstd` or `zstd:1` to `zstd:19` |
//! | `BOP_CONTROL` | whether other processes may ask: `off`, or `read` and `write`, which are the same here |
//!
//! Invariant: a variable that is empty is as good as none; one that says nothing known is an error.

use bop_sqlite_common::engine_error::EngineError;
use bop_storage::{Compression, Options};
use std::fmt::Display;
use std::str::FromStr;

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

/// Whether other processes may ask.
///
/// # Errors
/// As for [`options`].
pub(crate) fn is_asked() -> Result<bool, EngineError> {
    Ok(set("BOP_CONTROL")?.is_none_or(|Asked(yes)| yes))
}

/// What `BOP_CONTROL` says.
#[derive(PartialEq, Eq, Debug)]
struct Asked(bool);

impl FromStr for Asked {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "off" => Ok(Self(false)),
            "read" | "write" => Ok(Self(true)),
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
    fn others_may_ask_unless_it_is_off() {
        assert_eq!("off".parse(), Ok(Asked(false)));
        assert_eq!(
            ("read".parse(), "write".parse()),
            (Ok(Asked(true)), Ok(Asked(true)))
        );
        let error = "on".parse::<Asked>().unwrap_err();
        assert!(error.contains("off, read and write"), "{error}");
    }
}
