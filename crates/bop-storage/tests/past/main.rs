//! States of the past: snapshots, forks, restores, and what a window keeps.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod acts;
mod cap;
mod chains;
mod crowd;
mod damage;
mod faults;
mod full;
mod killed;
mod meanwhile;
mod model;
mod packs;
mod small_ext4;
mod unknown;
mod window;
mod world;
