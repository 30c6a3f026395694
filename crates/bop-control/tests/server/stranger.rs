//! Somebody else's process: the owner of a store answers himself and root, whoever can reach the socket.
//!
//! The child is this program again. No test beside it opens a store a second time, so nobody misses a lock that a child has
//! between its fork and its exec.

use crate::{LONG, Served, framed};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

const SOCKET: &str = "BOP_STRANGER_SOCKET";
const NOBODY: u32 = 65534;

/// What the stranger does: he greets, asks, and says what he was told.
#[test]
fn child() {
    let Some(socket) = std::env::var_os(SOCKET) else {
        return;
    };
    let mut client = UnixStream::connect(socket).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    let run = br#"{"run":{"json":true,"progress":false,"request":"list"}}"#;
    // He may have been turned away before that.
    let _ = client.write_all(&framed(br#"{"hello":{"protocol":2}}"#));
    let _ = client.write_all(&framed(run));
    let mut told = Vec::new();
    let _ = client.read_to_end(&mut told);
    println!("told: {}", String::from_utf8_lossy(&told));
}

/// Runs the child as a user, or as the one who runs this.
fn ask_as(user: Option<u32>, program: &Path, socket: &Path) -> String {
    let mut command = Command::new(program);
    command
        .args(["--exact", "stranger::child", "--nocapture"])
        .env(SOCKET, socket)
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn open_to_all(path: &Path) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
}

#[test]
fn another_user_is_refused_also_where_the_directory_lets_him_in() {
    let served = Served::new();
    let dir = served.dir.path();
    if dir.metadata().unwrap().uid() != 0 {
        eprintln!("SKIPPED: only root can become another user: the socket was not asked by one");
        return;
    }
    // Where he may run it, wherever this was built.
    let program = dir.join("stranger");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let socket = served.socket();
    for path in [program.as_path(), dir, socket.parent().unwrap(), &socket] {
        open_to_all(path);
    }
    let told = ask_as(Some(NOBODY), &program, &socket);
    assert!(
        told.contains("the owner answers himself alone: the peer is the user with id 65534"),
        "{told}"
    );
    assert!(!told.contains("orders"), "{told}");
    // Neither the place nor the program is what kept him out.
    let told = ask_as(None, &program, &socket);
    assert!(told.contains("orders"), "{told}");
}
