//! The simulated disk keeps what was synced, and anything else only by luck.
#![allow(clippy::unwrap_used, reason = "tests")]

use bop_storage::io::errno::{EIO, ENOENT, ENOSPC};
use bop_storage::io::{BLOCK_BYTES, Block, Disk, DiskFile, IoOp, OpenMode, WritePart};
use bop_storage::testing::{Doubt, Fault, SECTOR_BYTES, SimDisk};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

const BLOCK: u64 = BLOCK_BYTES as u64;

fn block(fill: u8) -> Block {
    Block([fill; BLOCK_BYTES])
}

/// A disk with one durable file `a` of one block of `fill`.
fn with_file(fill: u8) -> (SimDisk, Arc<dyn DiskFile>) {
    let disk = SimDisk::new(1);
    disk.write_raw(Path::new("a"), &block(fill).0);
    let file = disk.open(Path::new("a"), OpenMode::Write).unwrap();
    (disk, file)
}

/// The first byte of each sector of a file.
fn sectors(disk: &SimDisk, path: &str) -> Vec<u8> {
    let bytes = disk.read_raw(Path::new(path));
    bytes.chunks(SECTOR_BYTES).map(|sector| sector[0]).collect()
}

#[test]
fn a_crash_may_lose_what_was_written_and_keeps_what_was_synced() {
    let (disk, file) = with_file(1);
    file.write_at(0, &[block(2)]).unwrap();
    assert_eq!(sectors(&disk, "a"), [2; 8], "the writer sees its own write");
    assert_eq!(sectors(&disk.crash_image_keeping_nothing(), "a"), [1; 8]);
    assert_eq!(sectors(&disk.crash_image_keeping_all(), "a"), [2; 8]);

    file.sync().unwrap();
    assert!(!disk.has_doubt());
    assert_eq!(sectors(&disk.crash_image_keeping_nothing(), "a"), [2; 8]);
}

#[test]
fn a_write_is_torn_at_any_sector_and_any_of_its_versions_may_be_there() {
    let (disk, file) = with_file(1);
    file.write_at(0, &[block(2)]).unwrap();
    file.write_at(0, &[block(3)]).unwrap();
    let mut first_two = BTreeSet::new();
    for seed in 0..300 {
        let image = sectors(&disk.crash_image(seed), "a");
        assert_eq!(image, sectors(&disk.crash_image(seed), "a"), "seed {seed}");
        first_two.insert((image[0], image[1]));
    }
    assert_eq!(first_two.len(), 9, "three versions of each of two sectors");

    let odd = disk.crash_image_with(|doubt, versions| match doubt {
        Doubt::Sector { sector, .. } if sector % 2 == 1 => versions,
        _ => 0,
    });
    assert_eq!(sectors(&odd, "a"), [1, 3, 1, 3, 1, 3, 1, 3]);
}

#[test]
fn a_durable_write_covers_its_own_bytes_alone() {
    let (disk, file) = with_file(1);
    file.write_at(BLOCK, &[block(2)]).unwrap();
    file.write_durable_at(2 * BLOCK, &[block(3)]).unwrap();
    let image = disk.crash_image_keeping_nothing();
    assert_eq!(disk.files()[0].1, 3 * BLOCK);
    assert_eq!(image.files()[0].1, 3 * BLOCK, "the length goes with it");
    let found = sectors(&image, "a");
    assert_eq!((found[0], found[8], found[16]), (1, 0, 3));
}

#[test]
fn a_length_is_lost_without_a_sync() {
    let (disk, file) = with_file(1);
    file.allocate(4 * BLOCK).unwrap();
    assert_eq!(disk.crash_image_keeping_nothing().files()[0].1, BLOCK);
    assert_eq!(disk.crash_image_keeping_all().files()[0].1, 4 * BLOCK);
    file.sync().unwrap();
    assert_eq!(disk.crash_image_keeping_nothing().files()[0].1, 4 * BLOCK);
}

#[test]
fn names_are_lost_without_a_directory_sync() {
    let disk = SimDisk::new(1);
    let (log, scratch) = (Path::new("log"), Path::new("scratch"));
    let (made, named) = (Path::new("scratch/x"), Path::new("log/x"));
    disk.create_dir(log).unwrap();
    disk.create_dir(scratch).unwrap();
    let file = disk.open(made, OpenMode::CreateNew).unwrap();
    file.write_durable_at(0, &[block(7)]).unwrap();
    disk.sync_dir(scratch).unwrap();
    let lost = disk.crash_image_keeping_nothing();
    assert!(
        lost.files().is_empty(),
        "its directory itself is not durable"
    );
    assert_eq!(lost.list(log).unwrap_err().errno, ENOENT);

    disk.sync_dir(Path::new("")).unwrap();
    disk.rename(made, named).unwrap();
    let (before, after) = ([(made.to_owned(), BLOCK)], [(named.to_owned(), BLOCK)]);
    assert_eq!(disk.crash_image_keeping_nothing().files(), before);
    assert_eq!(disk.crash_image_keeping_all().files(), after);

    disk.sync_dir(log).unwrap();
    assert_eq!(disk.crash_image_keeping_nothing().files(), after);

    disk.remove(named).unwrap();
    assert_eq!(disk.crash_image_keeping_nothing().files(), after);
    assert!(disk.crash_image_keeping_all().files().is_empty());
    disk.sync_dir(log).unwrap();
    assert!(disk.crash_image_keeping_nothing().files().is_empty());
}

#[test]
fn a_rename_made_durable_takes_the_creation_along() {
    let disk = SimDisk::new(1);
    let (made, named) = (Path::new("scratch/x"), Path::new("log/x"));
    for dir in ["log", "scratch"] {
        disk.create_dir(Path::new(dir)).unwrap();
    }
    disk.sync_dir(Path::new("")).unwrap();
    disk.open(made, OpenMode::CreateNew).unwrap();
    disk.rename(made, named).unwrap();
    disk.sync_dir(Path::new("log")).unwrap();
    disk.sync_dir(Path::new("scratch")).unwrap();
    let image = disk.crash_image_keeping_nothing();
    assert_eq!(image.files(), [(named.to_owned(), 0)]);
    assert!(!disk.has_doubt());
}

#[test]
fn a_sync_after_a_failed_one_proves_nothing() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        disk.write_raw(Path::new("a"), &block(1).0);
        let file = disk.open(Path::new("a"), OpenMode::Write).unwrap();
        file.write_at(0, &[block(2)]).unwrap();
        disk.fail_next(IoOp::Sync, Fault::Error(EIO));
        assert_eq!(file.sync().unwrap_err().errno, EIO);
        file.sync().unwrap();
        let image = disk.crash_image_keeping_nothing();
        assert_eq!(sectors(&image, "a"), [1; 8], "seed {seed}");

        file.write_at(0, &[block(3)]).unwrap();
        file.sync().unwrap();
        let image = disk.crash_image_keeping_nothing();
        assert_eq!(sectors(&image, "a"), [3; 8], "written again, seed {seed}");
    }
}

#[test]
fn every_call_can_be_the_one_that_fails() {
    let (disk, file) = with_file(1);
    let next = disk.op_count();
    disk.fail_at(next + 1, Fault::Error(EIO));
    file.write_at(0, &[block(2)]).unwrap();
    let error = file.write_at(BLOCK, &[block(2)]).unwrap_err();
    assert_eq!(error.op, IoOp::Write);
    assert_eq!((error.offset, error.errno), (Some(BLOCK), EIO));
    file.sync().unwrap();
    assert_eq!(disk.op_count(), next + 3);

    disk.fail_at(disk.op_count(), Fault::Sticky(ENOSPC));
    for _ in 0..2 {
        assert_eq!(file.sync().unwrap_err().errno, ENOSPC);
    }
    file.bytes().unwrap();
    disk.heal();
    file.sync().unwrap();

    disk.fail_read_at(disk.read_count(), Fault::Error(EIO));
    assert_eq!(file.bytes().unwrap_err().op, IoOp::Read);
    file.bytes().unwrap();
}

#[test]
fn a_power_cut_ends_everything_and_may_tear_the_call_it_meets() {
    let manifest = Path::new("manifest");
    let mut kept = BTreeSet::new();
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        disk.write_raw(Path::new("a"), &block(1).0);
        let file = disk.open(Path::new("a"), OpenMode::Write).unwrap();
        disk.fail_at(disk.op_count(), Fault::PowerCut);
        let error = file.write_durable_at(0, &[block(2)]).unwrap_err();
        assert_eq!(error.errno, EIO);
        assert_eq!(file.bytes().unwrap_err().errno, EIO);
        let error = disk.tick(IoOp::ManifestCommit, manifest).unwrap_err();
        assert_eq!(error.errno, EIO);
        assert_eq!(sectors(&disk.crash_image_keeping_nothing(), "a"), [1; 8]);
        kept.insert(sectors(&disk.crash_image(seed), "a"));
    }
    assert!(kept.len() > 5, "{kept:?}");
    assert!(kept.contains(&vec![1; 8]), "{kept:?}");
    assert!(kept.contains(&vec![2; 8]), "{kept:?}");
}

#[test]
fn a_hung_call_returns_when_it_is_released_or_the_power_goes() {
    for cut in [false, true] {
        let (disk, file) = with_file(1);
        disk.fail_next(IoOp::WriteDurable, Fault::Hang);
        let writer = std::thread::spawn(move || file.write_durable_at(0, &[block(2)]));
        disk.wait_until_hung(1);
        assert_eq!(sectors(&disk.crash_image_keeping_nothing(), "a"), [1; 8]);
        if cut {
            disk.power_cut();
        } else {
            disk.release_hung();
        }
        let answer = writer.join().unwrap();
        assert_eq!(answer.is_err(), cut);
        let expected = if cut { [1; 8] } else { [2; 8] };
        assert_eq!(sectors(&disk.crash_image_keeping_nothing(), "a"), expected);
    }
}

#[test]
fn a_full_disk_refuses_and_heals() {
    let (disk, file) = with_file(1);
    disk.set_capacity(Some(2 * BLOCK));
    assert_eq!(disk.free_bytes().unwrap(), BLOCK);
    assert_eq!(file.allocate(3 * BLOCK).unwrap_err().errno, ENOSPC);
    file.allocate(2 * BLOCK).unwrap();
    let error = file.write_at(2 * BLOCK, &[block(2)]).unwrap_err();
    assert_eq!(error.errno, ENOSPC);
    disk.set_capacity(None);
    file.write_at(2 * BLOCK, &[block(2)]).unwrap();
}

#[test]
fn images_are_disks_of_their_own() {
    let (disk, file) = with_file(1);
    file.write_at(BLOCK, &[block(2)]).unwrap();
    let lock = disk.lock().unwrap();
    let copy = disk.snapshot();
    assert!(!copy.has_doubt());
    drop(copy.lock().unwrap());
    drop(lock);

    let path = Path::new("a");
    copy.flip(path, BLOCK + 5, 0x80);
    assert_eq!(copy.read_raw(path)[BLOCK_BYTES + 5], 0x82);
    assert_eq!(disk.read_raw(path)[BLOCK_BYTES + 5], 2);
    disk.flip(path, BLOCK + 5, 0x80);
    assert_eq!(disk.read_raw(path)[BLOCK_BYTES + 5], 0x82);

    copy.copy_raw(path, Path::new("dir/b"));
    copy.truncate(path, 5000);
    let lengths: Vec<u64> = copy.files().into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(lengths, [5000, 2 * BLOCK, 0], "a, dir/b, lock");
    copy.truncate(path, 2 * BLOCK);
    assert!(copy.read_raw(path)[5000..].iter().all(|byte| *byte == 0));
    copy.remove_raw(path);
    let left = copy.crash_image_keeping_nothing().files();
    assert_eq!(left[0], ("dir/b".into(), 2 * BLOCK));
}

/// The flip test makes about a hundred thousand images: a copy must not copy the bytes.
#[test]
fn a_hundred_thousand_copies_of_a_large_disk_are_affordable() {
    let disk = SimDisk::new(1);
    for index in 0..16 {
        let path = format!("log/{index:016x}.seg");
        disk.write_raw(Path::new(&path), &vec![index; 1 << 20]);
    }
    let path = Path::new("log/0000000000000003.seg");
    for byte in 0..100_000 {
        let image = disk.snapshot();
        image.flip(path, byte, 1);
        drop(image);
    }
    assert_eq!(disk.read_raw(path), vec![3; 1 << 20]);
}

/// The parts of a batch, each one block of its number plus 2 at its number.
fn batch(blocks: &[Block]) -> Vec<WritePart<'_>> {
    let offsets = (0..).step_by(BLOCK_BYTES);
    let parts = offsets.zip(blocks.chunks(1));
    parts
        .map(|(offset, blocks)| WritePart { offset, blocks })
        .collect()
}

#[test]
fn of_a_batch_any_subset_survives_a_cut() {
    let blocks = [block(2), block(3), block(4)];
    let mut seen = BTreeSet::new();
    for seed in 0..400 {
        let (disk, file) = with_file(1);
        file.allocate(3 * BLOCK).unwrap();
        file.sync().unwrap();
        file.write_many(&batch(&blocks)).unwrap();
        let image = sectors(&disk.crash_image(seed), "a");
        let parts: Vec<bool> = (0..3).map(|part| image[part * 8] >= 2).collect();
        seen.insert(parts);
    }
    assert_eq!(seen.len(), 8, "{seen:?}");
}

#[test]
fn a_part_that_fails_keeps_none_of_the_others_back_and_none_is_in_order() {
    let blocks = [block(2), block(3), block(4), block(5)];
    let mut written = BTreeSet::new();
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let file = disk.open(Path::new("a"), OpenMode::CreateNew).unwrap();
        file.allocate(4 * BLOCK).unwrap();
        file.sync().unwrap();
        disk.fail_at(disk.op_count() + 1, Fault::Error(EIO));
        let failure = file.write_many(&batch(&blocks)).unwrap_err();
        assert_eq!((failure.op, failure.errno), (IoOp::Write, EIO));
        let failed = failure.offset.unwrap() / BLOCK;
        let image = sectors(&disk, "a");
        let others = (0..4).filter(|part| *part as u64 != failed);
        for part in others {
            assert_eq!(usize::from(image[part * 8]), part + 2, "seed {seed}");
        }
        written.insert(failed);
    }
    assert_eq!(
        written.len(),
        4,
        "the second call is not always the second part"
    );
}

#[test]
fn a_power_cut_in_a_batch_leaves_parts_before_it_and_behind_it_in_doubt() {
    let blocks = [block(2), block(3), block(4)];
    let mut done = BTreeSet::new();
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let file = disk.open(Path::new("a"), OpenMode::CreateNew).unwrap();
        file.allocate(3 * BLOCK).unwrap();
        file.sync().unwrap();
        disk.fail_at(disk.op_count() + 1, Fault::PowerCut);
        file.write_many(&batch(&blocks)).unwrap_err();
        let image = sectors(&disk.crash_image_keeping_all(), "a");
        done.insert([image[0], image[8], image[16]].map(|byte| byte > 0));
    }
    assert!(
        done.contains(&[false, false, true]),
        "only the last: {done:?}"
    );
    assert!(
        done.contains(&[true, false, false]),
        "only the first: {done:?}"
    );
}

#[test]
fn a_short_write_takes_the_first_blocks_and_a_short_allocation_the_first_bytes() {
    let mut taken = BTreeSet::new();
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        disk.write_raw(Path::new("a"), &[1; 4 * BLOCK_BYTES]);
        let file = disk.open(Path::new("a"), OpenMode::Write).unwrap();
        disk.fail_next(IoOp::WriteDurable, Fault::Short(ENOSPC));
        let blocks = [block(2), block(3), block(4)];
        let short = file.write_durable_at(BLOCK, &blocks).unwrap_err();
        assert_eq!((short.errno, short.offset), (ENOSPC, Some(BLOCK)));
        let firsts: Vec<u8> = sectors(&disk, "a").into_iter().step_by(8).collect();
        let written = firsts[1..].iter().take_while(|first| **first != 1).count();
        let expected = [1, 2, 3, 4].map(|at| if written < usize::from(at) - 1 { 1 } else { at });
        assert_eq!(firsts, expected, "seed {seed}");
        assert_eq!(sectors(&disk.crash_image_keeping_nothing(), "a"), [1; 32]);
        disk.fail_next(IoOp::Allocate, Fault::Short(ENOSPC));
        file.allocate(8 * BLOCK).unwrap_err();
        let bytes = file.bytes().unwrap();
        assert!((4 * BLOCK..8 * BLOCK).contains(&bytes), "{bytes}");
        taken.insert((written, bytes));
    }
    assert!(taken.iter().any(|(written, _)| *written == 2), "{taken:?}");
    assert!(taken.iter().all(|(written, _)| *written < 3), "{taken:?}");
    assert!(taken.len() > 6, "{taken:?}");
}

#[test]
fn a_panic_comes_once_or_for_ever() {
    let (disk, file) = with_file(1);
    let write = |disk: &SimDisk| {
        disk.fail_at(disk.op_count() + 1, Fault::StickyPanic);
        let write = || file.write_at(0, &[block(2)]);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(write))
    };
    disk.fail_next(IoOp::Write, Fault::Panic);
    assert!(write(&disk).is_err());
    for _ in 0..3 {
        assert!(write(&disk).is_err());
    }
    disk.heal();
    file.write_at(0, &[block(3)]).unwrap();
    assert_eq!(sectors(&disk, "a"), [3; 8]);
}
