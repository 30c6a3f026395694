//! An LMDB file: what the walker lets pass, LMDB is given.
//!
//! LMDB has no checksums, so this target is the walker's proof: a file that it passes and that ends the
//! process by a signal, or that LMDB cannot write any more, is a bug of the walker.

use crate::files::directory;
use crate::input::Input;
use bop_storage::Limits;
use bop_storage::error::ManifestError;
use bop_storage::io::layout::MANIFEST_DIR;
use bop_storage::manifest::{LmdbManifest, ManifestStore, Table, Write, scan_all};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use tempfile::TempDir;

/// Opens the file as a manifest, reads all of it, writes to it and opens it again.
pub fn lmdb(data: &[u8]) {
    static STORE: LazyLock<TempDir> = LazyLock::new(directory);
    let root = STORE.path();
    write_file(root, Input::new(data).rest());
    let mut limits = Limits::tiny();
    limits.manifest_map_bytes_max = 8 << 20;
    let limits = limits.validated();
    let limits = limits.unwrap_or_else(|error| panic!("limits: {error}"));
    let Ok(manifest) = LmdbManifest::open(root, &limits) else {
        return;
    };
    let Ok(rows) = rows(&manifest) else {
        return;
    };
    let key = b"a key of the fuzzer's".to_vec();
    let value = vec![7; 5000];
    for round in 0..3_u8 {
        let put = Write::Put {
            table: Table::Jobs,
            key: [&key[..], &[round]].concat(),
            value: value.clone(),
        };
        match manifest.commit(&[put]) {
            Ok(()) => {}
            // The map is small.
            Err(ManifestError::Full { .. }) => return,
            Err(error) => panic!("LMDB cannot write what the walker lets pass: {error}"),
        }
    }
    manifest.close();
    drop(manifest);
    let again = LmdbManifest::open(root, &limits);
    let again = again.unwrap_or_else(|error| panic!("what LMDB wrote is refused: {error}"));
    let found = self::rows(&again);
    let found = found.unwrap_or_else(|error| panic!("what LMDB wrote cannot be read: {error}"));
    for row in &rows {
        let ours = row.0 == Table::Jobs && row.1.starts_with(&key);
        assert!(ours || found.contains(row), "a row is gone: {:?}", row.1);
    }
    assert!(found.iter().filter(|row| row.2 == value).count() >= 3);
}

type Row = (Table, Vec<u8>, Vec<u8>);

fn rows(manifest: &LmdbManifest) -> Result<Vec<Row>, ManifestError> {
    let mut rows = Vec::new();
    for table in Table::ALL {
        scan_all(manifest, table, |key, value| rows.push((table, key, value)))?;
    }
    for (table, key, value) in rows.iter().take(100) {
        let found = manifest.get(*table, key)?;
        assert!(
            found.as_ref() == Some(value),
            "a row that a scan finds and a look-up does not"
        );
    }
    Ok(rows)
}

fn write_file(root: &Path, bytes: &[u8]) {
    let dir = root.join(MANIFEST_DIR);
    let written = fs::create_dir_all(&dir).and_then(|()| {
        // A table of readers of the file before would be believed.
        let _none = fs::remove_file(dir.join("lock.mdb"));
        let _none = fs::remove_file(dir.join("data.mdb"));
        fs::write(dir.join("data.mdb"), bytes)
    });
    written.unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
}
