//! An import: a file that claims to be SQLite's becomes a database, or an error that names it.

use crate::files::directory;
use crate::input::Input;
use bop_libsql::transfer::{Overwrite, export_file, import_file as import};
use bop_libsql::{Options, Store};
use bop_storage::error::ErrorCode;
use bop_storage::io::IoBackend;
use bop_storage::{Housekeeping, Limits};
use std::fs;
use std::sync::LazyLock;
use tempfile::TempDir;

struct Place {
    dir: TempDir,
    store: Store,
}

static PLACE: LazyLock<Place> = LazyLock::new(|| {
    let dir = directory();
    let options = Options::new()
        .limits(Limits::tiny())
        .io(IoBackend::Std)
        .housekeeping(Housekeeping::Background);
    let store = Store::open(dir.path().join("store"), options);
    let store = store.unwrap_or_else(|error| panic!("a new store: {error}"));
    Place { dir, store }
});

/// What is imported is sound, and comes out again with as many pages; what is not leaves nothing behind.
pub fn import_file(data: &[u8]) {
    let Place { dir, store } = &*PLACE;
    let (file, out) = (dir.path().join("in.sqlite"), dir.path().join("out.sqlite"));
    for side in [
        "in.sqlite-journal",
        "in.sqlite-wal",
        "in.sqlite-shm",
        "out.sqlite",
    ] {
        let _none = fs::remove_file(dir.path().join(side));
    }
    let bytes = Input::new(data).rest();
    let written = fs::write(&file, bytes);
    written.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    match import(store, "d", &file, &mut |_, _| {}) {
        Ok(report) => {
            let connection = store.connect("d");
            let connection = connection.unwrap_or_else(|error| panic!("imported: {error}"));
            let sound: String = connection
                .query_row("PRAGMA integrity_check", [], |row| row.get(0))
                .unwrap_or_else(|error| panic!("imported: {error}"));
            assert_eq!(sound, "ok");
            drop(connection);
            let exported = export_file(store, "d", &out, Overwrite::No, &mut |_, _| {});
            exported.unwrap_or_else(|error| panic!("imported, and not to be exported: {error}"));
            let length = fs::metadata(&out).map_or(0, |out| out.len());
            let pages = report
                .page_size
                .map_or(0, |size| u64::from(size.get()) * u64::from(report.pages));
            assert!(
                length == pages || report.pages == 0,
                "{length} bytes, not {pages}"
            );
            let dropped = store.manager().drop_database_now("d");
            dropped.unwrap_or_else(|error| panic!("imported: {error}"));
        }
        Err(error) => {
            let code = error.code();
            let of_the_file = [
                ErrorCode::InvalidDatabaseFile,
                ErrorCode::Sql,
                ErrorCode::Io,
            ];
            assert!(of_the_file.contains(&code), "{error}");
        }
    }
    let left: Vec<String> = store
        .manager()
        .databases()
        .into_iter()
        .map(|info| info.name)
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}
