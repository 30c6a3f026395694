//! Databases that were dropped, brought back and given up; what their owners set for them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bop_storage::manifest::MemoryManifest;
use bop_storage::runtime::Runtime;
use bop_storage::testing::{ManualClock, SimDisk, SplitMix64};
use bop_storage::{
    CatalogueError, DbId, DbKind, ErrorCode, FeedStart, Housekeeping, Limits, Manager, Options,
    PageNo, Retention,
};
use std::sync::Arc;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(20);
const HOUR_US: u64 = 3600 * 1_000_000;

/// A simulated store whose clock is in the hands of the test.
struct Ground {
    disk: SimDisk,
    manifest: MemoryManifest,
    clock: Arc<ManualClock>,
    limits: Limits,
    housekeeping: Housekeeping,
}

impl Ground {
    fn new(limits: Limits) -> Self {
        Self {
            disk: SimDisk::new(7),
            manifest: MemoryManifest::new(),
            clock: Arc::new(ManualClock::new(1_700_000_000_000_000)),
            limits,
            housekeeping: Housekeeping::Manual,
        }
    }

    fn open(&self) -> Manager {
        let runtime = Runtime {
            clock: Arc::clone(&self.clock) as _,
            ..Runtime::system()
        };
        let options = Options::new()
            .limits(self.limits.clone())
            .housekeeping(self.housekeeping)
            .runtime(runtime)
            .disk(Arc::new(self.disk.clone()), Arc::new(self.manifest.clone()));
        Manager::open("simulated", options).unwrap()
    }

    /// The store after a power cut that kept only what was durable.
    fn after_power_cut(self, store: Manager) -> (Self, Manager) {
        let (disk, manifest) = (
            self.disk.crash_image_keeping_nothing(),
            self.manifest.snapshot(),
        );
        drop(store);
        let ground = Self {
            disk,
            manifest,
            ..self
        };
        let store = ground.open();
        (ground, store)
    }
}

/// Creates a database of so many pages, all of that byte.
fn create(store: &Manager, name: &str, pages: u32, byte: u8) -> DbId {
    let id = store.create_database(name, DbKind::Raw).unwrap().id();
    fill(store, name, pages, byte).unwrap();
    id
}

fn fill(store: &Manager, name: &str, pages: u32, byte: u8) -> Result<(), ErrorCode> {
    let mut write = store.database(name).unwrap().begin_write(WAIT).unwrap();
    for page in 1..=pages {
        let page = PageNo::new(page).unwrap();
        write.write_page(page, &[byte; 4096]).unwrap();
    }
    write.commit().map(drop).map_err(|error| error.code())
}

/// Its pages' first bytes.
fn bytes(store: &Manager, name: &str) -> Vec<u8> {
    let read = store.database(name).unwrap().begin_read().unwrap();
    let pages = (1..=read.page_count()).filter_map(PageNo::new);
    pages.map(|page| read.read_page(page).unwrap()[0]).collect()
}

fn dropped(store: &Manager) -> Vec<String> {
    let dropped = store.dropped_databases().into_iter();
    dropped.map(|one| one.name).collect()
}

fn assert_sound(store: &Manager) {
    let report = store.verify();
    assert!(report.is_healthy(), "{report:?}");
}

#[test]
fn a_drop_is_taken_back_with_all_that_was_committed() {
    let ground = Ground::new(Limits::tiny());
    let store = ground.open();
    let id = create(&store, "orders", 3, 1);
    store.checkpoint().unwrap();
    fill(&store, "orders", 2, 2).unwrap();
    let handle = store.database("orders").unwrap();
    let reader = handle.begin_read().unwrap();

    store.drop_database("orders").unwrap();
    assert_eq!(
        store.database("orders").unwrap_err().code(),
        ErrorCode::DatabaseNotFound
    );
    let gone = handle.begin_write(WAIT).unwrap_err().code();
    assert_eq!(gone, ErrorCode::DatabaseDropped);
    let known = &store.dropped_databases()[0];
    assert_eq!((known.id, &*known.name), (id, "orders"));
    assert_eq!(known.bytes, 3 * 4096);
    assert_eq!(known.until_us - known.dropped_us, 24 * HOUR_US);

    assert_eq!(store.undrop_database("ORDERS", None).unwrap(), id);
    assert_eq!(bytes(&store, "orders"), [2, 2, 1]);
    assert_eq!(dropped(&store), [""; 0]);
    // Who had it open before goes on being told.
    assert_eq!(
        handle.begin_read().unwrap_err().code(),
        ErrorCode::DatabaseDropped
    );
    let page = reader.read_page(PageNo::FIRST);
    assert_eq!(page.unwrap_err().code(), ErrorCode::DatabaseDropped);
    fill(&store, "orders", 1, 9).unwrap();
    assert_eq!(bytes(&store, "orders"), [9, 2, 1]);
    assert_sound(&store);
}

#[test]
fn what_was_dropped_survives_checkpoints_closings_and_power_cuts() {
    let ground = Ground::new(Limits::tiny());
    let store = ground.open();
    create(&store, "stays", 1, 5);
    create(&store, "chunks", 2, 1);
    store.checkpoint().unwrap();
    create(&store, "log", 2, 2);
    fill(&store, "chunks", 1, 3).unwrap();
    store.drop_database("chunks").unwrap();
    store.drop_database("log").unwrap();

    let (ground, store) = ground.after_power_cut(store);
    assert_eq!(dropped(&store), ["log", "chunks"], "the newest drop first");
    assert_sound(&store);
    // A checkpoint takes what is dropped out of the log as well: nothing holds that.
    for round in 0..60 {
        fill(&store, "stays", 1, round).unwrap();
    }
    store.checkpoint().unwrap();
    let status = store.status();
    assert!(status.log_segments <= 2, "{status:?}");
    store.close(WAIT).unwrap();

    let store = ground.open();
    assert_sound(&store);
    store.undrop_database("chunks", Some("back")).unwrap();
    let (_ground, store) = ground.after_power_cut(store);
    assert_eq!(bytes(&store, "back"), [3, 1]);
    store.undrop_database("log", None).unwrap();
    assert_eq!(bytes(&store, "log"), [2, 2]);
    store.checkpoint().unwrap();
    assert_sound(&store);
}

#[test]
fn names_are_free_after_a_drop_and_of_several_drops_the_newest_comes_back() {
    let ground = Ground::new(Limits::tiny());
    let store = ground.open();
    let first = create(&store, "a", 1, 1);
    store.drop_database("a").unwrap();
    let second = create(&store, "A", 1, 2);
    store.drop_database("A").unwrap();
    create(&store, "a", 1, 3);

    let taken = store.undrop_database("a", None).unwrap_err();
    assert_eq!(taken.code(), ErrorCode::DatabaseExists);
    assert_eq!(store.undrop_database("a", Some("two")).unwrap(), second);
    assert_eq!(store.undrop_database("a", Some("one")).unwrap(), first);
    let nothing = store.undrop_database("a", Some("three")).unwrap_err();
    assert!(
        matches!(nothing, CatalogueError::NotDropped { .. }),
        "{nothing}"
    );
    for (name, byte) in [("one", 1), ("two", 2), ("a", 3)] {
        assert_eq!(bytes(&store, name), [byte], "{name}");
    }
    for bad in ["", "x/y", "\u{7}"] {
        store.drop_database("one").unwrap();
        let refused = store.undrop_database_id(first, Some(bad)).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::InvalidName);
        store.undrop_database_id(first, None).unwrap();
    }
    let live = store.undrop_database_id(first, Some("other")).unwrap_err();
    assert!(matches!(live, CatalogueError::NotDropped { .. }), "{live}");
}

#[test]
fn many_databases_are_listed_piece_by_piece() {
    let store = Ground::new(Limits::tiny()).open();
    for number in 0..25 {
        create(&store, &format!("db {number}"), 1, 1);
    }
    store.drop_database("db 7").unwrap();
    let mut names = Vec::new();
    let mut from = DbId::default();
    loop {
        let piece = store.databases_from(from, 10);
        let Some(last) = piece.last() else { break };
        assert!(piece.len() <= 10);
        from = last.id.next().unwrap();
        names.extend(piece.into_iter().map(|info| info.name));
    }
    assert_eq!(names.len(), 24);
    names.sort();
    let all: Vec<String> = store
        .databases()
        .into_iter()
        .map(|info| info.name)
        .collect();
    assert_eq!(names, all);
}

#[test]
fn when_the_window_has_passed_the_pages_go() {
    let ground = Ground::new(Limits::tiny());
    let store = ground.open();
    create(&store, "stays", 1, 1);
    create(&store, "a", 2, 1);
    create(&store, "b", 2, 2);
    store.checkpoint().unwrap();
    let changes = store.subscribe_changes("test", FeedStart::Newest).unwrap();
    let hour = Retention::window(Duration::from_secs(3600));
    store.set_retention("a", hour).unwrap();
    assert_eq!(store.info("a").unwrap().policy.retention, hour);
    store.drop_database("a").unwrap();
    store.drop_database("b").unwrap();

    ground.clock.advance(HOUR_US - 1_000_000);
    store.checkpoint().unwrap();
    assert_eq!(dropped(&store), ["b", "a"]);
    // The wall clock is put forward by a year: nothing is lost by that.
    ground
        .clock
        .set_wall(1_700_000_000_000_000 + 9_000 * HOUR_US);
    store.checkpoint().unwrap();
    assert_eq!(dropped(&store), ["b", "a"]);
    ground.clock.advance(2_000_000);
    store.keep_house();
    assert_eq!(dropped(&store), ["b"]);
    let gone = store.undrop_database("a", None).unwrap_err();
    assert!(matches!(gone, CatalogueError::NotDropped { .. }), "{gone}");
    store.checkpoint().unwrap();
    let page = changes.read(100).unwrap();
    let told: Vec<_> = page
        .changes
        .iter()
        .filter(|(_, change)| change.name.is_some())
        .map(|(_, change)| (change.kind.name(), change.name.as_ref().unwrap().as_str()))
        .collect();
    assert_eq!(told, [("dropped", "a"), ("dropped", "b"), ("purged", "a")]);
    assert_sound(&store);
}

#[test]
fn the_housekeeper_gives_up_by_itself_what_is_due() {
    let mut ground = Ground::new(Limits::tiny());
    ground.housekeeping = Housekeeping::Background;
    ground.limits.retention = Duration::from_millis(1);
    let store = ground.open();
    create(&store, "a", 2, 1);
    ground.clock.advance(1);
    store.drop_database("a").unwrap();
    ground.clock.advance(HOUR_US);
    // The checkpoint that follows tells of it.
    let changes = store.subscribe_changes("test", FeedStart::Oldest).unwrap();
    while !dropped(&store).is_empty() {
        assert!(changes.wait(WAIT).unwrap(), "nothing was given up");
        let page = changes.read(100).unwrap();
        changes.acknowledge(page.next).unwrap();
    }
}

#[test]
fn what_is_kept_is_bounded_in_number_and_bytes() {
    let mut ground = Ground::new(Limits::tiny());
    ground.limits.dropped_databases_max = 3;
    ground.limits.dropped_bytes_max = 8 * 4096;
    let store = ground.open();
    for (name, pages) in [("a", 2), ("b", 2), ("c", 2), ("d", 2)] {
        create(&store, name, pages, 1);
        store.drop_database(name).unwrap();
    }
    assert_eq!(dropped(&store), ["d", "c", "b"], "three at most");
    create(&store, "e", 5, 1);
    store.drop_database("e").unwrap();
    assert_eq!(dropped(&store), ["e", "d"], "eight pages at most");
    create(&store, "f", 20, 6);
    store.drop_database("f").unwrap();
    assert_eq!(
        dropped(&store),
        ["f"],
        "the newest is kept whatever its size"
    );
    let small = Retention {
        bytes: 4096,
        ..Retention::DEFAULT
    };
    create(&store, "g", 2, 1);
    store.set_retention("g", small).unwrap();
    store.drop_database("g").unwrap();
    assert_eq!(dropped(&store), ["f"], "its owner wanted less to be kept");
    store.undrop_database("f", None).unwrap();
    assert_eq!(bytes(&store, "f"), [6; 20]);
    // Hundreds of drops leave no more than one.
    let before = store.status();
    for round in 0..500 {
        create(&store, "passes", 1, 1);
        store.drop_database("passes").unwrap();
        if round % 10 == 9 {
            store.checkpoint().unwrap();
        }
    }
    store.checkpoint().unwrap();
    let after = store.status();
    assert!(after.chunks <= before.chunks + 4, "{after:?}");
    assert!(after.index_entries <= before.index_entries, "{after:?}");
    assert_sound(&store);
}

/// A small database that was dropped keeps the pack that it is in, with all that is dead in it.
#[test]
fn the_chunks_that_are_kept_for_what_was_dropped_are_bounded() {
    let mut ground = Ground::new(Limits::tiny());
    ground.limits.dropped_databases_max = 1000;
    ground.limits.dropped_bytes_max = 128 << 10;
    let store = ground.open();
    store.create_database("live", DbKind::Raw).unwrap();
    let mut random = SplitMix64::new(1);
    let mut most = 0;
    for round in 0..60 {
        let mut write = store.database("live").unwrap().begin_write(WAIT).unwrap();
        for page in (1..=10).filter_map(PageNo::new) {
            let noise: Vec<u8> = (0..512)
                .flat_map(|_| random.next_u64().to_le_bytes())
                .collect();
            write.write_page(page, &noise).unwrap();
        }
        write.commit().unwrap();
        let name = format!("small {round}");
        create(&store, &name, 1, 1);
        store.checkpoint().unwrap();
        store.drop_database(&name).unwrap();
        most = most.max(store.status().chunk_bytes);
    }
    store.checkpoint().unwrap();
    let kept = dropped(&store).len();
    assert!((5..30).contains(&kept), "{kept} are kept");
    // Sixty packs of 40 KiB and more would be 2.4 MiB.
    assert!(most < 800 << 10, "{most} bytes of chunks");
    assert_sound(&store);
}

#[test]
fn a_drop_without_a_way_back_and_giving_up_free_what_there_was() {
    let ground = Ground::new(Limits::tiny());
    let store = ground.open();
    create(&store, "a", 40, 1);
    let kept = create(&store, "b", 40, 2);
    store.checkpoint().unwrap();
    store.drop_database_now("a").unwrap();
    assert_eq!(dropped(&store), [""; 0]);
    store.drop_database("b").unwrap();
    store.checkpoint().unwrap();
    let with_b = store.status().chunk_bytes;
    store.purge_database(kept).unwrap();
    let twice = store.purge_database(kept).unwrap_err();
    assert!(
        matches!(twice, CatalogueError::NotDropped { .. }),
        "{twice}"
    );
    store.checkpoint().unwrap();
    let empty = store.status().chunk_bytes;
    assert!(empty < with_b, "{empty} of {with_b}");
    let log = store.create_record_log("log").unwrap();
    drop(log);
    store.drop_database("log").unwrap();
    assert_eq!(dropped(&store), [""; 0], "entries of a log are not kept");
    assert_sound(&store);
}

#[test]
fn a_quota_refuses_growth_and_nothing_else() {
    let ground = Ground::new(Limits::tiny());
    let store = ground.open();
    create(&store, "tenant", 4, 1);
    create(&store, "neighbour", 1, 1);
    store.set_quota("tenant", Some(4 * 4096)).unwrap();
    assert_eq!(fill(&store, "tenant", 4, 2), Ok(()), "as large as it was");
    assert_eq!(fill(&store, "tenant", 5, 3), Err(ErrorCode::OverQuota));
    assert_eq!(bytes(&store, "tenant"), [2; 4], "nothing of it happened");
    assert_eq!(fill(&store, "neighbour", 9, 3), Ok(()));

    // Smaller than it is: it can be changed and shrink, and not grow.
    store.set_quota("tenant", Some(4096)).unwrap();
    assert_eq!(fill(&store, "tenant", 4, 4), Ok(()));
    let (ground, store) = ground.after_power_cut(store);
    assert_eq!(store.info("tenant").unwrap().policy.quota_bytes, 4096);
    let mut write = store.database("tenant").unwrap().begin_write(WAIT).unwrap();
    write.truncate(2);
    write.commit().unwrap();
    assert_eq!(fill(&store, "tenant", 3, 5), Err(ErrorCode::OverQuota));
    store.checkpoint().unwrap();
    store.close(WAIT).unwrap();

    let store = ground.open();
    assert_eq!(fill(&store, "tenant", 3, 5), Err(ErrorCode::OverQuota));
    // It goes with the database, away and back.
    store.drop_database("tenant").unwrap();
    store.undrop_database("tenant", None).unwrap();
    assert_eq!(fill(&store, "tenant", 3, 5), Err(ErrorCode::OverQuota));
    store.set_quota("tenant", None).unwrap();
    assert_eq!(fill(&store, "tenant", 3, 5), Ok(()));
    store.create_record_log("log").unwrap();
    let wrong = store.set_quota("log", Some(1)).unwrap_err();
    assert_eq!(wrong.code(), ErrorCode::WrongKind);
    assert_sound(&store);
}

/// What a quota refuses is refused before it is written: what is in the log goes into chunks, pages and past.
#[test]
fn a_checkpoint_takes_what_was_acknowledged_whatever_a_quota_says() {
    let ground = Ground::new(Limits::tiny());
    let store = ground.open();
    create(&store, "tenant", 4, 1);
    create(&store, "neighbour", 1, 1);
    let all = Retention {
        window_us: HOUR_US,
        bytes: u64::MAX - 1,
    };
    store.set_retention("tenant", all).unwrap();
    // Its past alone is larger than the quota.
    for byte in 2..20 {
        assert_eq!(fill(&store, "tenant", 4, byte), Ok(()));
    }
    store.set_quota("tenant", Some(4096)).unwrap();
    assert_eq!(fill(&store, "tenant", 5, 20), Err(ErrorCode::OverQuota));
    assert_eq!(fill(&store, "neighbour", 3, 20), Ok(()));
    let report = store.checkpoint().unwrap();
    assert_eq!((report.databases, report.databases_skipped), (2, 0));
    assert_eq!(fill(&store, "tenant", 5, 21), Err(ErrorCode::OverQuota));
    assert_eq!(fill(&store, "neighbour", 5, 21), Ok(()));
    store.checkpoint().unwrap();
    let (_ground, store) = ground.after_power_cut(store);
    assert_eq!(bytes(&store, "tenant"), [19; 4]);
    assert_eq!(bytes(&store, "neighbour"), [21; 5]);
    assert!(store.restore_points("tenant").unwrap().len() > 18);
    assert_sound(&store);
}
