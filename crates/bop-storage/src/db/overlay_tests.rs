//! What savepoints keep, and give back.

use super::*;
use crate::io::{Disk, layout};
use crate::testing::SimDisk;

const PAGES: u32 = 20;

/// Over a database of `PAGES` pages; each private page beyond the second goes to the disk.
fn overlay() -> Overlay {
    let size = PageSize::new(512).unwrap();
    let disk = SimDisk::new(1);
    disk.create_dir(layout::SCRATCH_DIR.as_ref()).unwrap();
    let space = Arc::new(SpillSpace::new(Arc::new(disk)));
    Overlay::new(size, PAGES, 2 * 512, space, Savepoints::default())
}

fn page(raw: u32) -> PageNo {
    PageNo::new(raw).unwrap()
}

fn write_all(overlay: &mut Overlay, byte: u8) {
    for raw in 1..=PAGES {
        overlay.write(page(raw), &[byte; 512]).unwrap();
    }
}

/// The byte that fills every page; `None` where no page is private.
fn filled(overlay: &Overlay) -> Option<u8> {
    let byte_of = |raw| overlay.read(page(raw)).map(|bytes| bytes.unwrap()[0]);
    let first = byte_of(1);
    assert!((1..=PAGES).all(|raw| byte_of(raw) == first));
    first
}

fn slots(overlay: &Overlay) -> u64 {
    overlay.spill.as_ref().map_or(0, SpillFile::slots)
}

#[test]
fn a_savepoint_that_is_forgotten_leaves_nothing_behind() {
    let mut overlay = overlay();
    for round in 0..200u8 {
        let savepoint = overlay.savepoint();
        write_all(&mut overlay, round);
        overlay.forget(savepoint);
        assert!(overlay.undo.is_empty());
    }
    assert_eq!(filled(&overlay), Some(199));
    // Two versions of each page at the most: the one to come back to, and the one on top of it.
    assert!(
        slots(&overlay) <= 2 * u64::from(PAGES),
        "{}",
        slots(&overlay)
    );
    assert!(overlay.memory_bytes <= overlay.memory_bytes_max);
}

#[test]
fn within_a_savepoint_the_forgotten_ones_keep_one_version_of_each_page() {
    let mut overlay = overlay();
    write_all(&mut overlay, 1);
    let outer = overlay.savepoint();
    for round in 2..200u8 {
        let savepoint = overlay.savepoint();
        write_all(&mut overlay, round);
        overlay.truncate(PAGES / 2);
        write_all(&mut overlay, round);
        overlay.forget(savepoint);
        // A page each, and the counts.
        assert!(overlay.undo.len() <= PAGES as usize + 1);
    }
    assert!(
        slots(&overlay) <= 3 * u64::from(PAGES),
        "{}",
        slots(&overlay)
    );
    overlay.rollback_to(outer);
    assert_eq!((filled(&overlay), overlay.page_count()), (Some(1), PAGES));
    overlay.forget(outer);
    assert!(overlay.undo.is_empty());
}

#[test]
fn a_savepoint_between_two_others_can_be_forgotten() {
    let mut overlay = overlay();
    let savepoints: Vec<Savepoint> = (1..=4)
        .map(|byte| {
            let savepoint = overlay.savepoint();
            write_all(&mut overlay, byte);
            savepoint
        })
        .collect();
    overlay.forget(savepoints[1]);
    overlay.forget(savepoints[1]);
    overlay.rollback_to(savepoints[3]);
    assert_eq!(filled(&overlay), Some(3));
    overlay.rollback_to(savepoints[2]);
    assert_eq!(filled(&overlay), Some(2));
    overlay.rollback_to(savepoints[0]);
    assert_eq!(filled(&overlay), None);
    assert!(overlay.is_unchanged() && overlay.undo.is_empty());
}

#[test]
fn a_page_that_was_cut_off_before_a_rollback_is_undone_by_the_next_one_too() {
    let mut overlay = overlay();
    let savepoint = overlay.savepoint();
    write_all(&mut overlay, 1);
    overlay.truncate(0);
    overlay.rollback_to(savepoint);
    for byte in 2..4 {
        write_all(&mut overlay, byte);
        overlay.rollback_to(savepoint);
        assert_eq!(filled(&overlay), None);
        assert_eq!(overlay.page_count(), PAGES);
    }
}
