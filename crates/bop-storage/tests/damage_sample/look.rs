//! Looks at an opened store: everything in it is right, or says what is wrong with it.

use super::content::{Change, Content, Contents};
use super::{Sample, WAIT};
use bop_storage::io::layout;
use bop_storage::{CatalogueError, Damage, Db, Manager, PageNo, Place, ReadError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What damage of one place can do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Reach {
    /// Databases that may answer with an error.
    pub databases: BTreeSet<&'static str>,
    /// Databases may be neither created nor found to be missing.
    pub catalogue: bool,
    /// It is the newest batch: it may be missing, and nobody need notice.
    pub newest: bool,
}

impl Reach {
    /// The reach of both.
    pub(crate) fn add(&mut self, other: Self) {
        self.databases.extend(other.databases);
        self.catalogue |= other.catalogue;
        self.newest |= other.newest;
    }
}

/// What became of one database.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Fate {
    /// Everything is there.
    Right,
    /// The newest batch is missing.
    Older,
    /// It cannot be opened.
    Closed,
    /// It is lost among the damaged part of the catalogue.
    NotKnown,
    /// So many pages cannot be read, the others are right.
    Pages(usize),
}

/// What became of each database, by name.
pub(crate) type Fates = BTreeMap<&'static str, Fate>;

/// Reads everything. Whatever is neither right nor an error that `reach` allows and that names the
/// file, fails the test.
pub(crate) fn look(store: &Manager, sample: &Sample, reach: &Reach, file: &Path) -> Fates {
    let mut fates = Fates::new();
    for (name, content) in &sample.contents.databases {
        let older = &sample.before_newest.databases[name];
        let fate = fate_of(store, name, content, older, file);
        let allowed = match &fate {
            Fate::Right => true,
            Fate::Older => reach.newest,
            Fate::Closed | Fate::Pages(_) => reach.databases.contains(name),
            Fate::NotKnown => reach.databases.contains(name) && reach.catalogue,
        };
        assert!(allowed, "{name} is {fate:?}, but {reach:?}");
        fates.insert(name, fate);
    }
    let missing = fates.values().filter(|fate| **fate == Fate::Older).count();
    let in_newest = sample.contents.databases.iter();
    let in_newest = in_newest.filter(|(name, now)| sample.before_newest.databases[*name] != **now);
    assert!(
        missing == 0 || missing == in_newest.count(),
        "half a batch: {fates:?}"
    );
    match store.database("gone") {
        Err(CatalogueError::NotFound { .. }) => {}
        Err(CatalogueError::Corrupt { damage, .. } | CatalogueError::Damaged(damage)) => {
            assert!(reach.catalogue, "{damage}");
            assert_names(&damage, file);
        }
        // Its drop is among what the catalogue lost.
        Ok(_) if reach.catalogue => {}
        other => panic!("a dropped database: {other:?}"),
    }
    fates
}

fn fate_of(store: &Manager, name: &str, now: &Content, older: &Content, file: &Path) -> Fate {
    match store.database(name) {
        Ok(db) => fate_of_pages(&db, now, older, file),
        Err(CatalogueError::Corrupt {
            damage,
            name: named,
        }) => {
            assert_eq!(named, name);
            assert_names(&damage, file);
            let info = store.info(name).unwrap();
            assert_eq!(info.damage, Some(damage));
            Fate::Closed
        }
        Err(CatalogueError::Damaged(damage)) => {
            assert_names(&damage, file);
            Fate::NotKnown
        }
        Err(other) => panic!("{name}: {other:?}"),
    }
}

fn fate_of_pages(db: &Db, now: &Content, older: &Content, file: &Path) -> Fate {
    let read = db.begin_read().unwrap();
    let (mut bad, mut like_now, mut like_older) = (0, true, true);
    like_now &= read.page_count() == now.page_count;
    like_older &= read.page_count() == older.page_count;
    // One page more: what is above the end is zeros.
    for number in 1..=now.page_count.max(older.page_count) + 1 {
        match read.read_page(PageNo::new(number).unwrap()) {
            Ok(page) => {
                like_now &= page[..] == now.page(number);
                like_older &= page[..] == older.page(number);
            }
            Err(ReadError::Damaged(damage)) => {
                assert_names(&damage, file);
                bad += 1;
            }
            Err(other) => panic!("{db:?}, page {number}: {other}"),
        }
    }
    match (like_now, like_older, bad) {
        (true, _, 0) => Fate::Right,
        (true, _, bad) => Fate::Pages(bad),
        (false, true, 0) => Fate::Older,
        (false, _, bad) => panic!("{db:?} has wrong pages, and {bad} that cannot be read"),
    }
}

/// Commits to a database and reads it back.
pub(crate) fn write(store: &Manager, name: &str, contents: &mut Contents) {
    let db = store.database(name).unwrap();
    let mut write = db.begin_write(WAIT).unwrap();
    contents.apply(name, &[Change::Write(2)]);
    let page = contents.databases[name].page(2);
    if write.page_size().is_none() {
        write
            .set_page_size(contents.databases[name].page_size())
            .unwrap();
    }
    write.write_page(PageNo::new(2).unwrap(), &page).unwrap();
    let after = write.commit().unwrap();
    assert_eq!(after.read_page(PageNo::new(2).unwrap()).unwrap()[..], page);
}

/// Fails unless the damage is of this file.
pub(crate) fn assert_names(damage: &Damage, file: &Path) {
    assert!(
        names(damage, file),
        "{damage:?} does not name {}",
        file.display()
    );
}

/// Whether the damage is of this file.
pub(crate) fn names(damage: &Damage, file: &Path) -> bool {
    match &damage.place {
        Place::File(path) => path == file,
        Place::Log { segment, .. } => layout::segment(*segment) == file,
        Place::Chunk { chunk, .. } => layout::chunk(*chunk) == file,
        _ => false,
    }
}
