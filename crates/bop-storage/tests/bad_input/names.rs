//! Names of databases.

use crate::damage_sample::{open, simulated};
use bop_storage::{CatalogueError, DbKind, ErrorCode};

#[test]
fn an_unknown_database_is_named_with_the_nearest_one() {
    let sim = simulated(true);
    let store = open(&sim.disk, &sim.manifest).unwrap();
    for (wanted, expected) in [
        ("alpah", Some("alpha")),
        ("Beta ", Some("beta")),
        ("nothing-like-it", None),
    ] {
        let errors = [
            store.database(wanted).unwrap_err(),
            store.info(wanted).unwrap_err(),
            store.rename_database(wanted, "new").unwrap_err(),
            store.drop_database(wanted).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.code(), ErrorCode::DatabaseNotFound);
            assert!(error.to_string().contains(wanted), "{error}");
            let CatalogueError::NotFound { name, nearest } = error else {
                panic!("{error:?}");
            };
            assert_eq!((name.as_str(), nearest.as_deref()), (wanted, expected));
        }
    }
}

#[test]
fn a_bad_name_is_refused_everywhere_and_changes_nothing() {
    let sim = simulated(true);
    let store = open(&sim.disk, &sim.manifest).unwrap();
    let before: Vec<_> = store
        .databases()
        .into_iter()
        .map(|info| info.name)
        .collect();
    let long = "x".repeat(256);
    for bad in ["", "../x", "a/b", "nul\0", ".hidden", "a@b", "tab\t", &long] {
        let errors = [
            store.create_database(bad, DbKind::Raw).unwrap_err(),
            store.database(bad).unwrap_err(),
            store.rename_database("alpha", bad).unwrap_err(),
            store.rename_database(bad, "beta").unwrap_err(),
            store.drop_database(bad).unwrap_err(),
            store.info(bad).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.code(), ErrorCode::InvalidName, "{bad:?}: {error}");
        }
    }
    let after: Vec<_> = store
        .databases()
        .into_iter()
        .map(|info| info.name)
        .collect();
    assert_eq!(before, after);
    store.create_database(&long[1..], DbKind::Raw).unwrap();
}

#[test]
fn a_taken_name_is_refused_in_any_case() {
    let sim = simulated(true);
    let store = open(&sim.disk, &sim.manifest).unwrap();
    for twin in ["alpha", "ALPHA", "Alpha"] {
        let error = store.create_database(twin, DbKind::Raw).unwrap_err();
        assert!(
            matches!(&error, CatalogueError::Exists { name } if name == "alpha"),
            "{error}"
        );
        let error = store.rename_database("beta", twin).unwrap_err();
        assert_eq!(error.code(), ErrorCode::DatabaseExists);
    }
}
