//! Other disks made from this one: what a crash would leave, clean copies; and bytes touched from
//! outside, as a flipped bit or a careless administrator would.
//!
//! Invariant: a new disk starts unlocked, with no faults planned, and with nothing in doubt.

use super::act::State;
use super::content::Content;
use super::disk::SimDisk;
use super::names::{Inode, Names, Node, Tree};
use crate::io::IoOp;
use crate::runtime::sync::Mutex;
use crate::testing::SplitMix64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Something of which a crash may keep one version or another.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Doubt<'a> {
    /// A sector of a file that was written and not synced.
    Sector {
        /// The file, by the name it has after the crash.
        path: &'a Path,
        /// Which sector of it.
        sector: u64,
    },
    /// The length of a file that grew and was not synced.
    Length {
        /// The file, by the name it has after the crash.
        path: &'a Path,
    },
    /// A name that was created, renamed to or removed, in a directory that was not synced since.
    Name {
        /// The name.
        path: &'a Path,
        /// What was done.
        op: IoOp,
    },
}

/// Answers a doubt: 0 for the durable version, else which of that many un-synced ones, oldest 1.
pub(super) type Chooser<'c> = dyn FnMut(Doubt<'_>, usize) -> usize + 'c;

impl SimDisk {
    /// The disk after a crash at this moment: what is durable, and of everything in doubt any
    /// version. The same seed keeps the same.
    pub fn crash_image(&self, seed: u64) -> Self {
        let mut random = SplitMix64::new(seed);
        // Uniform choices alone would almost never keep nearly all or nearly nothing of a batch.
        let keep_of_8 = [0, 1, 4, 4, 7, 8][random.index(6)];
        let mut last: Option<PathBuf> = None;
        let mut keep = keep_of_8;
        self.crash_image_with(|doubt, versions| {
            let path = match doubt {
                Doubt::Sector { path, .. } | Doubt::Length { path } | Doubt::Name { path, .. } => {
                    path
                }
            };
            // Now and then one file fares otherwise than the rest.
            if last.as_deref() != Some(path) {
                last = Some(path.to_owned());
                keep = if random.chance(1, 4) {
                    random.below(9)
                } else {
                    keep_of_8
                };
            }
            if !random.chance(keep, 8) {
                0
            } else if random.chance(3, 4) {
                versions
            } else {
                1 + random.index(versions)
            }
        })
    }

    /// The disk after a crash that lost everything in doubt.
    pub fn crash_image_keeping_nothing(&self) -> Self {
        self.crash_image_with(|_, _| 0)
    }

    /// The disk after a crash that kept the newest version of everything in doubt.
    pub fn crash_image_keeping_all(&self) -> Self {
        self.crash_image_with(|_, versions| versions)
    }

    /// The disk after a crash at this moment; `choose` is asked about everything in doubt, names
    /// first, with the number of un-synced versions. It answers 0 for the durable version, else
    /// which un-synced one, oldest 1; larger answers mean the newest.
    pub fn crash_image_with(&self, mut choose: impl FnMut(Doubt<'_>, usize) -> usize) -> Self {
        let mut choose = |doubt: Doubt<'_>, versions: usize| choose(doubt, versions).min(versions);
        self.state(|state| {
            let tree = state.names.crashed(&mut choose);
            derive(state, &tree, |path, content| {
                content.crashed(path, &mut choose)
            })
        })
    }

    /// A copy of the disk as its user sees it, all of it durable. Shares the bytes until either is
    /// written to, so that a copy a flipped bit is cheap.
    pub fn snapshot(&self) -> Self {
        self.state(|state| {
            let tree = state.names.live().clone();
            derive(state, &tree, |_, content| content.settled())
        })
    }

    /// Whether a crash at this moment could leave more than one disk.
    pub fn has_doubt(&self) -> bool {
        self.state(|state| {
            let mut nodes = state.names.live().values();
            state.names.has_doubt()
                || nodes.any(|node| match node {
                    Node::Directory => false,
                    Node::File(inode) => inode.lock().has_doubt(),
                })
        })
    }

    /// All files and their lengths, sorted by path.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.state(|state| {
            let nodes = state.names.live().iter();
            nodes
                .filter_map(|(path, node)| match node {
                    Node::Directory => None,
                    Node::File(inode) => Some((path.clone(), inode.lock().bytes())),
                })
                .collect()
        })
    }

    /// Flips the bits of `mask` in one byte, whatever its state.
    ///
    /// # Panics
    /// When there is no such byte.
    pub fn flip(&self, path: &Path, byte: u64, mask: u8) {
        let inode = self.inode(path);
        let mut content = inode.lock();
        let bytes = content.bytes();
        assert!(byte < bytes, "{} has no byte {byte}", path.display());
        content.flip(byte, mask);
    }

    /// Durably sets a file's length; new bytes are zeros.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn truncate(&self, path: &Path, bytes: u64) {
        self.inode(path).lock().set_length(bytes);
    }

    /// Durably removes a file.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn remove_raw(&self, path: &Path) {
        let gone = self.state(|state| state.names.take_away(path));
        assert!(gone.is_some(), "{} is not there", path.display());
    }

    /// Durably copies a file over another name.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn copy_raw(&self, from: &Path, to: &Path) {
        let content = self.inode(from).lock().settled();
        self.put(to, content);
    }

    /// All bytes of a file, as a reader sees them.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn read_raw(&self, path: &Path) -> Vec<u8> {
        self.inode(path).lock().to_vec()
    }

    /// Durably puts a file there, with its directories, in place of one that may be there.
    pub fn write_raw(&self, path: &Path, bytes: &[u8]) {
        self.put(path, Content::of(bytes));
    }

    fn put(&self, path: &Path, content: Content) {
        self.state(|state| {
            // Whoever has the file open sees the new bytes, as with any write from outside.
            let inode = state.names.file(path).unwrap_or_default();
            *inode.lock() = content;
            state.names.put(path, &Node::File(inode));
        });
    }

    fn inode(&self, path: &Path) -> Inode {
        match self.state(|state| state.names.file(path)) {
            Ok(inode) => inode,
            Err(_) => panic!("{} is not a file of this disk", path.display()),
        }
    }
}

/// A new disk with the names of `tree`, each file's content made by `after`.
fn derive(
    state: &mut State,
    tree: &Tree,
    mut after: impl FnMut(&Path, &Content) -> Content,
) -> SimDisk {
    let mut copied = Tree::new();
    for (path, node) in tree {
        let node = match node {
            Node::Directory => Node::Directory,
            Node::File(inode) => {
                let content = after(path, &inode.lock());
                Node::File(Arc::new(Mutex::new(content)))
            }
        };
        copied.insert(path.clone(), node);
    }
    // Not drawn from the disk's own numbers: an image taken must not change what happens next.
    let seed = state.random.clone().next_u64();
    SimDisk::with(Names::clean(copied), seed, state.capacity)
}
