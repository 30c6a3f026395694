//! A small store with a bit of everything, and who of its databases lives in which block.
//!
//! ```text
//! segment 1   creations, first commits   | checkpoint | drop, rename, commits
//! segment 2   commits, a group of two, a chain of fragments, [a close record]
//! chunk 1     one pack of all databases that had pages at the checkpoint
//! ```
//! Which step wrote which block is found by comparing the files before and after it, so that what a
//! test expects does not come out of the code that it tests.

pub(crate) mod content;
pub(crate) mod files;
pub(crate) mod look;

use bop_storage::log::format::DATA_START;
use bop_storage::runtime::Runtime;
use bop_storage::testing::{Fault, ManualClock, SeededEntropy, SimDisk};
use bop_storage::{DbKind, Housekeeping, Limits, Manager, Options, io::IoOp};
use bop_storage::{PageNo, manifest::MemoryManifest};
use content::{Change, Contents};
use files::{BLOCK, Files};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long anything here may wait for another thread.
pub(crate) const WAIT: Duration = Duration::from_secs(20);

/// One thing that was done to the store.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// For the reader of a failure.
    pub what: String,
    /// The databases that it changed.
    pub databases: BTreeSet<&'static str>,
    /// It changed which databases there are.
    pub catalogue: bool,
    /// Whether the checkpoint came later.
    pub checkpointed: bool,
    /// The blocks of the log that it wrote.
    pub blocks: BTreeSet<(PathBuf, u64)>,
}

/// The store, as its files are now.
pub(crate) struct Sample {
    /// What was done, in order.
    pub steps: Vec<Step>,
    /// What every database holds.
    pub contents: Contents,
    /// What they held before the newest step.
    pub before_newest: Contents,
}

/// Options of a store that does nothing by itself.
pub(crate) fn quiet() -> Options {
    quiet_with(7)
}

/// The same, with other random bytes.
fn quiet_with(seed: u64) -> Options {
    let runtime = Runtime {
        clock: Arc::new(ManualClock::new(1_700_000_000_000_000)),
        entropy: Arc::new(SeededEntropy::new(seed)),
        ..Runtime::system()
    };
    Options::new()
        .limits(Limits::tiny())
        .housekeeping(Housekeeping::Manual)
        .runtime(runtime)
}

/// Opens the store of a simulated disk.
pub(crate) fn open(
    disk: &SimDisk,
    manifest: &MemoryManifest,
) -> Result<Manager, bop_storage::OpenError> {
    let options = quiet().disk(Arc::new(disk.clone()), Arc::new(manifest.clone()));
    Manager::open("simulated", options)
}

/// Takes notes of what a script does to a store.
pub(crate) struct Script<'a> {
    store: &'a Manager,
    files: &'a dyn Fn() -> Files,
    seen: Files,
    sample: Sample,
}

impl<'a> Script<'a> {
    /// Nothing done yet; `files` reads the store's files.
    pub(crate) fn new(store: &'a Manager, files: &'a dyn Fn() -> Files) -> Self {
        let mut script = Self {
            store,
            files,
            seen: Files::default(),
            sample: Sample {
                steps: Vec::new(),
                contents: Contents::default(),
                before_newest: Contents::default(),
            },
        };
        script.note("opening", &[], false);
        script
    }

    /// Everything up to the group of two, which needs a disk that can be held up.
    pub(crate) fn first_part(&mut self) {
        for name in ["alpha", "beta", "gone", "old"] {
            self.create(name, DbKind::Raw);
        }
        self.create("lite", DbKind::Sqlite);
        self.commit("gone", &[Change::Write(1)]);
        self.commit("alpha", &[Change::Write(1), Change::Write(2)]);
        // Holes: pages 2 to 4 and 6 to 8 were never written.
        let holes = [1, 5, 9].map(Change::Write);
        self.commit("beta", &holes);
        self.commit("lite", &[1, 2, 3].map(Change::Write));
        self.commit("old", &[Change::Write(1)]);
        self.checkpoint();
        self.drop_database("gone");
        self.rename("old", "renamed");
        self.commit("alpha", &[Change::Write(2), Change::Write(3)]);
        self.commit("lite", &[Change::Truncate(2), Change::Write(2)]);
        // So that no opening has to make one.
        self.store.keep_house();
        self.note("keeping house", &[], false);
        let chain: Vec<_> = (6..24).map(Change::Write).collect();
        self.commit("beta", &chain);
    }

    /// Two databases in one batch: both commits wait while a third one's write is held up.
    pub(crate) fn group(&mut self, disk: &SimDisk) {
        let held_up = self.prepare("lite", &[Change::Write(3)]);
        let alpha = self.prepare("alpha", &[Change::Write(1)]);
        let beta = self.prepare("beta", &[Change::Write(5)]);
        disk.fail_next(IoOp::WriteDurable, Fault::Hang);
        std::thread::scope(|scope| {
            scope.spawn(|| held_up.commit().unwrap());
            disk.wait_until_hung(1);
            let both = [alpha, beta].map(|write| scope.spawn(|| write.commit().unwrap()));
            while self.store.status().queued_records < 2 {
                std::thread::yield_now();
            }
            disk.release_hung();
            for thread in both {
                thread.join().unwrap();
            }
        });
        let head = |name: &str| self.store.database(name).unwrap().head();
        assert_eq!(head("alpha").get() / BLOCK, head("beta").get() / BLOCK);
        self.sample.contents.apply("lite", &[Change::Write(3)]);
        self.sample.before_newest = self.sample.contents.clone();
        self.sample.contents.apply("alpha", &[Change::Write(1)]);
        self.sample.contents.apply("beta", &[Change::Write(5)]);
        self.note("group", &["alpha", "beta"], false);
        self.split_off_first_block("lite");
    }

    /// Closes the store and ends the notes.
    pub(crate) fn close(mut self) -> Sample {
        self.store.close(WAIT).unwrap();
        self.sample.before_newest = self.sample.contents.clone();
        self.note("close record", &[], false);
        self.sample
    }

    /// Ends the notes; the store goes on.
    pub(crate) fn end(self) -> Sample {
        self.sample
    }

    /// Creates a database.
    pub(crate) fn create(&mut self, name: &'static str, kind: DbKind) {
        self.store.create_database(name, kind).unwrap();
        self.sample.contents.create(name, kind);
        self.note(&format!("creation of {name}"), &[name], true);
    }

    fn drop_database(&mut self, name: &'static str) {
        self.store.drop_database(name).unwrap();
        self.sample.contents.databases.remove(name);
        self.note(&format!("drop of {name}"), &[name], true);
    }

    fn rename(&mut self, from: &'static str, to: &'static str) {
        self.store.rename_database(from, to).unwrap();
        self.sample.contents.rename(from, to);
        self.note(&format!("rename of {from}"), &[from, to], true);
        // From here on its earlier steps are those of the new name.
        for step in &mut self.sample.steps {
            if step.databases.contains(from) {
                step.databases.insert(to);
            }
        }
    }

    /// Commits changes of one database.
    pub(crate) fn commit(&mut self, name: &'static str, changes: &[Change]) {
        self.prepare(name, changes).commit().unwrap();
        self.sample.before_newest = self.sample.contents.clone();
        self.sample.contents.apply(name, changes);
        self.note(&format!("commit of {name}"), &[name], false);
    }

    fn prepare(&self, name: &str, changes: &[Change]) -> bop_storage::WriteTxn {
        let mut write = self
            .store
            .database(name)
            .unwrap()
            .begin_write(WAIT)
            .unwrap();
        let mut after = self.sample.contents.clone();
        after.apply(name, changes);
        let database = &after.databases[name];
        if write.page_size().is_none() {
            write.set_page_size(database.page_size()).unwrap();
        }
        for change in changes {
            match *change {
                Change::Write(page) => {
                    let content = database.page(page);
                    write
                        .write_page(PageNo::new(page).unwrap(), &content)
                        .unwrap();
                }
                Change::Truncate(pages) => write.truncate(pages),
            }
        }
        write
    }

    /// Moves everything into a chunk.
    pub(crate) fn checkpoint(&mut self) {
        let report = self.store.checkpoint().unwrap();
        assert_eq!(report.chunks, 1, "{report:?}");
        for step in &mut self.sample.steps {
            step.checkpointed = true;
        }
        self.note("checkpoint", &[], false);
    }

    fn note(&mut self, what: &str, databases: &[&'static str], catalogue: bool) {
        let now = (self.files)();
        let blocks = now.changed_blocks(&self.seen, |path, block| {
            path.starts_with("log") && DATA_START <= block * BLOCK
        });
        self.seen = now;
        self.sample.steps.push(Step {
            what: what.to_owned(),
            databases: databases.iter().copied().collect(),
            catalogue,
            checkpointed: false,
            blocks,
        });
    }

    /// The newest note is about two batches: the first is one block, and another database's.
    fn split_off_first_block(&mut self, name: &'static str) {
        let mut both = self.sample.steps.pop().unwrap();
        let first = both.blocks.pop_first().unwrap();
        self.sample.steps.push(Step {
            what: format!("commit of {name}"),
            databases: BTreeSet::from([name]),
            blocks: BTreeSet::from([first]),
            ..both.clone()
        });
        self.sample.steps.push(both);
    }
}

impl Sample {
    /// The step that wrote a block of the log.
    pub(crate) fn step_at(&self, path: &Path, block: u64) -> Option<usize> {
        let key = (path.to_owned(), block);
        self.steps
            .iter()
            .position(|step| step.blocks.contains(&key))
    }
}

/// A store on a simulated disk, and what is in it.
pub(crate) struct Simulated {
    /// Its files; nothing is in doubt.
    pub disk: SimDisk,
    /// Its manifest.
    pub manifest: MemoryManifest,
    /// What is in it.
    pub sample: Sample,
}

/// A small store whose log is one segment: the first one, or one that follows released ones. The
/// checkpoint has all but the newest commit of `alpha` and the creation of `late`.
pub(crate) fn with_one_segment(closed: bool, recycled: bool) -> Simulated {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let store = open(&disk, &manifest).unwrap();
    let files = || Files::of_disk(&disk);
    let mut script = Script::new(&store, &files);
    for name in ["alpha", "beta"] {
        script.create(name, DbKind::Raw);
        script.commit(name, &[Change::Write(1), Change::Write(2)]);
    }
    while recycled && store.status().log_segments < 2 {
        script.commit("beta", &[Change::Write(1)]);
    }
    script.checkpoint();
    assert_eq!(store.status().log_segments, 1);
    // A released file becomes a spare again.
    store.keep_house();
    script.note("keeping house", &[], false);
    script.commit("alpha", &[Change::Write(2)]);
    script.create("late", DbKind::Raw);
    script.commit("late", &[Change::Write(1)]);
    let sample = if closed { script.close() } else { script.end() };
    Simulated {
        disk: disk.crash_image_keeping_all(),
        manifest: manifest.snapshot(),
        sample,
    }
}

/// The store after a clean close, or as a kill leaves it that loses no write.
pub(crate) fn simulated(closed: bool) -> Simulated {
    simulated_as(closed, 7)
}

/// The same, of another store for another seed.
pub(crate) fn simulated_as(closed: bool, seed: u64) -> Simulated {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    // One spare more than openings want, so that none of them has to make one.
    let mut limits = Limits::tiny();
    limits.segments_spare_min = 3;
    let options = quiet_with(seed)
        .limits(limits)
        .disk(Arc::new(disk.clone()), Arc::new(manifest.clone()));
    let store = Manager::open("simulated", options).unwrap();
    let files = || Files::of_disk(&disk);
    let mut script = Script::new(&store, &files);
    script.first_part();
    script.group(&disk);
    let sample = if closed { script.close() } else { script.end() };
    Simulated {
        disk: disk.crash_image_keeping_all(),
        manifest: manifest.snapshot(),
        sample,
    }
}
