//! A store of which every commit is remembered, and what a salvage may make of it.

use crate::world::{WAIT, options};
use bop_storage::testing::SplitMix64;
use bop_storage::{
    At, DbKind, Limits, Lsn, Manager, NewEntry, Options, PageNo, PageSize, SalvageReport,
    SalvagedDatabase,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) const PAGE: usize = 1024;

/// What a database is at a commit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Content {
    /// Its pages, all of them; those that were never written are zeros.
    pub(crate) pages: Vec<Vec<u8>>,
    /// Of a record log: its first index, terms and payloads, the hard state.
    pub(crate) first: u64,
    pub(crate) entries: Vec<(u64, Vec<u8>)>,
    pub(crate) vote: Option<Vec<u8>>,
}

/// A store, and every state that each of its databases ever had, the newest last.
pub(crate) struct History {
    pub(crate) store: Manager,
    pub(crate) states: BTreeMap<String, Vec<(Lsn, Content)>>,
}

/// A page that no other page is like, of which nothing compresses.
pub(crate) fn noise(seed: u64) -> Vec<u8> {
    let mut random = SplitMix64::new(seed);
    let words = (0..PAGE / 8).flat_map(|_| random.next_u64().to_le_bytes());
    words.collect()
}

/// The first page of a SQLite database, as it is stored.
pub(crate) fn sqlite_page(seed: u64) -> Vec<u8> {
    let mut page = noise(seed);
    page[..16].copy_from_slice(b"SQLite format 3\0");
    page[16..18].copy_from_slice(&1024_u16.to_be_bytes());
    page[18..20].fill(1);
    page[24..28].fill(0);
    page[92..100].fill(0);
    page
}

pub(crate) fn limits() -> Limits {
    let mut limits = Limits::tiny();
    limits.log_bytes_max = 8 << 20;
    // Keeping house makes no checkpoint, and moves no record log, before that.
    limits.checkpoint_log_bytes_min = 4 << 20;
    limits.log_sealed_segments_max = 1000;
    limits
}

pub(crate) fn salvage_options() -> Options {
    options().limits(limits())
}

impl History {
    pub(crate) fn make(dir: &Path) -> Self {
        Self {
            store: Manager::open(dir, salvage_options()).unwrap(),
            states: BTreeMap::new(),
        }
    }

    /// Goes on with a store that was closed.
    pub(crate) fn open(dir: &Path, states: BTreeMap<String, Vec<(Lsn, Content)>>) -> Self {
        Self {
            store: Manager::open(dir, salvage_options()).unwrap(),
            states,
        }
    }

    pub(crate) fn create(&mut self, name: &str, kind: DbKind) {
        match kind {
            DbKind::Log => drop(self.store.create_record_log(name).unwrap()),
            _ => drop(self.store.create_database(name, kind).unwrap()),
        }
        let made = vec![(Lsn::ZERO, Content::default())];
        self.states.insert(name.to_owned(), made);
    }

    pub(crate) fn newest(&self, name: &str) -> &Content {
        &self.states[name].last().unwrap().1
    }

    /// One commit of one database.
    pub(crate) fn commit(&mut self, name: &str, pages: &[(u32, Vec<u8>)], cut: Option<u32>) {
        self.group(&[(name, pages, cut)]);
    }

    /// One commit of several databases.
    #[expect(clippy::type_complexity, reason = "used here alone")]
    pub(crate) fn group(&mut self, members: &[(&str, &[(u32, Vec<u8>)], Option<u32>)]) {
        let mut group = Vec::new();
        let mut after = Vec::new();
        for (name, pages, cut) in members {
            let mut content = self.newest(name).clone();
            let mut write = self
                .store
                .database(name)
                .unwrap()
                .begin_write(WAIT)
                .unwrap();
            write
                .set_page_size(PageSize::new(PAGE as u32).unwrap())
                .unwrap();
            for (page, bytes) in *pages {
                write
                    .write_page(PageNo::new(*page).unwrap(), bytes)
                    .unwrap();
                let nth = *page as usize;
                if content.pages.len() < nth {
                    content.pages.resize(nth, vec![0; PAGE]);
                }
                content.pages[nth - 1].clone_from(bytes);
            }
            if let Some(cut) = cut {
                write.truncate(*cut);
                content.pages.truncate(*cut as usize);
            }
            group.push(write);
            after.push(((*name).to_owned(), content));
        }
        let lsn = match group.len() {
            1 => group.remove(0).commit().unwrap().lsn(),
            _ => self.store.group_commit(group).unwrap()[0].lsn(),
        };
        for (name, content) in after {
            self.states.get_mut(&name).unwrap().push((lsn, content));
        }
    }

    /// Another database that begins as the `nth` state of this one.
    pub(crate) fn fork(&mut self, of: &str, nth: usize, name: &str) {
        let (lsn, content) = self.states[of][nth].clone();
        let at = self.at(of, nth, lsn);
        self.store.fork_database(of, name, &at).unwrap();
        self.states
            .insert(name.to_owned(), vec![(Lsn::ZERO, content)]);
    }

    /// The database is its `nth` state again: another one, which begins with that.
    pub(crate) fn restore(&mut self, name: &str, nth: usize) {
        let (lsn, content) = self.states[name][nth].clone();
        let at = self.at(name, nth, lsn);
        self.store.restore_database(name, &at).unwrap();
        self.states
            .insert(name.to_owned(), vec![(Lsn::ZERO, content)]);
    }

    fn at(&self, name: &str, nth: usize, lsn: Lsn) -> At {
        if nth + 1 == self.states[name].len() {
            At::Now
        } else {
            At::Lsn(lsn)
        }
    }

    /// One change of a record log.
    pub(crate) fn change_log(&mut self, name: &str, change: &LogChange) {
        let log = self.store.record_log(name).unwrap();
        let mut content = self.newest(name).clone();
        match change {
            LogChange::Append(term, payload) => {
                let index = content.first + content.entries.len() as u64;
                let (term, payload) = (*term, payload.as_slice());
                log.append(&[NewEntry {
                    index,
                    term,
                    payload,
                }])
                .unwrap();
                content.entries.push((term, payload.to_vec()));
            }
            LogChange::Truncate(kept) => {
                log.truncate(content.first + *kept as u64).unwrap();
                content.entries.truncate(*kept);
            }
            LogChange::Purge(gone) => {
                log.purge(content.first + *gone as u64 - 1).unwrap();
                content.entries.drain(..*gone);
                content.first += *gone as u64;
            }
            LogChange::Vote(vote) => {
                log.set_vote(vote).unwrap();
                content.vote = Some(vote.clone());
            }
        }
        let states = self.states.get_mut(name).unwrap();
        // The position of its record is told by nobody.
        states.push((Lsn::ZERO, content));
    }

    /// Closes the store; what is remembered stays.
    pub(crate) fn close(self) -> BTreeMap<String, Vec<(Lsn, Content)>> {
        self.store.close(WAIT).unwrap();
        self.states
    }
}

/// What happens to a record log.
pub(crate) enum LogChange {
    Append(u64, Vec<u8>),
    /// So many entries stay.
    Truncate(usize),
    /// So many go, at least one.
    Purge(usize),
    Vote(Vec<u8>),
}

pub(crate) type States = BTreeMap<String, Vec<(Lsn, Content)>>;

/// Salvages, and compares what is in the new store with what the old one was at the commits that the
/// report names: exactly that, and nothing else.
pub(crate) fn salvage(dir: &Path, states: &States) -> Saved {
    let new = tempfile::tempdir().unwrap();
    let to = new.path().join("new");
    let before = bytes_of(dir);
    let report = Manager::salvage(dir, &to, &salvage_options(), None).unwrap();
    assert!(before == bytes_of(dir), "the damaged store was changed");
    let store = Manager::open(&to, salvage_options()).unwrap();
    let names: Vec<String> = store
        .databases()
        .into_iter()
        .map(|info| info.name)
        .collect();
    for one in &report.databases {
        assert_eq!(one.saved, names.contains(&one.name), "{one:?}");
        let Some(known) = states.get(&one.name).filter(|_| one.saved) else {
            continue;
        };
        let found = content(&store, one);
        if let Some(from) = one.lost.as_ref().and_then(|lost| lost.entries_from) {
            assert_newest_up_to(from, &found, &known.last().unwrap().1);
            continue;
        }
        let at = known.iter().rposition(|(lsn, content)| {
            let same_place = one.kind == DbKind::Log || *lsn == one.head;
            same_place && *content == found
        });
        let Some(at) = at else {
            panic!("{} is what it never was: {one:?}", one.name);
        };
        if at + 1 < known.len() {
            assert!(
                one.lost.is_some(),
                "{} lost something unsaid: {one:?}",
                one.name
            );
        }
    }
    assert!(store.verify().is_healthy(), "{:?}", store.verify());
    store.close(WAIT).unwrap();
    Saved {
        report,
        states: states.clone(),
        new,
    }
}

/// A record log of which no state is whole any more.
fn assert_newest_up_to(from: u64, found: &Content, newest: &Content) {
    let mut wanted = newest.clone();
    wanted.entries.truncate((from - newest.first) as usize);
    assert!(!wanted.entries.is_empty() && wanted.entries.len() < newest.entries.len());
    assert!(*found == wanted, "from {from}");
}

/// What a salvage gave.
pub(crate) struct Saved {
    pub(crate) report: SalvageReport,
    states: States,
    new: tempfile::TempDir,
}

impl Saved {
    pub(crate) fn of(&self, name: &str) -> &SalvagedDatabase {
        self.report
            .databases
            .iter()
            .find(|one| one.name == name)
            .unwrap()
    }

    /// What it is in the new store.
    pub(crate) fn content(&self, name: &str) -> Content {
        let store = Manager::open(self.new.path().join("new"), salvage_options()).unwrap();
        let found = content(&store, self.of(name));
        store.close(WAIT).unwrap();
        found
    }

    /// Nothing of it is lost.
    pub(crate) fn assert_whole(&self, name: &str) {
        let one = self.of(name);
        assert!(one.saved && one.lost.is_none(), "{one:?}");
        if one.kind != DbKind::Log {
            assert_eq!(one.head, self.states[name].last().unwrap().0, "{one:?}");
        }
    }

    /// It is at its `nth` state, and so many commits behind are said to be lost.
    pub(crate) fn assert_at(&self, name: &str, nth: usize, lost: u64) {
        let (one, known) = (self.of(name), &self.states[name]);
        assert!(one.saved, "{one:?}");
        assert_eq!(one.head, known[nth].0, "{one:?}");
        let loss = one.lost.as_ref().unwrap();
        assert_eq!(loss.commits, lost, "{one:?}");
        if 0 < lost {
            assert_eq!(loss.first, Some(known[nth + 1].0), "{one:?}");
            assert_eq!(loss.last, Some(known.last().unwrap().0), "{one:?}");
        }
    }
}

fn content(store: &Manager, one: &SalvagedDatabase) -> Content {
    let mut content = Content::default();
    if one.kind == DbKind::Log {
        let log = store.record_log(&one.name).unwrap();
        let bounds = log.bounds().unwrap();
        content.first = bounds.first;
        let read = log.read(bounds.first..bounds.next, u64::MAX).unwrap();
        content.entries = read
            .iter()
            .map(|entry| (entry.term, entry.payload.to_vec()))
            .collect();
        content.vote = log.vote().unwrap().map(|vote| vote.to_vec());
    } else {
        let read = store.database(&one.name).unwrap().begin_read().unwrap();
        assert_eq!(read.rolling_checksum(), one.rolling_checksum, "{one:?}");
        let pages = (1..=read.page_count()).filter_map(PageNo::new);
        content.pages = pages
            .map(|page| read.read_page(page).unwrap().to_vec())
            .collect();
    }
    content
}

/// The files of a store, but for what LMDB and locks keep for themselves.
pub(crate) fn bytes_of(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                dirs.push(path);
            } else if name != "lock.mdb" && name != "lock" {
                files.insert(path.clone(), std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// Flips a bit of the first place in files of `sub` where `bytes` stand.
pub(crate) fn flip_in(dir: &Path, sub: &str, bytes: &[u8]) -> PathBuf {
    // Page 1 of a SQLite database is not stored as it was given.
    flip_bytes(dir, sub, &bytes[128..192])
}

/// The same with all of `bytes`.
pub(crate) fn flip_bytes(dir: &Path, sub: &str, bytes: &[u8]) -> PathBuf {
    for (path, held) in bytes_of(&dir.join(sub)) {
        let mut windows = held.windows(bytes.len());
        if let Some(at) = windows.position(|window| window == bytes) {
            flip(&path, at + 5);
            return path;
        }
    }
    panic!("not in {sub}");
}

pub(crate) fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

pub(crate) fn lose_manifest(dir: &Path) {
    std::fs::remove_dir_all(dir.join("manifest")).unwrap();
}
