//! Rows of the manifest: a store of whatever rows is opened, asked and closed.
//!
//! ```text
//! row: table, version, key behind its length, row behind its length
//! ```
//! All rows have right checksums: what stands in them is what is tried.

use crate::checksums;
use crate::input::Input;
use bop_storage::ids::{ChangeNo, StoreId};
use bop_storage::io::{Disk, layout};
use bop_storage::manifest::{Manifest, ManifestStore, MemoryManifest, Table, Write};
use bop_storage::superblock::Superblock;
use bop_storage::testing::SimDisk;
use bop_storage::{Housekeeping, Limits, Manager, Options};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const STORE: StoreId = StoreId::new(*b"a fuzzed store..");
const ROWS_MAX: usize = 64;

/// A manifest of these rows beside those of a new store.
pub fn manifest_rows(data: &[u8]) {
    let store = MemoryManifest::new();
    let initial = Manifest::initial_writes(STORE);
    let initial = initial.unwrap_or_else(|error| panic!("constants: {error}"));
    let mut writes = initial;
    let mut input = Input::new(data);
    for _ in 0..ROWS_MAX {
        if input.is_empty() {
            break;
        }
        writes.push(row(&mut input));
    }
    // Only keys that are too long are refused.
    for write in writes {
        let _refused = store.commit(&[write]);
    }
    if look(&store) {
        open(&store);
    }
}

fn row(input: &mut Input<'_>) -> Write {
    let table = Table::ALL[usize::from(input.u8()) % Table::ALL.len()];
    let version = u16::from(input.u8() % 4);
    let key = input.list().to_vec();
    let row = input.list();
    Write::Put {
        table,
        value: checksums::row(STORE, table, &key, version, row),
        key,
    }
}

/// Reads all rows, and writes one; `false` when nobody can open such a manifest.
fn look(store: &MemoryManifest) -> bool {
    let Ok(manifest) = Manifest::open(Arc::new(store.snapshot()), STORE) else {
        return false;
    };
    for table in Table::ALL {
        let rows = manifest.describe(table);
        let rows = rows.unwrap_or_else(|error| panic!("rows in memory: {error}"));
        assert!(rows.iter().all(|row| row.table == table));
    }
    let state = manifest.state();
    for (id, row) in state.databases() {
        assert!(row.name.as_str().len() <= 255);
        let _past = state.past(id);
        let ranges = state.newest_ranges(id).count();
        assert!(ranges <= store.len());
    }
    let _changes = manifest.changes(ChangeNo::default(), usize::MAX);
    let _lost = manifest.transact(|edit| {
        edit.set_truncated(edit.state().watermarks().truncated);
        Ok(())
    });
    true
}

/// A store with this manifest: whatever it answers, it answers, and it can be closed.
fn open(store: &MemoryManifest) {
    let disk = SimDisk::new(1);
    for dir in [layout::LOG_DIR, layout::CHUNK_DIR, layout::SCRATCH_DIR] {
        let made = disk.create_dir(Path::new(dir));
        made.unwrap_or_else(|error| panic!("a disk without faults: {error}"));
    }
    let limits = Limits::tiny();
    let superblock = Superblock::new(STORE, 1, limits.range_bytes);
    let block = superblock.encode();
    disk.write_raw(Path::new(layout::SUPERBLOCK), &[block.0, block.0].concat());
    let options = Options::new()
        .limits(limits)
        .housekeeping(Housekeeping::Manual)
        .disk(Arc::new(disk), Arc::new(store.snapshot()));
    let Ok(manager) = Manager::open("simulated", options) else {
        return;
    };
    for info in manager.databases() {
        if let Ok(db) = manager.database(&info.name)
            && let Ok(read) = db.begin_read()
        {
            let _unread = read.read_page(bop_storage::PageNo::FIRST);
        }
        let _none = manager.restore_points(&info.name);
        let _none = manager.snapshots(&info.name);
    }
    let _cursors = manager.cursors();
    let _findings = manager.verify();
    let _refused = manager.checkpoint();
    manager.keep_house();
    let _status = manager.status();
    let closed = manager.close(Duration::from_secs(50));
    drop(closed);
}
