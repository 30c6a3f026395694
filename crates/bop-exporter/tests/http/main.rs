//! The exporter over real connections: what it answers, who asks whom, and what no client can do to it.

mod answers;
mod browser;
mod figures;
mod guests;
mod looks;
mod page;
mod rig;
mod sources;
