//! Scrubs: damage in chunks that nobody reads is found in one pass, and told once and with its place.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bop_storage::manifest::{GenerationRow, Manifest, MemoryManifest};
use bop_storage::runtime::{Clock, Runtime};
use bop_storage::testing::{Fault, ManualClock, SimDisk};
use bop_storage::{
    CatalogueError, DbKind, ErrorCode, Housekeeping, JobError, JobId, JobInfo, JobState, Limits,
    Manager, Options, PageNo, RollingChecksum,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(50);
/// Longer than any wait between two attempts.
const LATER_US: u64 = 3_000_000_000;

pub(crate) struct Rig {
    pub(crate) disk: SimDisk,
    pub(crate) manifest: MemoryManifest,
    pub(crate) clock: Arc<ManualClock>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self {
            disk: SimDisk::new(1),
            manifest: MemoryManifest::new(),
            clock: Arc::new(ManualClock::new(1_700_000_000_000_000)),
        }
    }

    /// Two databases that share chunks, and one with several chunks of its own; all cold.
    pub(crate) fn filled() -> Self {
        let rig = Self::new();
        let store = rig.open();
        for (name, pages) in [("small", 2), ("other", 3), ("large", 90)] {
            let kind = DbKind::Raw;
            let db = store.create_database(name, kind).unwrap();
            let mut write = db.begin_write(LONG).unwrap();
            for page in 1..=pages {
                let page = PageNo::new(page).unwrap();
                write.write_page(page, &content(name, page.get())).unwrap();
            }
            write.commit().unwrap();
        }
        store.checkpoint().unwrap();
        store.close(LONG).unwrap();
        rig
    }

    pub(crate) fn options(&self) -> Options {
        let runtime = Runtime {
            clock: Arc::clone(&self.clock) as _,
            ..Runtime::system()
        };
        Options::new()
            .limits(Limits::tiny())
            .runtime(runtime)
            .disk(Arc::new(self.disk.clone()), Arc::new(self.manifest.clone()))
    }

    pub(crate) fn open(&self) -> Manager {
        let options = self.options().housekeeping(Housekeeping::Manual);
        Manager::open("simulated", options).unwrap()
    }

    /// What a power cut leaves.
    pub(crate) fn crashed(&self) -> Self {
        Self {
            disk: self.disk.crash_image_keeping_all(),
            manifest: self.manifest.snapshot(),
            clock: Arc::clone(&self.clock),
        }
    }

    fn chunks(&self) -> Vec<(PathBuf, u64)> {
        let files = self.disk.files().into_iter();
        files
            .filter(|(path, _)| path.starts_with("chunks"))
            .collect()
    }

    /// How often a scrub of these reads the device.
    pub(crate) fn scrub_reads(name: Option<&str>) -> u64 {
        let rig = Self::filled();
        let store = rig.open();
        let before = rig.disk.read_count();
        store.scrub(name).unwrap();
        store.keep_house();
        rig.disk.read_count() - before
    }

    /// The next read of the device and all behind it.
    pub(crate) fn fail_reads(&self, later: u64, fault: Fault) {
        self.disk
            .fail_read_at(self.disk.read_count() + later, fault);
    }

    /// Where in a chunk a page is.
    fn page_at(&self, name: &str, page: u32) -> (PathBuf, u64) {
        let content = content(name, page);
        let found = self.chunks().into_iter().find_map(|(path, _)| {
            let bytes = self.disk.read_raw(&path);
            let at = bytes
                .windows(64)
                .position(|window| *window == content[..64]);
            at.map(|at| (path, at as u64))
        });
        found.unwrap()
    }
}

/// No two pages are alike, and none compresses.
pub(crate) fn content(name: &str, page: u32) -> Vec<u8> {
    let seed = name.bytes().map(u64::from).sum::<u64>() * 1000 + u64::from(page);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..512).flat_map(|_| next()).collect()
}

pub(crate) fn scrub(store: &Manager, name: Option<&str>) -> JobInfo {
    let job = store.scrub(name).unwrap();
    store.wait_for_job(job, LONG).unwrap()
}

pub(crate) fn job(store: &Manager, id: JobId) -> JobInfo {
    let mut jobs = store.jobs().into_iter();
    jobs.find(|job| job.id == id).unwrap()
}

fn chunk_number(path: &Path) -> u64 {
    u64::from_str_radix(path.file_stem().unwrap().to_str().unwrap(), 16).unwrap()
}

#[test]
fn a_sound_store_is_scrubbed_and_the_last_success_is_known() {
    let rig = Rig::filled();
    let store = rig.open();
    assert_eq!(store.info("large").unwrap().last_scrub, None);
    let reads = rig.disk.read_count();
    let one = scrub(&store, Some("LARGE"));
    assert_eq!(
        (one.state, one.attempts, one.failure),
        (JobState::Done, 1, None)
    );
    assert_eq!(one.name.as_deref(), Some("large"));
    assert!(reads < rig.disk.read_count());
    let known = store.info("large").unwrap().last_scrub.unwrap();
    assert_eq!((known.job, known.pages), (one.id, 90));
    assert!(90 * 4096 < known.bytes, "{known:?}");
    assert_eq!(store.info("small").unwrap().last_scrub, None);

    let all = scrub(&store, None);
    assert_eq!((all.state, all.database), (JobState::Done, None));
    store.close(LONG).unwrap();
    let store = rig.open();
    for (name, pages) in [("small", 2), ("other", 3), ("large", 90)] {
        let known = store.info(name).unwrap().last_scrub.unwrap();
        assert_eq!((known.job, known.pages), (all.id, pages));
    }
    assert_eq!(
        store.jobs(),
        [one_of(&store, one.id), one_of(&store, all.id)]
    );
    // A database without a commit has nothing in chunks.
    store.create_database("new", DbKind::Raw).unwrap();
    assert_eq!(scrub(&store, Some("new")).state, JobState::Done);
}

fn one_of(store: &Manager, id: JobId) -> JobInfo {
    let info = job(store, id);
    assert!(info.state.is_over());
    info
}

#[test]
fn what_has_no_chunks_is_refused() {
    let rig = Rig::filled();
    let store = rig.open();
    store.create_record_log("raft").unwrap();
    let refused = store.scrub(Some("raft")).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::WrongKind);
    let refused = store.scrub(Some("smal")).unwrap_err();
    assert!(
        matches!(&refused, JobError::Database(CatalogueError::NotFound { nearest: Some(name), .. }) if name == "small"),
        "{refused}"
    );
    let unknown = JobId::new(77);
    let code = |refused: JobError| refused.code();
    assert_eq!(
        store.wait_for_job(unknown, LONG).map_err(code),
        Err(ErrorCode::JobNotFound)
    );
    assert_eq!(
        store.cancel_job(unknown).map_err(code),
        Err(ErrorCode::JobNotFound)
    );
    store.close(LONG).unwrap();
    assert_eq!(
        store.scrub(Some("small")).map_err(code),
        Err(ErrorCode::Closed)
    );
    assert_eq!(
        store.wait_for_job(unknown, LONG).map_err(code),
        Err(ErrorCode::Closed)
    );
}

#[test]
fn a_flip_fails_the_scrub_of_its_database_once_and_with_the_place_and_no_other() {
    let rig = Rig::filled();
    let (path, at) = rig.page_at("small", 2);
    assert_eq!(rig.page_at("other", 1).0, path, "a shared chunk");
    rig.disk.flip(&path, at + 100, 4);
    let store = rig.open();
    let hit = scrub(&store, Some("small"));
    assert_eq!((hit.state, hit.attempts), (JobState::Failed, 1));
    let failure = hit.failure.unwrap();
    let place = format!("chunk {} at byte {at}", chunk_number(&path));
    assert_eq!((failure.code, &failure.place), (ErrorCode::Corrupt, &place));
    assert_eq!(failure.reason, "checksum mismatch");
    assert_eq!(store.info("small").unwrap().last_scrub, None);
    // Time does not heal it.
    rig.clock.advance(LATER_US);
    store.keep_house();
    assert_eq!(job(&store, hit.id).attempts, 1);
    for name in ["other", "large"] {
        assert_eq!(scrub(&store, Some(name)).state, JobState::Done, "{name}");
    }
    // The scrub of all says so, and still proves the others.
    let all = scrub(&store, None);
    assert_eq!(all.state, JobState::Failed);
    assert_eq!(all.failure.unwrap().place, place.as_str());
    let last = |name| store.info(name).unwrap().last_scrub.map(|last| last.job);
    assert_eq!(last("small"), None);
    assert_eq!([last("other"), last("large")], [Some(all.id); 2]);
}

/// Of every file, bytes at distances that have no common divisor with any structure; and the bytes at
/// both ends.
#[test]
fn a_flip_anywhere_in_a_chunk_is_found_in_one_pass() {
    let rig = Rig::filled();
    let mut flips = 0;
    for (path, bytes) in rig.chunks() {
        let sampled = (0..bytes).step_by(1999).chain([bytes - 1]);
        for at in sampled {
            let image = rig.crashed();
            image.disk.flip(&path, at, 0x10);
            let store = image.open();
            let all = scrub(&store, None);
            assert_eq!(all.state, JobState::Failed, "{} at {at}", path.display());
            let failure = all.failure.unwrap();
            assert_eq!(failure.code, ErrorCode::Corrupt);
            assert!(failure.place.contains("chunk"), "{failure}");
            flips += 1;
        }
    }
    assert!(100 < flips, "{flips}");
}

#[test]
fn a_chunk_that_is_gone_is_damage() {
    let rig = Rig::filled();
    let (path, _) = rig.page_at("large", 90);
    rig.disk.remove_raw(&path);
    let store = rig.open();
    let hit = scrub(&store, Some("large"));
    assert_eq!((hit.state, hit.attempts), (JobState::Failed, 1));
    let failure = hit.failure.unwrap();
    assert_eq!(failure.code, ErrorCode::Corrupt);
    assert_eq!(failure.reason, "it is missing");
    assert_eq!(scrub(&store, Some("small")).state, JobState::Done);
}

#[test]
fn pages_that_do_not_add_up_to_the_row_are_damage() {
    let rig = Rig::filled();
    let manifest = Manifest::open(Arc::new(rig.manifest.clone()), store_id(&rig)).unwrap();
    let changed = manifest.transact(|edit| {
        let found = edit.state().databases();
        let mut found = found.filter(|(_, row)| row.name.as_str() == "other");
        let (id, row) = found.next().unwrap();
        let mut row = row.clone();
        drop(found);
        row.checkpointed.generation = row.checkpointed.generation.next().unwrap();
        row.checkpointed.rolling_checksum = RollingChecksum::new(1);
        let own = GenerationRow::of_head(&row.checkpointed, row.page_size);
        edit.put_generation(id, row.checkpointed.generation, own);
        edit.put_database(id, row)
    });
    changed.unwrap();
    let store = rig.open();
    let hit = scrub(&store, Some("other"));
    assert_eq!(hit.state, JobState::Failed);
    let failure = hit.failure.unwrap();
    assert!(failure.place.starts_with("database id"), "{failure}");
    assert!(failure.reason.contains("do not add up"), "{failure}");
    assert_eq!(scrub(&store, Some("large")).state, JobState::Done);
}

fn store_id(rig: &Rig) -> bop_storage::StoreId {
    let store = rig.open();
    let id = store.status().store;
    store.close(LONG).unwrap();
    id
}

/// Nobody asks: what is cold is read once in an interval, also where a scrub fails, and an answer that did not
/// come makes no second one.
#[test]
fn everything_is_read_once_in_an_interval() {
    let rig = Rig::filled();
    let interval_us = u64::try_from(Limits::tiny().scrub_interval.as_micros()).unwrap();
    let store = rig.open();
    store.keep_house();
    assert!(store.jobs().is_empty(), "none is due");
    rig.clock.advance(interval_us);
    // A new opening finds that one is due, and so does the next, if this one asked and was killed.
    let again = rig.crashed();
    drop(store);
    for rig in [&rig, &again] {
        let store = rig.open();
        store.keep_house();
        let jobs = store.jobs();
        assert!(
            matches!(jobs.as_slice(), [job] if job.state == JobState::Done),
            "{jobs:?}"
        );
        assert_eq!(jobs[0].database, None);
        let last = store.info("large").unwrap().last_scrub.unwrap();
        assert_eq!(
            (last.job, last.finished_us),
            (jobs[0].id, rig.clock.wall_us())
        );
        rig.clock.advance(interval_us / 2);
        store.keep_house();
        assert_eq!(store.jobs().len(), 1, "half of the time has passed");
        store.close(LONG).unwrap();
    }
    rig.clock.advance(interval_us);
    let (path, bytes) = rig
        .chunks()
        .into_iter()
        .max_by_key(|(_, bytes)| *bytes)
        .unwrap();
    rig.disk.flip(&path, bytes / 2, 1);
    let store = rig.open();
    for _ in 0..3 {
        store.keep_house();
    }
    let states: Vec<JobState> = store.jobs().iter().map(|job| job.state).collect();
    assert_eq!(states, [JobState::Done, JobState::Failed]);
}

#[test]
fn where_the_interval_is_zero_nobody_scrubs_by_himself() {
    let rig = Rig::filled();
    let mut limits = Limits::tiny();
    limits.scrub_interval = Duration::ZERO;
    let options = rig
        .options()
        .housekeeping(Housekeeping::Manual)
        .limits(limits);
    rig.clock.advance(u64::MAX >> 2);
    let store = Manager::open("simulated", options).unwrap();
    store.keep_house();
    assert!(store.jobs().is_empty());
}
