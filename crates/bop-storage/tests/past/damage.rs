//! A damaged byte in a chunk: it is found, told with its place, and stands in the way of those alone who
//! need it.

use crate::acts::ALL;
use crate::world::{Model, Saved, Shape, World};
use bop_storage::error::{Damage, Place};
use bop_storage::ids::ChunkId;
use bop_storage::pagestore::{ChunkReader, SectionKind};
use bop_storage::{At, DbId, JobState, PageNo, PastError, ReadError, ReadTxn};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A database with deltas and histories, a fork that has most pages of it, and one that has nothing to do
/// with them.
fn scene() -> World {
    let mut world = World::with(Shape::DELTAS, 21, ALL);
    world.create();
    world.create();
    // The catalogue goes with the first pages.
    world.commit(1);
    world.store().checkpoint().unwrap();
    world.commits(0, 8);
    world.store().checkpoint().unwrap();
    let head = world.live[0].head().clone();
    world.snapshot_at(0, &At::Now, head.clone()).unwrap();
    world.fork_at(0, &At::Now, head).unwrap();
    for nth in [0, 1, 2, 0] {
        world.commits(nth, 4);
        world.store().checkpoint().unwrap();
    }
    world.close();
    world
}

/// A chunk, and whose sections it has.
struct Chunk {
    id: ChunkId,
    path: PathBuf,
    bytes: u64,
    owners: BTreeSet<DbId>,
    /// `None` is the catalogue's.
    kinds: Vec<Option<SectionKind>>,
}

fn chunks(world: &World) -> Vec<Chunk> {
    let store = world.store().status().store;
    let files = world.disk.files().into_iter();
    let files = files.filter(|(path, _)| path.starts_with("chunks"));
    let chunk = |(path, bytes): (PathBuf, u64)| {
        let number = path.file_stem().unwrap().to_str().unwrap();
        let id = ChunkId::new(u64::from_str_radix(number, 16).unwrap());
        let reader = ChunkReader::open(&world.disk, store, id, None).unwrap();
        // Of the catalogue none.
        let metas = reader.sections().iter().map(|one| one.meta());
        Chunk {
            id,
            path,
            bytes,
            owners: metas.clone().flatten().map(|meta| meta.database).collect(),
            kinds: metas.map(|meta| Some(meta?.kind)).collect(),
        }
    };
    files.map(chunk).collect()
}

fn is_of(damage: &Damage, chunk: &Chunk) -> bool {
    match &damage.place {
        Place::Chunk { chunk: id, .. } => *id == chunk.id,
        Place::File(path) => Path::new(path) == chunk.path,
        _ => false,
    }
}

/// Whether a state reads as it was; what else it may do is to name the damaged chunk.
fn is_readable(read: &ReadTxn, saved: &Saved, world: &World, chunk: &Chunk) -> bool {
    for raw in 1..=saved.state.page_count {
        match read.read_page(PageNo::new(raw).unwrap()) {
            Ok(page) => {
                let number = saved.state.pages.get(&raw);
                let expected = number.map(|number| world.shape.content(*number));
                let expected = expected.unwrap_or_else(|| vec![0; world.shape.page_bytes]);
                assert!(page[..] == expected, "page {raw} of {}", saved.lsn);
            }
            Err(ReadError::Damaged(damage)) => {
                assert!(is_of(&damage, chunk), "{damage}");
                return false;
            }
            Err(error) => panic!("{error}"),
        }
    }
    true
}

fn is_readable_at(world: &World, model: &Model, at: &At, saved: &Saved, chunk: &Chunk) -> bool {
    match world.db(&model.name).begin_read_at(at) {
        Ok(read) => is_readable(&read, saved, world, chunk),
        Err(PastError::Read(ReadError::Damaged(damage))) => {
            assert!(is_of(&damage, chunk), "{damage}");
            false
        }
        Err(error) => panic!("{at}: {error}"),
    }
}

/// How far the damage of a byte has reached.
#[derive(Default, Debug)]
struct Reach {
    flips: u64,
    nothing: u64,
    past_alone: u64,
    newest: u64,
}

fn flip(origin: &World, chunk: &Chunk, byte: u64, reach: &mut Reach) {
    let mut world = origin.copied();
    world.disk.flip(&chunk.path, byte, 1 << (byte % 8));
    world.open();
    let (mut past, mut newest) = (true, true);
    for model in world.live.clone() {
        let id = world.store().info(&model.name).unwrap().id;
        let source = world.store().info(&world.live[0].name).unwrap().id;
        let needs = |owner: DbId| chunk.owners.contains(&owner);
        let is_met = needs(id) || (model.is_fork && needs(source));
        let now = is_readable_at(&world, &model, &At::Now, model.head(), chunk);
        newest &= now;
        let mut before = true;
        let first = usize::from(!model.is_fork);
        for saved in &model.states[first..] {
            before &= is_readable_at(&world, &model, &At::Lsn(saved.lsn), saved, chunk);
        }
        for (name, saved) in &model.snapshots {
            let at = At::Snapshot(name.clone());
            before &= is_readable_at(&world, &model, &at, saved, chunk);
        }
        past &= before;
        assert!(is_met || (now && before), "{} needs it not", model.name);
    }
    let verified = world.store().verify();
    let told = verified.findings.iter().any(|found| is_of(found, chunk));
    assert!(told, "verify: {:?}", verified.findings);
    let job = world.store().scrub(None).unwrap();
    let done = world.store().wait_for_job(job, crate::world::LONG).unwrap();
    assert!(matches!(done.state, JobState::Failed), "{:?}", done.state);
    world.close();
    reach.flips += 1;
    match (newest, past) {
        (true, true) => reach.nothing += 1,
        (true, false) => reach.past_alone += 1,
        (false, _) => reach.newest += 1,
    }
}

#[test]
fn a_flipped_bit_is_found_and_reaches_no_further_than_it_must() {
    let mut origin = scene();
    origin.open();
    let chunks = chunks(&origin);
    origin.close();
    let pages: Vec<&Chunk> = chunks
        .iter()
        .filter(|chunk| !chunk.kinds.contains(&None))
        .collect();
    let has = |kind| pages.iter().any(|chunk| chunk.kinds.contains(&Some(kind)));
    assert!(has(SectionKind::Base) && has(SectionKind::Delta) && has(SectionKind::History));
    let mut reach = Reach::default();
    for chunk in pages {
        // Each part of it: 40 places, and its last bytes.
        let stride = chunk.bytes / 40 + 1;
        for byte in (0..chunk.bytes).step_by(stride as usize) {
            flip(&origin, chunk, byte, &mut reach);
        }
        flip(&origin, chunk, chunk.bytes - 9, &mut reach);
    }
    println!("{reach:?}");
    let Reach {
        past_alone, newest, ..
    } = reach;
    assert!(past_alone > 0 && newest > 0, "{reach:?}");
}
