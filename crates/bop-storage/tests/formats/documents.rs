//! `docs/format.md`, `docs/format-manifest.md` and `docs/format-backup.md` say what the code does: every table of fields is compared with its struct.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use bop_storage::backup::format::{
    BackupChunk, BackupHeader, BackupRow, BackupRows, BackupSegment, BackupState, TargetBytes,
    VerifiedBytes,
};
use bop_storage::catalogue::{
    SectionEntry as CatalogueSectionEntry, SectionHeader as CatalogueSectionHeader,
    SectionSnapshot as CatalogueSectionSnapshot,
};
use bop_storage::log::format::batch::{BatchHeader, BatchTrailer, DirectoryEntry};
use bop_storage::log::format::patch::{PatchHeader, PatchRun};
use bop_storage::log::format::record::{
    Abort, Catalogue, CatalogueKind, CloseHead, LogEntry, LogGroup, LogRecord, Member, Note,
    PageEntry, PageRecord, RecordHeader, RecordKind,
};
use bop_storage::log::format::seal::SealHeader;
use bop_storage::log::format::segment::{Activation, Stamp};
use bop_storage::manifest::{
    ChangeBytes, ChunkBytes, ClosedBytes, CursorBytes, DatabaseBytes, FeedBytes, GenerationBytes,
    JobBytes, JobIdsBytes, LinkBytes, MetaBytes, PolicyBytes, RangeBytes, RunBytes, SalvageBytes,
    ScrubBytes, SegmentBytes, SnapshotBytes, ValueHeader, WatermarkBytes,
};
use bop_storage::pagestore::format::{ChunkFooter, ChunkHeader, CommitPoint, SectionEntry, Slot};
use bop_storage::point::PointBytes;
use bop_storage::superblock::SuperblockSlot;
use std::collections::BTreeMap;

const DOC: &str = concat!(
    include_str!("../../../../docs/format.md"),
    "\n",
    include_str!("../../../../docs/format-manifest.md"),
    "\n",
    include_str!("../../../../docs/format-backup.md"),
);

/// A struct's size and its fields: offset, size, name.
type Layout = (usize, Vec<(usize, usize, String)>);

fn field_bytes<S, F>(_: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

macro_rules! layouts {
    ($($name:ident { $($field:ident),+ $(,)? })+) => {
        BTreeMap::from([$((
            stringify!($name).to_owned(),
            (
                size_of::<$name>(),
                vec![$((
                    std::mem::offset_of!($name, $field),
                    field_bytes(|whole: &$name| &whole.$field),
                    stringify!($field).to_owned(),
                )),+],
            ),
        )),+])
    };
}

fn all_layouts() -> BTreeMap<String, Layout> {
    let mut all = layouts_of_the_code();
    all.extend(layouts_of_backups());
    all
}

fn layouts_of_backups() -> BTreeMap<String, Layout> {
    layouts! {
        BackupHeader {
            magic, format_version, segments, store_id, number, lsn, state_us, made_us, index_bytes, rows_bytes,
            rows_digest, created_us, range_bytes, chunks, states, checksum,
        }
        BackupSegment { segment_id, incarnation, capacity_bytes, base_lsn, end_lsn, digest }
        BackupChunk { chunk_id, file_bytes, digest }
        BackupState { database, lsn, size, rolling_checksum, page_size, kind, what, name_bytes }
        BackupRows { magic, format_version, reserved, rows }
        BackupRow { table, key_bytes, reserved, value_bytes }
        VerifiedBytes { magic, format_version, reserved, store_id, number, lsn, verified_us, index_checksum, checksum }
        TargetBytes { magic, format_version, path_bytes, checksum }
    }
}

fn layouts_of_the_code() -> BTreeMap<String, Layout> {
    layouts! {
        SuperblockSlot { magic, format_version, reserved, store_id, sequence, created_us, range_bytes, checksum }
        Stamp { magic, format_version, reserved, store_id, segment_id, incarnation, capacity_bytes, checksum }
        Activation { magic, epoch, base_lsn, last_time_us, predecessor_id, predecessor_end, predecessor_hash, checksum }
        SealHeader { magic, base_lsn, end_lsn, chain_hash, body_bytes, batches, reserved, body_checksum, checksum }
        BatchHeader { magic, entries, length_bytes, flags, lsn, epoch, durable_lsn, directory_checksum, reserved, checksum }
        DirectoryEntry { database, offset_bytes, record_bytes, time_us, record_checksum, kind, flags, reserved }
        BatchTrailer { checksum, lsn, epoch, entries, length_bytes, reserved, magic }
        RecordHeader { kind, flags, header_bytes, record_bytes, header_checksum }
        PageRecord { commit_id, fragment_index, members, reserved, running_checksum }
        Member { database, parent_lsn, rolling_checksum, page_count, page_count_min, page_size, entries }
        PageEntry { page, image_bytes, hash, encoding, reserved }
        PatchHeader { checksum, base_version, base_image, base_hash, base_bytes, base_encoding, depth, runs }
        PatchRun { offset, bytes }
        Abort { commit_id, database }
        Catalogue { kind, name_bytes, database_kind, reserved, database, parent_lsn, arguments }
        LogGroup { logs, reserved }
        LogRecord { database, parent_lsn, first_index, first_term, next_index, vote_lsn, entries, reserved }
        LogEntry { index, term, old_lsn, hash, payload_bytes, kind }
        Note { kind, reserved }
        CloseHead { database, head_lsn }
        ChunkHeader { magic, format_version, reserved, store_id, chunk_id, checksum }
        ChunkFooter { checksum, directory_offset, directory_checksum, chunk_bytes, digest, sections, format_version, magic }
        SectionEntry {
            kind, flags, page_size, database, generation, cut_lsn, rolling_checksum, page_count,
            range, first_page, pages, slots, page_count_min, start_offset, index_offset, index_checksum,
            payload_offset, payload_bytes, payload_checksum, since_lsn, inherited, reserved,
        }
        Slot { version_lsn, hash, body_offset, page, body_bytes, encoding, reserved, checksum }
        CommitPoint { lsn, time_us, rolling_checksum, page_count, page_count_min, flags, reserved }
        ValueHeader { version, reserved, checksum }
        MetaBytes { schema_version, reserved, store }
        DatabaseBytes {
            kind, state, name_bytes, page_size, created_us, dropped_us, catalogue_lsn, generation,
            head_lsn, head_time_us, page_count, reserved, rolling_checksum, until_us, policy, origin,
        }
        PointBytes { source, lsn, time_us, rolling_checksum, page_count, page_size }
        SnapshotBytes { point, created_us, name_bytes, reserved }
        PolicyBytes { retention_us, retention_bytes, quota_bytes }
        SegmentBytes { incarnation, capacity_bytes }
        ChunkBytes { file_bytes, references, digest }
        RangeBytes { chunk, section, pages }
        LinkBytes { chunk, bytes, section, pages, kind, reserved }
        GenerationBytes {
            lsn, time_us, rolling_checksum, history_chunk, history_bytes, history_section, page_size,
            page_count, page_count_min, inherited, reserved,
        }
        WatermarkBytes { checkpointed, truncated, catalogue, next_database, next_chunk, next_segment }
        SalvageBytes { incarnation, capacity_bytes, base_lsn, end_lsn }
        ClosedBytes { segment, lsn, from_lsn, to_lsn, place, reason_bytes, reserved }
        ChangeBytes { kind, name_bytes, reserved, time_us, database, number, lsn }
        FeedBytes { feed, first, next, next_cursor }
        CursorBytes { feed, position, database, created_us, seen_us, lease_us, kind, name_bytes, reserved }
        RunBytes { epoch, boot, opened_us, closed_us, pid, reserved }
        JobBytes { kind, state, attempts, code_bytes, place_bytes, reason_bytes, reserved, database, token, holder, moment_us, created_us, updated_us }
        JobIdsBytes { next }
        ScrubBytes { job, finished_us, bytes, pages, reserved }
        CatalogueSectionHeader { magic, version, reserved, cursors, section_bytes, entries, next_id, last_lsn, checksum, since_lsn, forgotten, snapshots }
        CatalogueSectionEntry { id, created_us, dropped_us, lsn, kind, state, name_bytes, reserved, until_us, policy, origin }
        CatalogueSectionSnapshot { owner, lsn, snapshot }
    }
}

/// The tables under headings like ``### `Stamp` (64 bytes)``.
fn layouts_of_the_doc() -> BTreeMap<String, Layout> {
    let mut layouts: BTreeMap<String, Layout> = BTreeMap::new();
    let mut current = None;
    for line in DOC.lines() {
        if let Some(heading) = line.strip_prefix('#') {
            current = heading_of_a_struct(heading);
            if let Some((name, bytes)) = &current {
                let before = layouts.insert(name.clone(), (*bytes, Vec::new()));
                assert!(before.is_none(), "{name} is described twice");
            }
            continue;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (Some((name, _)), [_, offset, size, field, ..]) = (&current, cells.as_slice()) else {
            continue;
        };
        let (Ok(offset), Ok(size)) = (offset.parse(), size.parse()) else {
            continue;
        };
        let field = field.trim_matches('`').to_owned();
        let layout = layouts.get_mut(name).expect("inserted at its heading");
        layout.1.push((offset, size, field));
    }
    layouts
}

fn heading_of_a_struct(heading: &str) -> Option<(String, usize)> {
    let (name, rest) = heading
        .trim_matches(['#', ' '])
        .strip_prefix('`')?
        .split_once('`')?;
    let bytes = rest.trim().strip_prefix('(')?.strip_suffix(" bytes)")?;
    Some((name.to_owned(), bytes.parse().expect("bytes in a heading")))
}

#[test]
fn every_table_of_fields_is_the_struct_and_every_struct_has_a_table() {
    let (code, doc) = (all_layouts(), layouts_of_the_doc());
    for (name, layout) in &code {
        assert_eq!(Some(layout), doc.get(name), "{name}");
    }
    let undescribed: Vec<&String> = doc
        .keys()
        .filter(|name| !code.contains_key(*name))
        .collect();
    assert_eq!(undescribed, [""; 0], "tables without a struct in this test");
}

#[test]
fn fields_follow_each_other_without_gaps() {
    for (name, (bytes, fields)) in all_layouts() {
        let mut end = 0;
        for (offset, size, field) in fields {
            assert_eq!(offset, end, "{field} of {name}");
            end = offset + size;
        }
        assert_eq!(end, bytes, "{name}");
    }
}

/// The rows ``| number | `Name` |`` under the heading, whatever stands in further columns.
fn numbered_rows(heading: &str) -> Vec<(u16, String)> {
    let (_, section) = DOC.split_once(heading).expect("heading in the doc");
    let section = section.split("\n#").next().unwrap_or(section);
    let row = |line: &str| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let number = cells.next()?.parse().ok()?;
        let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        Some((number, name.to_owned()))
    };
    section.lines().filter_map(row).collect()
}

#[test]
fn the_kinds_have_the_numbers_of_the_doc() {
    let code: Vec<(u16, String)> = RecordKind::ALL
        .iter()
        .map(|kind| (kind.code(), format!("{kind:?}")))
        .collect();
    assert_eq!(numbered_rows("\n### Records\n"), code);

    let code: Vec<(u16, String)> = CatalogueKind::ALL
        .iter()
        .map(|kind| (*kind as u16, format!("{kind:?}")))
        .collect();
    assert_eq!(numbered_rows("\n### `Catalogue` (64 bytes)\n"), code);
}
