//! What each end of a connection makes of bytes, for the fuzz target `frames`.
//!
//! Never: runs a request.

#![expect(
    clippy::unwrap_used,
    reason = "for tests, which fail by panicking: a pair of sockets is there"
)]

use crate::message::{Said, Told};
use crate::wire::{FRAME_BYTES_MAX, Frame, WireError, read_frame, read_message, write_message};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Of bytes that are all there.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads bytes as the owner of a store does what a client sends, and as a client does what the owner sends, up to the
/// first that are no frame.
///
/// # Panics
/// A message that is believed says something else when it is written and read again; a frame is larger than one may
/// be; more is waited for than there is.
pub fn frames(bytes: &[u8]) {
    read_all(bytes, |said| {
        if let Said::Run { request, .. } = said {
            // Refused or not: it is not run here.
            let _ = request.check();
        }
    });
    read_all(bytes, |_: &Told| ());
}

fn read_all<M>(bytes: &[u8], look: impl Fn(&M))
where
    M: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let (here, mut there) = UnixStream::pair().unwrap();
    // What does not fit is cut off: nobody reads meanwhile.
    there.set_nonblocking(true).unwrap();
    let _ = there.write_all(bytes);
    there.shutdown(Shutdown::Write).unwrap();
    loop {
        match read_frame::<M>(&here, PATIENCE) {
            Ok(Frame::Bytes(bytes)) => assert!(bytes.len() < FRAME_BYTES_MAX),
            Ok(Frame::Message(message)) => {
                look(&message);
                assert_eq!(again(&message), message);
            }
            Err(WireError::TooSlow) => panic!("it waits for what never comes"),
            Err(_) => return,
        }
    }
}

/// What is read of a message that was written.
fn again<M: Serialize + DeserializeOwned>(message: &M) -> M {
    let (here, there) = UnixStream::pair().unwrap();
    write_message(&there, message, PATIENCE).unwrap();
    read_message(&here, PATIENCE).unwrap()
}
