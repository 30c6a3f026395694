//! Models of the whole engine: a store with all of its threads, in schedules that a scheduler chooses.
//!
//! ```text
//!   actors: writers, readers, a checkpointer, forks, ... --calls--> the engine and its own threads
//!                                                                      |
//!   power cuts, at moments of the schedule <--images-- simulated disk, manifest in memory
//!      '--> each is opened, and must be what was promised by then
//! ```
//! A thread may be overtaken at each lock, wait and call of the disk. What a model finds, it finds again:
//! see [`crate::runtime::models`].
//!
//! Invariant: time, chance, threads, files and the manifest of a store in a model are the model's.
//!
//! Never: a copy of the engine's code; LMDB, which would block all threads at once.

mod commits;
mod ground;
mod logs;
mod names;
mod refusals;
