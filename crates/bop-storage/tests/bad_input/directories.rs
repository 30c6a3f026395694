//! Real directories: not a store, locked, not writable, with links in it.

use crate::damage_sample::files::Files;
use crate::damage_sample::look::{Fate, Reach, look};
use crate::damage_sample::{Sample, Script, WAIT, quiet};
use bop_storage::io::{BufferPool, Disk, IoBackend, LockFailure, NativeDisk};
use bop_storage::{ErrorCode, Manager, OpenError};
use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

fn closed_store() -> (TempDir, Sample) {
    let root = tempfile::tempdir().unwrap();
    let store = Manager::open(root.path(), quiet()).unwrap();
    let files = || Files::of_directory(root.path());
    let mut script = Script::new(&store, &files);
    script.first_part();
    let sample = script.close();
    (root, sample)
}

fn names_in(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn a_directory_that_is_not_a_store_is_not_touched() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("letter.txt"), "dear").unwrap();
    std::fs::create_dir(root.path().join("log")).unwrap();
    let before = names_in(root.path());
    let error = Manager::open(root.path(), quiet()).unwrap_err();
    assert!(error.to_string().contains("store.bop"), "{error}");
    assert_eq!(names_in(root.path()), before);

    std::fs::remove_dir(root.path().join("log")).unwrap();
    let before = names_in(root.path());
    for create in [true, false] {
        let error = Manager::open(root.path(), quiet().create(create)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::NotAStore, "{error}");
        assert!(
            error.to_string().contains(root.path().to_str().unwrap()),
            "{error}"
        );
        assert_eq!(names_in(root.path()), before);
    }
}

#[test]
fn a_missing_store_is_not_made_unless_asked() {
    let root = tempfile::tempdir().unwrap();
    for path in [root.path().to_owned(), root.path().join("deeper")] {
        let error = Manager::open(&path, quiet().create(false)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::StoreNotFound, "{error}");
    }
    assert_eq!(names_in(root.path()), BTreeSet::new());
    let file = root.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Manager::open(&file, quiet()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Io, "{error}");
}

#[test]
fn a_store_that_is_open_is_locked_for_everybody_else() {
    let (root, sample) = closed_store();
    let store = Manager::open(root.path(), quiet()).unwrap();
    let error = Manager::open(root.path(), quiet()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::StoreLocked);
    let own = std::process::id();
    let OpenError::Locked {
        failure: LockFailure::Held { holder_pid },
        path,
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!((holder_pid, path.as_path()), (Some(own), root.path()));

    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "directories::what_another_process_sees",
            "--nocapture",
        ])
        .env("BOP_TEST_LOCKED_STORE", root.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        said.contains(&format!("store is locked by process {own}")),
        "{said}"
    );
    drop(store);
    let store = Manager::open(root.path(), quiet()).unwrap();
    look(&store, &sample, &Reach::default(), Path::new(""));
}

/// The other process of the test above; in any other run it has nothing to do.
#[test]
fn what_another_process_sees() {
    let Some(path) = std::env::var_os("BOP_TEST_LOCKED_STORE") else {
        return;
    };
    println!("{}", Manager::open(path, quiet()).unwrap_err());
}

#[test]
fn a_read_only_directory_is_an_error_and_nothing_is_changed() {
    let (root, _) = closed_store();
    std::fs::remove_file(root.path().join("lock")).unwrap();
    let before = Files::of_directory(root.path());
    let Some(read_only) = ReadOnly::make(root.path()) else {
        eprintln!("SKIPPED: this user may write anywhere, and may not mount");
        return;
    };
    let error = Manager::open(root.path(), quiet()).unwrap_err();
    drop(read_only);
    assert_eq!(error.code(), ErrorCode::Io, "{error}");
    assert!(error.to_string().contains("lock"), "{error}");
    assert!(before == Files::of_directory(root.path()));
    Manager::open(root.path(), quiet()).unwrap();
}

/// Nobody can write to a store's directories: by their modes, or, since root may all the same, by
/// a mount.
struct ReadOnly<'a> {
    root: &'a Path,
    mounted: bool,
}

impl<'a> ReadOnly<'a> {
    fn make(root: &'a Path) -> Option<Self> {
        let by_mode = Self {
            root,
            mounted: false,
        };
        by_mode.set_modes(0o500);
        let probe = root.join("probe");
        if std::fs::write(&probe, "").is_err() {
            return Some(by_mode);
        }
        drop(by_mode);
        std::fs::remove_file(probe).unwrap();
        let path = root.to_str().unwrap();
        if !run("mount", &["--bind", path, path]) {
            return None;
        }
        let by_mount = Self {
            root,
            mounted: true,
        };
        run("mount", &["-o", "remount,bind,ro", path]).then_some(by_mount)
    }

    fn set_modes(&self, mode: u32) {
        for dir in ["", "log", "chunks", "manifest", "scratch"] {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(self.root.join(dir), permissions).unwrap();
        }
    }
}

impl Drop for ReadOnly<'_> {
    fn drop(&mut self) {
        if self.mounted {
            assert!(run("umount", &[self.root.to_str().unwrap()]));
        } else {
            self.set_modes(0o700);
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).status();
    status.is_ok_and(|status| status.success())
}

#[test]
fn a_store_can_be_opened_again_while_other_threads_start_processes() {
    let root = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                assert!(run("true", &[]));
            }
        });
        // Each open would fail that meets a child which still has the lock of the one before.
        let opened: Result<Vec<()>, _> = (0..60)
            .map(|_| Manager::open(root.path(), quiet()).map(drop))
            .collect();
        stop.store(true, Ordering::Release);
        opened.unwrap();
    });
}

#[test]
fn a_link_in_place_of_a_segment_is_not_followed() {
    let (root, sample) = closed_store();
    let outside = tempfile::tempdir().unwrap();
    let name = "0000000000000001.seg";
    let (inside, target) = (
        root.path().join("log").join(name),
        outside.path().join(name),
    );
    std::fs::rename(&inside, &target).unwrap();
    symlink(&target, &inside).unwrap();
    let before = std::fs::read(&target).unwrap();
    let store = Manager::open(root.path(), quiet()).unwrap();
    let reach = Reach {
        databases: BTreeSet::from(["gone", "old", "renamed"]),
        catalogue: true,
        newest: false,
    };
    let fates = look(&store, &sample, &reach, &Path::new("log").join(name));
    assert_ne!(fates["renamed"], Fate::Right);
    store.close(WAIT).unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), before);
    assert!(std::fs::symlink_metadata(&inside).unwrap().is_symlink());
}

#[test]
fn a_missing_manifest_is_not_made_anew() {
    let (root, sample) = closed_store();
    let (manifest, aside) = (root.path().join("manifest"), root.path().join("aside"));
    std::fs::rename(&manifest, &aside).unwrap();
    let before = Files::of_directory(root.path());
    let error = Manager::open(root.path(), quiet()).unwrap_err();
    assert!(error.to_string().contains("manifest"), "{error}");
    assert!(
        before == Files::of_directory(root.path()),
        "it was written to"
    );
    if manifest.exists() {
        std::fs::remove_dir_all(&manifest).unwrap();
    }
    std::fs::rename(&aside, &manifest).unwrap();
    let store = Manager::open(root.path(), quiet()).unwrap();
    look(&store, &sample, &Reach::default(), Path::new(""));
}

#[test]
fn a_lock_taken_without_the_store_is_seen() {
    let (root, _) = closed_store();
    let disk = NativeDisk::open(root.path(), false, IoBackend::Auto, &BufferPool::new(0)).unwrap();
    let lock = disk.lock().unwrap();
    let error = Manager::open(root.path(), quiet()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::StoreLocked);
    drop(lock);
    Manager::open(root.path(), quiet()).unwrap();
}
