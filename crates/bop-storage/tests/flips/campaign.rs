//! One damaged copy of a store after the other: opened, looked at, and lived with.

use crate::damage_sample::files::{BLOCK, Files};
use crate::damage_sample::look::{Fate, Fates, Reach, look, names, write};
use crate::damage_sample::{Sample, Simulated, WAIT, open};
use crate::reach::Map;
use bop_storage::io::layout;
use bop_storage::manifest::MemoryManifest;
use bop_storage::testing::SimDisk;
use bop_storage::{CatalogueError, DbKind, Manager, PageNo, PageSize};
use std::collections::{BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A place and what opening it gave: one of each is lived with.
type Signature = (PathBuf, u64, Fates, BTreeSet<String>);

/// The damages of one store.
pub(crate) struct Campaign<'a> {
    pub(crate) store: &'a Simulated,
    pub(crate) map: Map<'a>,
    pub(crate) files: &'a Files,
    lived_with: Mutex<HashSet<Signature>>,
    /// How often somebody suffered.
    pub(crate) damaged: AtomicUsize,
}

/// Runs `body` with what to print should it fail.
pub(crate) fn labelled(label: impl FnOnce() -> String, body: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(body)) {
        eprintln!("it was {}", label());
        resume_unwind(panic);
    }
}

fn is_whole(fates: &Fates) -> bool {
    let mut fates = fates.values();
    fates.all(|fate| matches!(fate, Fate::Right | Fate::Older))
}

impl<'a> Campaign<'a> {
    pub(crate) fn new(store: &'a Simulated, files: &'a Files) -> Self {
        Self {
            store,
            map: Map::new(&store.sample, files),
            files,
            lived_with: Mutex::default(),
            damaged: AtomicUsize::new(0),
        }
    }

    /// Damages a copy of the store near `byte` of a file, and examines it.
    pub(crate) fn examine(
        &self,
        path: &Path,
        byte: u64,
        reach: &Reach,
        harm: impl FnOnce(&SimDisk),
    ) {
        let disk = self.store.disk.snapshot();
        harm(&disk);
        let harmed = disk.read_raw(path);
        let manifest = self.store.manifest.snapshot();
        let store = open(&disk, &manifest).unwrap();
        let fates = look(&store, &self.store.sample, reach, path);
        let findings = store.verify().findings;
        let found = findings.iter().any(|damage| names(damage, path));
        assert!(found || reach.newest, "nobody noticed: {findings:?}");
        self.damaged
            .fetch_add(usize::from(!is_whole(&fates)), Ordering::Relaxed);

        let reasons = findings.iter().map(ToString::to_string).collect();
        let signature = (path.to_owned(), byte / BLOCK, fates.clone(), reasons);
        if self.lived_with.lock().unwrap().insert(signature) {
            self.live_with(
                store,
                &Case {
                    disk,
                    manifest,
                    reach,
                    path,
                    harmed,
                    fates,
                },
            );
        } else if let Some(name) = untouched(reach, &fates).next() {
            write(&store, name, &mut self.store.sample.contents.clone());
        }
    }

    /// Life goes on with the damage: commits, checkpoints, a close, a kill.
    fn live_with(&self, store: Manager, case: &Case<'_>) {
        let Case {
            disk,
            manifest,
            reach,
            path,
            fates,
            ..
        } = case;
        let mut sample = Sample {
            steps: Vec::new(),
            contents: self.store.sample.contents.clone(),
            before_newest: self.store.sample.before_newest.clone(),
        };
        let mut fates = fates.clone();
        for (name, fate) in &mut fates {
            if *fate == Fate::Older {
                let older = sample.before_newest.databases[name].clone();
                sample.contents.databases.insert(name, older);
                *fate = Fate::Right;
            }
        }
        let fates = &fates;
        // Pages of the log that cannot be read: the checkpoint closes their database.
        let in_log = path.starts_with("log");
        let later = |fate: &Fate| match fate {
            Fate::Pages(_) if in_log => Fate::Closed,
            other => other.clone(),
        };
        let later: Fates = fates
            .iter()
            .map(|(name, fate)| (*name, later(fate)))
            .collect();
        for name in untouched(reach, fates) {
            write(&store, name, &mut sample.contents);
            let content = sample.contents.databases[name].clone();
            sample.before_newest.databases.insert(name, content);
        }
        grow(&store, reach, path);
        store.checkpoint().unwrap();
        self.assert_kept(case, disk);
        store.close(WAIT).unwrap();

        let store = open(disk, manifest).unwrap();
        assert_eq!(look(&store, &sample, reach, path), later, "after a close");
        store.checkpoint().unwrap();
        drop(store);

        let store = open(disk, manifest).unwrap();
        grow(&store, reach, path);
        store.checkpoint().unwrap();
        let (killed, kept) = (disk.crash_image_keeping_all(), manifest.snapshot());
        let store = open(&killed, &kept).unwrap();
        assert_eq!(look(&store, &sample, reach, path), later, "after a kill");
        self.assert_kept(case, &killed);
    }

    /// What a salvage needs is still there, byte for byte.
    fn assert_kept(&self, case: &Case<'_>, disk: &SimDisk) {
        let Case { path, harmed, .. } = case;
        if is_whole(&case.fates) {
            return;
        }
        // A segment that the log has left is kept beside it.
        let aside = Path::new(layout::DAMAGED_DIR).join(path.file_name().unwrap());
        let files = disk.files();
        let there = |wanted: &Path| files.iter().any(|(there, _)| there == wanted);
        let kept = [*path, aside.as_path()]
            .into_iter()
            .find(|path| there(path));
        let now = disk.read_raw(kept.unwrap());
        let used = |block: u64| self.map.is_used(path, block, &self.files.0[*path]);
        let blocks = (0..).zip(
            harmed
                .chunks(BLOCK as usize)
                .zip(now.chunks(BLOCK as usize)),
        );
        for (block, (then, now)) in blocks.filter(|(block, _)| used(*block)) {
            assert!(then == now, "block {block} was overwritten");
        }
    }
}

/// One damaged copy.
struct Case<'a> {
    disk: SimDisk,
    manifest: MemoryManifest,
    reach: &'a Reach,
    path: &'a Path,
    /// The file when it was opened first.
    harmed: Vec<u8>,
    fates: Fates,
}

pub(crate) fn untouched<'a>(
    reach: &'a Reach,
    fates: &'a Fates,
) -> impl Iterator<Item = &'static str> + 'a {
    fates
        .keys()
        .copied()
        .filter(|name| !reach.databases.contains(name))
}

/// Writes enough for several segments, to a database of its own where the catalogue allows it.
fn grow(store: &Manager, reach: &Reach, path: &Path) {
    let db = match store.create_database("growing", DbKind::Raw) {
        Ok(db) => db,
        Err(CatalogueError::Exists { .. }) => store.database("growing").unwrap(),
        Err(CatalogueError::Damaged(damage)) => {
            assert!(reach.catalogue, "{damage}");
            crate::damage_sample::look::assert_names(&damage, path);
            return grow_any(store, reach);
        }
        Err(other) => panic!("{other}"),
    };
    fill(&db);
}

/// As [`grow`], in a database that is there; its pages are above those that the sample knows.
fn grow_any(store: &Manager, reach: &Reach) {
    let name = ["alpha", "beta"]
        .into_iter()
        .find(|name| !reach.databases.contains(name));
    let db = store.database(name.unwrap()).unwrap();
    let before = db.begin_read().unwrap().page_count();
    fill(&db);
    let mut write = db.begin_write(WAIT).unwrap();
    write.truncate(before);
    write.commit().unwrap();
}

fn fill(db: &bop_storage::Db) {
    for round in 0..6 {
        let mut write = db.begin_write(WAIT).unwrap();
        let bytes = write.page_size().unwrap_or(PageSize::DEFAULT).bytes();
        for page in 100..100 + u32::try_from(20_000 / bytes).unwrap() {
            write
                .write_page(PageNo::new(page).unwrap(), &vec![round; bytes])
                .unwrap();
        }
        write.commit().unwrap();
    }
}
