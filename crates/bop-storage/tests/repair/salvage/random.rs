//! Commits at random, then one flipped byte anywhere in log or chunks: each database is what it once was,
//! and whatever is missing is said.

use super::history::{
    History, LogChange, PAGE, States, bytes_of, flip, lose_manifest, noise, salvage,
    salvage_options, sqlite_page,
};
use crate::damaged_chunks::copy;
use bop_storage::io::layout;
use bop_storage::testing::SplitMix64;
use bop_storage::{DbKind, Manager};
use std::path::{Path, PathBuf};

const HISTORIES: u64 = 6;
const FLIPS: u64 = 10;

/// A page that differs little from another one, so that patches are written; or one like no other.
fn page(random: &mut SplitMix64, before: Option<&Vec<u8>>) -> Vec<u8> {
    match before {
        Some(before) if random.below(2) == 0 => {
            let mut page = before.clone();
            let at = 128 + random.below(PAGE as u64 - 128) as usize;
            page[at] = random.below(256) as u8;
            page
        }
        _ => noise(random.next_u64()),
    }
}

fn pages(history: &History, name: &str, random: &mut SplitMix64) -> Vec<(u32, Vec<u8>)> {
    let known = &history.newest(name).pages;
    let mut pages = std::collections::BTreeMap::new();
    for _ in 0..=random.below(4) {
        let count = known.len() as u64;
        // Most that is written stays: what is damaged is seldom written again.
        let number = match random.below(3) {
            0 => 1 + random.below(count + 2),
            more => count + more,
        };
        let number = u32::try_from(number).unwrap();
        let mut content = page(random, known.get(number as usize - 1));
        if name == "shop" && number == 1 {
            content[..128].copy_from_slice(&sqlite_page(1)[..128]);
        }
        pages.insert(number, content);
    }
    pages.into_iter().collect()
}

fn log_change(history: &History, random: &mut SplitMix64) -> LogChange {
    let content = history.newest("raft");
    let live = content.entries.len();
    let log = history.store.record_log("raft").unwrap();
    let term = log.bounds().unwrap().last_term;
    match random.below(12) {
        0 if 1 < live => LogChange::Truncate(random.below(live as u64) as usize),
        1 if 1 < live => LogChange::Purge(1 + random.below(live as u64 - 1) as usize),
        2 => LogChange::Vote(noise(random.next_u64())[..20].to_vec()),
        _ => LogChange::Append(term + random.below(2), noise(random.next_u64())),
    }
}

fn make(dir: &Path, random: &mut SplitMix64) -> States {
    let mut history = History::make(dir);
    for (name, kind) in [
        ("shop", DbKind::Sqlite),
        ("raw", DbKind::Raw),
        ("raft", DbKind::Log),
    ] {
        history.create(name, kind);
    }
    // A record log that is never moved keeps all of the log, which then stands in for every chunk.
    let with_log = random.below(2) == 0;
    let steps = 60 + random.below(200);
    for _ in 0..steps {
        match random.below(60) {
            0 if !with_log || random.below(2) == 0 => drop(history.store.checkpoint().unwrap()),
            1 if random.below(4) == 0 => history.store.keep_house(),
            2 => history = History::open(dir, history.close()),
            3..=6 => {
                let shop = pages(&history, "shop", random);
                let raw = pages(&history, "raw", random);
                history.group(&[("shop", &shop, None), ("raw", &raw, None)]);
            }
            7..=18 if with_log => {
                let change = log_change(&history, random);
                history.change_log("raft", &change);
            }
            at => {
                let name = if at < 40 { "shop" } else { "raw" };
                let count = history.newest(name).pages.len() as u32;
                let cut = (10 < count && random.below(10) == 0).then_some(count / 2);
                let pages = pages(&history, name, random);
                history.commit(name, &pages, cut);
            }
        }
    }
    history.close()
}

/// A byte of a log segment, or of a chunk, that was written and is in use.
fn place(dir: &Path, random: &mut SplitMix64) -> (PathBuf, usize) {
    let mut files = bytes_of(&dir.join("chunks"));
    if 0 < random.below(4) || files.is_empty() {
        let inspection = Manager::inspect_manifest(dir, &salvage_options()).unwrap();
        let state = inspection.state();
        let log = state
            .segments()
            .map(|(id, _)| dir.join(layout::segment(id)));
        files = log
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
    }
    // Zeros are padding for the most part: one place in eight is among them.
    let zeros = random.below(8) == 0;
    let mut used = Vec::new();
    for (path, bytes) in &files {
        let end = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |end| end + 1);
        let here = (0..end).filter(|at| zeros || bytes[*at] != 0);
        used.extend(here.map(|at| (path, at)));
    }
    let (path, at) = used[random.below(used.len() as u64) as usize];
    (path.clone(), at)
}

#[test]
fn a_flip_anywhere_leaves_states_that_were_and_tells_what_is_lost() {
    let base: u64 = std::env::var("BOP_SALVAGE_SEED").map_or(1, |seed| seed.parse().unwrap());
    let (mut short, mut whole) = (0, 0);
    for seed in base..base + HISTORIES {
        let mut random = SplitMix64::new(seed);
        let made = tempfile::tempdir().unwrap();
        let states = make(made.path(), &mut random);
        for nth in 0..FLIPS {
            let dir = tempfile::tempdir().unwrap();
            copy(made.path(), dir.path());
            let (path, at) = place(dir.path(), &mut random);
            flip(&path, at);
            let lost = random.below(3) == 0;
            if lost {
                lose_manifest(dir.path());
            }
            eprintln!(
                "seed {seed}, flip {nth}: byte {at} of {}, {lost}",
                path.display()
            );
            let saved = salvage(dir.path(), &states);
            for one in &saved.report.databases {
                assert!(one.saved || one.lost.is_some(), "{one:?}");
                match one.lost {
                    None => whole += 1,
                    Some(_) => short += 1,
                }
            }
        }
    }
    assert!(
        10 < short && 10 < whole,
        "{short} lost something, {whole} are whole"
    );
}
