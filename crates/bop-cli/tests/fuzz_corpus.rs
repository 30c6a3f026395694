//! The fuzz targets over their committed corpus, without a fuzzer: what was found once stays found.
//!
//! A failure's last line on standard output is the input. To try it alone:
//! `cargo +nightly fuzz run TARGET fuzz/corpus/TARGET/INPUT`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bop_fuzz_targets::{INPUT_BYTES_MAX, TARGETS};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// The names in a directory, without an extension.
fn file_names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let names = entries.map(|entry| entry.unwrap().path().with_extension(""));
    names
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect()
}

/// Runs a target over its corpus.
fn corpus(target: &str) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let dir = fuzz().join("corpus").join(target);
    let inputs = file_names(&dir);
    assert!(!inputs.is_empty(), "no inputs for {target}");
    for input in inputs {
        println!("{target}/{input}");
        let bytes = fs::read(dir.join(&input)).unwrap();
        assert!(bytes.len() <= INPUT_BYTES_MAX, "only a part of it is tried");
        run(&bytes);
    }
}

macro_rules! corpora {
    ($($target:ident)*) => {
        $(
            #[test]
            fn $target() {
                corpus(stringify!($target));
            }
        )*

        #[test]
        fn every_target_has_a_test_a_program_and_a_corpus() {
            let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
            let tests = [$(stringify!($target)),*].map(str::to_owned);
            assert_eq!(BTreeSet::from(tests), targets);
            assert_eq!(file_names(&fuzz().join("fuzz_targets")), targets);
            assert_eq!(file_names(&fuzz().join("corpus")), targets);
            let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
            for target in &targets {
                let bin = format!("name = \"{target}\"\npath = \"fuzz_targets/{target}.rs\"");
                assert!(manifest.contains(&bin), "{target} is no program of fuzz/Cargo.toml");
            }
        }
    };
}

corpora! {
    at catalogue_section change_record chunk frames import_file lmdb manifest_rows names operations patch
    record record_stream seal_index segment_header superblock
}
