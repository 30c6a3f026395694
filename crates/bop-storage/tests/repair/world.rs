//! A store with something of everything, and a picture of all that it says.

use bop_storage::io::IoBackend;
use bop_storage::manifest::{DatabaseState, SegmentRow};
use bop_storage::testing::SplitMix64;
use bop_storage::{
    DbId, DbKind, Housekeeping, Limits, Lsn, Manager, NewEntry, Options, PageNo, PageSize, Policy,
    RepairMode, RepairReport, Retention,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) const WAIT: Duration = Duration::from_secs(5);
const PAGE: u32 = 4096;

/// Repairs, and nothing else.
pub(crate) const REPAIR: RepairMode = RepairMode {
    force: false,
    dry_run: false,
};

pub(crate) fn options() -> Options {
    let mut limits = Limits::tiny();
    limits.log_bytes_max = 8 << 20;
    Options::new()
        .io(IoBackend::Std)
        .limits(limits)
        .housekeeping(Housekeeping::Manual)
}

pub(crate) fn open(dir: &Path) -> Manager {
    Manager::open(dir, options()).unwrap()
}

pub(crate) fn repair(dir: &Path) -> RepairReport {
    Manager::repair(dir, &options(), REPAIR).unwrap()
}

pub(crate) fn content(page: u32, byte: u8) -> Vec<u8> {
    // Nothing that compresses, so that the log fills its segments.
    let mut random = SplitMix64::new(u64::from(page) << 8 | u64::from(byte));
    let words = (0..PAGE / 8).flat_map(|_| random.next_u64().to_le_bytes());
    let mut content: Vec<u8> = words.collect();
    // As page 1 of a SQLite database must be.
    content[18..20].fill(1);
    content[24..28].fill(0);
    content[92..100].fill(0);
    content
}

/// Writes pages and then cuts the database to `count` pages.
pub(crate) fn put(store: &Manager, name: &str, pages: &[u32], byte: u8, count: Option<u32>) {
    let db = store.database(name).unwrap();
    let mut write = db.begin_write(WAIT).unwrap();
    if write.page_size().is_none() {
        write.set_page_size(PageSize::new(PAGE).unwrap()).unwrap();
    }
    for page in pages {
        let number = PageNo::new(*page).unwrap();
        write.write_page(number, &content(*page, byte)).unwrap();
    }
    if let Some(count) = count {
        write.truncate(count);
    }
    write.commit().unwrap();
}

fn append(store: &Manager, name: &str, indexes: std::ops::Range<u64>) {
    let log = store.record_log(name).unwrap();
    for index in indexes {
        let payload = format!("entry {index} of {name}");
        let entry = NewEntry {
            index,
            term: 1,
            payload: payload.as_bytes(),
        };
        log.append(&[entry]).unwrap();
    }
}

/// All numbers from `from` to `to`.
pub(crate) fn pages(from: u32, to: u32) -> Vec<u32> {
    (from..=to).collect()
}

/// Several databases, checkpoints, renames, drops, and a part of the log that no checkpoint covers.
/// Ranges are of 16 pages.
pub(crate) fn make(dir: &Path) {
    let store = open(dir);
    store.create_database("small", DbKind::Raw).unwrap();
    store.create_database("large", DbKind::Raw).unwrap();
    store.create_database("shop", DbKind::Sqlite).unwrap();
    store.create_database("gone", DbKind::Raw).unwrap();
    store.create_database("kept", DbKind::Raw).unwrap();
    store.create_database("idle", DbKind::Raw).unwrap();
    store.create_database("empty", DbKind::Raw).unwrap();
    store.create_record_log("raft").unwrap();
    put(&store, "small", &[1, 2], 1, None);
    put(&store, "large", &pages(1, 50), 1, None);
    put(&store, "shop", &pages(1, 20), 3, None);
    put(&store, "gone", &[1, 2, 3], 4, None);
    put(&store, "kept", &[1, 2], 4, None);
    put(&store, "idle", &[1, 2, 3, 4], 5, None);
    append(&store, "raft", 1..6);
    store
        .record_log("raft")
        .unwrap()
        .set_vote(b"for me")
        .unwrap();
    store.checkpoint().unwrap();
    store.rename_database("small", "renamed").unwrap();
    store.drop_database_now("gone").unwrap();
    store.drop_database("kept").unwrap();
    store.set_quota("large", Some(1 << 30)).unwrap();
    store
        .set_retention("shop", Retention::window(WAIT))
        .unwrap();
    put(&store, "large", &[20], 2, None);
    put(&store, "large", &[], 2, Some(40));
    append(&store, "raft", 6..9);
    store.checkpoint().unwrap();
    put(&store, "shop", &[], 3, Some(18));
    store.checkpoint().unwrap();
    // What no checkpoint covers.
    store.create_database("late", DbKind::Raw).unwrap();
    store.create_database("gone too", DbKind::Raw).unwrap();
    put(&store, "gone too", &[1], 4, None);
    store.drop_database("gone too").unwrap();
    store.rename_database("empty", "still empty").unwrap();
    put(&store, "late", &[1, 2, 3], 6, None);
    put(&store, "renamed", &[2, 3], 7, None);
    put(&store, "large", &[1, 39], 8, None);
    append(&store, "raft", 9..11);
    store.close(WAIT).unwrap();
}

/// What a database shows.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Shown {
    kind: DbKind,
    page_size: Option<PageSize>,
    head: Lsn,
    rolling: u64,
    created_us: u64,
    policy: Policy,
    pages: Vec<Vec<u8>>,
    entries: Vec<Vec<u8>>,
    vote: Option<Vec<u8>>,
}

impl Shown {
    /// Its head and its rolling checksum.
    pub(crate) fn facts(&self) -> (Lsn, u64) {
        (self.head, self.rolling)
    }

    pub(crate) fn page(&self, page: PageNo) -> &[u8] {
        &self.pages[page.get() as usize - 1]
    }
}

/// All live databases, by id and name.
pub(crate) fn shown(store: &Manager) -> BTreeMap<(DbId, String), Shown> {
    let infos = store.databases();
    let shown = infos.iter().map(|info| {
        let key = (info.id, info.name.clone());
        assert_eq!(info.damage, None, "{}", info.name);
        let mut shown = Shown {
            kind: info.kind,
            page_size: info.page_size,
            head: info.head,
            rolling: info.rolling_checksum.get(),
            created_us: info.created_us,
            policy: info.policy,
            pages: Vec::new(),
            entries: Vec::new(),
            vote: None,
        };
        if info.kind == DbKind::Log {
            let log = store.record_log(&info.name).unwrap();
            let bounds = log.bounds().unwrap();
            let read = log.read(bounds.first..bounds.next, u64::MAX).unwrap();
            shown.entries = read.iter().map(|entry| entry.payload.to_vec()).collect();
            shown.vote = log.vote().unwrap().map(|vote| vote.to_vec());
        } else {
            let read = store.database(&info.name).unwrap().begin_read().unwrap();
            let numbers = (1..=read.page_count()).filter_map(PageNo::new);
            shown.pages = numbers
                .map(|page| read.read_page(page).unwrap().to_vec())
                .collect();
        }
        (key, shown)
    });
    shown.collect()
}

/// A row of a database, without the time of its head, which stands nowhere else.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct DatabaseFacts {
    name: String,
    kind: DbKind,
    state: DatabaseState,
    created_us: u64,
    catalogue_lsn: Lsn,
    policy: Policy,
    page_size: Option<PageSize>,
    head: (u64, Lsn, u32, u64),
    /// Range, chunk, section and pages of the newest rows.
    ranges: Vec<(u32, u64, u32, u32)>,
}

/// The rows of the manifest that must come back as they were.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Facts {
    pub(crate) databases: BTreeMap<DbId, DatabaseFacts>,
    segments: BTreeMap<u64, SegmentRow>,
    chunks: BTreeMap<u64, (u64, u128, u64)>,
    marks: (Lsn, Lsn, u64),
    catalogue: Vec<(u32, u64, u32, u32)>,
}

pub(crate) fn facts(dir: &Path) -> Facts {
    let inspection = Manager::inspect_manifest(dir, &options()).unwrap();
    assert_eq!(inspection.verify().unwrap(), []);
    let state = inspection.state();
    let ranges = |id| {
        let rows = state.newest_ranges(id);
        let links = rows.flat_map(|(range, row)| row.links().iter().map(move |link| (range, link)));
        links
            .map(|(range, link)| (range, link.chunk.get(), link.section, link.pages))
            .collect()
    };
    let databases = state.databases().map(|(id, row)| {
        let head = &row.checkpointed;
        let facts = DatabaseFacts {
            name: row.name.to_string(),
            kind: row.kind,
            state: row.state,
            created_us: row.created_us,
            catalogue_lsn: row.catalogue_lsn,
            policy: row.policy,
            page_size: row.page_size,
            head: (
                head.generation.get(),
                head.lsn,
                head.page_count,
                head.rolling_checksum.get(),
            ),
            ranges: ranges(id),
        };
        (id, facts)
    });
    let marks = state.watermarks();
    Facts {
        databases: databases.collect(),
        segments: state.segments().map(|(id, row)| (id.get(), *row)).collect(),
        chunks: state
            .chunks()
            .map(|(id, row)| (id.get(), (row.file_bytes, row.digest, row.references)))
            .collect(),
        marks: (marks.truncated, marks.catalogue, marks.next_database.get()),
        catalogue: ranges(DbId::CATALOGUE),
    }
}

/// Every file of chunks and log, with its bytes.
pub(crate) fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for part in ["chunks", "log"] {
        for entry in std::fs::read_dir(dir.join(part)).unwrap() {
            let path = entry.unwrap().path();
            files.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    files
}

/// What a store must be good for afterwards: everything sound, commits, a checkpoint, another opening.
pub(crate) fn works(dir: &Path) {
    let store = open(dir);
    assert_eq!(store.verify().findings, []);
    let names: Vec<String> = store
        .databases()
        .into_iter()
        .filter(|info| info.kind != DbKind::Log)
        .map(|info| info.name)
        .collect();
    for name in &names {
        put(&store, name, &[2], 77, None);
    }
    store.create_database("afterwards", DbKind::Raw).unwrap();
    put(&store, "afterwards", &[1, 2], 78, None);
    store.checkpoint().unwrap();
    put(&store, "afterwards", &[2], 79, None);
    assert_eq!(store.verify().findings, []);
    let before = shown(&store);
    store.close(WAIT).unwrap();
    let store = open(dir);
    assert_eq!(shown(&store), before);
    assert_eq!(store.verify().findings, []);
    store.close(WAIT).unwrap();
}
