//! The simulated disk against a model that keeps, for every sector, all values a crash may leave.
#![allow(clippy::unwrap_used, reason = "tests")]

use bop_storage::io::errno::EIO;
use bop_storage::io::{BLOCK_BYTES, Block, Disk, DiskFile, IoOp, OpenMode};
use bop_storage::testing::{Fault, SECTOR_BYTES, SimDisk};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::path::Path;

const BLOCKS: usize = 6;
const BLOCK: u64 = BLOCK_BYTES as u64;

#[derive(Clone, Debug)]
enum Call {
    Write { first: usize, count: usize },
    WriteDurable { first: usize, count: usize },
    Sync,
    FailedWrite { first: usize, durable: bool },
    FailedSync,
    Reopen,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let place = (0..BLOCKS, 1..3_usize).prop_map(|(first, n)| (first, n.min(BLOCKS - first)));
    let one = prop_oneof![
        4 => place.clone().prop_map(|(first, count)| Call::Write { first, count }),
        3 => place.prop_map(|(first, count)| Call::WriteDurable { first, count }),
        2 => Just(Call::Sync),
        1 => (0..BLOCKS, any::<bool>())
            .prop_map(|(first, durable)| Call::FailedWrite { first, durable }),
        1 => Just(Call::FailedSync),
        1 => Just(Call::Reopen),
    ];
    prop::collection::vec(one, 1..24)
}

/// What a block may hold after a crash, and what the next sync makes of it.
#[derive(Clone, Debug)]
struct Model {
    possible: BTreeSet<u8>,
    /// What a sync makes durable; nothing when it was lost, or is durable already.
    dirty: Option<u8>,
}

struct Run {
    disk: SimDisk,
    file: std::sync::Arc<dyn DiskFile>,
    model: Vec<Model>,
    next: u8,
}

impl Run {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        disk.write_raw(Path::new("a"), &[0; BLOCKS * BLOCK_BYTES]);
        let file = disk.open(Path::new("a"), OpenMode::Write).unwrap();
        let clean = Model {
            possible: BTreeSet::from([0]),
            dirty: None,
        };
        Self {
            disk,
            file,
            model: vec![clean; BLOCKS],
            next: 0,
        }
    }

    fn call(&mut self, call: &Call) {
        self.next += 1;
        let fill = Block([self.next; BLOCK_BYTES]);
        match *call {
            Call::Write { first, count } => {
                self.file
                    .write_at(first as u64 * BLOCK, &vec![fill; count])
                    .unwrap();
                for block in &mut self.model[first..first + count] {
                    block.possible.insert(self.next);
                    block.dirty = Some(self.next);
                }
            }
            Call::WriteDurable { first, count } => {
                let blocks = vec![fill; count];
                self.file
                    .write_durable_at(first as u64 * BLOCK, &blocks)
                    .unwrap();
                for block in &mut self.model[first..first + count] {
                    block.possible = BTreeSet::from([self.next]);
                    block.dirty = None;
                }
            }
            Call::Sync => {
                self.file.sync().unwrap();
                for block in &mut self.model {
                    if let Some(newest) = block.dirty.take() {
                        block.possible = BTreeSet::from([newest]);
                    }
                }
            }
            Call::FailedWrite { first, durable } => {
                let op = if durable {
                    IoOp::WriteDurable
                } else {
                    IoOp::Write
                };
                self.disk.fail_next(op, Fault::Error(EIO));
                let offset = first as u64 * BLOCK;
                let answer = if durable {
                    self.file.write_durable_at(offset, &[fill])
                } else {
                    self.file.write_at(offset, &[fill])
                };
                assert_eq!(answer.unwrap_err().errno, EIO);
                self.fail(first);
            }
            Call::FailedSync => {
                self.disk.fail_next(IoOp::Sync, Fault::Error(EIO));
                assert_eq!(self.file.sync().unwrap_err().errno, EIO);
                for block in &mut self.model {
                    block.dirty = None;
                }
            }
            Call::Reopen => {
                self.file = self.disk.open(Path::new("a"), OpenMode::Write).unwrap();
            }
        }
    }

    /// Whether a failed write did anything, the disk's seed knows; if so, an earlier un-synced
    /// write of the block is lost with it. So neither is certain until the block is written again.
    fn fail(&mut self, first: usize) {
        let block = &mut self.model[first];
        block.possible.insert(self.next);
        if block.dirty.take().is_some() {
            // Written again at once, that the model stays exact.
            self.call(&Call::WriteDurable { first, count: 1 });
        }
    }

    fn check(&self, image: &SimDisk) {
        let bytes = image.read_raw(Path::new("a"));
        assert_eq!(bytes.len(), BLOCKS * BLOCK_BYTES);
        for (sector, content) in bytes.chunks(SECTOR_BYTES).enumerate() {
            let block = &self.model[sector * SECTOR_BYTES / BLOCK_BYTES];
            assert!(
                content.iter().all(|byte| *byte == content[0]),
                "a torn sector"
            );
            let fill = content[0];
            assert!(
                block.possible.contains(&fill),
                "sector {sector}: {fill}, {block:?}"
            );
        }
    }
}

proptest! {
    #[test]
    fn a_crash_leaves_one_of_the_values_that_it_may(seed: u64, calls in calls()) {
        let mut run = Run::new(seed);
        for call in &calls {
            run.call(call);
            run.check(&run.disk.crash_image_keeping_nothing());
            run.check(&run.disk.crash_image_keeping_all());
            for image in 0..3 {
                run.check(&run.disk.crash_image(seed.wrapping_add(image)));
            }
        }
    }

    /// What is possible does happen, for some seed: a disk too kind would find no missing sync.
    #[test]
    fn a_crash_leaves_each_of_the_values_that_it_may(calls in calls()) {
        let mut run = Run::new(1);
        let failing = |call: &Call| matches!(call, Call::FailedWrite { .. });
        for call in calls.iter().filter(|call| !failing(call)) {
            run.call(call);
        }
        let mut seen = vec![BTreeSet::new(); BLOCKS];
        for seed in 0..600 {
            let bytes = run.disk.crash_image(seed).read_raw(Path::new("a"));
            for (at, content) in bytes.chunks(SECTOR_BYTES).enumerate() {
                seen[at * SECTOR_BYTES / BLOCK_BYTES].insert(content[0]);
            }
        }
        let possible: Vec<_> = run.model.iter().map(|block| block.possible.clone()).collect();
        prop_assert_eq!(seen, possible);
    }
}
