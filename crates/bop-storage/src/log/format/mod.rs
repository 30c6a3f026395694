//! The bytes of the log, exactly as `docs/format.md` describes them.
//!
//! Every struct is little-endian by type, has its size asserted at compile time, and keeps its
//! reserved bytes zero. Each field says which fault it defends against. Bytes from disk become
//! trusted values in one place each: [`Stamped`], [`Activated`], [`VerifiedHeader`],
//! [`VerifiedTrailer`], [`Record`], [`SealedHeader`].
//!
//! Never: does I/O, knows which segment is active.

pub mod batch;
mod batch_decode;
mod batch_encode;
pub(crate) mod bytes;
mod catalogue;
#[cfg(test)]
mod codec_tests;
#[cfg(test)]
mod contradictions_tests;
mod decode;
mod encode;
mod image;
pub mod patch;
pub mod record;
mod record_bytes;
mod record_log;
#[cfg(test)]
mod record_log_tests;
#[cfg(test)]
mod refused_tests;
pub mod seal;
pub mod segment;
#[cfg(test)]
mod segment_tests;

pub use batch::{BatchLayout, BatchPlace};
pub use batch_decode::{
    DirectoryItem, VerifiedHeader, VerifiedRecord, VerifiedTrailer, claimed_lsn, decode_directory,
    decode_header, decode_trailer, directory_by_records, directory_of, last_directory,
    spare_parts_damage, verify_records,
};
pub use batch_encode::{BatchEntry, EncodedBatch, encode_batch, frame_batch};
pub use bytes::{RECORD_ALIGN, all_zero};
pub use catalogue::{CatalogueEntry, CatalogueOp};
pub use decode::{MemberPages, PageLocation, PagesRecord, RawRecord, Record, RecordHead};
pub use encode::{
    EncodedRecord, FragmentPart, ImageOffsets, MemberSpec, PageImage, RECORD_BYTES_MAX,
    RecordDatabases, encode_abort, encode_catalogue, encode_close, encode_note, encode_pages,
    pages_record_bytes,
};
pub use image::{ImageForm, ImageMaker, MadeImage, full_page};
pub use patch::{PATCH_CHAIN_MAX, Patch, PatchBase};
pub use record_bytes::{LARGE_BYTES_MIN, RecordBytes};
pub use record_log::{
    EntryKind, EntryLocation, EntrySpec, LogMember, LogSpec, LogsRecord, encode_logs, entry_hash,
    logs_record_bytes,
};
pub use seal::{Sealed, SealedHeader, add_batch, add_framed, seal_bytes_max};
pub use segment::{Activated, ChainHash, DATA_START, Predecessor, SegmentIdentity, Stamped};

/// The newest version of the log's format that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;
