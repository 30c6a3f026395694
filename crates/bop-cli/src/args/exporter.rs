//! What `bop exporter` is given.

use bop_exporter::DEFAULT_ADDRESS;
use std::net::SocketAddr;

/// `bop exporter`.
#[derive(clap::Args, Debug)]
pub(crate) struct ExporterArgs {
    /// Where to listen; port 0 is any that is free. There is no password and no encryption: whoever can reach this
    /// address can read the figures and the names of databases, and can change nothing
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = DEFAULT_ADDRESS)]
    pub(crate) listen: SocketAddr,
}
