//! What a commit of one row costs the log.

use crate::common::{Random, new_store};
use bop_storage::ImageStats;

/// Bytes of a block, and in it of all but page entries and images: batch header and trailer, two
/// directory entries, head, part and member of the record, and the zeros that round it up.
const BLOCK: u64 = 4096;
const AROUND: u64 = 64 + 40 + 2 * 40 + 24 + 24 + 40 + 7;
const PAGE_ENTRY: u64 = 24;

/// How many pages a commit wrote, and the bytes of their images.
fn between(before: &ImageStats, after: &ImageStats) -> (u64, u64) {
    let pages = |images: &ImageStats| images.raw + images.compressed + images.patches;
    (pages(after) - pages(before), after.bytes - before.bytes)
}

#[test]
fn an_insert_of_one_row_is_one_block_of_the_log() {
    let (_dir, store) = new_store();
    let connection = store.connect("d").unwrap();
    connection
        .execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, data BLOB NOT NULL)")
        .unwrap();
    let mut random = Random::new();
    let images = || store.manager().status().images;
    let start = images();
    let (mut fits, mut one_page) = (0, 0);
    for _ in 0..500 {
        let data: Vec<u8> = (0..100).map(|_| random.below(256) as u8).collect();
        let before = images();
        let inserted = connection.execute("INSERT INTO t(data) VALUES (?1)", [data]);
        inserted.unwrap();
        let (pages, bytes) = between(&before, &images());
        one_page += u32::from(pages == 1);
        fits += u32::from(AROUND + pages * PAGE_ENTRY + bytes <= BLOCK);
    }
    let (pages, bytes) = between(&start, &images());
    let patches = images().patches - start.patches;
    assert!(one_page >= 450, "{one_page} of 500 commits wrote one page");
    // The rest are full images of pages that are full of random bytes.
    assert!(fits >= 450, "{fits} of 500 commits fit one block");
    assert!(
        4 * pages <= 6 * patches,
        "{patches} patches of {pages} pages"
    );
    assert!(bytes < 500 * 1000, "{bytes} bytes of images");
}
