//! Frames on the socket.
//!
//! ```text
//!   u32, little-endian: bytes that follow, at most FRAME_BYTES_MAX | u8: kind | payload
//!   kind 0: a message, JSON        kind 1: bytes of the answer
//! ```
//! Invariants
//! - a length is looked at before memory is taken for it, and memory is taken as bytes arrive;
//! - a frame has one deadline as a whole, so that a peer that sends a byte now and then is no exception.
//!
//! Never: tries again after an error: what comes after half a frame means nothing.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The most bytes of a frame, its kind included.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

const MESSAGE: u8 = 0;
const BYTES: u8 = 1;

/// What a frame has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Frame<M> {
    /// A message.
    Message(M),
    /// Bytes of the answer.
    Bytes(Vec<u8>),
}

/// Why no frame was read, or none written.
#[derive(Debug)]
pub(crate) enum WireError {
    /// The peer closed the connection between two frames.
    Ended,
    /// It did not take or send a frame in time.
    TooSlow,
    /// What it sent is no frame, or no message.
    Invalid(String),
    /// The connection broke.
    Io(io::Error),
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ended => f.write_str("the connection was closed"),
            Self::TooSlow => f.write_str("nothing came in time"),
            Self::Invalid(what) => f.write_str(what),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TooSlow,
            _ => Self::Io(error),
        }
    }
}

/// Reads a frame, which must be there as a whole after `patience`.
///
/// # Errors
/// See [`WireError`].
pub(crate) fn read_frame<M: DeserializeOwned>(
    stream: &UnixStream,
    patience: Duration,
) -> Result<Frame<M>, WireError> {
    let until = Instant::now() + patience;
    let mut length = [0; 4];
    read_all(stream, &mut length, until)?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if !(1..=FRAME_BYTES_MAX).contains(&length) {
        let what = format!("a frame of {length} bytes, which must have 1 to {FRAME_BYTES_MAX}");
        return Err(WireError::Invalid(what));
    }
    let mut frame = Vec::new();
    while frame.len() < length {
        let from = frame.len();
        frame.resize(length.min(from + READ_BYTES), 0);
        let piece = frame.get_mut(from..).unwrap_or_default();
        read_all(stream, piece, until).map_err(|error| match error {
            WireError::Ended => WireError::Invalid("half a frame".to_owned()),
            other => other,
        })?;
    }
    let payload = frame.split_off(1);
    match frame.first().copied() {
        Some(MESSAGE) => {
            let message = serde_json::from_slice(&payload);
            let message = message.map_err(|error| WireError::Invalid(error.to_string()))?;
            Ok(Frame::Message(message))
        }
        Some(BYTES) => Ok(Frame::Bytes(payload)),
        kind => Err(WireError::Invalid(format!("a frame of kind {kind:?}"))),
    }
}

/// Reads a frame that has to be a message.
///
/// # Errors
/// See [`WireError`].
pub(crate) fn read_message<M: DeserializeOwned>(
    stream: &UnixStream,
    patience: Duration,
) -> Result<M, WireError> {
    match read_frame(stream, patience)? {
        Frame::Message(message) => Ok(message),
        Frame::Bytes(_) => Err(WireError::Invalid("bytes in place of a message".to_owned())),
    }
}

/// Writes a message, which the peer must have taken after `patience`.
///
/// # Errors
/// See [`WireError`].
pub(crate) fn write_message(
    stream: &UnixStream,
    message: &impl Serialize,
    patience: Duration,
) -> Result<(), WireError> {
    let json = serde_json::to_vec(message);
    let json = json.map_err(|error| WireError::Invalid(error.to_string()))?;
    write(stream, MESSAGE, &json, patience)
}

/// Writes bytes of the answer, which the peer must have taken after `patience`.
///
/// # Errors
/// See [`WireError`].
pub(crate) fn write_bytes(
    stream: &UnixStream,
    bytes: &[u8],
    patience: Duration,
) -> Result<(), WireError> {
    for piece in bytes.chunks(FRAME_BYTES_MAX - 1) {
        write(stream, BYTES, piece, patience)?;
    }
    Ok(())
}

fn write(
    stream: &UnixStream,
    kind: u8,
    payload: &[u8],
    patience: Duration,
) -> Result<(), WireError> {
    let length = payload.len() + 1;
    let Some(length) = u32::try_from(length)
        .ok()
        .filter(|_| length <= FRAME_BYTES_MAX)
    else {
        let what = format!("{length} bytes, and a frame has at most {FRAME_BYTES_MAX}");
        return Err(WireError::Invalid(what));
    };
    let mut frame = Vec::with_capacity(payload.len() + 5);
    frame.extend(length.to_le_bytes());
    frame.push(kind);
    frame.extend(payload);
    let (until, mut rest, mut stream) = (Instant::now() + patience, &frame[..], stream);
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(until)?))?;
        match stream.write(rest) {
            Ok(0) => return Err(WireError::Ended),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Fills `buffer`; [`WireError::Ended`] only before its first byte.
fn read_all(mut stream: &UnixStream, buffer: &mut [u8], until: Instant) -> Result<(), WireError> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(rest) {
            Ok(0) if filled == 0 => return Err(WireError::Ended),
            Ok(0) => return Err(WireError::Invalid("half a frame".to_owned())),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The time until then; none is left when it is over.
fn left(until: Instant) -> Result<Duration, WireError> {
    let left = until.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(WireError::TooSlow),
        // The kernel takes less than a microsecond for no limit.
        false => Ok(left.max(Duration::from_millis(1))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::RecvTimeoutError;

    const SOON: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(10);

    fn read_after(sent: &[u8]) -> Result<Frame<String>, WireError> {
        let (mut one, other) = UnixStream::pair().unwrap();
        one.write_all(sent).unwrap();
        drop(one);
        read_frame(&other, LONG)
    }

    #[test]
    fn a_message_and_bytes_come_as_they_were_sent() {
        let (one, other) = UnixStream::pair().unwrap();
        write_message(&one, &"how are you", LONG).unwrap();
        write_bytes(&one, b"1|2\n", LONG).unwrap();
        let (first, second) = (read_frame(&other, LONG), read_frame::<String>(&other, LONG));
        assert_eq!(first.unwrap(), Frame::Message("how are you".to_owned()));
        assert_eq!(second.unwrap(), Frame::Bytes(b"1|2\n".to_vec()));
    }

    #[test]
    fn more_bytes_than_a_frame_has_come_in_several() {
        let (one, other) = UnixStream::pair().unwrap();
        let bytes = vec![7; FRAME_BYTES_MAX + 5];
        let sender = std::thread::spawn(move || write_bytes(&one, &bytes, LONG).unwrap());
        let mut read = 0;
        while let Ok(Frame::Bytes(piece)) = read_frame::<String>(&other, LONG) {
            read += piece.len();
        }
        sender.join().unwrap();
        assert_eq!(read, FRAME_BYTES_MAX + 5);
    }

    #[test]
    fn a_length_out_of_bounds_is_refused_before_anything_else_is_read() {
        for length in [0, FRAME_BYTES_MAX as u32 + 1, u32::MAX] {
            let refused = read_after(&length.to_le_bytes()).unwrap_err();
            assert!(matches!(refused, WireError::Invalid(_)), "{refused}");
            assert!(refused.to_string().contains(&length.to_string()));
        }
    }

    #[test]
    fn half_a_frame_is_not_the_end() {
        assert!(matches!(read_after(b""), Err(WireError::Ended)));
        for sent in [&b"\x02"[..], b"\x05\0\0\0", b"\x05\0\0\0\0\"a"] {
            assert!(matches!(read_after(sent), Err(WireError::Invalid(_))));
        }
        assert!(matches!(
            read_after(b"\x02\0\0\0\x09x"),
            Err(WireError::Invalid(_))
        ));
        assert!(matches!(
            read_after(b"\x02\0\0\0\0x"),
            Err(WireError::Invalid(_))
        ));
    }

    #[test]
    fn a_peer_that_sends_a_byte_now_and_then_is_too_slow() {
        let (mut one, other) = UnixStream::pair().unwrap();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let sender = std::thread::spawn(move || {
            // Faster than the deadline of a read would be, had each its own.
            while stopped.recv_timeout(SOON / 5) == Err(RecvTimeoutError::Timeout)
                && one.write_all(&[1]).is_ok()
            {}
        });
        let mut long = [0; 4096];
        let refused = read_all(&other, &mut long, Instant::now() + SOON).unwrap_err();
        assert!(matches!(refused, WireError::TooSlow), "{refused}");
        drop(stop);
        sender.join().unwrap();
    }

    #[test]
    fn a_peer_that_takes_nothing_is_too_slow() {
        let (one, _other) = UnixStream::pair().unwrap();
        let refused = write_bytes(&one, &vec![0; 8 << 20], SOON).unwrap_err();
        assert!(matches!(refused, WireError::TooSlow), "{refused}");
    }
}
