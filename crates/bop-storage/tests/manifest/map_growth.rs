//! The map of the LMDB manifest grows from 1 MiB while writers fill it and readers look: nothing is refused,
//! and what a reader sees is what one transaction left.
//!
//! It grows to 64 MiB by default; `BOP_MANIFEST_MAP_MIB` makes that more.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bop_storage::limits::{Limits, ValidLimits};
use bop_storage::manifest::{LmdbManifest, ManifestStore, Table, Write, scan_all};
use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const MIB: u64 = 1 << 20;
const WRITERS: u8 = 4;
const READERS: u8 = 4;
/// Rows of one transaction, and bytes of each: some stand in leaves, some on pages of their own.
const ROWS: u64 = 64;
const SIZES: [usize; 4] = [100, 1900, 2100, 9000];
/// Looks that each reader takes at least, beside those while there are writers.
const LOOKS_MIN: u64 = 100;

fn limits(most: u64) -> ValidLimits {
    let mut limits = Limits::tiny();
    limits.manifest_map_bytes_min = MIB;
    limits.manifest_map_bytes_max = most;
    limits.validated().unwrap()
}

/// Where a writer says how many transactions it has made.
fn count_key(writer: u8) -> Vec<u8> {
    vec![writer, 0]
}

/// The newest rows of a writer come first.
fn row_key(writer: u8, transaction: u64, nth: u64) -> Vec<u8> {
    let number = u64::MAX - (transaction * ROWS + nth);
    [&[writer, 1][..], &number.to_be_bytes()].concat()
}

fn row(writer: u8, transaction: u64, nth: u64) -> Vec<u8> {
    let bytes = SIZES[(transaction + nth) as usize % SIZES.len()];
    let mut value = vec![writer; bytes];
    value[..8].copy_from_slice(&transaction.to_be_bytes());
    value
}

/// Of each four transactions the last one takes back the rows of the first.
fn takes_back(transaction: u64) -> Option<u64> {
    (transaction % 4 == 3).then(|| transaction - 3)
}

fn commit(manifest: &LmdbManifest, writer: u8, transaction: u64) {
    let put = |key, value| Write::Put {
        table: Table::Chunks,
        key,
        value,
    };
    let count = (transaction + 1).to_be_bytes().to_vec();
    let mut writes = vec![put(count_key(writer), count)];
    for nth in 0..ROWS {
        let (key, value) = (
            row_key(writer, transaction, nth),
            row(writer, transaction, nth),
        );
        writes.push(put(key, value));
        if let Some(old) = takes_back(transaction) {
            let key = row_key(writer, old, nth);
            writes.push(Write::Delete {
                table: Table::Chunks,
                key,
            });
        }
    }
    manifest.commit(&writes).unwrap();
}

/// What a writer has done, by its count and the rows behind it, read together: all rows of the transaction
/// that was counted last, and none of a later one.
fn look(manifest: &LmdbManifest, writer: u8) -> u64 {
    let rows = manifest.scan(Table::Chunks, &count_key(writer), 1 + ROWS as usize);
    let mut rows = rows.unwrap().into_iter();
    let Some((key, count)) = rows.next().filter(|(key, _)| key[0] == writer) else {
        return 0;
    };
    assert_eq!(key, count_key(writer));
    let count = u64::from_be_bytes(count.try_into().unwrap());
    for nth in (0..ROWS).rev() {
        let (key, value) = rows.next().unwrap();
        assert_eq!(
            key,
            row_key(writer, count - 1, nth),
            "writer {writer} at {count}"
        );
        assert!(
            value == row(writer, count - 1, nth),
            "writer {writer} at {count}"
        );
    }
    count
}

fn write_until_it_is(manifest: &LmdbManifest, writer: u8, most: u64, done: &[AtomicU64]) {
    let mut transaction = 0;
    while manifest.map_bytes() < most {
        commit(manifest, writer, transaction);
        transaction += 1;
        done[usize::from(writer)].store(transaction, Ordering::Release);
    }
}

fn read_while_it_grows(manifest: &LmdbManifest, ended: &AtomicBool, done: &[AtomicU64]) -> u64 {
    let mut seen = vec![0; usize::from(WRITERS)];
    let mut looks = 0;
    while looks < LOOKS_MIN || !ended.load(Ordering::Acquire) {
        let writer = (looks % u64::from(WRITERS)) as u8;
        let at = usize::from(writer);
        let durable = done[at].load(Ordering::Acquire);
        let count = look(manifest, writer);
        assert!(
            durable <= count && seen[at] <= count,
            "{durable} and {} before {count}",
            seen[at]
        );
        seen[at] = count;
        looks += 1;
    }
    looks
}

#[test]
fn the_map_grows_under_writers_and_readers() {
    let most = std::env::var("BOP_MANIFEST_MAP_MIB").map_or(64, |mib| mib.parse().unwrap()) * MIB;
    let dir = tempfile::tempdir().unwrap();
    let manifest = LmdbManifest::create(dir.path(), &limits(most), &[]).unwrap();
    assert_eq!(manifest.map_bytes(), MIB);
    let done: Vec<AtomicU64> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
    let (ended, start) = (
        AtomicBool::new(false),
        Barrier::new(usize::from(WRITERS + READERS)),
    );
    let looks: u64 = std::thread::scope(|scope| {
        let (manifest, done, ended, start) = (&manifest, &done, &ended, &start);
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                scope.spawn(move || {
                    start.wait();
                    read_while_it_grows(manifest, ended, done)
                })
            })
            .collect();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || {
                    start.wait();
                    write_until_it_is(manifest, writer, most, done);
                })
            })
            .collect();
        let written: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        // Also when a writer panicked, so that the readers end.
        ended.store(true, Ordering::Release);
        written.into_iter().for_each(|written| written.unwrap());
        readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum()
    });
    assert_eq!(manifest.map_bytes(), most);
    drop(manifest);
    let manifest = LmdbManifest::open(dir.path(), &limits(most)).unwrap();
    let transactions = assert_all(&manifest, &done);
    println!(
        "{} MiB: {transactions} transactions, {looks} looks",
        most / MIB
    );
}

/// What was committed is there after the store was opened again, and nothing else. Answers how many
/// transactions there were.
fn assert_all(manifest: &LmdbManifest, done: &[AtomicU64]) -> u64 {
    let mut expected = BTreeMap::new();
    let mut transactions = 0;
    for (writer, done) in (0..WRITERS).zip(done) {
        let count = done.load(Ordering::Acquire);
        transactions += count;
        expected.insert(count_key(writer), count.to_be_bytes().to_vec());
        let taken_back = |transaction: &u64| {
            let last = transaction + 3;
            transaction.is_multiple_of(4) && last < count
        };
        for transaction in (0..count).filter(|transaction| !taken_back(transaction)) {
            for nth in 0..ROWS {
                let key = row_key(writer, transaction, nth);
                expected.insert(key, row(writer, transaction, nth));
            }
        }
    }
    let mut rows = 0;
    scan_all(manifest, Table::Chunks, |key, value| {
        assert!(expected.get(&key) == Some(&value), "{key:?}");
        rows += 1;
    })
    .unwrap();
    assert_eq!(rows, expected.len());
    transactions
}
