//! Random changes of a database's pages, in a transaction and in the expected state alike.

use crate::world::{Database, content};
use bop_storage::testing::SplitMix64;
use bop_storage::{DbKind, PageNo, Rejection, WriteTxn};

/// Changes pages, in the transaction and in the expected state alike.
pub(crate) type Fill = fn(&mut SplitMix64, &mut WriteTxn, &mut Database) -> Result<(), Rejection>;

/// Few pages, or some, now and then with less of the database, or with a savepoint.
pub(crate) fn fill_with(
    random: &mut SplitMix64,
    write: &mut WriteTxn,
    database: &mut Database,
) -> Result<(), Rejection> {
    if database.page_size.is_none() {
        let sizes = [512, 1024, 4096, 4096, 8192, 16384];
        database.page_size = Some(sizes[random.index(sizes.len())]);
    }
    if random.chance(1, 6) && !database.pages.is_empty() {
        truncate(random, write, database);
    }
    let pages = match random.below(16) {
        0 => 24 + random.below(24),
        1..4 => 4 + random.below(8),
        _ => 1 + random.below(3),
    };
    for _ in 0..pages {
        write_page(random, write, database)?;
    }
    if random.chance(1, 5) {
        let savepoint = write.savepoint();
        let mut undone = database.clone();
        for _ in 0..1 + random.below(3) {
            write_page(random, write, &mut undone)?;
        }
        if random.chance(1, 2) {
            truncate(random, write, &mut undone);
        }
        write.rollback_to(savepoint);
    }
    if random.chance(1, 8) {
        truncate(random, write, database);
    }
    Ok(())
}

/// As many pages as a transaction of these tests never has else.
pub(crate) fn fill_with_many(
    random: &mut SplitMix64,
    write: &mut WriteTxn,
    database: &mut Database,
) -> Result<(), Rejection> {
    database.page_size = database.page_size.or(Some(4096));
    for _ in 0..12 {
        write_page(random, write, database)?;
    }
    Ok(())
}

fn write_page(
    random: &mut SplitMix64,
    write: &mut WriteTxn,
    database: &mut Database,
) -> Result<(), Rejection> {
    let bytes = database.page_size.expect("chosen before") as usize;
    // A store of these tests stays small, so that many of them can be made.
    let most = if bytes > 4096 { 16 } else { 64 };
    let first_is_missing = database.kind == DbKind::Sqlite && database.pages.is_empty();
    let page = if first_is_missing {
        0
    } else if random.chance(1, 2) {
        database.pages.len().min(most - 1)
    } else {
        random.index((database.pages.len() + 3).min(most))
    };
    let tag = random.next_u64() | 1 << 63;
    let number = u32::try_from(page + 1).expect("small");
    let page_no = PageNo::new(number).expect("above zero");
    write.write_page(page_no, &content(database.kind, number, tag, bytes))?;
    if database.pages.len() <= page {
        database.pages.resize(page + 1, 0);
    }
    database.pages[page] = tag;
    Ok(())
}

fn truncate(random: &mut SplitMix64, write: &mut WriteTxn, database: &mut Database) {
    let least = usize::from(database.kind == DbKind::Sqlite);
    let count = random.index(database.pages.len() + 1).max(least);
    if count < database.pages.len() {
        write.truncate(u32::try_from(count).expect("small"));
        database.pages.truncate(count);
    }
}
