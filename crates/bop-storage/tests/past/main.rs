//! States of the past: snapshots, forks, restores, and what a window keeps.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod model;
mod packs;
mod world;
