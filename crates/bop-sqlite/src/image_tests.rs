//! Files of bytes over pages.

use super::*;
use bop_storage::{DbKind, Manager, Options};
use std::time::Duration;

struct Store {
    _dir: tempfile::TempDir,
    manager: Manager,
}

fn store() -> Store {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::open(dir.path(), Options::new()).unwrap();
    Store { _dir: dir, manager }
}

fn begin(store: &Store) -> WriteTxn {
    let db = store.manager.database_or_create("d", DbKind::Sqlite);
    db.unwrap().begin_write(Duration::ZERO).unwrap()
}

/// Page 1 as SQLite writes it.
fn page_one(size: u16, counter: u32) -> Vec<u8> {
    let mut page: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
    page[16..18].copy_from_slice(&size.to_be_bytes());
    page[18..20].fill(1);
    page[28..32].fill(0);
    page[24..28].copy_from_slice(&counter.to_be_bytes());
    page[92..96].copy_from_slice(&counter.to_be_bytes());
    page
}

#[test]
fn bytes_are_found_across_pages_and_zeros_behind_them() {
    let store = store();
    let mut txn = begin(&store);
    assert_eq!(file_bytes(&txn), 0);
    let mut out = [7; 16];
    assert!(!read(&txn, 1, 0, &mut out).unwrap());
    assert_eq!(out, [0; 16]);
    let header = write(&mut txn, 0, &page_one(512, 9)).unwrap().unwrap();
    assert_eq!((header.counter, header.wal_mode), (9, false));
    assert_eq!(write(&mut txn, 512, &[2; 512]).unwrap(), None);
    assert_eq!(file_bytes(&txn), 1024);
    let mut out = vec![0; 1024];
    assert!(read(&txn, 5, 200, &mut out[..400]).unwrap());
    assert_eq!(out[..312], page_one(512, 9)[200..]);
    assert_eq!(out[312..400], [2; 88]);
    assert!(!read(&txn, 5, 1000, &mut out[..100]).unwrap());
    assert_eq!((out[23], out[24]), (2, 0));
}

#[test]
fn the_counter_is_shown_in_whatever_part_of_the_header_is_read() {
    let store = store();
    let mut txn = begin(&store);
    write(&mut txn, 0, &page_one(512, 9)).unwrap();
    let mut whole = vec![0; 512];
    read(&txn, 0x0102_0304, 0, &mut whole).unwrap();
    assert_eq!(whole[24..28], [1, 2, 3, 4]);
    assert_eq!(whole[92..96], [1, 2, 3, 4]);
    for start in 0..110 {
        let mut out = [0; 16];
        read(&txn, 0x0102_0304, start as u64, &mut out).unwrap();
        assert_eq!(out, whole[start..start + 16]);
    }
}

#[test]
fn page_one_that_differs_in_its_counter_alone_is_no_change() {
    let store = store();
    let mut txn = begin(&store);
    write(&mut txn, 0, &page_one(512, 9)).unwrap();
    txn.commit().unwrap();
    let mut txn = begin(&store);
    write(&mut txn, 0, &page_one(512, 10)).unwrap();
    assert_eq!(txn.touched_pages(), []);
    let mut other = page_one(512, 11);
    other[18..20].fill(2);
    other[300] = 0;
    assert!(write(&mut txn, 0, &other).unwrap().unwrap().wal_mode);
    assert_eq!(txn.touched_pages(), [PageNo::FIRST]);
    assert_eq!(txn.read_page(PageNo::FIRST).unwrap()[18..20], [1, 1]);
}

#[test]
fn a_part_of_a_page_leaves_the_rest_and_holes_become_zeros() {
    let store = store();
    let mut txn = begin(&store);
    write(&mut txn, 0, &page_one(512, 9)).unwrap();
    write(&mut txn, 4 * 512, &[5; 512]).unwrap();
    write(&mut txn, 4 * 512 + 100, &[6; 20]).unwrap();
    resize(&mut txn, 7 * 512).unwrap();
    settle(&mut txn, 0).unwrap();
    let touched: Vec<u32> = txn.touched_pages().iter().map(|page| page.get()).collect();
    assert_eq!(touched, [1, 2, 3, 4, 5, 6, 7]);
    let after = txn.commit().unwrap();
    let page = after.read_page(PageNo::new(5).unwrap()).unwrap();
    assert_eq!((page[99], page[100], page[119], page[120]), (5, 6, 6, 5));
    let mut txn = begin(&store);
    resize(&mut txn, 2 * 512).unwrap();
    assert_eq!(file_bytes(&txn), 1024);
}

#[test]
fn a_commit_has_the_size_that_page_one_says() {
    let store = store();
    let mut txn = begin(&store);
    let mut first = page_one(512, 9);
    first[28..32].copy_from_slice(&3u32.to_be_bytes());
    write(&mut txn, 0, &first).unwrap();
    write(&mut txn, 4 * 512, &[5; 512]).unwrap();
    settle(&mut txn, 0).unwrap();
    assert_eq!(txn.commit().unwrap().page_count(), 3);
}

#[test]
fn the_page_size_is_settled_by_the_first_write() {
    let store = store();
    let mut txn = begin(&store);
    let error = write(&mut txn, 0, &[1; 700]).unwrap_err();
    assert!(matches!(error, EngineError::PageSize { found: 700, .. }));
    check_page_size(&txn, 0, &page_one(1024, 1)).unwrap();
    write(&mut txn, 0, &page_one(1024, 1)).unwrap();
    check_page_size(&txn, 0, &page_one(1024, 2)).unwrap();
    check_page_size(&txn, 1024, &page_one(512, 2)).unwrap();
    let error = check_page_size(&txn, 0, &page_one(512, 2)).unwrap_err();
    assert!(matches!(error, EngineError::PageSize { found: 512, .. }));
}
