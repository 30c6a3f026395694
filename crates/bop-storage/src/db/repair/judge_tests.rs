//! Chains, generations and histories are put together again as they were, against a model of a database.

use super::*;
use crate::db::repair::chunks::find_chunks;
use crate::io::Disk;
use crate::pagestore::{ChunkWriter, Compression, HistoryPoint, SectionMeta};
use crate::testing::SimDisk;
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

const STORE: StoreId = StoreId::new([7; 16]);
const ID: DbId = DbId::new(5);
const SIZE: PageSize = PageSize::MIN;
const PAGES: u32 = 16;

/// Four pages a range.
const RANGE_BYTES: u64 = 4 * SIZE.get() as u64;

/// One commit: cuts to so many pages first, then writes these.
#[derive(Clone, Debug)]
struct Commit {
    cut_to: Option<u32>,
    writes: Vec<u32>,
}

/// What a checkpoint does with the commits before it.
#[derive(Clone, Debug)]
struct Interval {
    commits: Vec<Commit>,
    /// By range, whether a base is written instead of a delta.
    bases: [bool; 4],
    history: bool,
}

fn interval() -> impl Strategy<Value = Interval> {
    let writes = prop::collection::vec(1..=PAGES, 1..4);
    let commit = (prop::option::weighted(0.3, 0..PAGES), writes)
        .prop_map(|(cut_to, writes)| Commit { cut_to, writes });
    let commits = prop::collection::vec(commit, 1..4);
    (commits, any::<[bool; 4]>(), prop::bool::weighted(0.8)).prop_map(
        |(commits, bases, history)| Interval {
            commits,
            bases,
            history,
        },
    )
}

/// The database at a commit.
#[derive(Clone, Default)]
struct State {
    lsn: u64,
    page_count: u32,
    /// The version of each page that was written.
    pages: BTreeMap<u32, u64>,
}

fn content(page: u32, version: u64) -> Vec<u8> {
    let mut content = vec![0; SIZE.bytes()];
    content[..8].copy_from_slice(&version.to_le_bytes());
    content[8..12].copy_from_slice(&page.to_le_bytes());
    content
}

fn hash(page: u32, version: u64) -> PageHash {
    PageHash::of(PageNo::new(page).unwrap(), &content(page, version))
}

impl State {
    fn rolling(&self) -> RollingChecksum {
        let pages = self.pages.iter();
        pages.fold(RollingChecksum::EMPTY, |sum, (page, version)| {
            sum.toggled(hash(*page, *version))
        })
    }

    /// The state after a commit, and the fewest pages within it.
    fn after(&self, commit: &Commit) -> (Self, u32) {
        let mut next = self.clone();
        next.lsn += 10;
        let least = commit
            .cut_to
            .map_or(self.page_count, |to| to.min(self.page_count));
        next.pages.retain(|page, _| *page <= least);
        next.page_count = least;
        for page in &commit.writes {
            next.pages.insert(*page, next.lsn);
            next.page_count = next.page_count.max(*page);
        }
        (next, least)
    }

    fn point(&self, page_count_min: u32) -> HistoryPoint {
        HistoryPoint {
            lsn: Lsn::new(self.lsn),
            time_us: self.lsn,
            page_count: self.page_count,
            page_count_min,
            rolling_checksum: self.rolling(),
            readable: true,
            follows: true,
        }
    }
}

fn push(writer: &mut ChunkWriter, page: u32, version: u64) {
    let (hash, content) = (hash(page, version), content(page, version));
    let number = PageNo::new(page).unwrap();
    writer
        .push_page(number, Lsn::new(version), hash, &content)
        .unwrap();
}

/// What a section of a range says.
fn section(
    nth: u64,
    before: &State,
    state: &State,
    page_count_min: u32,
    range: u32,
    kind: SectionKind,
) -> SectionMeta {
    let pages = state.page_count.saturating_sub(range * 4).min(4);
    SectionMeta {
        kind,
        database: ID,
        generation: Generation::new(nth),
        cut: Lsn::new(state.lsn),
        since: Lsn::new(before.lsn),
        range,
        first_page: PageNo::new(range * 4 + 1).unwrap(),
        pages,
        page_size: SIZE,
        page_count: state.page_count,
        page_count_min,
        inherited: 0,
        rolling_checksum: state.rolling(),
    }
}

/// Writes the chunk of one generation; answers with the state that it shows.
fn checkpoint(disk: &SimDisk, nth: u64, before: &State, interval: &Interval) -> State {
    let (mut state, mut points, mut versions) = (before.clone(), Vec::new(), BTreeSet::new());
    for commit in &interval.commits {
        let superseded = state
            .pages
            .iter()
            .filter(|(_, version)| before.lsn < **version);
        versions.extend(superseded.map(|(page, version)| (*page, *version)));
        let (next, least) = state.after(commit);
        points.push(next.point(least));
        state = next;
    }
    versions.retain(|(page, version)| state.pages.get(page) != Some(version));
    let least = points.iter().map(|point| point.page_count_min);
    let least = least.min().unwrap();
    let meta = |range, kind| section(nth, before, &state, least, range, kind);
    let mut writer = ChunkWriter::create(
        Arc::new(disk.clone()),
        STORE,
        ChunkId::new(nth),
        Compression::Lz4,
    )
    .unwrap();
    for range in 0..4 {
        let own = state.pages.range(range * 4 + 1..=range * 4 + 4);
        let is_new = |version: u64| before.lsn < version;
        if !own.clone().any(|(_, version)| is_new(*version)) {
            continue;
        }
        let is_base = interval.bases[range as usize];
        let kind = if is_base {
            SectionKind::Base
        } else {
            SectionKind::Delta
        };
        writer.begin_section(meta(range, kind)).unwrap();
        for (page, version) in own.filter(|(_, version)| is_base || is_new(**version)) {
            push(&mut writer, *page, *version);
        }
        writer.end_section().unwrap();
    }
    if interval.history {
        let section = SectionMeta {
            range: 0,
            first_page: PageNo::FIRST,
            pages: SectionMeta::ALL_PAGES,
            ..meta(0, SectionKind::History)
        };
        writer.begin_section(section).unwrap();
        versions
            .iter()
            .for_each(|(page, version)| push(&mut writer, *page, *version));
        writer.end_history(&points).unwrap();
    }
    writer.finish().unwrap();
    state
}

/// The version of a page that a generation reads by the rows.
fn read(disk: &SimDisk, rows: &[(RangeKey, RangeRow)], generation: u64, page: u32) -> Option<u64> {
    let number = PageNo::new(page).unwrap();
    let own = rows
        .iter()
        .filter(|(key, _)| key.range == (page - 1) / 4 && key.generation.get() <= generation);
    let (_, row) = own.max_by_key(|(key, _)| key.generation)?;
    for link in row
        .links()
        .iter()
        .filter(|link| (page - 1) % 4 < link.pages)
    {
        let reader = ChunkReader::open(disk, STORE, link.chunk, None).unwrap();
        if let Some(found) = reader.read_page(link.section, number).unwrap() {
            return Some(found.version.get());
        }
        if link.kind == crate::manifest::LinkKind::Base {
            return None;
        }
    }
    None
}

fn disk() -> SimDisk {
    let disk = SimDisk::new(1);
    for dir in [layout::SCRATCH_DIR, layout::CHUNK_DIR] {
        disk.create_dir(Path::new(dir)).unwrap();
    }
    disk
}

fn judge(disk: &SimDisk) -> Verdict {
    let chunks = find_chunks(disk, STORE, Unreadable::Fails).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let judge = Judge {
        disk: &disk,
        store: STORE,
        range_bytes: RANGE_BYTES,
        chunks: &chunks,
        log_from: Some(Lsn::ZERO),
        unreadable: Unreadable::Fails,
    };
    judge.database(&Case::alone(ID)).unwrap()
}

/// Whether the rows show these states, the oldest first: all of them, as far as histories lead back.
fn check(disk: &SimDisk, intervals: &[Interval], states: &[State]) -> Result<(), TestCaseError> {
    let verdict = judge(disk);
    prop_assert_eq!(&verdict.closed, &None);
    let led = intervals.iter().rev().take_while(|one| one.history).count();
    let known = (led + 1).min(states.len());
    prop_assert_eq!(verdict.generations.len(), known);
    let keys: BTreeSet<RangeKey> = verdict.ranges.iter().map(|(key, _)| *key).collect();
    prop_assert_eq!(keys.len(), verdict.ranges.len(), "two rows of one key");
    for (back, (generation, row)) in verdict.generations.iter().enumerate() {
        let nth = states.len() - 1 - back;
        let state = &states[nth];
        prop_assert_eq!(generation.get(), nth as u64 + 1);
        prop_assert_eq!(row.lsn.get(), state.lsn);
        prop_assert_eq!(row.history.is_some(), intervals[nth].history);
        for page in 1..=state.page_count {
            let found = read(disk, &verdict.ranges, generation.get(), page);
            prop_assert_eq!(
                found,
                state.pages.get(&page).copied(),
                "{} at {}",
                page,
                generation
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_was_checkpointed_is_put_together_again(
        intervals in prop::collection::vec(interval(), 1..8),
    ) {
        let disk = disk();
        let mut states: Vec<State> = Vec::new();
        for (nth, interval) in (1..).zip(&intervals) {
            let before = states.last().cloned().unwrap_or_default();
            states.push(checkpoint(&disk, nth, &before, interval));
        }
        check(&disk, &intervals, &states)?;
    }
}

/// A state that reads a lost link is not proved: the newest one before it is taken, from which the log goes
/// on, or none.
#[test]
fn a_lost_link_leaves_the_states_that_do_not_read_it() {
    let write = |page| Interval {
        commits: vec![Commit {
            cut_to: None,
            writes: vec![page],
        }],
        bases: [false; 4],
        history: true,
    };
    let intervals = [write(1), write(2), write(6), write(3)];
    let sound = disk();
    let mut states: Vec<State> = Vec::new();
    for (nth, interval) in (1..).zip(&intervals) {
        let before = states.last().cloned().unwrap_or_default();
        states.push(checkpoint(&sound, nth, &before, interval));
    }
    check(&sound, &intervals, &states).unwrap();
    for chunk in 1..=4 {
        let disk = sound.snapshot();
        disk.remove(&layout::chunk(ChunkId::new(chunk))).unwrap();
        let verdict = judge(&disk);
        let known = usize::try_from(chunk - 1).unwrap();
        assert_eq!(verdict.closed.is_some(), known == 0, "chunk {chunk}");
        if 0 < known {
            assert_eq!(verdict.generations.len(), known, "chunk {chunk}");
        }
    }
}
