//! What a disk holds, and what was asked of it, each as one number: two runs of a seed are compared by them.
//!
//! Invariants
//! - equal names, lengths and bytes have equal digests, whichever way they came about; what is in doubt does
//!   not count, only what a reader sees;
//! - the trace is of the state-changing calls in their order, with what each did it to.
//!
//! Never: takes part in what a disk does.

use super::disk::SimDisk;
use super::names::Node;
use crate::checksum::{Xxh3, xxh3_64_with_seed};
use crate::io::IoOp;
use std::path::Path;

impl SimDisk {
    /// The digest of all names and bytes that a reader sees.
    pub fn digest(&self) -> u64 {
        self.state(|state| {
            let mut hasher = Xxh3::new();
            for (path, node) in state.names.live() {
                hasher.update(path.as_os_str().as_encoded_bytes());
                match node {
                    Node::Directory => hasher.update(&[0]),
                    Node::File(inode) => inode.lock().digest(&mut hasher),
                }
            }
            hasher.digest()
        })
    }

    /// The digest of the state-changing calls so far.
    pub fn trace(&self) -> u64 {
        self.state(|state| state.trace)
    }
}

/// The trace with one more call.
pub(super) fn traced(trace: u64, op: IoOp, path: &Path, offset: Option<u64>) -> u64 {
    let offset = offset.map_or(0, |offset| offset + 1);
    let seed = trace.rotate_left(7) ^ ((op as u64) << 56) ^ offset;
    xxh3_64_with_seed(path.as_os_str().as_encoded_bytes(), seed)
}
