//! Runs of blocks that are gone: both directories of a batch, both copies of an activation.

use crate::campaign::{Campaign, labelled};
use crate::damage_sample::files::{BLOCK, Files};
use crate::damage_sample::look::Reach;
use crate::damage_sample::{Simulated, simulated};
use bop_storage::Limits;
use bop_storage::testing::{SimDisk, SplitMix64};
use std::path::Path;

#[test]
fn runs_of_blocks_of_a_closed_store() {
    wipe_each_run(&simulated(true), true);
}

#[test]
fn runs_of_blocks_of_a_killed_store() {
    wipe_each_run(&simulated(false), false);
}

fn wipe_each_run(store: &Simulated, closed: bool) {
    let files = Files::of_disk(&store.disk);
    let campaign = Campaign::new(store, &files);
    let mut runs = 0;
    for (path, content) in &files.0 {
        for length in 1..=3 {
            for first in 0..=(content.len() as u64 / BLOCK).saturating_sub(length) {
                let Some(reach) = reach_of_run(&campaign, path, first..first + length, closed)
                else {
                    continue;
                };
                for garbage in [false, true] {
                    // An index without its head is one that was not written yet.
                    let index = Limits::tiny().segment_bytes_max / BLOCK;
                    if !garbage && path.starts_with("log") && first == index {
                        continue;
                    }
                    let label = || format!("blocks from {first}, {length}, of {}", path.display());
                    let harm = |disk: &SimDisk| wipe(disk, path, first, length, garbage);
                    labelled(label, || {
                        campaign.examine(path, first * BLOCK, &reach, harm)
                    });
                    runs += 1;
                }
            }
        }
    }
    assert!(150 < runs, "only {runs} runs");
    assert!(50 < campaign.damaged.into_inner());
}

/// What the loss of a run can do; `None` for a run that is not asked for: one with a block that is
/// not in use, both slots of the superblock, all that says that a segment was activated, or the newest
/// batch and more, which nothing then covers.
fn reach_of_run(
    campaign: &Campaign<'_>,
    path: &Path,
    run: std::ops::Range<u64>,
    closed: bool,
) -> Option<Reach> {
    let content = &campaign.files.0[path];
    let mut reach = Reach::default();
    if !path.starts_with("log") && !path.starts_with("chunks") && run.end - run.start > 1 {
        return None;
    }
    if path.starts_with("log") && (1..4).all(|block| run.contains(&block)) {
        return None;
    }
    for block in run.clone() {
        if !campaign.map.is_used(path, block, content) {
            return None;
        }
        for byte in [0, 100, 300, BLOCK - 30].map(|at| block * BLOCK + at) {
            let of_byte = campaign.map.of(path, byte);
            if of_byte.newest && run.end - run.start > 1 {
                return None;
            }
            reach.add(of_byte);
        }
        for byte in (block * BLOCK..(block + 1) * BLOCK).step_by(16) {
            reach.add(campaign.map.of(path, byte));
        }
    }
    if !closed && path.starts_with("log") && !reach.newest {
        // No close record says what was not lost: only a later commit of the same database does.
        reach.add(campaign.map.unproved_from(path, run.start));
    }
    Some(reach)
}

fn wipe(disk: &SimDisk, path: &Path, first: u64, length: u64, garbage: bool) {
    let mut content = disk.read_raw(path);
    let from = usize::try_from(first * BLOCK).unwrap();
    let to = usize::try_from((first + length) * BLOCK).unwrap();
    content[from..to].fill(0);
    if garbage {
        SplitMix64::new(first).fill(&mut content[from..to]);
    }
    disk.write_raw(path, &content);
}
