//! Golden files of the log's format: written once for each version, read for ever.
//!
//! `tests/golden/v1/log/*.bin` are the bytes, `expected.txt` what they say. A change of the bytes is
//! a new format: it needs a new `FORMAT_VERSION`, and then `BOP_GOLDEN_BUMP=1` writes the files of
//! that version. Files of a version that exists are never written again.
#![expect(clippy::unwrap_used, reason = "helpers of tests, not tests themselves")]

use crate::log_inputs::{IDENTITY, files, patch_base};
use bop_storage::checksum::PageHash;
use bop_storage::ids::{DbId, Lsn, PageSize};
use bop_storage::io::Block;
use bop_storage::log::format::record::Encoding;
use bop_storage::log::format::{
    Activated, CatalogueOp, DATA_START, FORMAT_VERSION, FragmentPart, LogMember, MemberPages,
    Patch, RawRecord, Record, Stamped, decode_directory, decode_header, decode_trailer, entry_hash,
    full_page, spare_parts_damage, verify_records,
};
use bop_storage::point::Point;
use bop_storage::superblock::Superblock;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use zerocopy::IntoBytes;

fn directory() -> PathBuf {
    let crate_dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    crate_dir.join(format!("tests/golden/v{FORMAT_VERSION}/log"))
}

/// What all files of this version say, as text.
fn dump(files: &[(String, Vec<u8>)]) -> String {
    let mut text = String::new();
    for (name, bytes) in files {
        writeln!(text, "== {name}, {} bytes", bytes.len()).unwrap();
        match name.split(['_', '.']).next().unwrap() {
            "record" => record(&mut text, bytes, "  "),
            "segment" => segment(&mut text, bytes),
            "superblock" => superblock(&mut text, bytes),
            other => panic!("no dump for {other}"),
        }
    }
    text
}

fn superblock(text: &mut String, bytes: &[u8]) {
    for block in blocks(bytes) {
        let found = Superblock::decode(&block).unwrap();
        let Superblock {
            store,
            sequence,
            created_us,
            range_bytes,
        } = found;
        writeln!(
            text,
            "  store {store} sequence {sequence} created {created_us} range {range_bytes}"
        )
        .unwrap();
    }
}

fn segment(text: &mut String, bytes: &[u8]) {
    let blocks = blocks(bytes);
    let stamp = Stamped::decode(&blocks[0]).unwrap();
    let (id, incarnation) = (stamp.identity.segment, stamp.identity.incarnation);
    let (store, capacity) = (stamp.identity.store, stamp.capacity_bytes);
    writeln!(
        text,
        "  stamp store {store} segment {id} incarnation {incarnation} capacity {capacity}"
    )
    .unwrap();
    let (activated, mut chain) = Activated::decode(&blocks[1], &IDENTITY).unwrap();
    assert_eq!(
        Activated::decode(&blocks[2], &IDENTITY),
        Ok((activated, chain))
    );
    let before = activated.predecessor.unwrap();
    writeln!(
        text,
        "  activation epoch {} base {} time {} predecessor {} end {} hash {:016x}",
        activated.epoch,
        activated.base_lsn,
        activated.last_time_us,
        before.segment,
        before.end,
        before.hash.get(),
    )
    .unwrap();
    let mut lsn = activated.base_lsn;
    while let Some(end) = batch(text, bytes, activated.base_lsn, lsn) {
        chain = chain.extended(end.1);
        lsn = end.0;
    }
    writeln!(text, "  end {lsn} chain {:016x}", chain.get()).unwrap();
}

fn batch(text: &mut String, bytes: &[u8], base: Lsn, lsn: Lsn) -> Option<(Lsn, u64)> {
    let offset = usize::try_from(DATA_START + lsn.get() - base.get()).unwrap();
    let rest = &bytes[offset..];
    let header = decode_header(rest, &IDENTITY, lsn, rest.len() as u64).ok()?;
    let bytes = &rest[..header.length_bytes as usize];
    let directory = decode_directory(&header, bytes).unwrap();
    let damage = spare_parts_damage(&header, &directory, bytes, &IDENTITY);
    assert_eq!(damage, None);
    let trailer = decode_trailer(bytes, &IDENTITY, header.end).unwrap();
    assert_eq!(trailer.directory, directory);
    let place = header.place;
    writeln!(
        text,
        "  batch lsn {} length {} epoch {} durable {} checksum {:016x}",
        place.lsn, header.length_bytes, place.epoch, place.durable, header.checksum,
    )
    .unwrap();
    for item in &directory {
        writeln!(
            text,
            "    entry database {} {:?} offset {} bytes {} time {} checksum {:016x}",
            item.database,
            item.kind,
            item.offset_bytes,
            item.record_bytes,
            item.time_us,
            item.record_checksum,
        )
        .unwrap();
    }
    for found in verify_records(&header, &directory, bytes).unwrap() {
        writeln!(
            text,
            "    record lsn {} {}",
            found.lsn,
            kind_of(&found.record)
        )
        .unwrap();
    }
    Some((header.end, header.checksum))
}

fn kind_of(record: &Record<'_>) -> String {
    match record {
        Record::Pages(pages) => format!("{:?}", pages.part.kind()),
        Record::Abort { .. } => "Abort".to_owned(),
        Record::Catalogue(entries) => {
            let kinds = entries.iter().map(|entry| format!("{:?}", entry.op.kind()));
            kinds.collect::<Vec<_>>().join(" ")
        }
        Record::Logs(logs) => format!("{:?}", logs.kind),
        Record::Note(kind) => format!("note {kind:?}"),
        Record::Close(_) => "Close".to_owned(),
        Record::SealIndex => "SealIndex".to_owned(),
    }
}

fn record(text: &mut String, bytes: &[u8], indent: &str) {
    let checksum = bop_storage::checksum::crc64(bytes);
    let found = RawRecord(bytes).verify(checksum).unwrap();
    writeln!(text, "{indent}{} checksum {checksum:016x}", kind_of(&found)).unwrap();
    match found {
        Record::Pages(pages) => {
            let (commit, index, previous) = match pages.part {
                FragmentPart::Whole => (0, 0, 0),
                FragmentPart::Fragment {
                    commit,
                    index,
                    previous,
                }
                | FragmentPart::Last {
                    commit,
                    index,
                    previous,
                } => (commit.get(), index, previous),
            };
            let head = pages.header_checksum;
            writeln!(
                text,
                "{indent}chain {commit} index {index} previous {previous:016x} head {head:016x}"
            )
            .unwrap();
            for one in &pages.members {
                member(text, one, bytes, indent);
            }
        }
        Record::Abort { commit, database } => {
            writeln!(text, "{indent}chain {commit} database {database}").unwrap();
        }
        Record::Catalogue(entries) => {
            for entry in entries {
                let (database, parent) = (entry.database, entry.parent);
                writeln!(text, "{indent}database {database} parent {parent}").unwrap();
                writeln!(text, "{indent}{}", catalogue_op(&entry.op)).unwrap();
            }
        }
        Record::Logs(logs) => {
            for one in &logs.logs {
                log(text, one, bytes, indent);
            }
        }
        Record::Close(heads) => {
            let head = |(database, lsn): &(DbId, Lsn)| format!("{database}@{lsn}");
            let heads: Vec<String> = heads.iter().map(head).collect();
            writeln!(text, "{indent}heads {}", heads.join(" ")).unwrap();
        }
        Record::Note(_) | Record::SealIndex => {}
    }
}

fn at(point: &Point) -> String {
    format!(
        "{}@{} time {} size {} pages {} rolling {}",
        point.source,
        point.lsn,
        point.time_us,
        point.page_size.map_or(0, |size| size.get()),
        point.page_count,
        point.rolling_checksum
    )
}

fn catalogue_op(op: &CatalogueOp<'_>) -> String {
    let name = op.name().map(|name| name.escape_default().to_string());
    let says = match op {
        CatalogueOp::Create { kind, .. } => kind.name().to_owned(),
        CatalogueOp::Fork { kind, point, .. } => format!("{} of {}", kind.name(), at(point)),
        CatalogueOp::Snapshot { point, .. } => at(point),
        CatalogueOp::Adopt { from } => format!("all of {from}"),
        CatalogueOp::Retention { window_us, bytes } => format!("window {window_us} bytes {bytes}"),
        CatalogueOp::Quota { bytes } => format!("bytes {bytes}"),
        CatalogueOp::Drop { keep_us } if *keep_us > 0 => format!("kept {keep_us}"),
        CatalogueOp::Rename { .. }
        | CatalogueOp::Drop { .. }
        | CatalogueOp::Undrop { .. }
        | CatalogueOp::SnapshotDrop { .. } => "nothing more".to_owned(),
    };
    format!("name {} with {says}", name.as_deref().unwrap_or("-"))
}

fn member(text: &mut String, member: &MemberPages, bytes: &[u8], indent: &str) {
    writeln!(
        text,
        "{indent}member {} parent {} rolling {} pages {} least {} size {}",
        member.database,
        member.parent,
        member.rolling,
        member.page_count,
        member.page_count_min,
        member.page_size.get(),
    )
    .unwrap();
    for page in &member.pages {
        let start = page.image_offset as usize;
        let image = &bytes[start..start + page.form.bytes()];
        let content = match page.form.encoding() {
            Encoding::Patch => patched(image, member.page_size),
            _ => full_page(page.form, image, member.page_size)
                .unwrap()
                .to_vec(),
        };
        let hash = PageHash::of(page.page, &content);
        assert_eq!(hash, page.hash);
        let bytes = page.form.bytes();
        let encoding = page.form.encoding();
        writeln!(
            text,
            "{indent}  page {} at {start} bytes {bytes} {encoding:?} hash {hash}",
            page.page,
        )
        .unwrap();
        if let Ok(patch) = Patch::parse(image, member.page_size) {
            writeln!(text, "{indent}    {:?}", patch.base()).unwrap();
        }
    }
}

/// The page of a golden patch.
fn patched(image: &[u8], size: PageSize) -> Vec<u8> {
    let mut page = patch_base();
    Patch::parse(image, size).unwrap().apply(&mut page);
    page
}

fn log(text: &mut String, log: &LogMember, bytes: &[u8], indent: &str) {
    writeln!(
        text,
        "{indent}log {} parent {} first {} behind term {} next {} vote {}",
        log.database, log.parent, log.first, log.first_term, log.next, log.vote,
    )
    .unwrap();
    for entry in &log.entries {
        let start = entry.offset as usize;
        let payload = &bytes[start..start + entry.bytes as usize];
        let hash = entry_hash(log.database, entry.kind, entry.index, entry.term, payload);
        assert_eq!(hash, entry.hash);
        writeln!(
            text,
            "{indent}  {:?} {} term {} old {} at {start} hash {hash:016x} payload {:?}",
            entry.kind,
            entry.index,
            entry.term,
            entry.old,
            String::from_utf8_lossy(payload),
        )
        .unwrap();
    }
}

fn blocks(bytes: &[u8]) -> Vec<Block> {
    let mut blocks = vec![Block::ZERO; bytes.len() / 4096];
    blocks.as_mut_slice().as_mut_bytes().copy_from_slice(bytes);
    blocks
}

#[test]
fn fixed_inputs_make_the_golden_bytes_and_the_golden_bytes_say_what_they_said() {
    let (directory, made) = (directory(), files());
    let expected = directory.join("expected.txt");
    if std::env::var_os("BOP_GOLDEN_BUMP").is_some_and(|bump| bump == "1") {
        assert!(
            !expected.exists(),
            "format version {FORMAT_VERSION} has its golden files: raise FORMAT_VERSION first"
        );
        fs::create_dir_all(&directory).unwrap();
        for (name, bytes) in &made {
            fs::write(directory.join(name), bytes).unwrap();
        }
        fs::write(&expected, dump(&made)).unwrap();
    }
    let mut golden = Vec::new();
    for (name, bytes) in &made {
        let file = fs::read(directory.join(name)).expect(name);
        assert!(
            *bytes == file,
            "{name}: the encoder makes other bytes than it did"
        );
        golden.push((name.clone(), file));
    }
    let said = fs::read_to_string(&expected).expect("expected.txt");
    let says = dump(&golden);
    for (index, (old, new)) in said.lines().zip(says.lines()).enumerate() {
        assert_eq!(old, new, "line {} of expected.txt", index + 1);
    }
    assert_eq!(said, says);
    let names = fs::read_dir(&directory).unwrap().count();
    assert_eq!(names, made.len() + 1, "a golden file that no test reads");
}
