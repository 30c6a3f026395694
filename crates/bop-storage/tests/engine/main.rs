//! The whole engine on a simulated disk: its ways to commit, many threads, opening and closing, and
//! how far a fault or damage reaches.
//!
//! None of these tests sees the process: whatever counts threads, descriptors or memory has a binary
//! of its own.

mod cached;
mod commits;
mod concurrent;
mod contained;
mod copied_along;
mod database_model;
mod dropped;
mod error_chain;
mod jobs;
mod large_groups;
mod lifecycle;
#[path = "../crash/rig.rs"]
#[expect(clippy::unwrap_used, reason = "helpers of tests, not tests themselves")]
mod rig;
mod scrub;
mod stalls;
mod ways_to_commit;
