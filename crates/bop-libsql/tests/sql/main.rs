//! SQL through a connection to a store, as an application sees it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod attach;
mod both_or_neither;
mod concurrency;
mod differential;
mod faults;
mod features;
mod in_place;
mod large;
mod log_bytes;
mod money;
mod opening;
mod past;
mod pool;
mod pragmas;
mod sequences;
mod transactions;
mod transfer;
mod transfer_sound;
mod waiting;
