//! What a group keeps of the log.

use super::super::{Manager, simulated};
use crate::ids::{DbKind, PageNo};
use crate::limits::Limits;
use crate::log::HoldReason;
use crate::manifest::MemoryManifest;
use crate::testing::SimDisk;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(50);
const NAMES: [&str; 2] = ["first", "second"];
/// Of each, so that the fragments of the first one take more than a few blocks.
const PAGES: u32 = 8;

fn open(disk: &SimDisk, manifest: &MemoryManifest) -> Manager {
    simulated::open(disk, manifest, Limits::tiny())
}

/// The parts of a group that have one member's pages are as good as the other's: without one of
/// them the whole group is void.
#[test]
fn every_member_needs_the_log_from_the_first_fragment_on() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let store = open(&disk, &manifest);
    let mut group = Vec::new();
    for name in NAMES {
        let db = store.create_database(name, DbKind::Raw).unwrap();
        let mut write = db.begin_write(LONG).unwrap();
        for page in (1..=PAGES).filter_map(PageNo::new) {
            // Nothing that can be compressed.
            let mut random = crate::testing::SplitMix64::new(page.get().into());
            let mut content = vec![0; 4096];
            random.fill(&mut content);
            write.write_page(page, &content).unwrap();
        }
        group.push(write);
    }
    let second = store.database(NAMES[1]).unwrap();
    let log = second.engine().log();
    let start = log.published();
    let at = store.group_commit(group).unwrap()[0].lsn();
    let first_fragment_end = start.advance(3 * 4096).unwrap();
    assert!(first_fragment_end.advance(4096 * u64::from(2 * PAGES - 2)) < Some(at));

    // The first one goes, and all that it holds.
    store.drop_database(NAMES[0]).unwrap();
    let catalogue = |reason: &HoldReason| *reason == HoldReason::Catalogue;
    let held = log.holds().oldest_but(catalogue).unwrap();
    assert!(
        (start..first_fragment_end).contains(&held),
        "{held}, {start} to {at}"
    );

    let (disk, manifest) = (disk.crash_image_keeping_nothing(), manifest.snapshot());
    let store = open(&disk, &manifest);
    let second = store.database(NAMES[1]).unwrap();
    assert_eq!(second.begin_read().unwrap().lsn(), at);
    let others = |reason: &HoldReason| *reason != HoldReason::Pages(second.id());
    let held = second.engine().log().holds().oldest_but(others).unwrap();
    assert!(
        (start..first_fragment_end).contains(&held),
        "{held}, {start} to {at}"
    );
}
