//! LMDB's table of readers, when something else has written to its file.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bop_storage::limits::{Limits, ValidLimits};
use bop_storage::manifest::{LmdbManifest, ManifestStore, Table, Write};
use std::fs;
use std::path::Path;

const ROWS: u64 = 1_000;

fn limits() -> ValidLimits {
    Limits::tiny().validated().unwrap()
}

fn put(number: u64) -> Write {
    Write::Put {
        table: Table::Chunks,
        key: number.to_be_bytes().to_vec(),
        value: vec![7; 100],
    }
}

fn make(dir: &Path) -> LmdbManifest {
    let rows: Vec<Write> = (0..ROWS).map(put).collect();
    LmdbManifest::create(dir, &limits(), &rows).unwrap()
}

/// What a crash, or anything else, has left in a regular file is not believed: nothing durable is in it.
#[test]
fn garbage_in_the_reader_table_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    drop(make(dir.path()));
    let lock = dir.path().join("manifest/lock.mdb");
    let bytes = fs::metadata(&lock).unwrap().len() as usize;
    let noise = |length: usize| -> Vec<u8> {
        (0..length as u64)
            .map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
            .collect()
    };
    let contents = [
        vec![],
        vec![0x7f],
        noise(100),
        vec![0xff; bytes],
        noise(bytes - 1),
        noise(bytes),
        noise(3 * bytes + 5),
    ];
    for (nth, garbage) in (ROWS..).zip(contents) {
        fs::write(&lock, &garbage).unwrap();
        let manifest = LmdbManifest::open(dir.path(), &limits()).unwrap();
        manifest.commit(&[put(nth)]).unwrap();
        let key = nth.to_be_bytes();
        assert!(manifest.get(Table::Chunks, &key).unwrap().is_some());
        let rows = manifest.scan(Table::Chunks, &ROWS.to_be_bytes(), 100);
        assert_eq!(
            rows.unwrap().len() as u64,
            nth + 1 - ROWS,
            "{} bytes",
            garbage.len()
        );
    }
}
