//! Damage on disk, and files that are gone.
//!
//! Invariant: nobody has the store open while it is damaged; a backup may be.

use super::stages::{Stage, backed_up, fill_shop, stopped, stopped_backed_up};
use bop_storage::checksum::crc64;
use std::fs;
use std::path::Path;

/// Bytes of a slot of the superblock, and of what its checksum covers.
const SLOT_BYTES: usize = 4096;
const SLOT_CONTENT_BYTES: usize = 56;

/// Flips a bit of the word in the newest file below `dir` that has it.
fn flip_the_word(dir: &Path, word: &[u8]) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let found = bytes.windows(word.len()).position(|window| window == word);
        if let Some(at) = found {
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            return;
        }
    }
    panic!("the word is nowhere in {}", dir.display());
}

pub(super) fn damaged_chunk(stage: Stage) -> Stage {
    let stage = match stage.store().exists() {
        true => stage,
        false => fill_shop(stage),
    };
    // Of no two letters that a compression would have seen before.
    let word = "Jqzvk-Xwpty_Bmfdg";
    stage.bop(&[
        "sql",
        "orders",
        &format!("insert into lines values ('{word}')"),
    ]);
    stage.bop(&["checkpoint"]);
    flip_the_word(&stage.store().join("chunks"), word.as_bytes());
    stage
}

pub(super) fn damaged_log() -> Stage {
    let stage = stopped();
    flip_the_word(&stage.store().join("log"), b"a-word-of-its-own");
    stage
}

pub(super) fn lost_manifest() -> Stage {
    let stage = stopped();
    fs::remove_file(stage.store().join("manifest/data.mdb")).unwrap();
    stage
}

pub(super) fn lost_superblock() -> Stage {
    let stage = stopped();
    fs::write(stage.store().join("store.bop"), [0; 8192]).unwrap();
    stage
}

/// The newest of two backups has a byte that is not what was written.
pub(super) fn damaged_backup() -> Stage {
    let stage = stopped_backed_up();
    stage.bop(&["sql", "orders", "insert into lines values ('jam')"]);
    stage.back_up();
    let rows = stage.backups().join(format!("backups/{:016x}.rows", 2));
    let mut bytes = fs::read(&rows).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&rows, bytes).unwrap();
    stage
}

/// The directory of the backups is gone.
pub(super) fn lost_backup() -> Stage {
    let stage = backed_up();
    fs::remove_dir_all(stage.backups()).unwrap();
    stage
}

/// The store says that it was written by a version that comes after this one.
pub(super) fn newer_format() -> Stage {
    let stage = stopped();
    let path = stage.store().join("store.bop");
    let mut bytes = fs::read(&path).unwrap();
    for slot in bytes.chunks_exact_mut(SLOT_BYTES) {
        slot[8..12].copy_from_slice(&9_u32.to_le_bytes());
        let checksum = crc64(&slot[..SLOT_CONTENT_BYTES]);
        slot[SLOT_CONTENT_BYTES..][..8].copy_from_slice(&checksum.to_le_bytes());
    }
    fs::write(&path, bytes).unwrap();
    stage
}
