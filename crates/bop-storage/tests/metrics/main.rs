//! Metrics: every documented one is told, and no other; they say what happened to one store.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod documented;
mod events;
mod levels;
mod recorder;
mod rig;
