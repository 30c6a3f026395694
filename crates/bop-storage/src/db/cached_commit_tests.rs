//! What is in the cache of a commit that is not visible, or never will be.

use super::super::images::Replaced;
use super::super::simulated;
use super::super::state::DbState;
use super::*;
use crate::cache::CacheObserver;
use crate::checksum::PageHash;
use crate::db::{Db, Durability};
use crate::error::{CommitError, Rejection};
use crate::ids::{DbKind, PageSize};
use crate::io::IoOp;
use crate::limits::Limits;
use crate::page::PageBytes;
use crate::testing::Fault;
use crate::testing::SimDisk;
use std::sync::Mutex;
use std::time::Duration;

const DATABASE: DbId = DbId::new(7);
const PAGE: PageNo = PageNo::FIRST;

/// A commit of one page full of `byte`, which replaces the version of `replaced`.
fn commit(engine: &Arc<Engine>, byte: u8, replaced: Option<Lsn>) -> CachedCommit {
    let size = PageSize::DEFAULT;
    let content = PageBytes::copy_of(&vec![byte; size.bytes()]);
    let replaced = Replaced {
        in_log: replaced,
        ..Replaced::default()
    };
    let own = OwnPage::new(PAGE, PageHash::of(PAGE, &content), content, size, replaced);
    CachedCommit::new(engine, DATABASE, vec![own])
}

/// The first byte of a version, if the cache has it.
fn cached(engine: &Engine, version: Lsn) -> Option<u8> {
    let key = PageKey::in_log(DATABASE, version, PAGE);
    let page = engine.reader().cache().peek(key)?;
    page.first().copied()
}

#[test]
fn a_commit_that_is_refused_or_moves_leaves_nothing_where_it_does_not_stand() {
    let store = simulated::new(&SimDisk::new(1), Limits::tiny());
    let engine = store.engine().engine();
    let (before, place, elsewhere) = (Lsn::new(1), Lsn::new(2), Lsn::new(3));
    let mut first = commit(engine, 1, None);
    first.put_in(before);
    first.set_visible();
    drop(first);

    let mut refused = commit(engine, 2, Some(before));
    refused.put_in(place);
    assert_eq!(cached(engine, place), Some(2));
    drop(refused);
    assert_eq!(cached(engine, place), None);
    assert_eq!(cached(engine, before), Some(1), "it replaced nothing");

    let mut moved = commit(engine, 3, Some(before));
    moved.put_in(place);
    moved.put_in(elsewhere);
    assert_eq!(
        (cached(engine, place), cached(engine, elsewhere)),
        (None, Some(3))
    );
    moved.set_visible();
    assert_eq!(
        cached(engine, before),
        Some(1),
        "until who committed has it gone"
    );
    drop(moved);
    assert_eq!(
        (cached(engine, before), cached(engine, elsewhere)),
        (None, Some(3))
    );
}

/// Says of each page that is put in where the newest commit of the database stood then.
struct Looks {
    state: Arc<DbState>,
    seen: Mutex<Vec<(Lsn, Lsn)>>,
}

impl CacheObserver for Looks {
    fn inserted(&self, key: PageKey, _: &PageBytes) {
        if let PageKey::Log { version, .. } = key {
            let newest = self.state.view().head().lsn;
            self.seen.lock().unwrap().push((version, newest));
        }
    }
}

#[test]
fn a_page_is_in_the_cache_before_an_index_names_it() {
    let store = simulated::new(&SimDisk::new(1), Limits::tiny());
    let db = store.create_database("a", DbKind::Raw).unwrap();
    let engine = store.engine().engine();
    let looks = Arc::new(Looks {
        state: engine.states().remove(0),
        seen: Mutex::default(),
    });
    let observer: Arc<dyn CacheObserver> = looks.clone();
    engine.reader().cache().observe(Arc::downgrade(&observer));
    for (byte, durability) in [(1, Durability::Full), (2, Durability::RELAXED)] {
        let mut write = db.begin_write(Duration::from_secs(50)).unwrap();
        write.write_page(PAGE, &[byte; 4096]).unwrap();
        write.commit_with(durability).unwrap();
    }
    let seen = looks.seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    let early = |(version, newest): &(Lsn, Lsn)| newest < version;
    assert!(seen.iter().all(early), "{seen:?}");
}

/// Where the pages that begin with a byte were put in, each time.
#[derive(Default)]
struct Places(Mutex<Vec<(u8, Lsn)>>);

impl CacheObserver for Places {
    fn inserted(&self, key: PageKey, page: &PageBytes) {
        if let PageKey::Log { version, .. } = key {
            self.0.lock().unwrap().push((page[0], version));
        }
    }
}

impl Places {
    fn of(&self, byte: u8) -> Vec<Lsn> {
        let places = self.0.lock().unwrap();
        let of_byte = places.iter().filter(|(other, _)| *other == byte);
        of_byte.map(|(_, version)| *version).collect()
    }
}

#[test]
fn a_commit_that_gave_up_is_not_read_where_the_next_one_stands() {
    let limits = Limits {
        // Whoever came later than this after the write began would be told that it hangs.
        io_deadline: Duration::from_secs(1),
        // No note comes in between.
        idle_note_delay: Duration::from_secs(3600),
        ..Limits::tiny()
    };
    let disk = SimDisk::new(1);
    let store = simulated::new(&disk, limits);
    let places = Arc::new(Places::default());
    let observer: Arc<dyn CacheObserver> = places.clone();
    let cache = store.engine().engine().reader().cache();
    cache.observe(Arc::downgrade(&observer));
    let [a, b] = ["a", "b"].map(|name| store.create_database(name, DbKind::Raw).unwrap());
    let paint = |db: &Db, byte| {
        let mut write = db.begin_write(Duration::from_secs(50)).unwrap();
        write.write_page(PAGE, &[byte; 4096]).unwrap();
        write.commit()
    };
    disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    std::thread::scope(|scope| {
        let hangs = scope.spawn(|| paint(&b, 1).unwrap());
        disk.wait_until_hung(1);
        let given_up = paint(&a, 2);
        let timeout = matches!(
            given_up,
            Err(CommitError::Rejected(Rejection::Timeout { .. }))
        );
        assert!(timeout, "{given_up:?}");
        disk.release_hung();
        hangs.join().unwrap();
    });
    paint(&a, 3).unwrap();
    assert_eq!(places.of(2), places.of(3), "one place for both");
    assert_eq!(places.of(2).len(), 1);
    let read = a.begin_read().unwrap();
    assert_eq!(read.read_page(PAGE).unwrap()[0], 3);
}
