//! Every used byte of a small store, flipped in turn.
//!
//! On a store that was closed: the right answer, or a typed error that names the damaged object;
//! databases that the byte does not belong to are readable and writable. On one that was killed:
//! the newest batch may be missing besides, and nothing else. Whatever damage was met once stays
//! known: it is not forgotten by later commits, checkpoints, closes and opens, and the damaged bytes
//! stay where they are.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod campaign;
#[path = "../damage_sample/mod.rs"]
#[expect(dead_code, reason = "bad input uses more of it")]
mod damage_sample;
mod every_byte;
mod lasting;
mod reach;
mod real_files;
mod whole_blocks;
