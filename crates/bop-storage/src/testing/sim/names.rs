//! The names of a simulated disk: what a reader sees, what a crash is sure to keep, and the changes
//! between the two.
//!
//! Invariants
//! - a change becomes durable by the sync of the directory of its name (of a rename: its new name);
//!   with it go the earlier changes of the same file, as no file system keeps a rename and loses
//!   the creation;
//! - a rename is atomic: a crash keeps the old name or the new one, never both or neither.
//!
//! Never: looks into a file.

use super::content::Content;
use super::{Chooser, Doubt};
use crate::io::errno::{EEXIST, EISDIR, ENOENT, ENOTDIR};
use crate::io::{FileEntry, FileKind, IoOp};
use crate::runtime::sync::Mutex;
use imbl::OrdMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file, under whatever names it has.
pub(super) type Inode = Arc<Mutex<Content>>;

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Directory,
    File(Inode),
}

impl Node {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Directory, Self::Directory) => true,
            (Self::File(a), Self::File(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Create,
    RenameFrom(PathBuf),
    Remove,
}

#[derive(Clone, Debug)]
struct Change {
    step: Step,
    path: PathBuf,
    node: Node,
}

impl Change {
    fn op(&self) -> IoOp {
        match (&self.step, &self.node) {
            (Step::Create, Node::Directory) => IoOp::Directory,
            (Step::Create, Node::File(_)) => IoOp::Open,
            (Step::RenameFrom(_), _) => IoOp::Rename,
            (Step::Remove, _) => IoOp::Remove,
        }
    }

    fn apply(&self, tree: &mut Tree) {
        let gone = match &self.step {
            Step::Create => None,
            Step::RenameFrom(from) => Some(from),
            Step::Remove => Some(&self.path),
        };
        // By then the name may stand for another file, which this change does not concern.
        if let Some(path) = gone.filter(|p| tree.get(*p).is_some_and(|n| n.is(&self.node))) {
            tree.remove(path);
        }
        if !matches!(self.step, Step::Remove) {
            tree.insert(self.path.clone(), self.node.clone());
        }
    }
}

/// Names and what they stand for; the root has none.
pub(super) type Tree = OrdMap<PathBuf, Node>;

/// All names of a disk.
#[derive(Default, Debug)]
pub(super) struct Names {
    live: Tree,
    durable: Tree,
    pending: Vec<Change>,
}

impl Names {
    /// Names that are all durable.
    pub(super) fn clean(tree: Tree) -> Self {
        Self {
            live: tree.clone(),
            durable: tree,
            pending: Vec::new(),
        }
    }

    pub(super) fn live(&self) -> &Tree {
        &self.live
    }

    pub(super) fn file(&self, path: &Path) -> Result<Inode, i32> {
        match self.live.get(path) {
            Some(Node::File(inode)) => Ok(Arc::clone(inode)),
            Some(Node::Directory) => Err(EISDIR),
            None if path.as_os_str().is_empty() => Err(EISDIR),
            None => Err(self.directory(parent(path)).err().unwrap_or(ENOENT)),
        }
    }

    pub(super) fn directory(&self, dir: &Path) -> Result<(), i32> {
        match self.live.get(dir) {
            Some(Node::Directory) => Ok(()),
            Some(Node::File(_)) => Err(ENOTDIR),
            None if dir.as_os_str().is_empty() => Ok(()),
            None => Err(ENOENT),
        }
    }

    pub(super) fn create(&mut self, path: &Path, node: Node) -> Result<(), i32> {
        self.directory(parent(path))?;
        match (self.live.get(path), &node) {
            (None, _) if path.as_os_str().is_empty() => return Ok(()),
            (None, _) => {}
            (Some(Node::Directory), Node::Directory) => return Ok(()),
            (Some(Node::File(_)), Node::Directory) => return Err(ENOTDIR),
            (Some(_), Node::File(_)) => return Err(EEXIST),
        }
        self.change(Step::Create, path, node);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), i32> {
        let inode = self.file(from)?;
        self.directory(parent(to))?;
        if self.live.contains_key(to) {
            return Err(EEXIST);
        }
        self.change(Step::RenameFrom(from.to_owned()), to, Node::File(inode));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> Result<(), i32> {
        let inode = self.file(path)?;
        self.change(Step::Remove, path, Node::File(inode));
        Ok(())
    }

    fn change(&mut self, step: Step, path: &Path, node: Node) {
        let change = Change {
            step,
            path: path.to_owned(),
            node,
        };
        change.apply(&mut self.live);
        self.pending.push(change);
    }

    pub(super) fn sync(&mut self, dir: &Path) -> Result<(), i32> {
        self.directory(dir)?;
        // Newest first: a change of this directory takes the earlier ones of its file along.
        let mut taken: Vec<Node> = Vec::new();
        let mut due = vec![false; self.pending.len()];
        for (due, change) in due.iter_mut().zip(&self.pending).rev() {
            let file = matches!(change.node, Node::File(_));
            *due = parent(&change.path) == dir
                || (file && taken.iter().any(|node| node.is(&change.node)));
            if *due {
                taken.push(change.node.clone());
            }
        }
        let mut due = due.into_iter();
        let durable = &mut self.durable;
        self.pending.retain(|change| {
            let now = due.next() == Some(true);
            if now {
                change.apply(durable);
            }
            !now
        });
        Ok(())
    }

    pub(super) fn list(&self, dir: &Path) -> Result<Vec<FileEntry>, i32> {
        self.directory(dir)?;
        let inside = self.live.iter().filter(|(path, _)| parent(path) == dir);
        let mut entries: Vec<FileEntry> = inside
            .filter_map(|(path, node)| {
                let name = path.file_name()?.to_string_lossy().into_owned();
                let (kind, bytes) = match node {
                    Node::Directory => (FileKind::Directory, 0),
                    Node::File(inode) => (FileKind::File, inode.lock().bytes()),
                };
                Some(FileEntry { name, kind, bytes })
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// The names after a crash: `choose` answers whether each change in doubt was kept.
    pub(super) fn crashed(&self, choose: &mut Chooser<'_>) -> Tree {
        let mut tree = self.durable.clone();
        for change in &self.pending {
            let doubt = Doubt::Name {
                path: &change.path,
                op: change.op(),
            };
            if choose(doubt, 1) > 0 {
                change.apply(&mut tree);
            }
        }
        let lost: Vec<PathBuf> = tree
            .keys()
            .filter(|p| !reachable(&tree, p))
            .cloned()
            .collect();
        for path in lost {
            tree.remove(&path);
        }
        tree
    }

    /// Durably puts a name there, with its directories.
    pub(super) fn put(&mut self, path: &Path, node: &Node) {
        for dir in path
            .ancestors()
            .skip(1)
            .filter(|d| !d.as_os_str().is_empty())
        {
            self.live.entry(dir.to_owned()).or_insert(Node::Directory);
            self.durable
                .entry(dir.to_owned())
                .or_insert(Node::Directory);
        }
        self.take_away(path);
        self.live.insert(path.to_owned(), node.clone());
        self.durable.insert(path.to_owned(), node.clone());
    }

    /// Durably takes a name away.
    pub(super) fn take_away(&mut self, path: &Path) -> Option<Node> {
        self.durable.remove(path);
        self.pending.retain(|change| change.path != path);
        self.live.remove(path)
    }

    /// Whether a crash could lose or keep a change.
    pub(super) fn has_doubt(&self) -> bool {
        !self.pending.is_empty()
    }
}

/// The directory of a name; the root is the empty path.
fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn reachable(tree: &Tree, path: &Path) -> bool {
    let mut above = path
        .ancestors()
        .skip(1)
        .filter(|d| !d.as_os_str().is_empty());
    above.all(|dir| matches!(tree.get(dir), Some(Node::Directory)))
}
