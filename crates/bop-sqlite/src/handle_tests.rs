//! Locks, transactions and their ends, as SQLite calls.

use super::*;
use crate::commit;
use bop_sqlite_common::codes;
use bop_storage::manifest::MemoryManifest;
use bop_storage::testing::SimDisk;
use bop_storage::{Limits, Lsn, Manager, Options};

const A: &str = "/s/a";

struct Store {
    _dir: Option<tempfile::TempDir>,
    hub: Arc<Hub>,
}

impl Store {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let manager = Manager::open(dir.path(), Options::new()).unwrap();
        Self {
            _dir: Some(dir),
            hub: Arc::new(Hub::new(manager)),
        }
    }

    /// One whose transactions have memory for a few pages.
    fn small(disk: &SimDisk) -> Self {
        let manifest = Arc::new(MemoryManifest::new());
        let options = Options::new().limits(Limits::tiny());
        let options = options.disk(Arc::new(disk.clone()), manifest);
        let manager = Manager::open("simulated", options).unwrap();
        Self {
            _dir: None,
            hub: Arc::new(Hub::new(manager)),
        }
    }

    fn open(&self, name: &str, connection: Connection) -> Arc<Handle> {
        let shown = self.hub.find(name, true).unwrap();
        let handle = Handle::open(Arc::clone(&self.hub), format!("/s/{name}"), name, shown);
        self.hub.assign(&handle, connection);
        handle
    }

    fn head(&self, name: &str) -> Lsn {
        self.hub.manager().database(name).unwrap().head()
    }
}

/// Page 1, with a byte that tells which.
fn page(byte: u8, counter: u32) -> Vec<u8> {
    let mut page = vec![byte; 512];
    page[16..20].copy_from_slice(&[2, 0, 1, 1]);
    page[24..28].copy_from_slice(&counter.to_be_bytes());
    page[28..32].fill(0);
    page
}

fn lock(handle: &Handle) {
    handle.lock(Level::Shared).unwrap();
    handle.lock(Level::Writer).unwrap();
}

/// The counter that is shown, and the byte that tells which page 1 it is.
fn shown(handle: &Handle) -> (u32, u8) {
    handle.lock(Level::Shared).unwrap();
    let mut out = [0; 512];
    handle.read(&mut out, 0).unwrap();
    (
        u32::from_be_bytes([out[24], out[25], out[26], out[27]]),
        out[511],
    )
}

fn write(handle: &Handle, byte: u8, counter: u32) {
    lock(handle);
    handle.write(0, &page(byte, counter)).unwrap();
}

fn commit_alone(handle: &Arc<Handle>, byte: u8, counter: u32) {
    write(handle, byte, counter);
    handle.sync();
    handle.prepare(None).unwrap();
    commit::phase_two(handle).unwrap();
    handle.unlock(Level::None);
}

#[test]
fn only_what_is_committed_by_its_signal_is_there() {
    let store = Store::new();
    let (one, two) = (store.open("a", 1), store.open("a", 2));
    write(&one, 7, 1);
    one.prepare(None).unwrap();
    one.unlock(Level::Shared);
    one.unlock(Level::None);
    assert_eq!(store.head("a"), Lsn::ZERO);
    commit_alone(&one, 8, 1);
    assert_eq!(shown(&two).1, 8);
    assert_eq!(one.level(), Level::None);
}

#[test]
fn a_handle_is_shown_its_own_counter_until_somebody_else_commits() {
    let store = Store::new();
    let (one, two) = (store.open("a", 1), store.open("a", 2));
    commit_alone(&one, 7, 1);
    assert_eq!(shown(&one), (1, 7));
    one.unlock(Level::None);
    commit_alone(&one, 8, 2);
    assert_eq!(shown(&one), (2, 8));
    one.unlock(Level::None);
    let (seen, _) = shown(&two);
    two.unlock(Level::None);
    commit_alone(&two, 9, seen + 1);
    let (changed, byte) = shown(&one);
    assert!(changed != 2 && byte == 9);
    one.unlock(Level::None);
}

#[test]
fn a_writer_is_busy_and_a_stale_snapshot_is_told() {
    let store = Store::new();
    let (one, two) = (store.open("a", 1), store.open("a", 2));
    lock(&one);
    two.lock(Level::Shared).unwrap();
    let busy = two.lock(Level::Writer).unwrap_err();
    assert!(matches!(busy, EngineError::Begin(BeginError::Busy)));
    one.write(0, &page(1, 1)).unwrap();
    commit::phase_two(&one).unwrap();
    one.unlock(Level::None);
    let stale = two.lock(Level::Writer).unwrap_err();
    assert!(matches!(
        stale,
        EngineError::Begin(BeginError::BusySnapshot { .. })
    ));
    two.unlock(Level::None);
    lock(&two);
}

#[test]
fn whoever_keeps_the_lock_keeps_the_slot_from_commit_to_commit() {
    let store = Store::new();
    let (one, two) = (store.open("a", 1), store.open("a", 2));
    lock(&one);
    for counter in 1..5 {
        one.write(0, &page(counter, counter.into())).unwrap();
        one.prepare(None).unwrap();
        commit::phase_two(&one).unwrap();
        two.lock(Level::Shared).unwrap();
        let busy = two.lock(Level::Writer).unwrap_err();
        assert!(matches!(busy, EngineError::Begin(BeginError::Busy)));
        assert_eq!(shown(&two).1, counter);
        two.unlock(Level::None);
    }
    one.unlock(Level::None);
    lock(&two);
}

#[test]
fn a_transaction_that_an_error_ended_without_a_call_is_given_up_when_sqlite_looks_again() {
    let store = Store::new();
    let one = store.open("a", 1);
    lock(&one);
    one.write(0, &page(1, 1)).unwrap();
    commit::phase_two(&one).unwrap();
    one.write(0, &page(2, 2)).unwrap();
    let mut versions = [0; 16];
    one.read(&mut versions, 24).unwrap();
    assert_ne!(versions[..4], 2u32.to_be_bytes());
    assert_eq!(shown(&one).1, 1);
    assert_eq!(one.level(), Level::Writer);
}

#[test]
fn without_a_super_journal_all_of_a_connection_commit_at_the_first_signal() {
    let store = Store::new();
    let (a, b, other) = (store.open("a", 1), store.open("b", 1), store.open("c", 2));
    for (handle, byte) in [(&a, 1), (&b, 2), (&other, 3)] {
        write(handle, byte, 1);
        handle.prepare(None).unwrap();
    }
    commit::phase_two(&a).unwrap();
    assert_eq!(store.head("a"), store.head("b"));
    assert!(store.head("a") > Lsn::ZERO);
    assert_eq!(store.head("c"), Lsn::ZERO);
    let both = store.head("b");
    commit::phase_two(&b).unwrap();
    assert_eq!(store.head("b"), both);
    assert_eq!((shown(&a).1, shown(&b).1), (1, 2));
}

#[test]
fn what_was_rolled_back_without_a_call_is_in_no_later_commit() {
    let store = Store::new();
    let (b, c, d) = (store.open("b", 1), store.open("c", 1), store.open("d", 1));
    write(&b, 9, 1);
    b.prepare(None).unwrap();
    // The first phase of another file failed: no journal, and the lock is kept.
    for handle in [&c, &d] {
        write(handle, 1, 1);
        handle.prepare(None).unwrap();
    }
    commit::phase_two(&c).unwrap();
    assert_eq!(store.head("b"), Lsn::ZERO);
    assert!(store.head("c") > Lsn::ZERO);
    assert_eq!(store.head("c"), store.head("d"));
    // SQLite looks again.
    let mut versions = [0; 16];
    b.read(&mut versions, 24).unwrap();
    b.write(0, &page(2, 3)).unwrap();
    b.prepare(None).unwrap();
    commit::phase_two(&b).unwrap();
    assert_eq!(shown(&b), (3, 2));
}

#[test]
fn a_group_is_committed_when_its_super_journal_is_deleted() {
    let store = Store::new();
    let (a, b) = (store.open("a", 1), store.open("b", 1));
    store.hub.supers.open_or_create("/s/a-mj1");
    for handle in [&a, &b] {
        write(handle, 5, 1);
        handle.prepare(Some("/s/a-mj1")).unwrap();
    }
    assert_eq!(store.head("a"), Lsn::ZERO);
    commit::delete_super(&store.hub, "/s/a-mj1").unwrap();
    assert!(store.head("a") > Lsn::ZERO);
    assert_eq!(store.head("a"), store.head("b"));
    assert!(store.hub.supers.find("/s/a-mj1").is_none());
    for handle in [&a, &b] {
        commit::phase_two(handle).unwrap();
        handle.unlock(Level::None);
    }
    assert_eq!((shown(&a).1, shown(&b).1), (5, 5));
}

#[test]
fn once_a_member_is_rolled_back_nothing_of_its_group_is_committed() {
    type End = fn(&Handle);
    let ends: [End; 3] = [
        |a| a.unlock(Level::Shared),
        |a| a.prepare(None).unwrap(),
        |a| a.write(0, &page(1, 1)).unwrap(),
    ];
    for end in ends {
        let store = Store::new();
        let (a, b) = (store.open("a", 1), store.open("b", 1));
        store.hub.supers.open_or_create("/s/a-mj1");
        for handle in [&a, &b] {
            write(handle, 5, 1);
            handle.prepare(Some("/s/a-mj1")).unwrap();
        }
        end(&a);
        commit::delete_super(&store.hub, "/s/a-mj1").unwrap();
        assert_eq!((store.head("a"), store.head("b")), (Lsn::ZERO, Lsn::ZERO));
    }
}

#[test]
fn a_commit_that_fails_is_shown_as_before_and_its_super_journal_stays() {
    let store = Store::new();
    let (a, b) = (store.open("a", 1), store.open("b", 1));
    commit_alone(&a, 1, 1);
    let (before, _) = shown(&a);
    store.hub.manager().set_quota("b", Some(512)).unwrap();
    store.hub.supers.open_or_create("/s/a-mj1");
    for handle in [&a, &b] {
        write(handle, 5, 2);
        handle.write(512, &[6; 512]).unwrap();
        handle.prepare(Some("/s/a-mj1")).unwrap();
    }
    let error = commit::delete_super(&store.hub, "/s/a-mj1").unwrap_err();
    assert!(matches!(error, EngineError::Commit(_)), "{error}");
    assert!(store.hub.supers.find("/s/a-mj1").unwrap().is_broken());
    assert_eq!(store.head("b"), Lsn::ZERO);
    // SQLite writes back what its journal has, and deletes the super-journal again.
    for handle in [&a, &b] {
        handle.write(0, &page(9, 1)).unwrap();
        handle.truncate(512).unwrap();
        assert!(store.hub.supers.find("/s/a-mj1").is_some());
        handle.prepare(None).unwrap();
        handle.unlock(Level::Shared);
        commit::delete_super(&store.hub, "/s/a-mj1").unwrap();
        handle.unlock(Level::None);
    }
    assert!(store.hub.supers.find("/s/a-mj1").is_none());
    let (after, byte) = shown(&a);
    assert_eq!(byte, 1);
    assert!(after != before && after != 2);
    a.unlock(Level::None);
    commit_alone(&a, 3, after + 1);
    assert_eq!(shown(&a), (after + 1, 3));
}

#[test]
fn whatever_a_lost_commit_had_is_not_in_the_next_one_though_the_lock_is_kept() {
    let store = Store::new();
    let a = store.open("a", 1);
    commit_alone(&a, 1, 1);
    write(&a, 5, 2);
    a.write(512, &[6; 512]).unwrap();
    a.lost();
    // SQLite writes back, in vain, and goes on.
    a.write(0, &page(9, 1)).unwrap();
    a.prepare(None).unwrap();
    let before = store.head("a");
    commit::phase_two(&a).unwrap();
    assert_eq!((store.head("a"), shown(&a).1), (before, 1));
    a.write(0, &page(3, 7)).unwrap();
    commit::phase_two(&a).unwrap();
    assert_eq!((a.bytes().unwrap(), shown(&a).1), (512, 3));
}

#[test]
fn a_page_that_finds_no_room_ends_the_transaction_and_the_lock_may_be_kept() {
    let disk = SimDisk::new(1);
    let store = Store::small(&disk);
    let a = store.open("a", 1);
    commit_alone(&a, 1, 1);
    let (before, _) = shown(&a);
    lock(&a);
    disk.set_capacity(Some(0));
    a.write(0, &page(5, 2)).unwrap();
    let refused = (1..1000).find_map(|n| a.write(n * 512, &[n.to_le_bytes()[0]; 512]).err());
    let refused = refused.unwrap();
    assert_eq!(refused.sqlite_code(), codes::SQLITE_FULL, "{refused}");
    // SQLite writes back what its journal has, and asks whether its cache is valid.
    a.write(0, &page(1, before)).unwrap();
    a.truncate(512).unwrap();
    a.prepare(None).unwrap();
    let mut versions = [0; 16];
    a.read(&mut versions, 24).unwrap();
    assert_eq!((a.level(), a.bytes().unwrap()), (Level::Writer, 512));
    let (after, byte) = shown(&a);
    assert!(after != before && after != 2 && byte == 1);
    // The next one is not lost.
    disk.set_capacity(None);
    a.write(0, &page(3, after + 1)).unwrap();
    a.prepare(None).unwrap();
    commit::phase_two(&a).unwrap();
    a.unlock(Level::None);
    assert_eq!(shown(&store.open("a", 2)).1, 3);
}

#[test]
fn whoever_keeps_his_lock_keeps_the_slot_from_his_first_read_on() {
    let store = Store::new();
    let (a, b) = (store.open("a", 1), store.open("b", 1));
    let (other_a, other_b) = (store.open("a", 2), store.open("b", 2));
    commit_alone(&other_a, 1, 1);
    a.set_exclusive(true).unwrap();
    for (mine, others) in [(&a, &other_a), (&b, &other_b)] {
        mine.lock(Level::Shared).unwrap();
        assert_eq!(mine.level(), Level::Shared);
        others.lock(Level::Shared).unwrap();
        let busy = others.lock(Level::Writer).unwrap_err();
        assert!(matches!(busy, EngineError::Begin(BeginError::Busy)));
    }
    // The journal's mode is changed, and nobody comes in.
    a.lock(Level::Writer).unwrap();
    a.unlock(Level::Shared);
    assert!(other_a.lock(Level::Writer).is_err());
    // One that gives up its lock is not in that mode.
    b.unlock(Level::None);
    lock(&other_b);
    other_b.unlock(Level::None);
    b.lock(Level::Shared).unwrap();
    lock(&other_b);
    // What it writes is over what it has read.
    a.lock(Level::Writer).unwrap();
    a.write(0, &page(2, 2)).unwrap();
    a.prepare(None).unwrap();
    commit::phase_two(&a).unwrap();
    assert_eq!((shown(&a), shown(&other_a).1), ((2, 2), 1));
    a.set_exclusive(false).unwrap();
    a.unlock(Level::None);
    other_a.unlock(Level::None);
    lock(&other_a);
}

#[test]
fn two_that_keep_their_locks_come_one_after_the_other_and_an_old_state_is_not_locked() {
    let store = Store::new();
    let (one, two) = (store.open("a", 1), store.open("a", 2));
    one.set_exclusive(true).unwrap();
    one.join_connection();
    let later = store.open("b", 1);
    later.join_connection();
    later.lock(Level::Shared).unwrap();
    two.set_exclusive(true).unwrap();
    one.lock(Level::Shared).unwrap();
    let busy = two.lock(Level::Shared).unwrap_err();
    assert!(matches!(busy, EngineError::Begin(BeginError::Busy)));
    assert_eq!(two.level(), Level::None);
    let other = store.open("b", 3);
    other.lock(Level::Shared).unwrap();
    assert!(other.lock(Level::Writer).is_err());
    assert!(other.set_exclusive(true).is_err());
    one.close();
    two.lock(Level::Shared).unwrap();
    two.close();
    let old = store.open("a", 4);
    old.lock(Level::Shared).unwrap();
    commit_alone(&store.open("a", 5), 1, 1);
    let stale = old.set_exclusive(true).unwrap_err();
    assert!(matches!(
        stale,
        EngineError::Begin(BeginError::BusySnapshot { .. })
    ));
    old.unlock(Level::None);
    old.lock(Level::Shared).unwrap();
    lock(&old);
}

#[test]
fn a_super_journal_of_another_vfs_is_refused() {
    let store = Store::new();
    let a = store.open("a", 1);
    write(&a, 1, 1);
    let error = a.prepare(Some("/elsewhere/main.db-mj1")).unwrap_err();
    assert!(matches!(error, EngineError::Refused(_)), "{error}");
}

#[test]
fn two_connections_that_wait_for_each_other_are_told() {
    let store = Store::new();
    let (a1, b1) = (store.open("a", 1), store.open("b", 1));
    let (a2, b2) = (store.open("a", 2), store.open("b", 2));
    lock(&a1);
    lock(&b2);
    b1.lock(Level::Shared).unwrap();
    a2.lock(Level::Shared).unwrap();
    let waits = b1.lock(Level::Writer).unwrap_err();
    assert!(matches!(waits, EngineError::Begin(BeginError::Busy)));
    let circle = a2.lock(Level::Writer).unwrap_err();
    assert!(matches!(&circle, EngineError::Deadlock { name } if name == "a"));
    b2.unlock(Level::None);
    b1.lock(Level::Writer).unwrap();
}

#[test]
fn a_state_of_the_past_stays_and_takes_no_writer() {
    let store = Store::new();
    let a = store.open("a", 1);
    commit_alone(&a, 1, 1);
    let past = store.open(&format!("a@lsn:{}", store.head("a")), 2);
    commit_alone(&a, 2, 2);
    assert_eq!(shown(&past).1, 1);
    let error = past.lock(Level::Writer).unwrap_err();
    assert!(matches!(error, EngineError::State));
    assert_eq!(
        past.file_name(),
        format!("a@lsn:{}", past.snapshot().unwrap().lsn())
    );
    assert_eq!(a.full_name(), A);
}

#[test]
fn a_super_journal_that_nobody_deleted_goes_with_the_last_file_of_its_main_database() {
    let store = Store::new();
    let (one, two) = (store.open("a", 1), store.open("a", 2));
    let other = store.open("b", 1);
    store.hub.supers.open_or_create("/s/a-mj1");
    one.close();
    other.close();
    assert!(store.hub.supers.find("/s/a-mj1").is_some());
    assert_eq!(store.hub.handles().len(), 1);
    assert!(store.hub.handles_of(1).is_empty());
    assert_eq!(store.hub.handles_of(2).len(), 1);
    two.close();
    assert!(store.hub.supers.find("/s/a-mj1").is_none());
    assert!(store.hub.handles().is_empty());
}
