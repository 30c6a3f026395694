//! A manifest that takes no transaction, for once or from then on.

use crate::damage_sample::content::Contents;
use crate::damage_sample::look::write;
use crate::damage_sample::{WAIT, quiet};
use bop_storage::io::{IoFailure, IoOp};
use bop_storage::manifest::{ManifestStore, MemoryManifest, RawRow, Table, Write};
use bop_storage::testing::SimDisk;
use bop_storage::{DbKind, Manager, ManifestError, PageNo};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// As LMDB: when a commit has failed for another reason than space, all that follow do.
#[derive(Debug)]
struct Failing {
    rows: MemoryManifest,
    /// The errno of commits that fail; 0 for none.
    errno: AtomicU32,
}

impl Failing {
    fn error(&self) -> Option<ManifestError> {
        let errno = i32::try_from(self.errno.load(Ordering::Relaxed)).unwrap();
        let failure = || IoFailure {
            op: IoOp::ManifestCommit,
            path: "manifest".into(),
            offset: None,
            errno,
        };
        (errno != 0).then(|| failure().into())
    }

    fn fail_with(&self, errno: i32) {
        self.errno.store(errno.unsigned_abs(), Ordering::Relaxed);
    }
}

impl ManifestStore for Failing {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ManifestError> {
        self.rows.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<RawRow>, ManifestError> {
        self.rows.scan(table, from, limit)
    }

    fn commit(&self, writes: &[Write]) -> Result<(), ManifestError> {
        self.error().map_or_else(|| self.rows.commit(writes), Err)
    }

    fn failure(&self) -> Option<ManifestError> {
        let sticky = self.errno.load(Ordering::Relaxed) == EIO.unsigned_abs();
        self.error().filter(|_| sticky)
    }

    fn close(&self) {}
}

fn files_in(disk: &SimDisk, dir: &str) -> usize {
    let files = disk.files().into_iter();
    files.filter(|(path, _)| path.starts_with(dir)).count()
}

#[test]
fn what_cannot_be_published_or_registered_does_not_pile_up() {
    for errno in [EIO, ENOSPC] {
        let disk = SimDisk::new(1);
        let manifest = Arc::new(Failing {
            rows: MemoryManifest::new(),
            errno: AtomicU32::new(0),
        });
        let options = quiet().disk(Arc::new(disk.clone()), Arc::clone(&manifest) as _);
        let store = Manager::open("simulated", options).unwrap();
        let mut contents = Contents::default();
        store.create_database("alpha", DbKind::Raw).unwrap();
        contents.create("alpha", DbKind::Raw);
        write(&store, "alpha", &mut contents);

        manifest.fail_with(errno);
        let (chunks, segments) = (files_in(&disk, "chunks"), files_in(&disk, "log"));
        for _ in 0..20 {
            store.checkpoint().unwrap_err();
        }
        assert_eq!(files_in(&disk, "chunks"), chunks, "errno {errno}");
        // The spares in hand are used up, then commits are refused.
        let db = store.database("alpha").unwrap();
        let mut refused = 0;
        for round in 0..100 {
            let mut txn = db.begin_write(WAIT).unwrap();
            let page = vec![round; txn.page_size().unwrap().bytes()];
            txn.write_page(PageNo::FIRST, &page).unwrap();
            refused += u32::from(txn.commit().is_err());
            store.keep_house();
        }
        assert!(10 < refused);
        assert_eq!(files_in(&disk, "log"), segments, "errno {errno}");
        if errno == ENOSPC {
            // It heals when there is room.
            manifest.fail_with(0);
            write(&store, "alpha", &mut contents);
            store.checkpoint().unwrap();
            assert!(store.verify().is_healthy(), "{:?}", store.verify());
            store.close(WAIT).unwrap();
        }
    }
}
