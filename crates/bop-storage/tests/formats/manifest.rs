//! The bytes of the manifest's rows, as each schema has them, and of the catalogue section.
//!
//! The files under `golden/v1/manifest` and `golden/v2/manifest` are written once. `BOP_GOLDEN_BUMP=1` writes those that
//! are missing, for a new version; it never replaces one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends by a panic, its helpers too"
)]

use crate::manifest_rows::{SNAPSHOT, database, fill, fill_generations, point, policy, snapshot};
use bop_storage::catalogue::{
    Catalogue, CatalogueChange, CatalogueSection, DbName, SECTION_VERSION, decode_section,
    encode_delta, encode_section,
};
use bop_storage::error::ErrorCode;
use bop_storage::ids::{ChangeNo, CursorId, DbId, DbKind, Epoch, Lsn, StoreId};
use bop_storage::manifest::{
    ChangeKind, CheckpointedHead, CursorPlace, CursorRow, DatabaseState, FeedRow, JobFailure,
    JobKind, Manifest, ManifestState, ManifestStore, MemoryManifest, RunRow, SCHEMA_VERSION,
    ScrubRow, Table, Write, scan_all,
};
use bop_storage::testing::ManualClock;
use std::path::PathBuf;
use std::sync::Arc;

const STORE: StoreId = StoreId::new(*b"golden store v1\0");

fn golden(version: u32, name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join(format!("tests/golden/v{version}/manifest"))
        .join(name);
    if !path.exists() && std::env::var_os("BOP_GOLDEN_BUMP").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    assert_eq!(text.len() % 2, 0);
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// One line a row: table, key, value.
fn dump(store: &dyn ManifestStore) -> String {
    let mut lines = String::new();
    for table in Table::ALL {
        scan_all(store, table, |key, value| {
            lines += &format!("{} {} {}\n", table.name(), hex(&key), hex(&value));
        })
        .unwrap();
    }
    lines
}

/// A store with the rows of a dump.
fn loaded(dump: &str) -> MemoryManifest {
    let store = MemoryManifest::new();
    for line in dump.lines() {
        let parts: Vec<&str> = line.split(' ').collect();
        let table = Table::ALL
            .into_iter()
            .find(|table| table.name() == parts[0]);
        let put = Write::Put {
            table: table.unwrap(),
            key: unhex(parts[1]),
            value: unhex(parts[2]),
        };
        store.commit(&[put]).unwrap();
    }
    store
}

fn assert_same_rows(read: &ManifestState, written: &ManifestState) {
    assert_same_rows_of_databases(read, written);
    assert!(read.segments().eq(written.segments()));
    assert_eq!(read.watermarks(), written.watermarks());
}

fn assert_same_rows_of_databases(read: &ManifestState, written: &ManifestState) {
    assert!(read.damaged().is_empty());
    assert!(read.databases().eq(written.databases()));
    assert!(read.chunks().eq(written.chunks()));
    for id in [
        DbId::CATALOGUE,
        DbId::new(1),
        DbId::new(260),
        DbId::new(261),
    ] {
        assert!(read.ranges(id).eq(written.ranges(id)));
        assert!(read.generations(id).eq(written.generations(id)));
    }
}

const RUN: RunRow = RunRow {
    epoch: Epoch::new(5),
    boot: *b"boot of golden 1",
    pid: 4321,
    opened_us: 0x9999_aaaa,
    closed_us: None,
};

/// A manifest of the present schema with every kind of row.
fn filled() -> (MemoryManifest, Manifest) {
    let store = MemoryManifest::new();
    let manifest = Manifest::initialize(Arc::new(store.clone()), STORE).unwrap();
    let manifest = manifest.with_clock(Arc::new(ManualClock::new(0xbbbb_cccc)));
    fill(&manifest, 0x7777);
    fill_generations(&manifest);
    let kept = DatabaseState::Dropped {
        dropped_us: 0x7777_8888,
        until_us: 0x8888_9999,
    };
    let mut kept = database("kept", kept, CheckpointedHead::NONE);
    kept.policy = policy();
    manifest
        .transact(move |edit| edit.put_database(DbId::new(259), kept.clone()))
        .unwrap();
    let mut fork = database("fork", DatabaseState::Live, CheckpointedHead::NONE);
    fork.origin = Some(Box::new(point()));
    manifest
        .transact(move |edit| {
            edit.put_database(DbId::new(260), fork.clone())?;
            edit.put_snapshot(SNAPSHOT, snapshot())
        })
        .unwrap();
    manifest.begin_run(RUN).unwrap();
    fill_jobs(&manifest);
    let forever = std::time::Duration::MAX;
    let add = |name, place: fn(&FeedRow) -> CursorPlace| {
        let name = DbName::new(name).unwrap();
        let times = (0xdddd_0000, 0x1234_5678);
        let added = manifest.find_or_add_cursor(forever, &name, times, move |feed| Ok(place(feed)));
        added.unwrap().0
    };
    let changes = add("backup", |feed| CursorPlace::Changes {
        feed: feed.feed,
        position: feed.first,
    });
    let commits = add("replica", |_| CursorPlace::Commits {
        position: Lsn::new(0x5000),
        database: Some(DbId::new(1)),
    });
    let moved = manifest.move_cursor(forever, changes, ChangeNo::new(1), 0xdddd_1111);
    moved.unwrap();
    let moved = manifest.move_cursor(forever, commits, Lsn::new(0x6000), 0xdddd_2222);
    moved.unwrap();
    manifest.end_run(0xeeee_ffff, forever).unwrap();
    (store, manifest)
}

/// A job in each state.
fn fill_jobs(manifest: &Manifest) {
    let long = std::time::Duration::MAX;
    let ask = |database, token| {
        let database = DbId::new(database);
        let asked = manifest.enqueue_job(long, JobKind::Scrub, database, [token; 16], 0xaa11);
        asked.unwrap()
    };
    let take = || {
        let lease = std::time::Duration::from_micros(0x1234);
        let taken = manifest.lease_job(long, RUN.epoch, lease, 0xbb22).unwrap();
        taken.unwrap().0
    };
    let scrub = |job| ScrubRow {
        job,
        finished_us: 0xcc33,
        pages: 0x77,
        bytes: 0x8888_9999,
    };
    let done = ask(1, 0xd1);
    let sound = vec![(DbId::CATALOGUE, scrub(done)), (DbId::new(1), scrub(done))];
    assert!(manifest.complete_job(long, take(), sound, 0xdd44).unwrap());
    ask(0, 0xd2);
    let failure = JobFailure::new(
        ErrorCode::Corrupt,
        "chunk 9 at byte 4096",
        "checksum mismatch",
    );
    let failed = manifest.fail_job(long, take(), Vec::new(), failure, None, 0xee55);
    assert!(failed.unwrap());
    ask(1, 0xd3);
    take();
    ask(1, 0xd4);
}

#[test]
fn rows_have_the_bytes_they_always_had() {
    let (store, manifest) = filled();
    let dumped = dump(&store);
    let wanted = golden(SCHEMA_VERSION, "rows.txt", dumped.as_bytes());
    let wanted = String::from_utf8(wanted).unwrap();
    assert_eq!(dumped, wanted);
    let read = Manifest::open(Arc::new(loaded(&wanted)), STORE).unwrap();
    assert_same_rows(&read.state(), &manifest.state());
    let (found, written) = (read.state(), manifest.state());
    assert!(found.cursors().eq(written.cursors()));
    assert_eq!((found.feed(), found.run()), (written.feed(), written.run()));
    assert!(found.jobs().eq(written.jobs()));
    assert_eq!(found.jobs().count(), 4);
    assert_eq!(found.job_ids(), written.job_ids());
    for id in [0, 1] {
        let row = found.scrub(DbId::new(id)).copied();
        assert!(row.is_some() && row == written.scrub(DbId::new(id)).copied());
    }
    let page = |manifest: &Manifest| manifest.changes(ChangeNo::new(1), 100).unwrap();
    assert_eq!(page(&read), page(&manifest));
    assert_eq!(read.state().snapshot(SNAPSHOT), Some(&snapshot()));
    assert_eq!(page(&read).changes.len(), 10, "{:?}", page(&read));
}

/// A manifest of schema 1 is what it was, and the first run brings it up to the present one.
#[test]
fn the_first_schema_is_read_and_brought_up() {
    let old = std::fs::read_to_string(
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1/manifest/rows.txt"),
    );
    let store = loaded(&old.unwrap());
    let manifest = Manifest::open(Arc::new(store.clone()), STORE).unwrap();
    assert_eq!(manifest.state().schema_version(), 1);
    let (_, written) = {
        let same = MemoryManifest::new();
        let manifest = Manifest::initialize(Arc::new(same.clone()), STORE).unwrap();
        fill(&manifest, 0);
        (same, manifest)
    };
    assert_same_rows(&manifest.state(), &written.state());

    manifest.begin_run(RUN).unwrap();
    assert_eq!(manifest.state().schema_version(), SCHEMA_VERSION);
    let first = manifest.enqueue_job(
        std::time::Duration::MAX,
        JobKind::Scrub,
        DbId::new(1),
        [1; 16],
        1,
    );
    assert_eq!(first.unwrap().get(), 1);
    assert_eq!(manifest.changes(ChangeNo::new(1), 9).unwrap().changes, []);
    manifest
        .transact(|edit| {
            edit.set_truncated(Lsn::new(0x4080));
            Ok(())
        })
        .unwrap();
    let again = Manifest::open(Arc::new(store), STORE).unwrap();
    assert_eq!(again.state().schema_version(), SCHEMA_VERSION);
    // What was told by the database's row alone stands in a row of its own now.
    assert_same_rows_of_databases(&again.state(), &manifest.state());
    assert_eq!(again.describe(Table::Generations).unwrap().len(), 1);
    let page = again.changes(ChangeNo::new(1), 9).unwrap();
    assert_eq!(page.changes[0].1.kind, ChangeKind::Truncated);
}

/// What the sections hold: the first five changes those of version 1, the rest what came with version 2.
fn catalogue(changes: usize) -> Catalogue {
    let mut catalogue = Catalogue::new();
    let create = |id, name: &str, kind| CatalogueChange::Create {
        id: DbId::new(id),
        name: DbName::new(name).unwrap(),
        kind,
    };
    let rename = CatalogueChange::Rename {
        id: DbId::new(1),
        name: DbName::new("caf\u{e9}").unwrap(),
    };
    let drop = |id, keep_us| CatalogueChange::Drop {
        id: DbId::new(id),
        keep_us,
    };
    let quota = CatalogueChange::Quota {
        id: DbId::new(1),
        bytes: policy().quota_bytes,
    };
    let retention = CatalogueChange::Retention {
        id: DbId::new(1),
        retention: policy().retention,
    };
    for (n, change) in [
        create(1, "one", DbKind::Sqlite),
        create(2, "gone", DbKind::Raw),
        rename,
        drop(2, 0),
        create(3, "three", DbKind::Sqlite),
        quota,
        retention,
        drop(3, 0x1234),
        CatalogueChange::Fork {
            id: DbId::new(4),
            name: DbName::new("fork").unwrap(),
            kind: DbKind::Sqlite,
            origin: point(),
        },
        CatalogueChange::Snapshot {
            id: DbId::new(1),
            name: snapshot().name,
            point: point(),
        },
    ]
    .iter()
    .take(changes)
    .enumerate()
    {
        let n = n as u64 + 1;
        catalogue
            .apply(change, Lsn::new(n << 12), n * 1_000_000)
            .unwrap();
    }
    catalogue
}

#[test]
fn a_catalogue_section_has_the_bytes_it_always_had() {
    let catalogue = catalogue(usize::MAX);
    let cursor = CursorRow {
        name: DbName::new("replica").unwrap(),
        place: CursorPlace::Commits {
            position: Lsn::new(0x5000),
            database: Some(DbId::new(1)),
        },
        created_us: 0x1111,
        seen_us: 0x2222,
        lease_us: 0x3333,
    };
    let cursors = vec![(CursorId::new(4), cursor)];
    let encoded = encode_section(&catalogue, &cursors);
    let wanted = golden(
        u32::from(SECTION_VERSION),
        "catalogue_section.bin",
        &encoded,
    );
    assert_eq!(encoded, wanted);
    let wanted = decode_section(&wanted).unwrap();
    let section = CatalogueSection {
        catalogue: catalogue.clone(),
        since: Lsn::ZERO,
        forgotten: Vec::new(),
        cursors: cursors.clone(),
    };
    assert_eq!(wanted, section);

    // What is newer than the fifth record, on a section that has one database more.
    let forgotten = vec![DbId::new(2)];
    let newer = encode_delta(&catalogue, Lsn::new(5 << 12), &forgotten, &cursors);
    let version = u32::from(SECTION_VERSION);
    let wanted = golden(version, "catalogue_delta.bin", &newer);
    assert_eq!(newer, wanted);
    let read = decode_section(&wanted).unwrap();
    assert_eq!(
        (read.since, &read.forgotten),
        (Lsn::new(5 << 12), &forgotten)
    );
    assert_eq!(read.catalogue.entries().count(), 3);
    assert_eq!(read.catalogue.snapshots(DbId::new(1)).count(), 1);
}

#[test]
fn the_first_catalogue_section_is_read() {
    let first = golden(1, "catalogue_section.bin", &[]);
    let wanted = CatalogueSection {
        catalogue: catalogue(5),
        since: Lsn::ZERO,
        forgotten: Vec::new(),
        cursors: Vec::new(),
    };
    assert_eq!(decode_section(&first).unwrap(), wanted);
}
