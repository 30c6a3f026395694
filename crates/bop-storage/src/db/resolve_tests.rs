//! Pages that are patches, after everything that can happen to what they rest on.

use crate::db::{Db, ImageStats, Manager, simulated};
use crate::error::ReadError;
use crate::ids::{DbKind, Lsn, PageNo, PageSize};
use crate::io::{BLOCK_BYTES, Block, IoOp, layout};
use crate::limits::Limits;
use crate::log::format::record::Encoding;
use crate::log::format::{PATCH_CHAIN_MAX, Patch, PatchBase};
use crate::manifest::MemoryManifest;
use crate::testing::{Fault, SimDisk};
use crate::view::{Found, PageVersion, View};
use std::sync::Arc;
use std::time::Duration;
use zerocopy::IntoBytes;

const PAGE: usize = 1024;

struct Rig {
    disk: SimDisk,
    manifest: MemoryManifest,
}

impl Rig {
    fn new() -> Self {
        Self {
            disk: SimDisk::new(1),
            manifest: MemoryManifest::new(),
        }
    }

    fn open(&self) -> Manager {
        simulated::open(&self.disk, &self.manifest, Limits::tiny())
    }

    fn with_database(&self) -> (Manager, Db) {
        let store = self.open();
        let db = store.create_database("d", DbKind::Raw).unwrap();
        (store, db)
    }
}

/// Noise that no compressor makes smaller, with `mark` in a few of its bytes.
fn content(mark: u8) -> Vec<u8> {
    let mut state = 7_u64;
    let next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (state >> 56) as u8
    };
    let mut content: Vec<u8> = std::iter::repeat_with(next).take(PAGE).collect();
    content[100..110].fill(mark);
    content[1000 - usize::from(mark)] = mark;
    content
}

fn commit_page(db: &Db, content: &[u8]) {
    let mut write = db.begin_write(Duration::ZERO).unwrap();
    write.write_page(PageNo::FIRST, content).unwrap();
    write.commit().unwrap();
}

fn commit(db: &Db, mark: u8) {
    commit_page(db, &content(mark));
}

fn images(store: &Manager) -> ImageStats {
    store.status().images
}

fn check(store: &Manager, db: &Db, mark: u8) {
    let read = db.begin_read().unwrap();
    assert_eq!(read.read_page(PageNo::FIRST).unwrap()[..], content(mark));
    let report = store.verify();
    assert!(report.is_healthy(), "{report:?}");
}

fn view(db: &Db) -> Arc<View> {
    let state = db.engine().engine().state_of(db.id());
    state.unwrap().view()
}

/// Where page 1 is in the log.
fn entry(db: &Db) -> PageVersion {
    match view(db).find(PageNo::FIRST) {
        Found::Log(at) => at,
        other => panic!("page 1 is {other:?}"),
    }
}

/// Commits to another database until a checkpoint has released what `d` had in the log.
fn release_the_log(store: &Manager) {
    let other = match store.database("other") {
        Ok(other) => other,
        Err(_) => store.create_database("other", DbKind::Raw).unwrap(),
    };
    let start = store.status().truncated;
    let end = store.status().published;
    for round in 0..2_000_u32 {
        if store.status().truncated >= end {
            return;
        }
        let mut write = other.begin_write(Duration::ZERO).unwrap();
        let page = PageNo::new(round % 8 + 1).unwrap();
        write.write_page(page, &[round as u8; PAGE]).unwrap();
        write.commit().unwrap();
        if round % 16 == 0 {
            store.checkpoint().unwrap();
        }
    }
    panic!("the log is held from {start} to {end}");
}

#[test]
fn a_chain_has_four_patches_and_then_a_full_image() {
    let rig = Rig::new();
    let (store, db) = rig.with_database();
    let mut encodings = Vec::new();
    for mark in 1..=11 {
        commit(&db, mark);
        let form = entry(&db).form;
        assert!(form.depth() <= PATCH_CHAIN_MAX);
        encodings.push((form.encoding(), form.depth()));
        check(&store, &db, mark);
    }
    let chain = [
        (Encoding::Raw, 0),
        (Encoding::Patch, 1),
        (Encoding::Patch, 2),
        (Encoding::Patch, 3),
        (Encoding::Patch, 4),
    ];
    let expected: Vec<_> = chain.iter().copied().cycle().take(11).collect();
    assert_eq!(encodings, expected);
    let images = images(&store);
    assert_eq!((images.raw, images.compressed, images.patches), (3, 0, 8));
    assert!(images.bytes < 3 * PAGE as u64 + 8 * 100);
}

#[test]
fn a_chain_is_read_from_the_log_by_another_process() {
    for patches in 1..=PATCH_CHAIN_MAX {
        let rig = Rig::new();
        let (store, db) = rig.with_database();
        (0..=patches).for_each(|mark| commit(&db, mark));
        assert_eq!(images(&store).patches, u64::from(patches));
        drop((db, store));
        let store = rig.open();
        let db = store.database("d").unwrap();
        check(&store, &db, patches);
    }
}

#[test]
fn nothing_rests_on_a_patch_of_an_earlier_opening() {
    let rig = Rig::new();
    let (store, db) = rig.with_database();
    commit(&db, 1);
    commit(&db, 2);
    drop((db, store));
    let store = rig.open();
    let db = store.database("d").unwrap();
    check(&store, &db, 2);
    commit(&db, 3);
    assert_eq!(entry(&db).form.encoding(), Encoding::Raw);
    commit(&db, 4);
    assert_eq!(images(&store).patches, 1);
    check(&store, &db, 4);
}

#[test]
fn no_base_is_read_for_the_sake_of_a_patch() {
    let rig = Rig::new();
    let (store, db) = rig.with_database();
    commit(&db, 1);
    drop((db, store));
    let store = rig.open();
    let db = store.database("d").unwrap();
    commit(&db, 2);
    assert_eq!(images(&store).patches, 0, "the base was not in memory");
    drop((db, store));
    let store = rig.open();
    let db = store.database("d").unwrap();
    check(&store, &db, 2);
    commit(&db, 3);
    assert_eq!(images(&store).patches, 1, "a full image that was read");
    check(&store, &db, 3);
}

#[test]
fn a_page_in_a_chunk_is_a_base_and_is_found_there_again() {
    let rig = Rig::new();
    let (store, db) = rig.with_database();
    (1..=3).for_each(|mark| commit(&db, mark));
    store.checkpoint().unwrap();
    check(&store, &db, 3);
    commit(&db, 4);
    assert_eq!(images(&store).patches, 3);
    release_the_log(&store);
    check(&store, &db, 4);
}

/// The snapshot of a write transaction has its page in the log; when it commits, a checkpoint has
/// put that page into a chunk and released the log.
#[test]
fn a_checkpoint_may_pass_between_the_base_and_the_patch() {
    let rig = Rig::new();
    let (store, db) = rig.with_database();
    commit(&db, 1);
    commit(&db, 2);
    let mut write = db.begin_write(Duration::ZERO).unwrap();
    write.write_page(PageNo::FIRST, &content(3)).unwrap();
    store.checkpoint().unwrap();
    release_the_log(&store);
    let before = images(&store).patches;
    write.commit().unwrap();
    check(&store, &db, 3);
    // Where the page is in a chunk alone, it has to be in memory to be patched.
    commit(&db, 4);
    assert!(before < images(&store).patches);
    drop((db, store));
    let store = rig.open();
    let db = store.database("d").unwrap();
    check(&store, &db, 4);
}

/// What the patch at `at` rests on.
fn base_of(db: &Db, at: PageVersion) -> PatchBase {
    let (segment, offset) = db.engine().log().ring().locate(at.image_lsn).unwrap();
    let mut blocks = [Block::ZERO; 2];
    let start = offset - offset % BLOCK_BYTES as u64;
    segment.file.read_at(start, &mut blocks).unwrap();
    let image = &blocks.as_bytes()[(offset - start) as usize..][..at.form.bytes()];
    let size = PageSize::new(PAGE as u32).unwrap();
    Patch::parse(image, size).unwrap().base()
}

/// Commits while a checkpoint copies what was there before rest on what it copies. When it is done,
/// and the log below has gone, they rest on the chunk.
#[test]
fn patches_made_while_a_checkpoint_copies_their_bases_outlive_the_log() {
    let rig = Rig::new();
    let (store, db) = rig.with_database();
    let other = store.create_database("other", DbKind::Raw).unwrap();
    commit(&db, 1);
    commit(&db, 2);
    // The log moves on to another segment.
    (0..40).for_each(|mark| commit(&other, mark));
    rig.disk.fail_next(IoOp::Rename, Fault::Hang);
    std::thread::scope(|scope| {
        let checkpoint = scope.spawn(|| store.checkpoint().unwrap());
        rig.disk.wait_until_hung(1);
        commit(&db, 3);
        commit(&db, 4);
        rig.disk.release_hung();
        let report = checkpoint.join().unwrap();
        assert!(report.segments_released > 0, "{report:?}");
    });
    let newest = entry(&db);
    assert_eq!(newest.form.depth(), 3);
    let (below, form) = base_of(&db, newest).image.unwrap();
    let bottom = base_of(
        &db,
        PageVersion {
            image_lsn: below,
            form,
            ..newest
        },
    );
    let (gone, _) = bottom.image.unwrap();
    let ring = db.engine().log().ring();
    assert!(ring.locate(gone).is_none(), "the base is still in the log");
    check(&store, &db, 4);
    drop((other, db, store));
    let store = rig.open();
    let db = store.database("d").unwrap();
    check(&store, &db, 4);
    store.checkpoint().unwrap();
    check(&store, &db, 4);
}

/// A record is on its way to the device when a checkpoint freezes the layer that its base is in.
#[test]
fn a_patch_on_its_way_rests_on_what_a_checkpoint_froze_behind_it() {
    let rig = Rig::new();
    let (store, db) = rig.with_database();
    commit(&db, 1);
    commit(&db, 2);
    rig.disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| commit(&db, 3));
        rig.disk.wait_until_hung(1);
        assert_eq!(store.checkpoint().unwrap().databases, 1);
        rig.disk.release_hung();
        writer.join().unwrap();
    });
    assert_eq!(entry(&db).form.depth(), 2);
    assert_eq!(view(&db).layer_count(), 1);
    assert!(base_of(&db, entry(&db)).version < view(&db).oldest_uncheckpointed());
    check(&store, &db, 3);
    commit(&db, 4);
    check(&store, &db, 4);
    drop((db, store));
    let store = rig.open();
    let db = store.database("d").unwrap();
    check(&store, &db, 4);
}

#[test]
fn a_page_cut_off_by_its_transaction_has_a_full_image() {
    let rig = Rig::new();
    let (store, db) = rig.with_database();
    commit(&db, 1);
    let mut write = db.begin_write(Duration::ZERO).unwrap();
    write.truncate(0);
    write.write_page(PageNo::FIRST, &content(2)).unwrap();
    write.commit().unwrap();
    assert_eq!(entry(&db).form.encoding(), Encoding::Raw);
    check(&store, &db, 2);
}

#[test]
fn the_pages_of_a_chain_of_fragments_are_full_and_bases_for_later_ones() {
    let rig = Rig::new();
    let (store, db) = rig.with_database();
    commit(&db, 1);
    let mut write = db.begin_write(Duration::ZERO).unwrap();
    for page in (1..=40).filter_map(PageNo::new) {
        write.write_page(page, &content(2)).unwrap();
    }
    write.commit().unwrap();
    let at = entry(&db);
    assert!(at.image_lsn < at.version, "it came in a fragment");
    assert_eq!(images(&store).patches, 0);
    check(&store, &db, 2);
    commit(&db, 3);
    assert_eq!(images(&store).patches, 1);
    check(&store, &db, 3);
    drop((db, store));
    let store = rig.open();
    let db = store.database("d").unwrap();
    check(&store, &db, 3);
}

/// Changes one byte of an image behind the store's back.
fn flip(rig: &Rig, db: &Db, lsn: Lsn, nth: usize) {
    let (segment, offset) = db.engine().log().ring().locate(lsn).unwrap();
    let path = layout::segment(segment.id);
    rig.disk.flip(&path, offset + nth as u64, 0x41);
}

/// Every byte of a patch, of its base, and of a compressed image, is flipped in turn: the page is
/// damaged, by name, and never another one; and it is back when the byte is.
#[test]
fn a_flipped_byte_of_an_image_is_damage_and_never_a_page() {
    let rig = Rig::new();
    let (_store, db) = rig.with_database();
    commit(&db, 1);
    let full = entry(&db);
    commit(&db, 2);
    let first = entry(&db);
    commit(&db, 3);
    let patched = entry(&db);
    assert_eq!(patched.form.depth(), 2);
    for image in [patched, first, full] {
        flip_each(&rig, &db, image, &content(3));
    }
    commit_page(&db, &[9; PAGE]);
    let packed = entry(&db);
    assert_eq!(packed.form.encoding(), Encoding::Lz4);
    flip_each(&rig, &db, packed, &[9; PAGE]);
}

fn flip_each(rig: &Rig, db: &Db, image: PageVersion, expected: &[u8]) {
    let (at, view) = (entry(db), view(db));
    let reader = db.engine().reader();
    for nth in 0..image.form.bytes() {
        flip(rig, db, image.image_lsn, nth);
        let read = reader.check_log(&view, PageNo::FIRST, at);
        assert!(
            matches!(read, Err(ReadError::Damaged(_))),
            "byte {nth} of {image:?}: {read:?}"
        );
        flip(rig, db, image.image_lsn, nth);
    }
    reader.check_log(&view, PageNo::FIRST, at).unwrap();
    let read = db.begin_read().unwrap().read_page(PageNo::FIRST).unwrap();
    assert_eq!(read[..], *expected);
}
