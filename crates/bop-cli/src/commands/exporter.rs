//! `bop exporter`: metrics, health and a page over HTTP, of whichever process has the store open.
//!
//! Never: opens the store, so that an application can, now and later.

use super::{Context, tell};
use crate::args::ExporterArgs;
use bop_control::{Client, Failure};
use bop_exporter::{Exporter, Options, StoreSocket};
use bop_storage::error::ErrorCode;
use serde_json::json;

/// Runs the command, until the process is ended.
///
/// # Errors
/// The address cannot be bound.
pub(super) fn run(context: &Context, args: &ExporterArgs) -> Result<u8, Failure> {
    let (store, listen) = (&context.store.path, args.listen);
    let exporter = Exporter::start(StoreSocket::of(store), Options::new().listen(listen));
    let exporter = exporter.map_err(|error| {
        Failure::new(ErrorCode::Io, format_args!("listen at {listen}: {error}"))
            .with_hint("--listen names another address; port 0 is any that is free")
    })?;
    let address = exporter.local_addr();
    context.answer(
        format_args!("listening at http://{address}/"),
        json!({ "listening": address.to_string() }),
    )?;
    if matches!(Client::connect(store), Ok(None)) {
        let path = store.display();
        tell(format_args!(
            "note: nobody has the store at {path} open now; it is looked for at each request"
        ));
    }
    loop {
        // Nothing wakes it; a signal ends the process, which holds nothing that has to be put in order.
        std::thread::park();
    }
}
