//! The N-th call fails with each of the errors that say more than that the device is broken: no share of it left, a
//! file that is too large, no descriptors, no memory, no permission, a file system that became read-only.

use crate::faults::{Case, Class, STEPS, fail_each_on};
use crate::ground::Ground;
use crate::replay::is_replay;
use crate::rig::ManifestFault;
use bop_storage::io::errno::{EACCES, EDQUOT, EFBIG, EMFILE, ENFILE, ENOMEM, EPERM, EROFS};
use bop_storage::testing::Fault;

const ERRNOS: [i32; 8] = [EDQUOT, EFBIG, EMFILE, ENFILE, ENOMEM, EACCES, EPERM, EROFS];

/// A share of the calls; which, the seed says.
fn fail_with_each(test: &'static str, class: Class, fault: fn(i32) -> Fault, first: u64) {
    let mut runs = 0;
    for (seed, errno) in (first..).zip(ERRNOS) {
        let case = Case {
            class,
            fault: fault(errno),
            manifest: ManifestFault::NotApplied,
            stride: 11,
            steps: STEPS,
        };
        runs += fail_each_on(Ground::Simulated, test, seed..seed + 1, case).runs;
    }
    assert!(is_replay() || runs >= 60, "{runs} runs");
}

#[test]
fn one_change_fails_with_each_errno() {
    let test = "one_change_fails_with_each_errno";
    fail_with_each(test, Class::Changes, Fault::Error, 200);
}

#[test]
fn all_changes_fail_with_each_errno_from_one_on() {
    let test = "all_changes_fail_with_each_errno_from_one_on";
    fail_with_each(test, Class::Changes, Fault::Sticky, 210);
}

#[test]
fn one_read_fails_with_each_errno() {
    let test = "one_read_fails_with_each_errno";
    fail_with_each(test, Class::Reads, Fault::Error, 220);
}

#[test]
fn all_reads_fail_with_each_errno_from_one_on() {
    let test = "all_reads_fail_with_each_errno_from_one_on";
    fail_with_each(test, Class::Reads, Fault::Sticky, 230);
}
