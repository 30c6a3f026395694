//! One client, from his first word to his last.
//!
//! Never: answers before the versions are known to be one, panics over what a client sends.

use super::Place;
use super::caller::RemoteCaller;
use super::session;
use crate::commands::{self, Call};
use crate::failure::Failure;
use crate::message::{PROTOCOL, Said, Told};
use crate::wire::{WireError, read_message};
use bop_storage::error::ErrorCode;
use std::time::Duration;

/// How long a client may take to say what he wants.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);

/// Answers a client until he, or the server, ends.
pub(super) fn serve(place: &Place) {
    let shared = &place.shared;
    let mut caller = RemoteCaller::new(&place.stream, &shared.stopping);
    let last = match greet(place, &mut caller) {
        Ok(Said::Run {
            json,
            progress,
            request,
        }) => {
            caller.show_progress(progress);
            let door = shared.options.sql.as_deref();
            let call = Call::new(&shared.manager, door, json, &mut caller);
            match commands::run(call, &request) {
                Ok(status) => Told::Done {
                    status,
                    in_transaction: false,
                },
                Err(failure) => Told::Failed(failure),
            }
        }
        Ok(Said::Sql(spec)) => session::serve(place, &mut caller, &spec),
        Ok(_) => refused("a request was expected"),
        Err(WireError::Ended) => return,
        Err(error) => refused(&error.to_string()),
    };
    // Whoever is gone need not be told.
    if let Err(error) = caller.tell(&last) {
        tracing::debug!(%error, "a client of the control socket left before his answer");
    }
}

/// Reads the first words.
fn greet(place: &Place, caller: &mut RemoteCaller) -> Result<Said, WireError> {
    let protocol = match read_message(&place.stream, HELLO_PATIENCE)? {
        Said::Hello { protocol } => protocol,
        _ => return Err(WireError::Invalid("a greeting was expected".to_owned())),
    };
    if protocol != PROTOCOL {
        let what = format!("the client speaks version {protocol}, the owner {PROTOCOL}");
        return Err(WireError::Invalid(what));
    }
    let welcome = Told::Welcome { protocol };
    caller.tell(&welcome).map_err(WireError::Io)?;
    read_message(&place.stream, HELLO_PATIENCE)
}

/// That what a client said is not understood.
pub(super) fn refused(why: &str) -> Told {
    Told::Failed(Failure::new(ErrorCode::Control, why))
}
