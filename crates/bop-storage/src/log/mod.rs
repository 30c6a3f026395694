//! The write-ahead log: one sequence of records for all databases of a store.

pub mod format;
pub mod recover;
pub mod scan;
pub mod tail_rule;
