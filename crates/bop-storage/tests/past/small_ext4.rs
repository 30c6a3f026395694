//! The same on a small ext4 of its own, with the kernel's files and LMDB: its space ends at each step of a
//! checkpoint.
//!
//! Mounting is for root alone: whoever is not root, or has no loop device, skips, loudly.

use crate::world::{LONG, real_files};
use bop_storage::{
    CommitError, Db, DbKind, ErrorCode, Housekeeping, JobState, Limits, Manager, Options, PageNo,
    Retention,
};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in a file, unmounted when dropped.
struct SmallExt4 {
    dir: tempfile::TempDir,
}

impl SmallExt4 {
    /// `None`, loudly, where nothing can be mounted.
    fn mount(mebibytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (image, at) = (dir.path().join("image"), dir.path().join("at"));
        File::create(&image)
            .unwrap()
            .set_len(mebibytes << 20)
            .unwrap();
        fs::create_dir(&at).unwrap();
        let run = |command: &mut Command| match command.output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Err(error.to_string()),
        };
        let made = run(Command::new("mkfs.ext4")
            .args([
                "-q",
                "-F",
                "-b",
                "4096",
                "-m",
                "0",
                "-E",
                "lazy_itable_init=0",
            ])
            .arg(&image));
        let mounted = made.and_then(|()| {
            run(Command::new("mount")
                .args(["-o", "loop"])
                .arg(&image)
                .arg(&at))
        });
        match mounted {
            Ok(()) => Some(Self { dir }),
            Err(why) => {
                let required = std::env::var_os("BOP_REQUIRE_SHARED").is_some_and(|it| it == "1");
                let is_root = rustix::process::geteuid().is_root();
                assert!(!(required && is_root), "BOP_REQUIRE_SHARED=1, but: {why}");
                eprintln!("SKIPPED, NOT TESTED: a full ext4 cannot be mounted: {why}");
                None
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("at").join(name)
    }

    fn free_bytes(&self) -> u64 {
        let found = statvfs(self.path("")).unwrap();
        found.f_bavail * found.f_frsize
    }

    /// Takes the room but for `left` bytes, with a file of this name.
    fn fill_but(&self, left: u64, name: &str) {
        let ballast = File::create(self.path(name)).unwrap();
        // What is removed is free when the journal says so.
        rustix::fs::syncfs(&ballast).unwrap();
        let mut bytes = self.free_bytes().saturating_sub(left);
        // The file system needs some of it for itself, and the store takes some meanwhile.
        while bytes > 0
            && let Err(errno) = fallocate(&ballast, FallocateFlags::empty(), 0, bytes)
        {
            assert_eq!(errno, Errno::NOSPC);
            bytes = bytes.saturating_sub(4096);
        }
    }

    fn empty(&self) {
        for name in ["ballast", "others"] {
            fs::remove_file(self.path(name)).unwrap();
        }
    }
}

impl Drop for SmallExt4 {
    fn drop(&mut self) {
        let at = self.dir.path().join("at");
        let unmounted = Command::new("umount").arg(&at).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            let _lazily = Command::new("umount").arg("-l").arg(&at).status();
        }
    }
}

/// Two databases, and what their pages begin with.
struct Store {
    manager: Manager,
    pages: [BTreeMap<u32, u32>; 2],
    number: u32,
}

const NAMES: [&str; 2] = ["one", "two"];
const PAGES: u32 = 48;

fn content(number: u32) -> Vec<u8> {
    let mut page = vec![0; 4096];
    bop_storage::testing::SplitMix64::new(number.into()).fill(&mut page);
    page[..4].copy_from_slice(&number.to_le_bytes());
    page
}

fn open(path: &Path, house: Housekeeping) -> Manager {
    let options = Options::new().limits(Limits::tiny()).housekeeping(house);
    Manager::open(path, options).unwrap()
}

impl Store {
    fn new(path: &Path, house: Housekeeping) -> Self {
        let manager = open(path, house);
        for name in NAMES {
            manager.create_database(name, DbKind::Raw).unwrap();
            manager.set_retention(name, Retention::NOTHING).unwrap();
        }
        let pages = [BTreeMap::new(), BTreeMap::new()];
        let mut store = Self {
            manager,
            pages,
            number: 0,
        };
        for _ in 0..20 {
            store.commit().unwrap();
        }
        store.manager.checkpoint().unwrap();
        store
    }

    fn db(&self, nth: usize) -> Db {
        self.manager.database(NAMES[nth]).unwrap()
    }

    /// Two pages of one database, or of the other.
    fn commit(&mut self) -> Result<(), CommitError> {
        self.number += 1;
        let nth = (self.number % 2) as usize;
        let mut write = self.db(nth).begin_write(LONG).unwrap();
        let pages = [self.number * 7 % PAGES + 1, self.number * 11 % PAGES + 1];
        for page in pages {
            let number = PageNo::new(page).unwrap();
            write.write_page(number, &content(self.number)).unwrap();
        }
        write.commit()?;
        self.pages[nth].extend(pages.map(|page| (page, self.number)));
        Ok(())
    }

    /// Returns how many commits were made until there was no room, at most `most`.
    fn commit_until_full(&mut self, most: usize) -> usize {
        for made in 0..most {
            if let Err(error) = self.commit() {
                assert_eq!(error.code(), ErrorCode::OutOfSpace, "{error}");
                return made;
            }
        }
        most
    }

    fn check(&self) {
        for (nth, pages) in self.pages.iter().enumerate() {
            let read = self.db(nth).begin_read().unwrap();
            for (page, number) in pages {
                let found = read.read_page(PageNo::new(*page).unwrap()).unwrap();
                assert!(found[..] == content(*number), "{} of {nth}", *page);
            }
        }
    }

    /// Every byte is right, and each chunk is named by somebody.
    fn verify(&self, path: &Path) {
        self.check();
        let verified = self.manager.verify();
        assert!(verified.findings.is_empty(), "{:?}", verified.findings);
        let files = fs::read_dir(path.join("chunks")).unwrap().count();
        assert_eq!(files, verified.chunks, "files of chunks");
        let job = self.manager.scrub(None).unwrap();
        let done = self.manager.wait_for_job(job, LONG).unwrap();
        assert_eq!(done.state, JobState::Done, "{:?}", done.failure);
    }
}

/// Returns whether there was too little room for all commits, and whether the checkpoint that was asked for had
/// needed the reserve.
fn run(disk: &SmallExt4, left: u64, house: Housekeeping) -> (bool, bool) {
    let path = disk.path("store");
    let mut store = Store::new(&path, house);
    disk.fill_but(left, "ballast");
    let most = 200;
    let made = store.commit_until_full(most);
    store.check();
    // Somebody else takes what the log has left of it.
    disk.fill_but(left / 8, "others");
    let free = disk.free_bytes();
    let report = store.manager.checkpoint().unwrap();
    let lent = free < report.chunk_bytes;
    store.check();
    store.commit_until_full(most);
    disk.empty();
    // Nobody opens the store again for that. Where nobody keeps house, whoever commits makes room himself.
    for _ in 0..20 {
        let committed = store.commit();
        committed.unwrap_or_else(|error| panic!("there is room again: {error}"));
    }
    store.manager.checkpoint().unwrap();
    store.verify(&path);
    store.manager.close(LONG).unwrap();
    store.manager = open(&path, Housekeeping::Background);
    store.verify(&path);
    store.manager.close(LONG).unwrap();
    fs::remove_dir_all(&path).unwrap();
    (made < most, lent)
}

#[test]
fn the_space_of_an_ext4_ends_at_each_step_of_a_checkpoint() {
    let _alone = real_files();
    let Some(disk) = SmallExt4::mount(32) else {
        return;
    };
    let mut runs = Vec::new();
    for (nth, left) in (0..768 << 10).step_by(24 << 10).enumerate() {
        // A store that keeps house by itself makes the checkpoints itself; the others are asked for it.
        let house = [Housekeeping::Manual, Housekeeping::Background][usize::from(nth % 3 == 2)];
        println!("{left} bytes are left, housekeeping: {house:?}");
        runs.push(run(&disk, left, house));
    }
    let full = runs.iter().filter(|(is_full, _)| *is_full).count();
    let lent = runs.iter().filter(|(_, is_lent)| *is_lent).count();
    println!("{} runs, {full} full, {lent} with the reserve", runs.len());
    assert!(full > 20 && lent > 8, "{runs:?}");
}
