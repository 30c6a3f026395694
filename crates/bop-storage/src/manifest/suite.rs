//! The conformance suite of [`ManifestStore`]: what every store must do, asked of any of them.
//!
//! A new store passes when [`manifest_suite`] returns.

#![expect(clippy::unwrap_used, reason = "a suite is a test: it ends by a panic")]

use super::store::{ManifestStore, RawRow, SCAN_ROWS_MAX, Table, Write, scan_all};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn put(table: Table, key: &[u8], value: &[u8]) -> Write {
    Write::Put {
        table,
        key: key.to_vec(),
        value: value.to_vec(),
    }
}

fn delete(table: Table, key: &[u8]) -> Write {
    Write::Delete {
        table,
        key: key.to_vec(),
    }
}

fn row(key: &[u8], value: &[u8]) -> RawRow {
    (key.to_vec(), value.to_vec())
}

/// Runs every scenario, each on a store of its own without rows.
pub fn manifest_suite(new: &dyn Fn() -> Arc<dyn ManifestStore>) {
    a_store_starts_empty(&*new());
    a_commit_is_seen_by_every_later_read(&*new());
    writes_of_a_commit_apply_in_order(&*new());
    tables_are_apart(&*new());
    a_scan_is_ordered_and_bounded(&*new());
    values_of_any_length_come_back(&*new());
    keys_that_cannot_be_kept_refuse_the_whole_commit(&*new());
    readers_see_whole_commits(&new());
}

fn a_store_starts_empty(store: &dyn ManifestStore) {
    for table in Table::ALL {
        assert_eq!(store.get(table, b"key").unwrap(), None);
        assert_eq!(store.scan(table, b"", 10).unwrap(), []);
    }
    store.commit(&[]).unwrap();
}

fn a_commit_is_seen_by_every_later_read(store: &dyn ManifestStore) {
    store.commit(&[put(Table::Chunks, b"a", b"1")]).unwrap();
    assert_eq!(store.get(Table::Chunks, b"a").unwrap(), Some(b"1".to_vec()));
    store.commit(&[put(Table::Chunks, b"a", b"2")]).unwrap();
    assert_eq!(store.get(Table::Chunks, b"a").unwrap(), Some(b"2".to_vec()));
    let nothing_to_delete = delete(Table::Chunks, b"b");
    store
        .commit(&[delete(Table::Chunks, b"a"), nothing_to_delete])
        .unwrap();
    assert_eq!(store.get(Table::Chunks, b"a").unwrap(), None);
}

fn writes_of_a_commit_apply_in_order(store: &dyn ManifestStore) {
    let writes = [
        put(Table::Chunks, b"a", b"1"),
        delete(Table::Chunks, b"a"),
        put(Table::Chunks, b"b", b"1"),
        put(Table::Chunks, b"b", b"2"),
    ];
    store.commit(&writes).unwrap();
    assert_eq!(
        store.scan(Table::Chunks, b"", 10).unwrap(),
        [row(b"b", b"2")]
    );
}

fn tables_are_apart(store: &dyn ManifestStore) {
    for table in Table::ALL {
        let name = table.name().as_bytes();
        store.commit(&[put(table, &[0xff; 8], name)]).unwrap();
        store.commit(&[put(table, &[0], name)]).unwrap();
    }
    for table in Table::ALL {
        let name = table.name().as_bytes();
        let both = [row(&[0], name), row(&[0xff; 8], name)];
        assert_eq!(store.scan(table, b"", 10).unwrap(), both);
    }
}

fn a_scan_is_ordered_and_bounded(store: &dyn ManifestStore) {
    let count = u16::try_from(SCAN_ROWS_MAX + 500).unwrap();
    let writes: Vec<Write> = (0..count)
        .rev()
        .map(|n| put(Table::Ranges, &n.to_be_bytes(), b"v"))
        .collect();
    store.commit(&writes).unwrap();
    let keys = |from: u16, limit| -> Vec<u16> {
        let rows = store.scan(Table::Ranges, &from.to_be_bytes(), limit);
        rows.unwrap()
            .into_iter()
            .map(|(key, _)| u16::from_be_bytes(key.try_into().unwrap()))
            .collect()
    };
    assert_eq!(keys(7, 3), [7, 8, 9]);
    assert_eq!(keys(count - 1, 3), [count - 1]);
    assert!(keys(count, 3).is_empty());
    assert!(keys(0, 0).is_empty());
    assert_eq!(keys(0, usize::MAX).len(), SCAN_ROWS_MAX);
    let mut all = 0;
    scan_all(store, Table::Ranges, |key, _| {
        assert_eq!(key, u16::try_from(all).unwrap().to_be_bytes());
        all += 1;
    })
    .unwrap();
    assert_eq!(all, usize::from(count));
}

fn values_of_any_length_come_back(store: &dyn ManifestStore) {
    for length in [0, 1, 100, 2_000, 4_096, 100_000] {
        let value = vec![0xa5; length];
        store.commit(&[put(Table::Meta, b"key", &value)]).unwrap();
        assert_eq!(store.get(Table::Meta, b"key").unwrap(), Some(value));
    }
}

fn keys_that_cannot_be_kept_refuse_the_whole_commit(store: &dyn ManifestStore) {
    for key in [Vec::new(), vec![1; super::KEY_BYTES_MAX + 1]] {
        let writes = [put(Table::Meta, b"good", b"1"), put(Table::Meta, &key, b"")];
        store.commit(&writes).unwrap_err();
        assert_eq!(store.get(Table::Meta, b"good").unwrap(), None);
    }
}

/// A writer moves one row back and forth between two keys: a reader sees it exactly once.
fn readers_see_whole_commits(store: &Arc<dyn ManifestStore>) {
    store.commit(&[put(Table::Chunks, &[0], b"")]).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    assert_eq!(store.scan(Table::Chunks, b"", 10).unwrap().len(), 1);
                }
            });
        }
        for n in 0..20_u8 {
            let (from, to) = (n % 2, (n + 1) % 2);
            let writes = [
                delete(Table::Chunks, &[from]),
                put(Table::Chunks, &[to], b""),
            ];
            store.commit(&writes).unwrap();
        }
        done.store(true, Ordering::Release);
    });
}
