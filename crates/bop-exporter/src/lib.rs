//! `bop-exporter`: a store that is in use, over HTTP: metrics for Prometheus, health for whoever restarts or routes,
//! and a page for people.
//!
//! An [`Exporter`] asks a [`Source`]: the store that this process has open ([`bop_storage::Manager`]), or the process that
//! has it open, over its control socket ([`StoreSocket`]). It answers at
//!
//! | path | answer |
//! |---|---|
//! | `/` | the page |
//! | `/metrics` | Prometheus' text format 0.0.4: what `docs/metrics.md` lists, and `bop_up` |
//! | `/healthz` | 200 where `bop status` exits with 0, else 503; JSON with the reasons |
//! | `/readyz` | 200 where commits are taken now, else 503; the same JSON |
//! | `/api/status`, `/api/stats`, `/api/list`, `/api/space` | byte for byte what `bop status --json` and so on print |
//!
//! | module | owns |
//! |---|---|
//! | `options` | what an embedder may choose, and the bounds that he may not |
//! | `source` | who is asked |
//! | `desk` | the asking: one at a time of a kind, on threads of its own, with a deadline |
//! | `page` | the page |
//! | `routes` | which request gets which answer |
//! | `guests` | the connections: how many, how long, who gives way |
//! | `exporter` | the threads, their start and their end |
#![deny(unsafe_code)]

mod options;
mod source;

mod desk;
mod page;
mod routes;

mod guests;

mod exporter;

pub use exporter::Exporter;
pub use options::{CONNECTIONS_MAX, DEFAULT_ADDRESS, Options};
pub use source::{ANSWER_BYTES_MAX, Source, StoreSocket};
