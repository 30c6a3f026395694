//! A byte that is not what was written, in any file of a backup, is found and the file named; so is a file that
//! is cut or missing.

use crate::ground::{Ground, Told, fill, open};
use bop_storage::testing::SplitMix64;
use bop_storage::{BackupError, ErrorCode, Manager};
use std::path::{Path, PathBuf};

/// Its own files: no link may carry a flip into the store.
fn made(ground: &Ground) -> Vec<PathBuf> {
    let store = open(&ground.store());
    fill(&store);
    let copy = bop_storage::BackupOptions::new().copy(true);
    store.backup(ground.backups(), &copy, &mut |_| ()).unwrap();
    let mut files = Vec::new();
    for part in ["backups", "chunks", "log"] {
        for entry in std::fs::read_dir(ground.backups().join(part)).unwrap() {
            files.push(Path::new(part).join(entry.unwrap().file_name()));
        }
    }
    assert!(files.len() >= 5, "{files:?}");
    files
}

fn is_named(error: &BackupError, file: &Path) -> bool {
    let BackupError::Damaged { findings } = error else {
        return false;
    };
    let named = |name: String| findings.iter().any(|one| one.to_string().contains(&name));
    named(file.display().to_string())
}

#[test]
fn a_flipped_byte_in_any_file_is_found_and_named() {
    let ground = Ground::new();
    let files = made(&ground);
    let seed = 11;
    let mut random = SplitMix64::new(seed);
    for file in &files {
        let path = ground.backups().join(file);
        let sound = std::fs::read(&path).unwrap();
        let length = sound.len() as u64;
        for nth in 0..4 {
            // The last byte, and any.
            let at = if nth == 0 {
                length - 1
            } else {
                random.next_u64() % length
            };
            let at = usize::try_from(at).unwrap();
            let _told = Told(format!("seed {seed}: byte {at} of {}", file.display()));
            let mut flipped = sound.clone();
            flipped[at] ^= 1 << (random.next_u64() % 8);
            std::fs::write(&path, &flipped).unwrap();
            let error = ground.verify().unwrap_err();
            assert!(is_named(&error, file), "{error}");
            assert_eq!(error.code(), ErrorCode::BackupDamaged);
            let error = ground.restore("new").unwrap_err();
            assert!(is_named(&error, file), "{error}");
            assert!(!ground.path("new").exists() && !ground.path("new.unfinished").exists());
        }
        std::fs::write(&path, &sound).unwrap();
    }
    ground.verify().unwrap();
}

#[test]
fn a_file_that_is_cut_or_missing_is_found_and_named() {
    let ground = Ground::new();
    for file in &made(&ground) {
        let _told = Told(file.display().to_string());
        let path = ground.backups().join(file);
        let sound = std::fs::read(&path).unwrap();
        for length in [0, 100, sound.len() - 4096, sound.len() - 1] {
            std::fs::write(&path, &sound[..length]).unwrap();
            let error = ground.verify().unwrap_err();
            assert!(is_named(&error, file), "{length}: {error}");
        }
        std::fs::write(&path, [&sound[..], &[0; 4096]].concat()).unwrap();
        let error = ground.verify().unwrap_err();
        assert!(is_named(&error, file), "longer: {error}");
        std::fs::remove_file(&path).unwrap();
        let error = ground.verify().unwrap_err();
        let is_index = path.extension().is_some_and(|it| it == "backup");
        match is_index {
            // Without its index there is no backup.
            true => assert_eq!(error.code(), ErrorCode::BackupNotFound, "{error}"),
            false => assert!(is_named(&error, file), "{error}"),
        }
        std::fs::write(&path, &sound).unwrap();
    }
    ground.verify().unwrap();
    assert_eq!(
        Manager::backups(ground.backups(), &Default::default())
            .unwrap()
            .len(),
        1
    );
}

/// All that is damaged is told, and the next backup puts it right where the files are gone.
#[test]
fn every_damaged_file_is_told_and_the_next_backup_makes_what_was_removed() {
    let ground = Ground::new();
    let chunks: Vec<PathBuf> = made(&ground)
        .into_iter()
        .filter(|file| file.starts_with("chunks"))
        .collect();
    assert!(chunks.len() >= 2);
    for chunk in &chunks {
        std::fs::remove_file(ground.backups().join(chunk)).unwrap();
    }
    let error = ground.verify().unwrap_err();
    assert!(
        chunks.iter().all(|chunk| is_named(&error, chunk)),
        "{error}"
    );
    ground.backup(&open(&ground.store())).unwrap();
    ground.verify().unwrap();
}
