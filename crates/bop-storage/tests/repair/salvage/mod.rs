//! Salvage: every database of a damaged store at its last provable commit, and what was lost told.

mod chunks;
mod forks;
mod history;
mod interrupted;
mod log;
mod nameless;
mod random;
mod record_logs;
