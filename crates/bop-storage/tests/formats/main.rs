//! The bytes of every format, by golden files that are written once for each version and read for
//! ever, and the documents that describe them.
//!
//! `cargo xtask golden` runs these tests. With `--bump` they write the files of a new version, one
//! after the other: the index of a sealed segment is made of the log's files.

mod chunk;
mod documents;
mod log;
mod log_inputs;
mod manifest;
mod manifest_rows;
mod seal;
