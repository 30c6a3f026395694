//! What an embedder may choose, and the bounds that hold whatever he chooses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Where an exporter listens unless told otherwise: this machine alone.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9497);

/// The most connections at a time. Who comes then takes the place of the oldest one that asks nothing, as soon as there is
/// one.
pub const CONNECTIONS_MAX: usize = 64;

/// How long a client may take for the head of a request, and be silent between two.
pub(crate) const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// The most bytes of such a head.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How long a connection is kept; then it ends behind the answer that is on its way.
pub(crate) const CONNECTION_TIME: Duration = Duration::from_secs(60);

/// How long such an answer, or one at the end of the exporter, may still take.
pub(crate) const LAST_ANSWER_TIME: Duration = Duration::from_secs(1);

/// How an exporter listens and asks.
///
/// # Example
/// ```
/// use std::time::Duration;
///
/// let options = bop_exporter::Options::new()
///     .listen(([127, 0, 0, 1], 0).into())
///     .patience(Duration::from_secs(2));
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) listen: SocketAddr,
    pub(crate) patience: Duration,
    pub(crate) fresh_for: Duration,
}

impl Options {
    /// At [`DEFAULT_ADDRESS`]; an answer may take five seconds, and is good for half a second.
    pub fn new() -> Self {
        Self {
            listen: DEFAULT_ADDRESS,
            patience: Duration::from_secs(5),
            fresh_for: Duration::from_millis(500),
        }
    }

    /// Where it listens; port 0 is any that is free. Nobody is asked for a password, so an address that others reach is
    /// for whoever may know the names and sizes of the databases.
    #[must_use]
    pub fn listen(self, address: SocketAddr) -> Self {
        Self {
            listen: address,
            ..self
        }
    }

    /// How long the store may take for an answer before the exporter says that there is none.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// How long an answer is given again before the store is asked anew.
    #[must_use]
    pub fn fresh_for(self, time: Duration) -> Self {
        Self {
            fresh_for: time,
            ..self
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}
