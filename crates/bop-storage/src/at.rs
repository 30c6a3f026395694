//! Which state of a database is meant: the newest, a snapshot, or one of the past.
//!
//! Never: knows whether there is such a state.

use crate::ids::Lsn;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A state of a database.
///
/// A fork, and a database that was restored, begins with the state that it was made of. Before its first commit
/// it is that: for any place in the log, and for times from that state's commit on, though it was made later. An
/// earlier time is before its window. What its source was before is asked of the source, which a restore keeps
/// as a snapshot.
///
/// # Example
/// ```
/// use bop_storage::{At, Lsn};
///
/// assert_eq!("lsn:4096".parse(), Ok(At::Lsn(Lsn::new(4096))));
/// assert_eq!("snapshot:before".parse(), Ok(At::Snapshot("before".to_owned())));
/// let noon = "time:2026-03-01T12:00:00Z".parse().map(|at: At| at.to_string());
/// assert_eq!(noon.as_deref(), Ok("time:2026-03-01T12:00:00.000000Z"));
/// assert!("yesterday".parse::<At>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum At {
    /// The newest.
    Now,
    /// A snapshot of that name.
    Snapshot(String),
    /// After the newest commit whose place in the log is not behind this one. Places are of the whole
    /// store: the states of several databases at one of them belong together.
    Lsn(Lsn),
    /// After the newest commit that is not younger than this, in microseconds since the Unix epoch.
    Time(u64),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => f.write_str("now"),
            Self::Snapshot(name) => write!(f, "snapshot:{name}"),
            Self::Lsn(lsn) => write!(f, "lsn:{lsn}"),
            Self::Time(us) => write!(f, "time:{}", Moment(*us)),
        }
    }
}

/// Why a text means no state of a database.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text:?} is not now, snapshot:NAME, lsn:NUMBER or time:YYYY-MM-DDTHH:MM:SSZ")]
pub struct AtError {
    /// The text.
    pub text: String,
}

impl FromStr for At {
    type Err = AtError;

    fn from_str(text: &str) -> Result<Self, AtError> {
        let parsed = match text.split_once(':') {
            None => (text == "now").then_some(Self::Now),
            Some(("snapshot", name)) => (!name.is_empty()).then(|| Self::Snapshot(name.to_owned())),
            Some(("lsn", number)) => number.parse().ok().map(|lsn| Self::Lsn(Lsn::new(lsn))),
            Some(("time", time)) => parse_time(time).map(Self::Time),
            Some(_) => None,
        };
        parsed.ok_or_else(|| AtError {
            text: text.to_owned(),
        })
    }
}

/// RFC 3339 in UTC; a fraction of the second, and the time of the day, may be left out.
fn parse_time(text: &str) -> Option<u64> {
    let time = match text.len() {
        10 => humantime::parse_rfc3339_weak(&format!("{text}T00:00:00Z")),
        _ => humantime::parse_rfc3339_weak(text),
    };
    let since = time.ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_micros()).ok()
}

/// Microseconds since the Unix epoch, as a date of RFC 3339 in UTC.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Moment(pub u64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The last moment of the year 9999: what is later cannot be written.
        let us = self.0.min(253_402_300_799_999_999);
        let moment: SystemTime = UNIX_EPOCH + Duration::from_micros(us);
        humantime::format_rfc3339_micros(moment).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for at in [
            At::Now,
            At::Snapshot("a:b c".to_owned()),
            At::Lsn(Lsn::new(u64::MAX)),
            At::Time(1_709_251_199_123_456),
        ] {
            assert_eq!(at.to_string().parse(), Ok(at));
        }
    }

    #[test]
    fn times_may_be_short_and_what_is_none_is_refused() {
        let time = |text: &str| format!("time:{text}").parse::<At>().ok();
        assert_eq!(time("1970-01-02"), Some(At::Time(86_400_000_000)));
        assert_eq!(time("1970-01-01 00:00:01"), Some(At::Time(1_000_000)));
        assert_eq!(time("1970-01-01T00:00:00.5Z"), Some(At::Time(500_000)));
        for text in [
            "",
            "later",
            "now:",
            "lsn:",
            "lsn:-1",
            "lsn:x",
            "snapshot:",
            "time:",
            "time:noon",
            "time:1969-12-31T23:59:59Z",
            "time:2026-02-30T00:00:00Z",
            "Now",
        ] {
            let error = text.parse::<At>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }
}
