//! All used bytes, through the simulated disk.

use crate::campaign::{Campaign, labelled};
use crate::damage_sample::files::{BLOCK, Files};
use crate::damage_sample::{Simulated, simulated};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn each_byte_of_a_closed_store() {
    let damaged = flip_each_byte(&simulated(true));
    assert!(
        10_000 < damaged,
        "only {damaged} flips closed a database or a page"
    );
}

#[test]
fn each_byte_of_a_killed_store() {
    let damaged = flip_each_byte(&simulated(false));
    assert!(
        9_000 < damaged,
        "only {damaged} flips closed a database or a page"
    );
}

/// Returns how many flips somebody suffered by.
fn flip_each_byte(store: &Simulated) -> usize {
    let files = Files::of_disk(&store.disk);
    let campaign = Campaign::new(store, &files);
    let mut used: Vec<(&Path, u64)> = Vec::new();
    for (path, content) in &files.0 {
        let blocks = 0..content.len() as u64 / BLOCK;
        let of_file = blocks.filter(|block| campaign.map.is_used(path, *block, content));
        let bytes = of_file.flat_map(|block| block * BLOCK..(block + 1) * BLOCK);
        used.extend(bytes.map(|byte| (path.as_path(), byte)));
    }
    assert!(
        (60_000..200_000).contains(&used.len()),
        "{} bytes are in use",
        used.len()
    );
    let next = AtomicUsize::new(0);
    let flip_some = || {
        while let Some((path, byte)) = used.get(next.fetch_add(1, Ordering::Relaxed)) {
            // Every bit has its turn, also at the same place of neighbouring fields.
            let mask = 1 << ((byte ^ (byte >> 3)) % 8);
            let label = || format!("byte {byte} of {}, mask {mask:#x}", path.display());
            let reach = campaign.map.of(path, *byte);
            let harm = |disk: &bop_storage::testing::SimDisk| disk.flip(path, *byte, mask);
            labelled(label, || campaign.examine(path, *byte, &reach, harm));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(flip_some);
        }
    });
    campaign.damaged.into_inner()
}
