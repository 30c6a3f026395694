//! A manifest that is lost or damaged, made anew from chunks and log: what must be equal to before, what
//! must be closed, and what an interrupted repair leaves. And what a salvage saves of a store that is damaged.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod damaged_chunks;
mod damaged_log;
mod equal;
mod interrupted;
mod past;
mod refused;
mod salvage;
mod set_aside;
mod unpublished;
mod world;
