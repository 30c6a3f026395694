//! Models of the log: its real code, run in thousands of chosen schedules.
//!
//! How they are run, and run again, stands in [`crate::runtime::models`].
//!
//! Invariant: nothing in a model depends on the clock or on chance that the scheduler does not have.
//!
//! Never: a copy of the log's code.

mod disk;
mod exposed;
mod hand_off;
mod panics;
mod publication;
mod rig;
mod shutdown;
mod swap;

pub(crate) use crate::runtime::models::explore;
pub(crate) use disk::moment;
pub(crate) use rig::{record, start_log};
