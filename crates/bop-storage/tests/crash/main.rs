//! What a crash, a failing device or a lying one leaves of a store: every acknowledged commit, and
//! nothing that was never committed.
//!
//! ```text
//! ground    the simulated disk, or real files by a backend
//! world     the expected state, kept outside the store      rig      disk + manifest that crash together
//! session   a seeded workload on a rig, step by step (fill: its pages)
//! oracle   opens what is left and judges it
//! images    power cuts, again inside recovery               faults   the N-th call fails (errnos: in any way)
//! every_call   what a cut within each call would leave, by one run (camera: takes it)
//! sequences    the same of all sequences of a few operations
//! hangs     the N-th call does not return                   lies     the N-th write is lost or misplaced
//! stalls    the same with all threads, and another segment
//! ways      all ways to commit, a power cut
//! crowd     many writers, a power cut                 overtaking  what follows a hung change
//! catalogue names come and go beside writers, a power cut
//! ```
//! Each scenario runs on the simulated disk, and a share of it on real files by each backend, whose
//! shadow the simulated disk is. A failure prints its seed and the command that runs it again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod camera;
mod catalogue;
mod crowd;
mod errnos;
mod every_call;
mod faults;
mod fill;
mod ground;
mod hangs;
mod images;
mod lies;
mod oracle;
mod overtaking;
mod replay;
mod rig;
mod sequences;
mod session;
mod stalls;
mod ways;
mod world;
