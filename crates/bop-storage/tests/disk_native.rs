//! What is special about the kernel's disk: links, locks, modes, and missing directories.
#![allow(clippy::unwrap_used, reason = "tests")]

use bop_storage::io::errno::{EACCES, EINVAL, EISDIR, ELOOP, ENOENT, ENOTDIR};
use bop_storage::io::{
    Action, BLOCK_BYTES, Block, BufferPool, Disk, FileKind, IoBackend, IoFailure, IoOp,
    LockFailure, NativeDisk, OpenDiskError, OpenMode,
};
use rustix::fs::{CWD, Mode};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

fn try_open(dir: &Path, create: bool, backend: IoBackend) -> Result<NativeDisk, OpenDiskError> {
    NativeDisk::open(dir, create, backend, &BufferPool::new(4 << 20))
}

fn open(dir: &Path, backend: IoBackend) -> NativeDisk {
    try_open(dir, false, backend).unwrap()
}

/// The failed call that a directory could not be opened for.
fn refused(dir: &Path, create: bool) -> IoFailure {
    match try_open(dir, create, IoBackend::Auto) {
        Err(OpenDiskError::Io(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

/// Every backend that is to be had in `dir`.
fn disks(dir: &Path) -> Vec<NativeDisk> {
    let all = IoBackend::ALL.into_iter();
    all.filter_map(|backend| try_open(dir, false, backend).ok())
        .collect()
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_missing_store_is_made_only_when_asked_for_and_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/store");
    let error = refused(&path, false);
    assert_eq!(
        (error.op, error.path.as_path()),
        (IoOp::Directory, path.as_path())
    );
    assert_eq!(error.errno, ENOENT);
    assert!(!dir.path().join("a").exists(), "nothing was made");

    let disk = try_open(&path, true, IoBackend::Auto).unwrap();
    disk.create_dir(Path::new("log")).unwrap();
    disk.open(Path::new("log/x"), OpenMode::CreateNew).unwrap();
    let modes = ["", "log", "log/x"].map(|name| mode_of(&path.join(name)));
    assert_eq!(modes, [0o700, 0o700, 0o600]);

    let file = path.join("log/x");
    for create in [false, true] {
        assert_eq!(refused(&file, create).errno, ENOTDIR);
    }
}

#[test]
fn the_probe_leaves_nothing_and_says_what_it_found() {
    let dir = tempfile::tempdir().unwrap();
    let disk = open(dir.path(), IoBackend::Auto);
    assert_eq!(disk.is_direct(), disk.describe().starts_with("direct"));
    let std = open(dir.path(), IoBackend::Std);
    assert!(!std.is_direct());
    assert_eq!(std.describe(), "std (as asked)");
    match try_open(dir.path(), false, IoBackend::Direct) {
        Ok(direct) => assert_eq!(
            (direct.is_direct(), direct.describe()),
            (true, "direct".into())
        ),
        Err(error) => assert!(!disk.is_direct(), "{error}"),
    }
    match try_open(dir.path(), false, IoBackend::Uring) {
        Ok(uring) => {
            assert!(uring.is_direct() && uring.describe().starts_with("uring"));
            assert!(disk.describe().starts_with("direct, batches by io_uring"));
        }
        Err(error) => {
            // The reason that stops the one is what the other tells.
            let OpenDiskError::Unavailable(why) = error else {
                panic!("{error}");
            };
            assert!(
                disk.describe().contains(&why.what),
                "{why}, {}",
                disk.describe()
            );
        }
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Kernel directories refuse direct I/O, and files without a name, in their own ways.
#[test]
fn a_directory_that_cannot_do_direct_io_is_read_through_the_page_cache() {
    let proc = Path::new("/proc/self");
    let disk = open(proc, IoBackend::Auto);
    assert!(!disk.is_direct());
    let says = disk.describe();
    assert!(
        says.starts_with("std (") && says.contains("direct I/O"),
        "{says}"
    );
    for backend in [IoBackend::Direct, IoBackend::Uring] {
        match try_open(proc, false, backend) {
            Err(OpenDiskError::Unavailable(why)) => {
                assert_eq!((why.backend, why.failure.path.as_path()), (backend, proc));
                assert!(says.contains(&why.what), "{why}, {says}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn no_link_and_no_pipe_is_opened() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), [7; BLOCK_BYTES]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    symlink(outside.path().join("secret"), dir.path().join("link")).unwrap();
    symlink(outside.path().join("absent"), dir.path().join("dangling")).unwrap();
    symlink(outside.path(), dir.path().join("log")).unwrap();
    let pipe = dir.path().join("pipe");
    rustix::fs::mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
    fs::create_dir(dir.path().join("dir")).unwrap();

    for disk in disks(dir.path()) {
        let refusal = |path, mode| disk.open(Path::new(path), mode).unwrap_err().errno;
        for mode in [OpenMode::Read, OpenMode::Write] {
            assert_eq!(refusal("link", mode), ELOOP);
            assert_eq!(refusal("dangling", mode), ELOOP);
            assert_eq!(refusal("log/secret", mode), ELOOP);
            assert_eq!(refusal("pipe", mode), EINVAL);
            assert_eq!(refusal("dir", mode), EISDIR);
        }
        refusal("link", OpenMode::CreateNew);
        refusal("dangling", OpenMode::CreateNew);
        assert_eq!(refusal("log/new", OpenMode::CreateNew), ELOOP);
        let log = Path::new("log");
        assert_eq!(disk.create_dir(log).unwrap_err().errno, ENOTDIR);
        assert_eq!(disk.list(log).unwrap_err().errno, ELOOP);
        assert_eq!(disk.sync_dir(log).unwrap_err().errno, ELOOP);
        let secret = disk.remove(Path::new("log/secret")).unwrap_err();
        assert_eq!(secret.errno, ELOOP);
        let kinds: Vec<FileKind> = disk
            .list(Path::new(""))
            .unwrap()
            .into_iter()
            .map(|entry| entry.kind)
            .collect();
        let other = FileKind::Other;
        assert_eq!(kinds, [other, FileKind::Directory, other, other, other]);
    }
    let names = fs::read_dir(outside.path()).unwrap().count();
    assert_eq!(names, 1, "nothing was made or removed outside");
}

#[test]
fn a_file_cut_inside_a_block_reads_to_its_last_byte() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), vec![7; BLOCK_BYTES + 1_000]).unwrap();
    for disk in disks(dir.path()) {
        let file = disk.open(Path::new("file"), OpenMode::Read).unwrap();
        let mut blocks = [Block([9; BLOCK_BYTES]); 3];
        assert_eq!(file.read_at(0, &mut blocks).unwrap(), BLOCK_BYTES + 1_000);
        assert_eq!(blocks[1].0[999], 7);
        let mut behind = blocks[1].0[1_000..].iter().chain(&blocks[2].0);
        assert!(behind.all(|byte| *byte == 0), "zeros behind the end");
        assert_eq!(
            file.read_at(BLOCK_BYTES as u64, &mut blocks).unwrap(),
            1_000
        );
    }
}

#[test]
fn a_link_in_place_of_the_lock_is_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    let dir = tempfile::tempdir().unwrap();
    symlink(&victim, dir.path().join("lock")).unwrap();
    match open(dir.path(), IoBackend::Auto).lock() {
        Err(LockFailure::Io(failure)) => {
            assert_eq!((failure.op, failure.errno), (IoOp::Lock, ELOOP));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read_to_string(victim).unwrap(), "precious");
}

#[test]
fn a_directory_that_cannot_be_written_answers_with_a_typed_failure() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(dir.path().join("try"), "").is_ok() {
        println!("skipped: this user may write anywhere");
        return;
    }
    match open(dir.path(), IoBackend::Auto).lock() {
        Err(LockFailure::Io(failure)) => {
            assert_eq!((failure.op, failure.errno), (IoOp::Lock, EACCES));
            assert_eq!(failure.action(), Action::StopEngine);
        }
        other => panic!("{other:?}"),
    }
}

const CHILD_DIR: &str = "BOP_TEST_LOCK_DIR";

/// Not a test of its own: the other process of the next one.
#[test]
fn child_holds_the_lock_until_its_input_ends() {
    let Some(dir) = env::var_os(CHILD_DIR) else {
        return;
    };
    let lock = open(Path::new(&dir), IoBackend::Auto).lock().unwrap();
    println!("\nlocked");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    drop(lock);
}

#[test]
fn another_process_is_named_and_its_death_frees_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "child_holds_the_lock_until_its_input_ends",
            "--nocapture",
        ])
        .env(CHILD_DIR, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut lines = output.lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "locked"), "the child locked it");

    let disk = open(dir.path(), IoBackend::Auto);
    match disk.lock() {
        Err(LockFailure::Held { holder_pid }) => assert_eq!(holder_pid, Some(child.id())),
        other => panic!("{other:?}"),
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let lock = disk.lock().unwrap();
    let text = fs::read_to_string(dir.path().join("lock")).unwrap();
    assert_eq!(text, format!("{}\n", std::process::id()));
    drop(lock);
}

#[test]
fn a_lock_file_that_is_no_number_leaves_the_holder_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let disk = open(dir.path(), IoBackend::Auto);
    let lock = disk.lock().unwrap();
    fs::write(dir.path().join("lock"), "???").unwrap();
    match disk.lock() {
        Err(LockFailure::Held { holder_pid: None }) => {}
        other => panic!("{other:?}"),
    }
    drop(lock);
}

#[test]
fn a_removed_lock_file_does_not_give_two_the_lock_of_one_name() {
    let dir = tempfile::tempdir().unwrap();
    let disk = open(dir.path(), IoBackend::Auto);
    let first = disk.lock().unwrap();
    drop(first);
    fs::remove_file(dir.path().join("lock")).unwrap();
    let second = disk.lock().unwrap();
    assert!(matches!(disk.lock(), Err(LockFailure::Held { .. })));
    drop(second);
}
