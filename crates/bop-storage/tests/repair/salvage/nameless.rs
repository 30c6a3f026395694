//! A catalogue that has lost records: databases without a name are saved under another.

use super::history::{History, flip_bytes, noise, salvage, sqlite_page};
use bop_storage::DbKind;

#[test]
fn a_database_whose_name_is_lost_gets_one_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::make(dir.path());
    history.create("kept", DbKind::Raw);
    history.commit("kept", &[(1, noise(1))], None);
    history.create("a name that will be lost", DbKind::Sqlite);
    history.commit(
        "a name that will be lost",
        &[(1, sqlite_page(2)), (2, noise(3))],
        None,
    );
    history.create("third", DbKind::Raw);
    history.commit("kept", &[(2, noise(4))], None);
    let states = history.close();
    flip_bytes(dir.path(), "log", b"a name that will be lost");
    let saved = salvage(dir.path(), &states);
    let loss = saved.report.catalogue.as_ref().unwrap();
    assert_eq!(loss.commits, 2, "{loss:?}");
    saved.assert_whole("kept");
    let one = saved.of("lost-2");
    assert!(one.nameless && one.saved, "{one:?}");
    assert_eq!(one.kind, DbKind::Sqlite, "page 1 tells");
    let known = states["a name that will be lost"].last().unwrap();
    assert_eq!(saved.content("lost-2"), known.1);
    assert_eq!(one.head, known.0);
    // Of the third one nothing is left: it had no commit.
    assert_eq!(saved.report.databases.len(), 2);
}
