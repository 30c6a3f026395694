//! A backup that somebody asks for: he is told how far it is, if he wants to be, and it ends when he leaves.

use crate::{LONG, Served, framed};
use bop_control::{Call, Caller, Client, Failure, Request};
use bop_storage::error::ErrorCode;
use bop_storage::{BackupOptions, Manager};
use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

fn backup(dir: &Path) -> Request {
    Request::Backup {
        dir: dir.to_str().unwrap().to_owned(),
        keep: NonZeroUsize::MIN,
        copy: true,
    }
}

/// Somebody who sees how far it is, and leaves after so many words.
struct Watcher {
    out: Vec<u8>,
    told: Vec<(u64, u64)>,
    leaves_after: usize,
}

impl Watcher {
    fn new(leaves_after: usize) -> Self {
        Self {
            out: Vec::new(),
            told: Vec::new(),
            leaves_after,
        }
    }
}

impl Caller for Watcher {
    fn out(&mut self) -> &mut dyn Write {
        &mut self.out
    }

    fn confirm(&mut self, _: &str, _: &str) -> Result<(), Failure> {
        panic!("nothing is asked");
    }

    fn is_waiting(&mut self) -> bool {
        self.told.len() < self.leaves_after
    }

    fn shows_progress(&self) -> bool {
        true
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.told.push((done, total));
    }

    fn pause(&mut self, _: Duration) {}
}

#[test]
fn how_far_a_backup_is_goes_over_the_socket() {
    let served = Served::new();
    let kept = tempfile::tempdir().unwrap();
    let client = Client::connect(served.dir.path()).unwrap().unwrap();
    let mut watcher = Watcher::new(usize::MAX);
    let request = backup(&kept.path().join("kept"));
    client.run(&request, true, &mut watcher).unwrap();
    let (done, total) = *watcher.told.last().unwrap();
    assert_eq!(done, total, "the last word is that all is done");
    assert!(watcher.told.is_sorted_by_key(|(done, _)| *done));
    assert!(
        String::from_utf8(watcher.out)
            .unwrap()
            .contains("\"backup\":1")
    );

    // Who does not want to know is not told.
    let mut client = UnixStream::connect(served.socket()).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    let run = serde_json::json!({ "run": { "json": true, "progress": false, "request": request } });
    client
        .write_all(&framed(br#"{"hello":{"protocol":2}}"#))
        .unwrap();
    client
        .write_all(&framed(run.to_string().as_bytes()))
        .unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("\"backup\":2"), "{answer}");
    assert!(!answer.contains("progress"), "{answer}");
}

#[test]
fn a_backup_that_nobody_waits_for_any_more_ends_and_is_gone_on_with() {
    let served = Served::new();
    let kept = tempfile::tempdir().unwrap();
    let dir = kept.path().join("kept");
    let run = |watcher: &mut Watcher| {
        let call = Call::new(&served.store, None, true, watcher);
        bop_control::run(call, &backup(&dir))
    };
    let mut watcher = Watcher::new(1);
    let failure = run(&mut watcher).unwrap_err();
    assert_eq!(failure.code, ErrorCode::Closed, "{failure}");
    assert_eq!(watcher.told.len(), 1);
    assert!(
        Manager::backups(&dir, &BackupOptions::new())
            .unwrap()
            .is_empty()
    );
    let mut watcher = Watcher::new(usize::MAX);
    run(&mut watcher).unwrap();
    assert_eq!(
        Manager::backups(&dir, &BackupOptions::new()).unwrap().len(),
        1
    );
}
