//! A lost manifest, and a damaged log beside it: what the files' stamps said stands nowhere else.

use crate::damaged_chunks::copy;
use crate::world::{WAIT, files, make, open, options, repair, shown};
use bop_storage::{DbKind, ErrorCode, Manager};
use std::path::Path;

/// In the stamp, in each copy of the activation, in the first batches.
const PLACES: [usize; 8] = [
    3,
    20,
    45,
    4096 + 9,
    2 * 4096 + 9,
    3 * 4096 + 2,
    3 * 4096 + 70,
    5 * 4096,
];

/// What is left of a segment.
#[derive(Copy, Clone, Debug)]
enum Harm {
    Flipped(usize),
    Zeroed,
    Gone,
}

impl Harm {
    fn apply(self, path: &Path) {
        let mut bytes = std::fs::read(path).unwrap();
        match self {
            Self::Gone => return std::fs::remove_file(path).unwrap(),
            Self::Zeroed => bytes[..3 * 4096].fill(0),
            Self::Flipped(at) => bytes[at] ^= 0x10,
        }
        std::fs::write(path, bytes).unwrap();
    }
}

/// Whether a name that may be lost is not given out.
fn catalogue_is_damaged(store: &Manager) -> bool {
    let refused = store.create_database("no such name before", DbKind::Raw);
    refused.is_err_and(|error| error.code() == ErrorCode::CatalogueDamaged)
}

/// Nothing is served that is not as it was; where nothing was touched that was in use, all of it is.
#[test]
fn what_a_damaged_segment_may_have_held_is_not_served_as_it_was_before() {
    let made = tempfile::tempdir().unwrap();
    make(made.path());
    let store = open(made.path());
    let before = shown(&store);
    store.close(WAIT).unwrap();
    std::fs::remove_dir_all(made.path().join("manifest")).unwrap();
    let (mut whole, mut told) = (0, 0);
    for path in files(made.path()).keys() {
        if path.extension().is_none_or(|extension| extension != "seg") {
            continue;
        }
        for harm in PLACES.map(Harm::Flipped).into_iter().chain([Harm::Zeroed]) {
            let dir = tempfile::tempdir().unwrap();
            copy(made.path(), dir.path());
            harm.apply(&dir.path().join(path.strip_prefix(made.path()).unwrap()));
            repair(dir.path());
            let Ok(store) = Manager::open(dir.path(), options()) else {
                told += 1;
                continue;
            };
            let infos = store.databases();
            let sound = infos.iter().filter(|info| info.damage.is_none());
            let sound: Vec<_> = sound.collect();
            for info in &sound {
                let rolling = info.rolling_checksum.get();
                let was = before.get(&(info.id, info.name.clone()));
                // An older name only where the newer one is known to be lost.
                let same = match was {
                    Some(was) => was.facts() == (info.head, rolling),
                    None => catalogue_is_damaged(&store),
                };
                assert!(same, "{} {harm:?}: {info:?}", path.display());
            }
            if infos.len() < before.len() {
                assert!(catalogue_is_damaged(&store), "{} {harm:?}", path.display());
            }
            if sound.len() == before.len() {
                whole += 1;
            } else {
                told += 1;
            }
            store.close(WAIT).unwrap();
        }
    }
    assert!(0 < whole && 10 < told, "{whole} whole, {told} told");
}

/// Of one that is gone the next one tells, and the log starts there: what was in it is missed by whom
/// it concerns.
#[test]
fn a_segment_that_is_gone_is_missed() {
    let made = tempfile::tempdir().unwrap();
    make(made.path());
    let store = open(made.path());
    let before = shown(&store);
    store.close(WAIT).unwrap();
    let oldest = {
        let inspection = Manager::inspect_manifest(made.path(), &options()).unwrap();
        let (id, _) = inspection.state().segments().next().unwrap();
        made.path().join(format!("log/{:016x}.seg", id.get()))
    };
    Harm::Gone.apply(&oldest);
    std::fs::remove_dir_all(made.path().join("manifest")).unwrap();
    repair(made.path());
    let store = open(made.path());
    for info in store.databases() {
        if info.damage.is_none() {
            let was = &before[&(info.id, info.name.clone())];
            assert_eq!(
                was.facts(),
                (info.head, info.rolling_checksum.get()),
                "{}",
                info.name
            );
        }
    }
    store.close(WAIT).unwrap();
}
