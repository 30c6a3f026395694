//! Runs of pages: what they answer is what single reads answer.

use super::*;
use crate::error::ReadError;

/// Pages of both kinds, with one that was never written between them.
fn mixed_chunk(disk: &SimDisk) {
    let size = PageSize::DEFAULT;
    let pages = (1..=40).filter(|raw| *raw != 21);
    let mut writer = writer(disk);
    writer.begin_section(meta(1, size)).unwrap();
    for raw in pages {
        let content = match raw % 3 {
            0 => noise(u64::from(raw), size),
            _ => text(u64::from(raw), size),
        };
        push(&mut writer, raw, 10, &content);
    }
    writer.end_section().unwrap();
    writer.finish().unwrap();
}

#[test]
fn a_run_is_the_pages_one_by_one_up_to_a_gap_and_as_many_as_asked() {
    let disk = disk();
    mixed_chunk(&disk);
    let reader = open(&disk).unwrap();
    for raw in 1..=40 {
        for count in [0, 1, 2, 7, 64] {
            let run = reader.read_run(0, page(raw), count * 4096).unwrap();
            let gap = if raw <= 21 { 21 } else { 41 };
            let expected: Vec<u32> = (raw..gap).take(count.max(1)).collect();
            assert_eq!(run.len(), expected.len(), "{count} pages from {raw} on");
            for (found, raw) in run.into_iter().zip(expected) {
                assert_eq!(
                    Some(found),
                    reader.read_page(0, page(raw)).unwrap(),
                    "page {raw}"
                );
            }
        }
    }
}

#[test]
fn damage_ends_a_run_and_is_told_of_the_page_that_was_asked_for() {
    let disk = disk();
    mixed_chunk(&disk);
    let mut bytes = disk.read_raw(&file());
    let sound = open(&disk)
        .unwrap()
        .read_page(0, page(12))
        .unwrap()
        .unwrap();
    // Raw pages stand in whole blocks.
    let at = bytes
        .windows(4096)
        .position(|block| block == &sound.content[..]);
    bytes[at.unwrap() + 77] ^= 0x10;
    disk.write_raw(&file(), &bytes);
    let reader = open(&disk).unwrap();
    assert_eq!(reader.read_run(0, page(9), 64 * 4096).unwrap().len(), 3);
    let asked = reader.read_run(0, page(12), 64 * 4096);
    assert!(matches!(asked, Err(ReadError::Damaged(_))), "{asked:?}");
    assert_eq!(reader.read_run(0, page(13), 4 * 4096).unwrap().len(), 4);
}
