//! Every backend passes the same suite.
#![allow(clippy::expect_used, reason = "tests")]

use bop_storage::io::{Backend, Disk, NativeDisk};
use bop_storage::testing::{SimDisk, disk_suite};
use std::cell::RefCell;
use std::sync::Arc;

fn native(backend: Backend) {
    let dirs = RefCell::new(Vec::new());
    disk_suite(&|| {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let disk = NativeDisk::open(dir.path(), false, backend).expect("it can be opened");
        dirs.borrow_mut().push(dir);
        Arc::new(disk)
    });
}

#[test]
fn the_kernel_as_good_as_it_gets() {
    let dir = tempfile::tempdir().unwrap();
    let disk = NativeDisk::open(dir.path(), false, Backend::Auto).unwrap();
    // What the probe decided is part of the log of a test run: it says what was tested.
    println!("backend of {}: {}", dir.path().display(), disk.describe());
    native(Backend::Auto);
}

#[test]
fn the_kernel_through_the_page_cache() {
    native(Backend::Buffered);
}

#[test]
fn the_simulated_disk() {
    disk_suite(&|| Arc::new(SimDisk::new(5)));
}

/// A snapshot and a crash image are disks like any other.
#[test]
fn images_of_the_simulated_disk() {
    disk_suite(&|| Arc::new(SimDisk::new(5).snapshot()));
    disk_suite(&|| Arc::new(SimDisk::new(5).crash_image(9)));
}
