//! The manifest and the catalogue above their store: what they accept, what damage and failed or
//! hanging commits leave, against models and at the edges. The store itself has `manifest_lmdb`.

mod catalogue_model;
mod catalogue_names;
mod catalogue_rows;
mod commit_cursors;
mod commit_cursors_killed;
mod commit_cursors_model;
mod commit_cursors_race;
mod damaged_rows;
mod feed_model;
mod feed_rig;
mod feeds;
mod flips;
mod gates;
mod generations;
mod job_model;
mod jobs;
mod kept_log;
mod lineage;
mod lineage_model;
mod lineage_reference;
mod lineage_rows;
mod map_growth;
mod model;
mod operations;
mod panics;
mod reader_table;
mod refused;
mod rows;
mod stalls;
mod ten_subscribers;
mod trimming;
mod typed_model;
mod worker;
mod writer;
