//! What the fuzz targets do: each takes bytes from whoever, and panics where the engine does or where it
//! believes what it must not.
//!
//! ```text
//! fuzz/fuzz_targets/NAME.rs   libFuzzer, nightly        --.
//! bop-cli/tests/fuzz_corpus   the committed corpus, stable --> bop_fuzz_targets::NAME(bytes)
//! fuzz/corpus/NAME/*          inputs: seeds of the golden files, what found a bug, what reached far
//! ```
//! Bytes with checksums are tried twice, as they are and [made right](checksums): a checksum would stop
//! every mutation at once, and whoever forges a file forges its checksums too. Inputs are read by a
//! cursor of ours instead of `arbitrary`, whose lengths stand at the end, so that seeds can be written.
//!
//! Invariants
//! - a target keeps nothing between two inputs that changes what it does;
//! - what it allocates for itself is bounded by [`INPUT_BYTES_MAX`].
//!
//! Never: catches a panic.
#![deny(unsafe_code)]

mod catalogue_section;
mod change_record;
mod checksums;
mod chunk;
mod files;
mod frames;
mod import_file;
mod input;
mod lmdb;
mod log_builder;
mod manifest_rows;
mod operations;
mod patch;
mod record;
mod record_stream;
mod seal_index;
pub mod seeds;
mod segment_header;
mod superblock;
mod text;

pub use catalogue_section::catalogue_section;
pub use change_record::change_record;
pub use chunk::chunk;
pub use frames::frames;
pub use import_file::import_file;
pub use lmdb::lmdb;
pub use manifest_rows::manifest_rows;
pub use operations::operations;
pub use patch::patch;
pub use record::record;
pub use record_stream::record_stream;
pub use seal_index::seal_index;
pub use segment_header::segment_header;
pub use superblock::superblock;
pub use text::{at, names};

/// A target: its name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets. Each has a program in `fuzz_targets` and a directory in `corpus`.
pub const TARGETS: [Target; 16] = [
    ("at", at),
    ("catalogue_section", catalogue_section),
    ("change_record", change_record),
    ("chunk", chunk),
    ("frames", frames),
    ("import_file", import_file),
    ("lmdb", lmdb),
    ("manifest_rows", manifest_rows),
    ("names", names),
    ("operations", operations),
    ("patch", patch),
    ("record", record),
    ("record_stream", record_stream),
    ("seal_index", seal_index),
    ("segment_header", segment_header),
    ("superblock", superblock),
];

/// No target looks at more of an input.
pub const INPUT_BYTES_MAX: usize = 64 << 10;
