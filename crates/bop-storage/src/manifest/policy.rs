//! What the owner of a database has set for it: how much of its past is kept, how large it may grow.
//!
//! Invariant: the bytes are the same in the manifest's rows and in the catalogue's sections.
//!
//! Never: knows what the store's own default is.

use std::time::Duration;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How much of the past of a database is kept. Today that is how long a drop of it can be taken back,
/// and how large it may be for that.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Retention {
    /// For how long, in microseconds; [`Retention::DEFAULT_WINDOW_US`] as long as the store's limits say.
    pub window_us: u64,
    /// At most so many bytes.
    pub bytes: u64,
}

impl Retention {
    /// The window of a database whose owner set none.
    pub const DEFAULT_WINDOW_US: u64 = u64::MAX;

    /// Of a database whose owner set none.
    pub const DEFAULT: Self = Self {
        window_us: Self::DEFAULT_WINDOW_US,
        bytes: u64::MAX,
    };

    /// Of whoever wants nothing to be kept.
    pub const NOTHING: Self = Self {
        window_us: 0,
        bytes: 0,
    };

    /// For so long, whatever its size.
    pub fn window(window: Duration) -> Self {
        let longest = Self::DEFAULT_WINDOW_US - 1;
        let window_us = u64::try_from(window.as_micros()).unwrap_or(longest);
        Self {
            window_us: window_us.min(longest),
            ..Self::DEFAULT
        }
    }

    /// The window in microseconds, in a store whose default it is given.
    pub fn window_us_or(&self, default: Duration) -> u64 {
        match self.window_us {
            Self::DEFAULT_WINDOW_US => Self::window(default).window_us,
            own => own,
        }
    }
}

/// What the owner of a database has set for it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// How much of its past is kept.
    pub retention: Retention,
    /// How large it may grow, in bytes; zero: as large as it likes.
    pub quota_bytes: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            retention: Retention::DEFAULT,
            quota_bytes: 0,
        }
    }
}

/// The bytes of a [`Policy`].
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PolicyBytes {
    /// For how long its past is kept; all ones: as long as the store's default.
    pub retention_us: U64,
    /// At most so many bytes of it.
    pub retention_bytes: U64,
    /// How large it may grow; 0: as large as it likes.
    pub quota_bytes: U64,
}
const _: () = assert!(size_of::<PolicyBytes>() == 24);

impl From<Policy> for PolicyBytes {
    fn from(policy: Policy) -> Self {
        Self {
            retention_us: U64::new(policy.retention.window_us),
            retention_bytes: U64::new(policy.retention.bytes),
            quota_bytes: U64::new(policy.quota_bytes),
        }
    }
}

impl From<PolicyBytes> for Policy {
    fn from(bytes: PolicyBytes) -> Self {
        Self {
            retention: Retention {
                window_us: bytes.retention_us.get(),
                bytes: bytes.retention_bytes.get(),
            },
            quota_bytes: bytes.quota_bytes.get(),
        }
    }
}
