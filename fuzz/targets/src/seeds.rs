//! The first inputs of each target: what the engine writes, of the golden files where there are some.
//!
//! Never: an input that finds a bug; those are added to the corpus as they are.

#![expect(
    clippy::unwrap_used,
    reason = "a tool of the developers: a panic tells them what is wrong"
)]

use crate::checksums::struct_at;
use crate::files::directory;
use crate::input::Input;
use crate::log_builder::LogBuilder;
use crate::manifest_rows::STORE;
use bop_libsql::rusqlite::Connection;
use bop_storage::Limits;
use bop_storage::checksum::crc64;
use bop_storage::io::layout::MANIFEST_DIR;
use bop_storage::log::format::{RawRecord, Record};
use bop_storage::manifest::{LmdbManifest, Manifest, Table, ValueHeader, Write};
use std::fs;
use std::path::PathBuf;

/// A target, the input's name, the input.
pub type Seed = (&'static str, String, Vec<u8>);

/// All seeds.
pub fn all() -> Vec<Seed> {
    let mut all = texts();
    let records = golden_records();
    all.extend(
        records
            .iter()
            .cloned()
            .map(|(name, bytes)| ("record", name, bytes)),
    );
    all.extend(logs(&records));
    all.extend(patches(&records));
    all.extend(files());
    all.extend(rows());
    all.extend(lmdb());
    all.extend(sqlite());
    all.extend(conversations());
    all
}

fn golden(name: &str) -> Vec<u8> {
    let crates = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../crates");
    fs::read(crates.join("bop-storage/tests/golden").join(name)).unwrap()
}

/// `record_NAME.bin` of the log's golden files, by name.
fn golden_records() -> Vec<(String, Vec<u8>)> {
    let expected = String::from_utf8(golden("v1/log/expected.txt")).unwrap();
    let names = expected.lines().filter_map(|line| {
        let (file, _) = line.strip_prefix("== record_")?.split_once(".bin")?;
        Some(file.to_owned())
    });
    let read = |name: String| {
        let bytes = golden(&format!("v1/log/record_{name}.bin"));
        (name, bytes)
    };
    names.map(read).collect()
}

fn texts() -> Vec<Seed> {
    let mut all = Vec::new();
    let at = [
        "now",
        "snapshot:before",
        "lsn:4096",
        "time:2026-03-01T12:00:00Z",
        "time:2026-03-01",
        "time:2026-03-01 12:00:00.5",
    ];
    for (nth, text) in at.into_iter().enumerate() {
        all.push(("at", nth.to_string(), text.as_bytes().to_vec()));
    }
    let names = [
        ("Orders", "oRDERS"),
        ("caf\u{e9}", "cafe\u{301}"),
        ("stra\u{df}e", "STRASSE"),
        ("../etc/passwd", ".hidden"),
        ("~unfinished-1", "~Unfinished-1"),
        ("a\u{202e}b", "con"),
    ];
    for (nth, (one, other)) in names.into_iter().enumerate() {
        let bytes = [&list(one.as_bytes())[..], other.as_bytes()].concat();
        all.push(("names", nth.to_string(), bytes));
    }
    let operations: [&[u8]; 4] = [
        &[
            0, 0, 0, 1, 0, 9, 1, 0, 23, 6, 0, 0, 1, 0, 3, 8, 0, 0, 1, 0, 7, 14, 0, 9,
        ],
        &[
            0, 0, 0, 1, 0, 63, 0, 0, 0, 5, 0, 4, 6, 0, 0, 9, 0, 0, 2, 2, 40, 11, 0, 0, 6, 0, 0, 13,
            0, 0,
        ],
        &[
            0, 0, 0, 1, 0, 40, 8, 0, 0, 2, 0, 95, 10, 0, 0, 3, 0, 17, 12, 0, 0, 6, 0, 0, 15, 0, 2,
            15, 0, 1,
        ],
        &[
            0, 0, 0, 4, 0, 3, 15, 0, 0, 15, 0, 1, 15, 0, 2, 15, 0, 3, 6, 0, 0, 15, 0, 9, 14, 0, 1,
        ],
    ];
    for (nth, ops) in operations.into_iter().enumerate() {
        all.push(("operations", nth.to_string(), ops.to_vec()));
    }
    all
}

const HELLO: &str = r#"{"hello":{"protocol":2}}"#;

/// One of each kind of message, by name.
const SAID: [(&str, &[&str]); 9] = [
    (
        "list",
        &[
            HELLO,
            r#"{"run":{"json":true,"progress":false,"request":"list"}}"#,
        ],
    ),
    (
        "drop",
        &[
            HELLO,
            r#"{"run":{"json":false,"progress":false,"request":{"drop":{"database":"orders","yes":false,"now":true}}}}"#,
            r#"{"answer":{"code":"usage","message":"not dropped","hint":null,"reader_left":false}}"#,
            r#"{"answer":null}"#,
        ],
    ),
    (
        "backup",
        &[
            r#"{"run":{"json":true,"progress":true,"request":{"backup":{"dir":"/kept","keep":2,"copy":true}}}}"#,
        ],
    ),
    (
        "past",
        &[
            r#"{"run":{"json":true,"progress":false,"request":{"fork":{"database":"a","new_name":"b","at":"time:2026-03-01T12:00:00Z"}}}}"#,
            r#"{"run":{"json":true,"progress":false,"request":{"restore":{"database":"a","at":"snapshot:before"}}}}"#,
            r#"{"run":{"json":true,"progress":false,"request":{"retention":{"database":"a","change":{"window_us":9,"bytes":null,"default":true}}}}}"#,
        ],
    ),
    (
        "follow",
        &[
            r#"{"run":{"json":false,"progress":false,"request":{"commits":{"database":null,"feed":{"from":1,"cursor":"c","follow":true}}}}}"#,
        ],
    ),
    (
        "sql",
        &[
            HELLO,
            r#"{"sql":{"database":"orders","at":"lsn:4096","create":true,"write":true}}"#,
            r#"{"piece":{"sql":"select 1","mode":"list","header":false}}"#,
        ],
    ),
    (
        "told",
        &[
            r#"{"welcome":{"protocol":2}}"#,
            r#"{"ask":{"name":"orders","question":"Drop it?"}}"#,
            r#"{"progress":{"done":1,"total":2}}"#,
            r#"{"done":{"status":3,"in_transaction":true}}"#,
        ],
    ),
    (
        "failed",
        &[
            r#"{"failed":{"code":"database_not_found","message":"no database \"x\"","hint":"did you mean \"y\"?","reader_left":false}}"#,
        ],
    ),
    (
        "refused",
        &[
            r#"{"refused":{"failure":{"code":"sql","message":"syntax error","hint":null,"reader_left":false},"offset":7}}"#,
        ],
    ),
];

/// What is said over the control socket: by clients, and by the owner of a store.
fn conversations() -> Vec<Seed> {
    let framed = |kind: u8, payload: &[u8]| {
        let length = u32::try_from(payload.len() + 1).unwrap();
        [&length.to_le_bytes()[..], &[kind], payload].concat()
    };
    let mut all: Vec<Seed> = SAID
        .into_iter()
        .map(|(name, messages)| {
            let frames = messages.iter().map(|one| framed(0, one.as_bytes()));
            (
                "frames",
                name.to_owned(),
                frames.collect::<Vec<_>>().concat(),
            )
        })
        .collect();
    let bytes = [framed(1, b"1|2\n"), framed(0, b"[[[["), framed(7, b"?")].concat();
    all.push(("frames", "bytes".to_owned(), bytes));
    all.push(("frames", "long".to_owned(), u32::MAX.to_le_bytes().to_vec()));
    all
}

/// Bytes behind their length.
fn list(bytes: &[u8]) -> Vec<u8> {
    let count = u16::try_from(bytes.len()).unwrap();
    [&count.to_le_bytes(), bytes].concat()
}

/// Logs of the golden records, in batches of four.
fn logs(records: &[(String, Vec<u8>)]) -> Vec<Seed> {
    let honest = |name: &str| !name.starts_with("patch");
    let batch = |records: &[&(String, Vec<u8>)]| {
        let mut bytes = vec![3, 0];
        bytes.extend(records.iter().flat_map(|(_, record)| list(record)));
        bytes
    };
    let chosen: Vec<&(String, Vec<u8>)> = records.iter().filter(|one| honest(&one.0)).collect();
    let small: Vec<_> = chosen
        .iter()
        .copied()
        .filter(|one| one.1.len() < 200)
        .collect();
    let mut all = Vec::new();
    let mut whole = vec![1];
    for four in chosen.chunks(4) {
        whole.extend(batch(four));
    }
    all.push(("record_stream", "all".to_owned(), whole.clone()));
    whole.extend([8, 0, 0x10, 0x30, 1]);
    all.push(("record_stream", "flipped".to_owned(), whole));
    for (name, next) in [("indexed", 5), ("scanned", 6), ("epochs", 7)] {
        let mut bytes = vec![1];
        for (nth, four) in small.chunks(4).take(6).enumerate() {
            bytes.extend(batch(four));
            if nth % 2 == 1 {
                bytes.push(next);
            }
        }
        bytes.extend([8, 0, 0x40, 0x30, 1]);
        all.push(("record_stream", name.to_owned(), bytes));
    }
    // As it is in a file.
    let mut log = LogBuilder::new(true);
    log.batch(&mut Input::new(&batch(&small[..4])[2..]), 4, 0);
    let mut file = log.files[0][..5 * 4096].to_vec();
    file[48..56].copy_from_slice(&(5 * 4096_u64).to_le_bytes());
    all.push(("segment_header", "active".to_owned(), file.clone()));
    file[4096..].fill(0);
    file.truncate(4 * 4096);
    file[48..56].copy_from_slice(&(4 * 4096_u64).to_le_bytes());
    all.push(("segment_header", "spare".to_owned(), file[..4200].to_vec()));
    all
}

/// The images of the golden patches, and two pages.
fn patches(records: &[(String, Vec<u8>)]) -> Vec<Seed> {
    let mut all = Vec::new();
    for (name, bytes) in records.iter().filter(|one| one.0.starts_with("patch")) {
        let Ok(Record::Pages(pages)) = RawRecord(bytes).verify(crc64(bytes)) else {
            panic!("{name} is no commit");
        };
        let page = pages.members[0].pages[0];
        let image = &bytes[page.image_offset as usize..][..page.form.bytes()];
        let old: Vec<u8> = (0..512_u32).map(|at| (at * 2 + (at >> 8)) as u8).collect();
        let mut new = old.clone();
        new[3..9].copy_from_slice(b"change");
        let input = [&[0], &list(image)[..], &old, &new].concat();
        all.push(("patch", name.clone(), input));
    }
    all
}

fn files() -> Vec<Seed> {
    let mut superblock = golden("v1/log/superblock.bin");
    superblock.truncate(4096 + 64);
    let mut all = vec![
        ("superblock", "golden".to_owned(), superblock),
        (
            "seal_index",
            "golden".to_owned(),
            golden("v1/seal_index.bin"),
        ),
    ];
    for version in ["v1", "v2", "v3"] {
        let chunk = golden(&format!("{version}/chunk.bin"));
        all.push(("chunk", version.to_owned(), chunk));
    }
    for version in ["v1", "v2"] {
        let section = golden(&format!("{version}/manifest/catalogue_section.bin"));
        all.push(("catalogue_section", version.to_owned(), section));
    }
    let delta = golden("v2/manifest/catalogue_delta.bin");
    all.push(("catalogue_section", "delta".to_owned(), delta));
    all
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// The golden rows without their envelopes: all of them, those of each table, and the changes.
fn rows() -> Vec<Seed> {
    let mut all = Vec::new();
    for version in ["v1", "v2"] {
        let dump = String::from_utf8(golden(&format!("{version}/manifest/rows.txt"))).unwrap();
        let mut whole = Vec::new();
        let mut changes = vec![0];
        changes.extend([1_u64, 20].map(u64::to_le_bytes).concat());
        for line in dump.lines() {
            let parts: Vec<&str> = line.split(' ').collect();
            let mut tables = Table::ALL.into_iter();
            let table = tables.position(|table| table.name() == parts[0]).unwrap();
            let (key, value) = (unhex(parts[1]), unhex(parts[2]));
            let header: ValueHeader = struct_at(&value, 0).unwrap();
            let row = &value[size_of::<ValueHeader>()..];
            let head = [u8::try_from(table).unwrap(), header.version.get() as u8];
            if Table::ALL[table] == Table::Meta {
                continue;
            }
            whole.extend([&head, &list(&key)[..], &list(row)].concat());
            if Table::ALL[table] == Table::Changes {
                changes.extend(list(row));
            }
        }
        all.push(("manifest_rows", version.to_owned(), whole));
        all.push(("change_record", version.to_owned(), changes));
    }
    all
}

/// The manifest of a new store, and one with branches, large values and free pages.
fn lmdb() -> Vec<Seed> {
    let limits = Limits::tiny().validated().unwrap();
    let made = |rows: u32| {
        let dir = directory();
        let initial = Manifest::initial_writes(STORE).unwrap();
        let manifest = LmdbManifest::create(dir.path(), &limits, &initial).unwrap();
        let put = |number: u32, bytes: usize| Write::Put {
            table: Table::Chunks,
            key: u64::from(number).to_be_bytes().to_vec(),
            value: vec![number as u8; bytes],
        };
        use bop_storage::manifest::ManifestStore as _;
        let writes: Vec<Write> = (0..rows).map(|number| put(number, 400)).collect();
        manifest.commit(&writes).unwrap();
        if 0 < rows {
            manifest.commit(&[put(rows, 5000)]).unwrap();
            manifest.commit(&[put(0, 30)]).unwrap();
        }
        manifest.close();
        fs::read(dir.path().join(MANIFEST_DIR).join("data.mdb")).unwrap()
    };
    vec![
        ("lmdb", "new".to_owned(), made(0)),
        ("lmdb", "branches".to_owned(), made(12)),
    ]
}

/// Files of SQLite with small pages.
fn sqlite() -> Vec<Seed> {
    let made = |name: &str, settings: &str| {
        let dir = directory();
        let path = dir.path().join("d.sqlite");
        let connection = Connection::open(&path).unwrap();
        let rows = "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT); CREATE INDEX i ON t(b);
            INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, hex(zeroblob(300)));";
        let script = format!("PRAGMA page_size = 512; {settings}; {rows}");
        connection.execute_batch(&script).unwrap();
        drop(connection);
        ("import_file", name.to_owned(), fs::read(path).unwrap())
    };
    vec![
        made("plain", "PRAGMA user_version = 7"),
        made("utf16", "PRAGMA encoding = 'UTF-16be'"),
        made("vacuum", "PRAGMA auto_vacuum = FULL"),
        made("wal", "PRAGMA journal_mode = WAL"),
        ("import_file", "empty".to_owned(), Vec::new()),
    ]
}
