//! Backups: what is restored is what was backed up, whatever happens meanwhile.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crowd;
mod decayed;
mod flips;
mod ground;
mod incremental;
mod killed;
mod power;
mod refused;
mod scratch;
mod whole;
