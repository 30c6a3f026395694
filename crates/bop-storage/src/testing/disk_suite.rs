//! What every backend of [`Disk`] must do, as far as it shows without pulling the plug.
//!
//! A new backend is one line of test: `disk_suite(&|| Arc::new(MyDisk::new()))`.
//!
//! Never: tests durability (a running process cannot see it; the simulated disk's own tests do).

use super::SplitMix64;
use crate::io::errno::{EBADF, EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR};
use crate::io::{
    BLOCK_BYTES, Block, Disk, DiskFile, FileKind, IoFailure, IoOp, LockFailure, OpenMode,
    PoolBuffer, ReadPart, WritePart, layout, zeroed_blocks,
};
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use zerocopy::IntoBytes;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// Runs all checks, each on an empty disk of its own that `make` gives.
///
/// # Panics
/// When a check fails.
pub fn disk_suite(make: &dyn Fn() -> Arc<dyn Disk>) {
    for check in [
        names_are_made_moved_and_removed,
        names_that_are_wrong_are_refused,
        bytes_come_back,
        the_end_of_a_file_is_exact,
        lengths_only_grow,
        misuse_is_refused_with_its_place,
        a_removed_file_stays_open,
        one_holds_the_lock,
        threads_share_a_file,
        a_batch_does_what_its_parts_do,
        threads_batch_at_the_same_time,
        a_batch_that_is_wrong_is_refused,
    ] {
        check(&*make());
    }
    for seed in 0..8 {
        any_sequence_of_calls_does_what_a_vector_does(&*make(), seed);
    }
}

fn names_are_made_moved_and_removed(disk: &dyn Disk) {
    let (root, log) = (Path::new(""), Path::new("log"));
    let (first, second) = (Path::new("log/first"), Path::new("second"));
    good(disk.create_dir(log));
    good(disk.create_dir(log));
    let file = good(disk.open(first, OpenMode::CreateNew));
    good(file.write_at(0, &[fill(1), fill(2)]));
    good(file.sync());
    good(disk.sync_dir(log));
    good(disk.sync_dir(root));

    let inside = good(disk.list(log));
    assert_eq!(inside.len(), 1);
    assert_eq!(
        (inside[0].name.as_str(), inside[0].kind),
        ("first", FileKind::File)
    );
    assert_eq!(inside[0].bytes, 2 * BLOCK);

    good(disk.rename(first, second));
    assert_eq!(names(disk, log), Vec::<String>::new());
    assert_eq!(names(disk, root), ["log", "second"], "sorted");
    assert_eq!(good(disk.list(root))[0].kind, FileKind::Directory);
    let mut found = zeroed_blocks(2);
    let moved = good(disk.open(second, OpenMode::Read));
    assert_eq!(good(moved.read_at(0, &mut found)), 2 * BLOCK_BYTES);
    assert_eq!((found[0].0[0], found[1].0[0]), (1, 2));

    good(disk.remove(second));
    assert_eq!(names(disk, root), ["log"]);
    assert!(good(disk.free_bytes()) > 0);
    assert!(!disk.describe().is_empty());
}

fn names_that_are_wrong_are_refused(disk: &dyn Disk) {
    let (dir, a, b) = (Path::new("dir"), Path::new("a"), Path::new("dir/b"));
    good(disk.create_dir(dir));
    good(disk.open(a, OpenMode::CreateNew));
    good(disk.open(b, OpenMode::CreateNew));
    let (gone, nowhere) = (Path::new("gone"), Path::new("nowhere/x"));

    refused(disk.open(a, OpenMode::CreateNew), IoOp::Open, a, EEXIST);
    refused(disk.open(gone, OpenMode::Read), IoOp::Open, gone, ENOENT);
    refused(disk.open(gone, OpenMode::Write), IoOp::Open, gone, ENOENT);
    refused(
        disk.open(nowhere, OpenMode::CreateNew),
        IoOp::Open,
        nowhere,
        ENOENT,
    );
    refused(disk.open(dir, OpenMode::Read), IoOp::Open, dir, EISDIR);
    refused(disk.open(dir, OpenMode::Write), IoOp::Open, dir, EISDIR);
    refused(disk.rename(a, b), IoOp::Rename, a, EEXIST);
    refused(
        disk.rename(gone, Path::new("c")),
        IoOp::Rename,
        gone,
        ENOENT,
    );
    refused(disk.remove(gone), IoOp::Remove, gone, ENOENT);
    refused(disk.remove(dir), IoOp::Remove, dir, EISDIR);
    refused(disk.create_dir(a), IoOp::Directory, a, ENOTDIR);
    refused(disk.list(gone), IoOp::Directory, gone, ENOENT);
    refused(disk.list(a), IoOp::Directory, a, ENOTDIR);
    refused(disk.sync_dir(gone), IoOp::SyncDirectory, gone, ENOENT);
    for outside in ["../x", "/tmp/x", "dir/../../x", "./a"] {
        let path = Path::new(outside);
        refused(
            disk.open(path, OpenMode::CreateNew),
            IoOp::Open,
            path,
            EINVAL,
        );
        refused(disk.remove(path), IoOp::Remove, path, EINVAL);
        refused(disk.create_dir(path), IoOp::Directory, path, EINVAL);
    }
    assert_eq!(
        names(disk, Path::new("")),
        ["a", "dir"],
        "nothing was replaced or lost"
    );
}

fn bytes_come_back(disk: &dyn Disk) {
    let path = Path::new("file");
    let file = good(disk.open(path, OpenMode::CreateNew));
    let mut wanted = zeroed_blocks(600);
    SplitMix64::new(3).fill(wanted.as_mut_bytes());
    good(file.write_at(0, &wanted[..500]));
    good(file.write_durable_at(500 * BLOCK, &wanted[500..510]));
    let pieces = [&wanted[510..511], &[], &wanted[511..599], &wanted[599..]];
    good(file.write_durable_pieces(510 * BLOCK, &pieces));
    let reader = good(disk.open(path, OpenMode::Read));
    let mut found = zeroed_blocks(600);
    assert_eq!(good(reader.read_at(0, &mut found)), 600 * BLOCK_BYTES);
    assert!(found.as_bytes() == wanted.as_bytes());

    good(file.write_at(700 * BLOCK, &wanted[..1]));
    assert_eq!(good(reader.bytes()), 701 * BLOCK);
    let mut hole = vec![fill(9); 100];
    assert_eq!(
        good(reader.read_at(600 * BLOCK, &mut hole)),
        100 * BLOCK_BYTES
    );
    assert!(
        hole.as_bytes().iter().all(|byte| *byte == 0),
        "a hole is zeros"
    );
    good(file.write_at(0, &[]));
    assert_eq!(good(reader.read_at(0, &mut [])), 0);
}

fn the_end_of_a_file_is_exact(disk: &dyn Disk) {
    let file = good(disk.open(Path::new("file"), OpenMode::CreateNew));
    let mut blocks = vec![fill(9); 4];
    assert_eq!(
        good(file.read_at(0, &mut blocks)),
        0,
        "an empty file has nothing"
    );
    good(file.write_at(0, &[fill(1), fill(2), fill(3)]));
    assert_eq!(good(file.read_at(2 * BLOCK, &mut blocks)), BLOCK_BYTES);
    assert_eq!(blocks[0].0[0], 3);
    let behind = blocks[1..].as_bytes();
    assert!(behind.iter().all(|byte| *byte == 0), "zeros behind the end");
    assert_eq!(good(file.read_at(3 * BLOCK, &mut blocks)), 0);
    assert_eq!(good(file.read_at(100 * BLOCK, &mut blocks)), 0);
}

fn lengths_only_grow(disk: &dyn Disk) {
    let file = good(disk.open(Path::new("file"), OpenMode::CreateNew));
    assert_eq!(good(file.bytes()), 0);
    good(file.write_at(0, &[fill(1)]));
    good(file.allocate(16 * BLOCK));
    assert_eq!(good(file.bytes()), 16 * BLOCK);
    good(file.allocate(BLOCK));
    good(file.allocate(0));
    good(file.write_durable_at(0, &[fill(2)]));
    assert_eq!(good(file.bytes()), 16 * BLOCK);
    let mut blocks = vec![fill(9); 16];
    assert_eq!(good(file.read_at(0, &mut blocks)), 16 * BLOCK_BYTES);
    assert_eq!(blocks[0].0[7], 2);
    assert!(blocks[1..].as_bytes().iter().all(|byte| *byte == 0));
    good(file.sync());
}

fn misuse_is_refused_with_its_place(disk: &dyn Disk) {
    let path = Path::new("file");
    let file = good(disk.open(path, OpenMode::CreateNew));
    let reader = good(disk.open(path, OpenMode::Read));
    let mut block = [fill(0)];
    for offset in [1, 512, BLOCK + 1, u64::MAX - BLOCK + 1] {
        let read = file.read_at(offset, &mut block);
        refused_at(read, IoOp::Read, offset, EINVAL);
        refused_at(file.write_at(offset, &block), IoOp::Write, offset, EINVAL);
        let durable = file.write_durable_at(offset, &block);
        refused_at(durable, IoOp::WriteDurable, offset, EINVAL);
    }
    refused_at(reader.write_at(BLOCK, &block), IoOp::Write, BLOCK, EBADF);
    let durable = reader.write_durable_at(0, &block);
    refused_at(durable, IoOp::WriteDurable, 0, EBADF);
    refused(reader.allocate(BLOCK), IoOp::Allocate, path, EBADF);
    good(reader.sync());
    assert_eq!(good(file.bytes()), 0);
}

fn a_removed_file_stays_open(disk: &dyn Disk) {
    let path = Path::new("file");
    a_removed_file_stays_open_beside_a_new_one(disk, path, OpenMode::CreateScratch);
    good(disk.remove(path));
    a_removed_file_stays_open_beside_a_new_one(disk, path, OpenMode::CreateNew);
}

fn a_removed_file_stays_open_beside_a_new_one(disk: &dyn Disk, path: &Path, mode: OpenMode) {
    let old = good(disk.open(path, mode));
    good(old.write_at(0, &[fill(1)]));
    good(disk.remove(path));
    let new = good(disk.open(path, OpenMode::CreateNew));
    good(new.write_at(0, &[fill(2)]));
    let mut block = [fill(0)];
    good(old.read_at(0, &mut block));
    assert_eq!(block[0].0[0], 1);
    good(old.write_durable_at(0, &block));
    good(new.read_at(0, &mut block));
    assert_eq!(block[0].0[0], 2);
}

fn one_holds_the_lock(disk: &dyn Disk) {
    for _ in 0..2 {
        let lock = good(disk.lock());
        match disk.lock() {
            Err(LockFailure::Held { holder_pid }) => {
                assert_eq!(holder_pid, Some(std::process::id()));
            }
            other => panic!("{other:?}"),
        }
        drop(lock);
    }
    assert_eq!(names(disk, Path::new("")), [layout::LOCK]);
}

fn threads_share_a_file(disk: &dyn Disk) {
    let file = good(disk.open(Path::new("file"), OpenMode::CreateNew));
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let file: &dyn DiskFile = &*file;
            scope.spawn(move || {
                for turn in 0..16 {
                    let place = (turn * 4 + u64::from(thread)) * BLOCK;
                    good(file.write_at(place, &[fill(thread + 1)]));
                }
                good(file.sync());
            });
        }
    });
    let mut blocks = zeroed_blocks(64);
    assert_eq!(good(file.read_at(0, &mut blocks)), 64 * BLOCK_BYTES);
    for (turn, four) in blocks.chunks(4).enumerate() {
        let found: Vec<u8> = four.iter().map(|block| block.0[100]).collect();
        assert_eq!(found, [1, 2, 3, 4], "turn {turn}");
    }
}

/// More parts than any backend has in flight, of all sizes, from memory of the disk's pool and other.
fn a_batch_does_what_its_parts_do(disk: &dyn Disk) {
    let file = good(disk.open(Path::new("file"), OpenMode::CreateNew));
    let mut random = SplitMix64::new(11);
    let mut wanted = zeroed_blocks(300);
    random.fill(wanted.as_mut_bytes());
    let mut order: Vec<(usize, usize)> = Vec::new();
    while let Some(room) = 300_usize.checked_sub(order.last().map_or(0, |(at, n)| at + n) + 1) {
        let at = 299 - room;
        order.push((at, 1 + random.index(5.min(room + 1))));
    }
    random.shuffle(&mut order);
    let part = |(at, count): (usize, usize)| WritePart {
        offset: at as u64 * BLOCK,
        blocks: &wanted[at..at + count],
    };
    let parts: Vec<WritePart<'_>> = order.iter().copied().map(part).collect();
    assert!(parts.len() > 64);
    good(file.write_many(&parts));
    good(file.sync());
    let mut found = zeroed_blocks(300);
    assert_eq!(good(file.read_at(0, &mut found)), 300 * BLOCK_BYTES);
    assert!(found.as_bytes() == wanted.as_bytes());

    let mut buffers: Vec<PoolBuffer> = (0..3).filter_map(|_| disk.buffers().try_take()).collect();
    assert_eq!(buffers.len(), 3, "the pool has room");
    let mut foreign = vec![fill(9); 100];
    buffers.iter_mut().for_each(|blocks| blocks.fill(fill(9)));
    let (behind, rest) = foreign.split_at_mut(8);
    let mut parts = vec![
        ReadPart::new(298 * BLOCK, behind),
        ReadPart::new(400 * BLOCK, rest),
    ];
    let mut at = 0;
    for blocks in &mut buffers {
        parts.push(ReadPart::new(at, &mut blocks[3..]));
        at += 61 * BLOCK;
    }
    good(file.read_many(&mut parts));
    let counts: Vec<usize> = parts.iter().map(|part| part.found / BLOCK_BYTES).collect();
    assert_eq!(counts, [2, 0, 61, 61, 61]);
    for part in &parts {
        let first = usize::try_from(part.offset / BLOCK).unwrap_or(usize::MAX);
        let there = part.found / BLOCK_BYTES;
        let expected = wanted.iter().skip(first).take(there);
        let right = part.blocks.iter().zip(expected).all(|(a, b)| a.0 == b.0);
        assert!(right, "from block {first}");
        let behind = part.blocks[there..].as_bytes();
        assert!(behind.iter().all(|byte| *byte == 0), "zeros behind the end");
    }
    good(file.write_many(&[]));
    good(file.read_many(&mut []));
}

/// More threads than a backend has rings.
fn threads_batch_at_the_same_time(disk: &dyn Disk) {
    let file = good(disk.open(Path::new("file"), OpenMode::CreateNew));
    std::thread::scope(|scope| {
        for thread in 0..8_u8 {
            let file: &dyn DiskFile = &*file;
            scope.spawn(move || {
                for turn in 0..6_u64 {
                    let first = (u64::from(thread) * 6 + turn) * 8;
                    let blocks: Vec<Block> = (0..8).map(|n| fill(thread * 8 + n)).collect();
                    let parts: Vec<WritePart<'_>> = (first..)
                        .zip(blocks.chunks(1))
                        .map(|(at, blocks)| WritePart {
                            offset: at * BLOCK,
                            blocks,
                        })
                        .collect();
                    good(file.write_many(&parts));
                    let mut found = vec![fill(255); 8];
                    let mut parts: Vec<ReadPart<'_>> = (first..)
                        .zip(found.chunks_mut(1))
                        .map(|(at, blocks)| ReadPart::new(at * BLOCK, blocks))
                        .collect();
                    good(file.read_many(&mut parts));
                    assert!(parts.iter().all(|part| part.found == BLOCK_BYTES));
                    assert!(found.as_bytes() == blocks.as_bytes(), "thread {thread}");
                }
            });
        }
    });
}

fn a_batch_that_is_wrong_is_refused(disk: &dyn Disk) {
    let path = Path::new("file");
    let file = good(disk.open(path, OpenMode::CreateNew));
    let reader = good(disk.open(path, OpenMode::Read));
    let two = [fill(1), fill(2)];
    let part = |offset| WritePart {
        offset,
        blocks: &two,
    };
    let overlap = file.write_many(&[part(8 * BLOCK), part(0), part(BLOCK)]);
    refused_at(overlap, IoOp::Write, BLOCK, EINVAL);
    let crooked = file.write_many(&[part(0), part(5 * BLOCK + 1)]);
    refused_at(crooked, IoOp::Write, 5 * BLOCK + 1, EINVAL);
    assert_eq!(good(file.bytes()), 0, "nothing was written");
    let not_for_writing = reader.write_many(&[part(0), part(2 * BLOCK)]);
    refused_at(not_for_writing, IoOp::Write, 0, EBADF);
    let (mut a, mut b) = ([fill(0), fill(0)], [fill(0)]);
    let mut parts = [ReadPart::new(0, &mut a), ReadPart::new(BLOCK, &mut b)];
    refused_at(file.read_many(&mut parts), IoOp::Read, BLOCK, EINVAL);
}

fn any_sequence_of_calls_does_what_a_vector_does(disk: &dyn Disk, seed: u64) {
    let mut random = SplitMix64::new(seed);
    let file = good(disk.open(Path::new("file"), OpenMode::CreateNew));
    let mut model: Vec<u8> = Vec::new();
    for call in 0..120 {
        let (first, count) = (random.index(40), random.index(6));
        let (start, end) = (first * BLOCK_BYTES, (first + count) * BLOCK_BYTES);
        let offset = start as u64;
        let mut blocks = vec![fill(random.next_u64().to_le_bytes()[0]); count];
        match random.index(5) {
            0 => {
                good(file.allocate(end as u64));
                model.resize(model.len().max(end), 0);
            }
            1 => good(file.sync()),
            2 => {
                let there = model.len().saturating_sub(start).min(end - start);
                assert_eq!(
                    good(file.read_at(offset, &mut blocks)),
                    there,
                    "seed {seed}"
                );
                let expected = model.get(start..start + there).unwrap_or_default();
                let found = &blocks.as_bytes()[..there];
                assert!(found == expected, "seed {seed}, call {call}");
            }
            durable => {
                if durable == 3 {
                    good(file.write_durable_at(offset, &blocks));
                } else {
                    good(file.write_at(offset, &blocks));
                }
                if count > 0 {
                    model.resize(model.len().max(end), 0);
                    model[start..end].copy_from_slice(blocks.as_bytes());
                }
            }
        }
        let bytes = good(file.bytes());
        assert_eq!(bytes, model.len() as u64, "seed {seed}, call {call}");
    }
}

fn fill(byte: u8) -> Block {
    Block([byte; BLOCK_BYTES])
}

fn names(disk: &dyn Disk, dir: &Path) -> Vec<String> {
    let entries = good(disk.list(dir));
    entries.into_iter().map(|entry| entry.name).collect()
}

fn good<T, E: Debug>(answer: Result<T, E>) -> T {
    match answer {
        Ok(value) => value,
        Err(error) => panic!("{error:?}"),
    }
}

fn refused<T: Debug>(answer: Result<T, IoFailure>, op: IoOp, path: &Path, errno: i32) {
    match answer {
        Err(failure) => {
            let found = (failure.op, failure.path.as_path(), failure.errno);
            assert_eq!(found, (op, path, errno), "{failure}");
        }
        Ok(value) => panic!("{op} of {} gave {value:?}", path.display()),
    }
}

fn refused_at<T: Debug>(answer: Result<T, IoFailure>, op: IoOp, offset: u64, errno: i32) {
    let place = answer.as_ref().err().and_then(|failure| failure.offset);
    assert_eq!(place, Some(offset));
    refused(answer, op, Path::new("file"), errno);
}
