//! Stand-ins for the outside world, and the suites that every stand-in must pass.
//!
//! Owns: the simulated disk, a clock that is moved by hand, and seeded randomness.
//!
//! Invariant: everything here is deterministic in its seed and its calls, so a failure that prints
//! its seed can be run again.
//!
//! Never: built into a program; only `cfg(test)` and the feature `testing` have it.

mod clock;
mod disk_suite;
mod entropy;
mod random;
mod sim;

pub use clock::ManualClock;
pub use disk_suite::disk_suite;
pub use entropy::SeededEntropy;
pub use random::SplitMix64;
pub use sim::{Doubt, Fault, SECTOR_BYTES, SimDisk, Tap};
