//! How a store is opened, by options or by variables of the environment.
//!
//! Invariant: an option counts before its variable, and an empty variable is as good as none.

use super::Args;
use bop_control::Failure;
use bop_storage::Compression;
use bop_storage::error::ErrorCode;
use bop_storage::io::IoBackend;
use std::ffi::OsString;
use std::fmt::Display;
use std::str::FromStr;

/// What other processes may ask of this one while it has the store open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum ControlMode {
    /// Nothing: there is no control socket
    Off,
    /// Every command, and SQL that reads
    Read,
    /// SQL that writes, too
    Write,
}

impl FromStr for ControlMode {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = <Self as clap::ValueEnum>::from_str(name, false);
        found.map_err(|_| format!("{name:?} is none of off, read and write"))
    }
}

impl Args {
    /// How the store's files are read and written.
    ///
    /// # Errors
    /// The variable names no backend.
    pub(crate) fn io(&self) -> Result<IoBackend, Failure> {
        named(self.io, "BOP_IO", IoBackend::Auto)
    }

    /// How checkpoints compress pages.
    ///
    /// # Errors
    /// The variable names no compression.
    pub(crate) fn compression(&self) -> Result<Compression, Failure> {
        named(self.compression, "BOP_COMPRESSION", Compression::default())
    }

    /// What other processes may ask.
    ///
    /// # Errors
    /// The variable names nothing of that kind.
    pub(crate) fn control(&self) -> Result<ControlMode, Failure> {
        named(self.control, "BOP_CONTROL", ControlMode::Write)
    }
}

fn named<T: FromStr<Err: Display>>(
    option: Option<T>,
    variable: &str,
    default: T,
) -> Result<T, Failure> {
    choose(option, variable, std::env::var_os(variable), default)
}

fn choose<T: FromStr<Err: Display>>(
    option: Option<T>,
    variable: &str,
    value: Option<OsString>,
    default: T,
) -> Result<T, Failure> {
    let set = value.filter(|value| !value.is_empty());
    match (option, set) {
        (Some(option), _) => Ok(option),
        (None, None) => Ok(default),
        (None, Some(set)) => set
            .to_string_lossy()
            .parse()
            .map_err(|error| Failure::new(ErrorCode::Usage, format_args!("{variable}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn backend(arguments: &[&str], value: Option<&str>) -> Result<IoBackend, String> {
        let args = Args::try_parse_from(arguments).unwrap();
        choose(
            args.io,
            "BOP_IO",
            value.map(OsString::from),
            IoBackend::Auto,
        )
        .map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_backend_is_named_by_the_option_before_the_variable() {
        assert_eq!(backend(&["bop", "list"], None), Ok(IoBackend::Auto));
        assert_eq!(backend(&["bop", "list"], Some("")), Ok(IoBackend::Auto));
        assert_eq!(backend(&["bop", "list"], Some("std")), Ok(IoBackend::Std));
        let named = &["bop", "list", "--io", "direct"];
        assert_eq!(backend(named, Some("nonsense")), Ok(IoBackend::Direct));
        let error = backend(&["bop", "list"], Some("nonsense")).unwrap_err();
        assert!(
            error.contains("BOP_IO") && error.contains("nonsense"),
            "{error}"
        );
        assert!(Args::try_parse_from(["bop", "list", "--io", "fast"]).is_err());
    }

    #[test]
    fn a_compression_and_what_others_may_ask_have_their_names() {
        let args = Args::try_parse_from(["bop", "checkpoint", "--compression", "zstd:9"]).unwrap();
        assert_eq!(args.compression, Some(Compression::Zstd { level: 9 }));
        for wrong in ["zstd:0", "gzip", ""] {
            assert!(Args::try_parse_from(["bop", "list", "--compression", wrong]).is_err());
        }
        assert_eq!("read".parse(), Ok(ControlMode::Read));
        let error = "everything".parse::<ControlMode>().unwrap_err();
        assert!(error.contains("off, read and write"), "{error}");
    }
}
