//! What a disk may hold after the power goes, made of a trace of all calls that change files.
//!
//! ```text
//!   write, resize:  began -> may be there, in whole or in sectors --the file is synced, or the write is durable--> is there
//!   name:           made, moved, removed -> may be so, in order for each name --its directory is synced--> is so
//! ```
//! Invariants
//! - what a sync covers is what had returned before it began;
//! - what may be there is kept in any subset: of changes of bytes, of their sectors, of changes of names;
//! - a call that changes files and that this does not know is a panic: nothing is guessed.
//!
//! Left out, since a crash loses them or nobody reads them: the lock, LMDB's table of readers, scratch files.

use crate::common::Random;
use crate::trace::Call;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The unit that a device writes whole.
const SECTOR_BYTES: u64 = 512;

/// What is kept of the changes that nobody has synced.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Keep {
    Nothing,
    Everything,
    Some,
}

impl Keep {
    /// Whether one change is kept.
    fn one(self, random: &mut Random) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Some => random.below(2) == 0,
        }
    }
}

/// A file that had a name once, or a directory.
type Node = usize;

/// A change of a file's bytes.
#[derive(Clone, Debug)]
enum Change {
    Bytes { offset: u64, bytes: Vec<u8> },
    Size { bytes: u64, only_longer: bool },
}

#[derive(Clone, Debug)]
struct Entry {
    change: Change,
    /// The line of the trace in which its call returned.
    returned: usize,
    is_certain: bool,
}

/// A change of the names in a directory.
#[derive(Clone, Debug)]
struct Naming {
    /// Name that goes.
    gone: Option<PathBuf>,
    /// Name that comes, and of what.
    made: Option<(PathBuf, Node)>,
    returned: usize,
    is_certain: bool,
}

#[derive(Clone, Debug, Default)]
struct File {
    content: Vec<u8>,
    entries: Vec<Entry>,
    is_dir: bool,
}

/// The disk, as the calls until now leave it.
#[derive(Debug)]
pub(crate) struct Medium {
    root: PathBuf,
    nodes: Vec<File>,
    /// What is certain: paths below the root.
    names: BTreeMap<PathBuf, Node>,
    namings: Vec<Naming>,
    /// As the process sees it.
    seen: BTreeMap<PathBuf, Node>,
    /// Descriptors whose every write is durable.
    synced_fds: HashSet<i64>,
    /// Where a descriptor stands that was told to.
    positions: HashMap<i64, u64>,
}

impl Medium {
    /// The directory as it is now, all of it durable.
    pub(crate) fn of(root: &Path) -> Self {
        let mut medium = Self {
            root: root.to_owned(),
            nodes: Vec::new(),
            names: BTreeMap::new(),
            namings: Vec::new(),
            seen: BTreeMap::new(),
            synced_fds: HashSet::new(),
            positions: HashMap::new(),
        };
        medium.take(Path::new(""));
        medium.seen = medium.names.clone();
        medium
    }

    fn take(&mut self, dir: &Path) {
        for entry in fs::read_dir(self.root.join(dir)).unwrap() {
            let path = dir.join(entry.unwrap().file_name());
            if is_left_out(&path) {
                continue;
            }
            let is_dir = self.root.join(&path).is_dir();
            let content = match is_dir {
                true => Vec::new(),
                false => fs::read(self.root.join(&path)).unwrap(),
            };
            let node = self.node(File {
                content,
                is_dir,
                ..File::default()
            });
            self.names.insert(path.clone(), node);
            if is_dir {
                self.take(&path);
            }
        }
    }

    fn node(&mut self, file: File) -> Node {
        self.nodes.push(file);
        self.nodes.len() - 1
    }

    /// The path below the root, of what a disk keeps.
    fn below(&self, path: &str) -> Option<PathBuf> {
        let path = Path::new(path).strip_prefix(&self.root).ok()?;
        (!is_left_out(path)).then(|| path.to_owned())
    }

    /// The path in the arguments `fd</dir>, "name"` or `AT_FDCWD</dir>, "/path"`.
    fn named(&self, dir: &str, name: &str) -> Option<PathBuf> {
        self.below(Path::new(dir).join(name).to_str()?)
    }

    /// Takes in a call that has begun.
    pub(crate) fn begin(&mut self, call: &Call) {
        if call.value < 0 {
            return;
        }
        match call.name.as_str() {
            "openat" | "open" => self.opened(call),
            "mkdirat" | "mkdir" => {
                let made = call
                    .names()
                    .pop()
                    .and_then(|(dir, name)| self.named(&dir, &name));
                if let Some(path) = made {
                    let is_dir = true;
                    self.make(
                        path,
                        call,
                        File {
                            is_dir,
                            ..File::default()
                        },
                    );
                }
            }
            "unlink" | "unlinkat" | "rmdir" => {
                let gone = call
                    .names()
                    .pop()
                    .and_then(|(dir, name)| self.named(&dir, &name));
                if gone.is_some() {
                    self.rename(gone, None, call.returned);
                }
            }
            "rename" | "renameat" | "renameat2" => self.moved(call),
            "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" => self.written(call),
            "lseek" => {
                let at = u64::try_from(call.value).unwrap();
                self.positions.insert(call.fd(), at);
            }
            "ftruncate" => {
                let bytes = call.number(1);
                self.resized(call, bytes, false);
            }
            "fallocate" => {
                assert_eq!(call.number(1), 0, "a mode that is not known: {call:?}");
                self.resized(call, call.number(2) + call.number(3), true);
            }
            "fsync" | "fdatasync" | "close" => {}
            other => panic!("{other} changes files in a way that is not known: {call:?}"),
        }
    }

    /// Takes in that a call has returned.
    pub(crate) fn end(&mut self, call: &Call) {
        let Some(path) = self.below(call.path()).filter(|_| call.value >= 0) else {
            return;
        };
        if call.is_sync() {
            let before = |returned: usize| returned < call.began;
            if let Some(node) = self.seen.get(&path).copied() {
                let entries = &mut self.nodes[node].entries;
                entries
                    .iter_mut()
                    .for_each(|entry| entry.is_certain |= before(entry.returned));
            }
            // The root has no name.
            for naming in &mut self.namings {
                let made = naming.made.as_ref().map(|(path, _)| path);
                let mut in_dir = naming.gone.iter().chain(made);
                let covered = in_dir.any(|name| name.parent() == Some(&path));
                naming.is_certain |= covered && before(naming.returned);
            }
        } else if self.is_durable(call)
            && let Some(node) = self.seen.get(&path).copied()
        {
            let entries = self.nodes[node].entries.iter_mut();
            let own = entries.filter(|entry| entry.returned == call.returned);
            own.for_each(|entry| entry.is_certain = true);
        }
        self.settle();
    }

    /// Takes what is certain into what is below it.
    fn settle(&mut self) {
        for file in &mut self.nodes {
            let certain = file.entries.iter().take_while(|entry| entry.is_certain);
            let count = certain.count();
            for entry in file.entries.drain(..count) {
                apply(&mut file.content, &entry.change, |_| true);
            }
        }
        let certain = self.namings.iter().take_while(|naming| naming.is_certain);
        let count = certain.count();
        for naming in self.namings.drain(..count) {
            rename(&mut self.names, &naming);
        }
    }

    fn opened(&mut self, call: &Call) {
        let synced = call.arguments.contains("O_DSYNC") || call.arguments.contains("O_SYNC");
        match synced {
            true => self.synced_fds.insert(call.value),
            false => self.synced_fds.remove(&call.value),
        };
        let Some(path) = self.below(&call.answered) else {
            return;
        };
        if call.arguments.contains("O_CREAT") && !self.seen.contains_key(&path) {
            self.make(path.clone(), call, File::default());
        }
        if call.arguments.contains("O_TRUNC") {
            let node = self.seen[&path];
            self.change(
                node,
                call,
                Change::Size {
                    bytes: 0,
                    only_longer: false,
                },
            );
        }
    }

    fn make(&mut self, path: PathBuf, call: &Call, file: File) {
        let node = self.node(file);
        self.rename(None, Some((path, node)), call.returned);
    }

    fn moved(&mut self, call: &Call) {
        let names = call.names();
        let [(from_dir, from), (to_dir, to)] = &names[..] else {
            panic!("{call:?}");
        };
        let (from, to) = (self.named(from_dir, from), self.named(to_dir, to));
        let node = from.as_ref().and_then(|from| self.seen.get(from).copied());
        let Some(node) = node else {
            assert!(to.is_none(), "something comes from elsewhere: {call:?}");
            return;
        };
        self.rename(from, to.map(|to| (to, node)), call.returned);
    }

    fn rename(&mut self, gone: Option<PathBuf>, made: Option<(PathBuf, Node)>, returned: usize) {
        let naming = Naming {
            gone,
            made,
            returned,
            is_certain: false,
        };
        rename(&mut self.seen, &naming);
        self.namings.push(naming);
    }

    fn written(&mut self, call: &Call) {
        let path = self.below(call.path());
        let Some(node) = path.and_then(|path| self.seen.get(&path).copied()) else {
            return;
        };
        let mut bytes = call.bytes();
        bytes.truncate(usize::try_from(call.value).unwrap());
        let offset = if call.name.starts_with('p') {
            call.number(3)
        } else {
            let position = self.positions.get_mut(&call.fd());
            let position = position.unwrap_or_else(|| panic!("where does it write to? {call:?}"));
            let offset = *position;
            *position += bytes.len() as u64;
            offset
        };
        self.change(node, call, Change::Bytes { offset, bytes });
    }

    fn resized(&mut self, call: &Call, bytes: u64, only_longer: bool) {
        if let Some(node) = self
            .below(call.path())
            .and_then(|path| self.seen.get(&path).copied())
        {
            self.change(node, call, Change::Size { bytes, only_longer });
        }
    }

    fn change(&mut self, node: Node, call: &Call, change: Change) {
        let (returned, is_certain) = (call.returned, false);
        self.nodes[node].entries.push(Entry {
            change,
            returned,
            is_certain,
        });
    }

    fn is_durable(&self, call: &Call) -> bool {
        call.is_write() && (call.is_durable_write() || self.synced_fds.contains(&call.fd()))
    }

    /// Makes what a crash may leave, in a directory that is empty.
    pub(crate) fn leave(&self, to: &Path, keep: Keep, random: &mut Random) {
        let mut names = self.names.clone();
        let mut lost: HashSet<&Path> = HashSet::new();
        for naming in &self.namings {
            let of: Vec<&Path> = naming
                .gone
                .iter()
                .map(PathBuf::as_path)
                .chain(naming.made.iter().map(|(path, _)| path.as_path()))
                .collect();
            let follows_lost = of.iter().any(|path| lost.contains(path));
            if naming.is_certain || (keep.one(random) && !follows_lost) {
                rename(&mut names, naming);
            } else {
                lost.extend(of);
            }
        }
        for (path, node) in &names {
            let (file, to) = (&self.nodes[*node], to.join(path));
            // Without its directory a file is nowhere.
            if !to.parent().unwrap().is_dir() {
                continue;
            }
            if file.is_dir {
                fs::create_dir(&to).unwrap();
                continue;
            }
            let mut content = file.content.clone();
            for entry in &file.entries {
                let torn = keep == Keep::Some && !entry.is_certain && (random.below(3) == 0);
                if entry.is_certain || torn || keep.one(random) {
                    apply(&mut content, &entry.change, |_| {
                        !torn || random.below(2) == 0
                    });
                }
            }
            fs::write(&to, content).unwrap();
        }
    }
}

/// What a crash image does not have.
fn is_left_out(path: &Path) -> bool {
    let first = path.components().next().map(|first| first.as_os_str());
    let scratch = first.is_some_and(|first| first == "scratch")
        && path.extension().is_some_and(|it| it == "tmp");
    path == Path::new("lock") || path.ends_with("lock.mdb") || scratch
}

/// What is in a directory moves along with it.
fn rename(names: &mut BTreeMap<PathBuf, Node>, naming: &Naming) {
    let mut inside = Vec::new();
    if let Some(gone) = &naming.gone {
        inside = names
            .keys()
            .filter(|path| path.starts_with(gone))
            .cloned()
            .collect();
    }
    let moved: Vec<_> = inside
        .iter()
        .map(|path| (path.clone(), names.remove(path).unwrap()))
        .collect();
    let Some((made, node)) = &naming.made else {
        return;
    };
    if let Some(gone) = &naming.gone {
        for (path, node) in moved {
            let rest = path.strip_prefix(gone).unwrap();
            if rest != Path::new("") {
                names.insert(made.join(rest), node);
            }
        }
    }
    names.insert(made.clone(), *node);
}

/// Makes a change, of bytes in those sectors that are `kept`.
fn apply(content: &mut Vec<u8>, change: &Change, mut kept: impl FnMut(u64) -> bool) {
    match change {
        Change::Size { bytes, only_longer } => {
            let bytes = usize::try_from(*bytes).unwrap();
            if !only_longer || content.len() < bytes {
                content.resize(bytes, 0);
            }
        }
        Change::Bytes { offset, bytes } => {
            let mut done = 0;
            while done < bytes.len() {
                let at = offset + done as u64;
                let until_next = SECTOR_BYTES - at % SECTOR_BYTES;
                let count = usize::try_from(until_next).unwrap().min(bytes.len() - done);
                if kept(at / SECTOR_BYTES) {
                    let at = usize::try_from(at).unwrap();
                    if content.len() < at + count {
                        content.resize(at + count, 0);
                    }
                    content[at..at + count].copy_from_slice(&bytes[done..done + count]);
                }
                done += count;
            }
        }
    }
}
