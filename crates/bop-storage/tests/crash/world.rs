//! The expected state of a store, kept outside it: all databases by name, each page by its tag.
//!
//! A *tag* stands for the content of a page: 0 for zeros, any other number for the bytes that
//! [`content`] makes of it, so that a page that is torn, stale or another one is never mistaken.

use bop_storage::{DbId, DbKind, Lsn, Manager, PageNo, PageSize, ReadTxn, page_one};
use std::collections::BTreeMap;

/// One database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Database {
    pub(crate) kind: DbKind,
    /// Its newest commit; `None` when that was not acknowledged, so that nobody knows it.
    pub(crate) head: Option<Lsn>,
    pub(crate) page_size: Option<u32>,
    /// The tags of its pages.
    pub(crate) pages: Vec<u64>,
}

impl Database {
    /// A database without a commit.
    pub(crate) fn new(kind: DbKind) -> Self {
        Self {
            kind,
            head: Some(Lsn::ZERO),
            page_size: None,
            pages: Vec::new(),
        }
    }

    /// Whether `found` is this state.
    pub(crate) fn is(&self, found: &Self) -> bool {
        self.kind == found.kind
            && self.page_size == found.page_size
            && self.pages == found.pages
            && (self.head.is_none() || self.head == found.head)
    }
}

/// All databases of a store by name.
pub(crate) type World = BTreeMap<String, Database>;

/// The bytes of a page. Of eight tags one compresses well, one not at all, and the others differ
/// from each other in five words, so that a page often is a patch of the one before.
pub(crate) fn content(kind: DbKind, page: u32, tag: u64, bytes: usize) -> Vec<u8> {
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut content = vec![0; bytes];
    if tag == 0 {
        return content;
    }
    let (own, spread) = match tag % 8 {
        1 => (tag, 0),
        2 => (tag, SPREAD),
        _ => (u64::from(page), SPREAD),
    };
    let words = bytes as u64 / 8;
    for (index, word) in (0u64..).zip(content.chunks_exact_mut(8)) {
        let marked = index % (words / 4) == 0 || index + 1 == words;
        let own = if marked { tag } else { own };
        let mixed = if index == 0 {
            tag
        } else {
            own ^ index.wrapping_mul(spread)
        };
        word.copy_from_slice(&mixed.to_le_bytes());
    }
    if kind == DbKind::Sqlite && page == 1 {
        page_one::canonicalize(&mut content);
    }
    content
}

/// What a snapshot shows.
///
/// # Errors
/// A page that cannot be read, or is nothing that was ever written there.
pub(crate) fn observe_snapshot(kind: DbKind, read: &ReadTxn) -> Result<Database, String> {
    let mut pages = Vec::new();
    let size = read.page_size().map(PageSize::get);
    for page in 1..=read.page_count() {
        let number = PageNo::new(page).expect("above zero");
        let found = read
            .read_page(number)
            .map_err(|error| format!("page {page} cannot be read: {error}"))?;
        let word = found.first_chunk::<8>().expect("a page has 8 bytes");
        let tag = u64::from_le_bytes(*word);
        if found[..] != content(kind, page, tag, found.len())[..] {
            return Err(format!("page {page} is no page that was ever written"));
        }
        pages.push(tag);
    }
    Ok(Database {
        kind,
        head: Some(read.lsn()),
        page_size: size,
        pages,
    })
}

/// What a store shows.
///
/// # Errors
/// As for [`observe_snapshot`], and a database that cannot be opened.
pub(crate) fn observe(store: &Manager) -> Result<World, String> {
    let mut world = World::new();
    for info in store.databases() {
        let name = info.name.clone();
        let said = |error: String| format!("database {name:?}: {error}");
        let db = store
            .database(&name)
            .map_err(|error| said(error.to_string()))?;
        let read = db.begin_read().map_err(|error| said(error.to_string()))?;
        if (info.head, info.page_count) != (read.lsn(), read.page_count()) {
            return Err(said(format!("{info:?} is not what a reader sees")));
        }
        let database = observe_snapshot(info.kind, &read).map_err(said)?;
        world.insert(name.clone(), database);
    }
    Ok(world)
}

/// Whether `found` is the state `expected`.
pub(crate) fn is_state(expected: &World, found: &World) -> bool {
    expected.len() == found.len()
        && expected
            .iter()
            .all(|(name, database)| found.get(name).is_some_and(|found| database.is(found)))
}

/// Which of two states a store was found in.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    /// The last one that was acknowledged.
    Acknowledged,
    /// The one that the transaction in flight would have made.
    InFlight,
}

/// What the databases held that were dropped, or may have been.
pub(crate) type Dropped = BTreeMap<DbId, Database>;

/// Judges what can be brought back: it stands at the last commit before its drop. That its pages add up
/// to that commit, a verification says.
///
/// # Errors
/// The violation, in words.
pub(crate) fn judge_dropped(store: &Manager, dropped: &Dropped) -> Result<(), String> {
    for one in store.dropped_databases() {
        let known = dropped.get(&one.id).and_then(|known| known.head);
        if known.is_some_and(|known| known != one.head) {
            return Err(format!("{one:?} was dropped at {known:?}"));
        }
    }
    Ok(())
}

/// Judges what was found.
///
/// # Errors
/// The violation, in words.
pub(crate) fn judge(
    found: &World,
    acknowledged: &World,
    in_flight: Option<&World>,
) -> Result<Which, String> {
    if is_state(acknowledged, found) {
        return Ok(Which::Acknowledged);
    }
    if in_flight.is_some_and(|state| is_state(state, found)) {
        return Ok(Which::InFlight);
    }
    Err(violation(found, acknowledged, in_flight))
}

fn violation(found: &World, acknowledged: &World, in_flight: Option<&World>) -> String {
    for (name, database) in acknowledged {
        // A database that the change in flight renames or drops may be gone.
        let may_go = in_flight.is_some_and(|state| !state.contains_key(name));
        match found.get(name) {
            None if may_go => {}
            None => return format!("lost acknowledged commit: no database {name:?}"),
            Some(found) if found.head < database.head => {
                let (found, expected) = (found.head, database.head);
                return format!(
                    "lost acknowledged commit: {name:?} is at {found:?}, not at {expected:?}"
                );
            }
            Some(found) if !database.is(found) => {
                let pages = database.pages.iter().zip(&found.pages);
                let differs = pages.take_while(|(one, other)| one == other).count() + 1;
                let was_changed = in_flight.is_some_and(|state| state.get(name) != Some(database));
                return format!(
                    "a state that was never committed: {name:?} at {:?} with {} pages is expected \
                     at {:?} with {} (in flight: {was_changed}); page {differs} differs first",
                    found.head,
                    found.pages.len(),
                    database.head,
                    database.pages.len(),
                );
            }
            Some(_) => {}
        }
    }
    let names: Vec<_> = found.keys().collect();
    let expected: Vec<_> = acknowledged.keys().collect();
    format!("a state that was never committed: databases {names:?}, expected {expected:?}")
}
