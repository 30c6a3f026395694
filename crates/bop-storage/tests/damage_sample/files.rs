//! The bytes of a store's files, and which blocks of them changed.

use bop_storage::testing::SimDisk;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Bytes in a block.
pub(crate) const BLOCK: u64 = 4096;

/// Files of the root that have no content.
fn is_empty(path: &Path) -> bool {
    ["lock", "reserve"]
        .iter()
        .any(|name| path == Path::new(name))
}

/// All files that have content, by path.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Files(pub BTreeMap<PathBuf, Vec<u8>>);

impl Files {
    /// Of a simulated disk.
    pub(crate) fn of_disk(disk: &SimDisk) -> Self {
        let files = disk.files().into_iter().filter(|(path, _)| !is_empty(path));
        Self(
            files
                .map(|(path, _)| (path.clone(), disk.read_raw(&path)))
                .collect(),
        )
    }

    /// Of a directory, without the manifest's.
    pub(crate) fn of_directory(root: &Path) -> Self {
        let mut files = BTreeMap::new();
        for dir in ["", "log", "chunks"] {
            for entry in std::fs::read_dir(root.join(dir)).unwrap() {
                let entry = entry.unwrap();
                let path = Path::new(dir).join(entry.file_name());
                if entry.file_type().unwrap().is_file() && !is_empty(&path) {
                    files.insert(path, std::fs::read(entry.path()).unwrap());
                }
            }
        }
        Self(files)
    }

    /// The blocks that are not as they were in `before` and satisfy `wanted`. What was not there
    /// counts as zeros.
    pub(crate) fn changed_blocks(
        &self,
        before: &Self,
        wanted: impl Fn(&Path, u64) -> bool,
    ) -> BTreeSet<(PathBuf, u64)> {
        let mut changed = BTreeSet::new();
        for (path, bytes) in &self.0 {
            let old = before.0.get(path);
            for (number, block) in (0..).zip(bytes.chunks(BLOCK as usize)) {
                let at = (number * BLOCK) as usize;
                let was = old.and_then(|old| old.get(at..at + block.len()));
                let same = match was {
                    Some(was) => was == block,
                    None => block.iter().all(|byte| *byte == 0),
                };
                if !same && wanted(path, number) {
                    changed.insert((path.clone(), number));
                }
            }
        }
        changed
    }
}
