//! Record logs: against a model with power cuts, a thousand of them in a small log, damaged ones,
//! and what their users meet otherwise.
//!
//! A failure prints its seed; `BOP_RECORDS_SEED=n` runs that one again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod crowd;
mod damage;
mod model;
mod ordinary;
mod pending;
#[path = "../crash/rig.rs"]
mod rig;
mod told;
