//! Every backend passes the same suite.
#![allow(clippy::expect_used, reason = "tests")]

use bop_storage::io::{BufferPool, Disk, IoBackend, NativeDisk, OpenDiskError};
use bop_storage::testing::{SimDisk, disk_suite};
use std::cell::RefCell;
use std::sync::Arc;

/// Runs the suite, or says loudly why it cannot be run.
fn native(backend: IoBackend) {
    let pool = BufferPool::new(4 << 20);
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    match NativeDisk::open(dir.path(), false, backend, &pool) {
        // What the probe decided is part of the log of a test run: it says what was tested.
        Ok(disk) => println!("{backend} at {}: {}", dir.path().display(), disk.describe()),
        Err(OpenDiskError::Unavailable(why)) => {
            eprintln!("SKIPPED: {why}");
            return;
        }
        Err(error) => panic!("{error}"),
    }
    let dirs = RefCell::new(Vec::new());
    disk_suite(&|| {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let disk = NativeDisk::open(dir.path(), false, backend, &pool).expect("it can be opened");
        dirs.borrow_mut().push(dir);
        Arc::new(disk)
    });
    assert_eq!(pool.usage().taken_bytes, 0, "buffers were kept");
}

#[test]
fn the_kernel_as_good_as_it_gets() {
    native(IoBackend::Auto);
}

#[test]
fn the_kernel_through_the_page_cache() {
    native(IoBackend::Std);
}

#[test]
fn the_kernel_past_the_page_cache() {
    native(IoBackend::Direct);
}

#[test]
fn the_kernel_by_io_uring() {
    native(IoBackend::Uring);
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
