//! Records of the changes feed.
//!
//! ```text
//! byte: version of the lay-outs | first, next of the feed | change behind its length, ...
//! ```

use crate::checksums;
use crate::input::Input;
use crate::manifest_rows::STORE;
use bop_storage::ids::ChangeNo;
use bop_storage::manifest::{Manifest, ManifestStore, MemoryManifest, Table, Write};
use std::sync::Arc;

const CHANGES_MAX: u64 = 32;

/// A page of changes is dense and within the feed's bounds, or it is an error that says where.
pub fn change_record(data: &[u8]) {
    let mut input = Input::new(data);
    let version = u16::from(input.u8() % 2 + 1);
    let (first, next) = (input.u64(), input.u64());
    let store = MemoryManifest::new();
    let writes = Manifest::initial_writes(STORE);
    let mut writes = writes.unwrap_or_else(|error| panic!("constants: {error}"));
    let mut put = |table, version, key: [u8; 8], row: &[u8]| {
        writes.push(Write::Put {
            table,
            key: key.to_vec(),
            value: checksums::row(STORE, table, &key, version, row),
        });
    };
    let feed = [5, first, next, 1].map(u64::to_le_bytes).concat();
    put(Table::Feed, 1, [0; 8], &feed);
    for nth in 0..CHANGES_MAX {
        if input.is_empty() {
            break;
        }
        let number = first.wrapping_add(nth);
        put(Table::Changes, version, number.to_be_bytes(), input.list());
    }
    let written = store.commit(&writes);
    written.unwrap_or_else(|error| panic!("rows in memory: {error}"));
    let Ok(manifest) = Manifest::open(Arc::new(store), STORE) else {
        return;
    };
    for from in [0, first, first.wrapping_add(1), next, u64::MAX] {
        let Ok(page) = manifest.changes(ChangeNo::new(from), usize::MAX) else {
            continue;
        };
        let mut expected = from;
        for (number, change) in &page.changes {
            assert!(first <= number.get() && number.get() < next && number.get() == expected);
            expected = expected.wrapping_add(1);
            assert!(change.database.is_none_or(|database| database.get() != 0));
        }
        assert_eq!(page.next.get(), expected.min(page.next.get()));
    }
}
