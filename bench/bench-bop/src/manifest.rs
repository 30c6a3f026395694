//! The manifest: small changes of many callers, and the same with a transaction of LMDB for each.

use crate::ALLOCATOR;
use bench_work::{Args, Loop, Result, Side};
use bop_storage::Limits;
use bop_storage::ids::{Incarnation, SegmentId, StoreId};
use bop_storage::manifest::{LmdbManifest, Manifest, SegmentRow};
use bop_storage::runtime::SystemSpawn;
use heed::types::Bytes;
use heed::{CommitOrAbort, EnvOpenOptions};
use std::fs;
use std::sync::Arc;

const STORE: StoreId = StoreId::new([1; 16]);

/// Bytes of a row with its envelope.
const ROW_BYTES: usize = 32;

/// Each caller changes a row of his own, and waits until that is durable.
pub(crate) fn batched(args: &Args) -> Result<()> {
    let limits = Limits::default().validated()?;
    fs::create_dir_all(&args.dir)?;
    let rows = Manifest::initial_writes(STORE)?;
    let lmdb = LmdbManifest::create(&args.dir, &limits, &rows)?;
    let manifest = Manifest::open(Arc::new(lmdb), STORE)?;
    manifest.start(&SystemSpawn)?;
    let side = Side::new(format!("bop, manifest, one writer for all, {ALLOCATOR}"));
    side.serve(args, |post| {
        let segment = SegmentId::new(post.thread() as u64 + 1);
        post.serve(Loop::TIMED, |random| {
            let row = SegmentRow {
                incarnation: Incarnation::new(random.number()),
                capacity_bytes: 1 << 20,
            };
            manifest.transact(move |edit| edit.put_segment(segment, row))?;
            Ok(())
        })
    })
}

/// The same number of bytes under a key of his own, in a transaction of his own.
pub(crate) fn alone(args: &Args) -> Result<()> {
    let dir = args.dir.join("lmdb");
    fs::create_dir_all(&dir)?;
    let mut options = EnvOpenOptions::new();
    options.map_size(64 << 20);
    // SAFETY: the directory is this program's own, and nobody else changes its files.
    #[expect(unsafe_code, reason = "LMDB maps its file")]
    let env = unsafe { options.open(&dir) }?;
    let made = env.create_databases_and_commit(env.write_txn()?, |opener, txn| {
        opener
            .create_database::<Bytes, Bytes>(txn, None)
            .map(CommitOrAbort::<_, ()>::Commit)
    });
    let rows = made?.commit().ok_or("LMDB made no table")?;
    let side = Side::new("LMDB, full sync, a transaction for each");
    side.serve(args, |post| {
        let key = (post.thread() as u64 + 1).to_be_bytes();
        let mut row = [0; ROW_BYTES];
        post.serve(Loop::TIMED, |random| {
            random.fill(&mut row);
            let mut txn = env.write_txn()?;
            rows.put(&mut txn, &key, &row)?;
            txn.commit()?;
            Ok(())
        })
    })
}
