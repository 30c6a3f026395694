//! A disk without room, on a real small file system: what is refused says so, what is there stays
//! readable, and once there is room the store goes on by itself.
//!
//! Mounting is for root alone: whoever is not root skips, loudly.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::store::Store;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory, gone when dropped.
pub(crate) struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    /// `None`, loudly, where nothing can be mounted.
    pub(crate) fn mount(mebibytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"])
            .arg(dir.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self { dir });
        }
        let required = std::env::var_os("BOP_REQUIRE_SHARED").is_some_and(|value| value == "1");
        assert!(
            !(required && is_root()),
            "BOP_REQUIRE_SHARED=1, but root cannot mount a tmpfs"
        );
        eprintln!("SKIPPED, NOT TESTED: a full disk needs a tmpfs, which cannot be mounted");
        None
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.dir.path())
            .output();
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout == b"0\n")
}

/// Writes into `path` until the device takes no more byte.
pub(crate) fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    while file.write_all(&[0x55; 4096]).is_ok() {}
}

#[track_caller]
fn assert_out_of_space(store: &Store, arguments: &[&str]) {
    let stderr = store.fails(1, arguments);
    let value: serde_json::Value = serde_json::from_str(&stderr).unwrap();
    assert_eq!(value["error"]["code"], "out_of_space", "{stderr}");
    let hint = value["error"]["hint"].as_str().unwrap();
    assert!(hint.contains("free some space"), "{stderr}");
}

#[test]
fn a_full_disk_is_said_reads_go_on_and_room_heals() {
    let Some(disk) = SmallDisk::mount(24) else {
        return;
    };
    let (at, ballast) = (disk.path("store"), disk.path("ballast"));
    let at = at.to_str().unwrap();
    let here = Store::new();
    let sql = |sql: &str| here.ok(&["--store", at, "sql", "d", sql]);

    sql("create table t(a); insert into t values('kept')");
    fs::write(&ballast, vec![0x55; 8 << 20]).unwrap();
    // Each row is a commit of its own; together they are more than the device.
    let rows = "insert into t values(randomblob(100000));".repeat(300);
    assert_out_of_space(&here, &["--store", at, "--json", "sql", "d", &rows]);

    assert_eq!(sql("select a from t where typeof(a) = 'text'"), "kept\n");
    let written: u32 = sql("select count(*) from t").trim().parse().unwrap();
    assert!(written > 10, "{written}");

    fs::remove_file(&ballast).unwrap();
    sql("insert into t values('again')");
    assert_eq!(
        sql("select a from t where typeof(a) = 'text'"),
        "kept\nagain\n"
    );
    assert_eq!(sql("pragma integrity_check"), "ok\n");
}

#[test]
fn not_even_a_byte_of_room_is_out_of_space_for_every_command() {
    let Some(disk) = SmallDisk::mount(24) else {
        return;
    };
    let (at, other, file) = (
        disk.path("store"),
        disk.path("other"),
        disk.path("out.sqlite"),
    );
    let [at, other, file] = [&at, &other, &file].map(|path| path.to_str().unwrap());
    let here = Store::new();
    here.ok(&[
        "--store",
        at,
        "sql",
        "d",
        "create table t(a); insert into t values(zeroblob(100000))",
    ]);
    let ballast = disk.path("ballast");
    fill(&ballast);

    // For a checkpoint room is kept: it goes, and what it releases of the log is room again.
    here.ok(&["--store", at, "checkpoint"]);
    fill(&disk.path("more"));
    assert_out_of_space(&here, &["--json", "--store", at, "export", "d", file]);
    assert_out_of_space(&here, &["--json", "--store", other, "create", "e"]);
    let count = ["--store", at, "sql", "d", "select count(*) from t"];
    assert_eq!(here.ok(&count), "1\n");

    fs::remove_file(&ballast).unwrap();
    here.ok(&["--store", at, "checkpoint"]);
    here.ok(&["--store", at, "export", "d", file]);
    here.ok(&["--store", other, "create", "e"]);
}
