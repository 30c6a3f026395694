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
fn pages_that_stand_near_each_other_are_read_with_the_first() {
    let disk = disk();
    mixed_chunk(&disk);
    let reader = open(&disk).unwrap();
    let near = |wanted: &[u32]| {
        let reads = disk.read_count();
        let near = reader
            .read_near(0, wanted.iter().map(|raw| page(*raw)))
            .unwrap();
        for (at, found) in &near {
            let alone = reader.read_page(0, *at).unwrap();
            assert_eq!(Some(found), alone.as_ref(), "page {at}");
        }
        // The index was read before; each page was read alone, too.
        let reads = disk.read_count() - reads - near.len() as u64;
        let pages: Vec<u32> = near.iter().map(|(page, _)| page.get()).collect();
        assert_eq!(reads, u64::from(!pages.is_empty()), "{pages:?}");
        pages
    };
    assert!(reader.read_page(0, page(1)).unwrap().is_some());
    assert_eq!(near(&[3]), [3]);
    assert_eq!(near(&[]), [0; 0]);
    assert_eq!(near(&[21, 22]), [0; 0], "the first one was never written");
    assert_eq!(near(&[20, 21, 22]), [20, 22]);
    // Raw pages, 3 and 6 among them, take a block each; the others take less.
    assert_eq!(near(&[1, 2, 5, 8, 40]), [1, 2, 5, 8]);
    let all: Vec<u32> = (1..=40).filter(|raw| *raw != 21).collect();
    assert_eq!(near(&all), all);
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
    let near = reader.read_near(0, [9, 11, 12, 13].map(page)).unwrap();
    let near: Vec<u32> = near.iter().map(|(page, _)| page.get()).collect();
    assert_eq!(near, [9, 11]);
}
