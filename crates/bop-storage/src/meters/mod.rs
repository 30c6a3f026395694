//! What a store measures about itself.
//!
//! ```text
//!   leader, retry thread, disk, housekeeper --> instruments of this store --> Report --> Prometheus text, JSON
//!                                                    '--> the `metrics` recorder of the application
//! ```
//! Invariants
//! - each open store has instruments of its own: two stores of one process are never mixed;
//! - no label names a database, a path or anything else that users make up;
//! - what the commit path measures it measures once a batch, with instruments that are there since
//!   the store was opened: no look-up, no allocation. Only how long a commit took is measured for each,
//!   by whoever waited for it, with one that no crowd queues for.
//!
//! Never: decides anything; the engine does the same without it.

mod instruments;
pub(crate) mod list;
mod report;
mod store;
mod summary;

pub use list::{METRICS, Metric, MetricKind};
pub use report::{MetricFamily, MetricSample, MetricValue, MetricsReport, SummaryValue};
pub use store::{Batch, StoreMeters};

pub(crate) use store::Levels;
