//! Clients of a control socket that nobody wants: those who say anything, those who stop in the middle of a word,
//! and those who take no answer.
//!
//! Never: holds more than a few of the socket's places, or a test that cannot end: each read has a deadline.

use crate::store::Store;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The first word of a client that is understood.
pub(crate) const HELLO: &[u8] = br#"{"hello":{"protocol":2}}"#;

/// What whoever waits for an answer waits at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// A message as it goes over the socket: its length, its kind, itself.
pub(crate) fn framed(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 1).unwrap();
    [&length.to_le_bytes()[..], &[0], payload].concat()
}

/// A client of the store's socket.
pub(crate) fn connect(store: &Store) -> UnixStream {
    UnixStream::connect(socket_of(store)).unwrap()
}

fn socket_of(store: &Store) -> PathBuf {
    store.store().join("control/control.sock")
}

/// Clients that have begun to talk, and neither go on nor leave.
pub(super) fn half_open(store: &Store) -> Vec<UnixStream> {
    let greeted = |message: &[u8]| [framed(HELLO), framed(message)].concat();
    let said: [Vec<u8>; 6] = [
        Vec::new(),
        framed(HELLO)[..3].to_vec(),
        framed(HELLO),
        // It takes nothing of what it is told, which is more and more.
        greeted(br#"{"run":{"json":false,"progress":false,"request":{"commits":{"database":null,"feed":{"from":1,"cursor":null,"follow":true}}}}}"#),
        // It is asked, and does not answer.
        greeted(br#"{"run":{"json":false,"progress":false,"request":{"drop":{"database":"orders","yes":false,"now":true}}}}"#),
        // It has the turn to write to a database of its own.
        [
            greeted(br#"{"sql":{"database":"held","at":null,"create":true,"write":true}}"#),
            framed(br#"{"piece":{"sql":"begin immediate","mode":"list","header":false}}"#),
        ]
        .concat(),
    ];
    said.iter()
        .map(|bytes| {
            let mut client = connect(store);
            client.write_all(bytes).unwrap();
            client
        })
        .collect()
}

/// A client after the other, each of whom says what chance has him say.
pub(super) struct Babbler {
    stopping: Arc<AtomicBool>,
    clients: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Babbler {
    /// Begins, with that seed.
    pub(super) fn start(store: &Store, seed: u64) -> Self {
        let (stopping, clients) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (socket, of_thread) = (socket_of(store), Arc::clone(&stopping));
        let counted: Arc<AtomicU64> = Arc::clone(&clients);
        let thread = std::thread::spawn(move || {
            let mut chance = Chance(seed);
            while !of_thread.load(Ordering::Acquire) {
                throw(&socket, &chance.conversation());
                counted.fetch_add(1, Ordering::AcqRel);
            }
        });
        Self {
            stopping,
            clients,
            thread: Some(thread),
        }
    }

    /// Ends; answers how many clients there were.
    pub(super) fn end(mut self) -> u64 {
        self.stopping.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap();
        self.clients.load(Ordering::Acquire)
    }
}

impl Drop for Babbler {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
    }
}

/// Sends bytes and reads to the end, which must come.
fn throw(socket: &PathBuf, bytes: &[u8]) {
    let mut client = UnixStream::connect(socket).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    // The server may have had enough before it has all.
    let _ = client.write_all(bytes);
    let _ = client.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let read = client.read_to_end(&mut answer);
    let kept = read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    assert!(!kept, "the server keeps a client that said {bytes:?}");
    let answer = String::from_utf8_lossy(&answer);
    assert!(!answer.contains("\"code\":\"panic\""), "{answer}");
}

/// Marsaglia's xorshift64: numbers from a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    /// Frames that might be meant, of which bytes are changed and the end is cut off.
    fn conversation(&mut self) -> Vec<u8> {
        let words: [&[u8]; 6] = [
            HELLO,
            br#"{"run":{"json":true,"progress":false,"request":"stats"}}"#,
            br#"{"run":{"json":true,"progress":false,"request":{"drop":{"database":"orders","yes":false,"now":true}}}}"#,
            br#"{"sql":{"database":"orders","at":"lsn:x","create":true,"write":true}}"#,
            br#"{"piece":{"sql":"select 1","mode":"list","header":false}}"#,
            br#"{"hello":[[[[[[[["#,
        ];
        let mut bytes = match self.below(4) {
            0 => Vec::new(),
            _ => framed(HELLO),
        };
        for _ in 0..self.below(4) {
            bytes.extend(framed(words[self.below(words.len())]));
        }
        for _ in 0..self.below(3) {
            if !bytes.is_empty() {
                let place = self.below(bytes.len());
                bytes[place] = u8::try_from(self.below(256)).unwrap();
            }
        }
        if self.below(3) == 0 {
            bytes.truncate(self.below(bytes.len() + 1));
        }
        bytes
    }
}
