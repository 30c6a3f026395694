//! A manifest that is lost behind a checkpoint that was not published: its chunks, or some of them, are
//! there, and the log still has what they hold.

use crate::world::{WAIT, facts, files, make, open, pages, put, repair, shown, works};
use std::path::{Path, PathBuf};

/// Chunks that a checkpoint of the store would write, and did in a copy of it.
fn checkpoint_of_a_copy(dir: &Path) -> (tempfile::TempDir, Vec<PathBuf>) {
    let copied = tempfile::tempdir().unwrap();
    crate::damaged_chunks::copy(dir, copied.path());
    let before = files(copied.path());
    let store = open(copied.path());
    assert!(1 < store.checkpoint().unwrap().chunks);
    store.close(WAIT).unwrap();
    let new = files(copied.path()).into_keys();
    let new = new.filter(|path| path.starts_with(copied.path().join("chunks")));
    let new: Vec<PathBuf> = new.filter(|path| !before.contains_key(path)).collect();
    (copied, new)
}

#[test]
fn chunks_that_were_not_published_are_used_whole_or_not_at_all() {
    let made = tempfile::tempdir().unwrap();
    make(made.path());
    let store = open(made.path());
    put(&store, "large", &pages(1, 100), 40, None);
    put(&store, "idle", &[2, 4], 41, None);
    let before = shown(&store);
    store.close(WAIT).unwrap();
    let rows = facts(made.path());
    let (_copied, new) = checkpoint_of_a_copy(made.path());
    assert!((2..6).contains(&new.len()), "{new:?}");
    std::fs::remove_dir_all(made.path().join("manifest")).unwrap();
    let mut whole = 0;
    for subset in 0..1_u32 << new.len() {
        let dir = tempfile::tempdir().unwrap();
        crate::damaged_chunks::copy(made.path(), dir.path());
        for (nth, chunk) in new.iter().enumerate() {
            if subset >> nth & 1 == 1 {
                let name = chunk.file_name().unwrap();
                std::fs::copy(chunk, dir.path().join("chunks").join(name)).unwrap();
            }
        }
        let report = repair(dir.path());
        assert!(report.is_whole(), "{subset:b}: {report:?}");
        let newer = |(id, now): (&_, &crate::world::DatabaseFacts)| {
            rows.databases.get(id).is_none_or(|then| then != now)
        };
        whole += usize::from(facts(dir.path()).databases.iter().any(newer));
        let store = open(dir.path());
        assert_eq!(shown(&store), before, "{subset:b}");
        assert_eq!(store.verify().findings, [], "{subset:b}");
        store.close(WAIT).unwrap();
        works(dir.path());
    }
    assert!(0 < whole, "a checkpoint that is all there is used");
}
