//! Bad input: names, files and directories that are not what they should be.
//!
//! Each is answered by a typed error that names the thing and the place; nothing is overwritten, and
//! what the damage cannot touch goes on working.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../damage_sample/mod.rs"]
#[expect(dead_code, reason = "the flips use more of it")]
mod damage_sample;
mod device;
mod directories;
mod files_gone;
mod foreign;
mod manifest_fails;
mod names;
mod newer;
mod rows;
