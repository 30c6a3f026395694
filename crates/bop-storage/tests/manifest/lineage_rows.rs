//! Forks and snapshots in the manifest's rows and in the catalogue's sections: what contradicts itself is
//! refused, what is lost is noticed, and what happened is told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends by a panic, its helpers too"
)]

use super::lineage::{apply, create, drop_now, fork, id, name, snapshot};
use super::lineage_reference::point;
use super::rows::{ONE, STORE, TWO, database, sample};
use bop_storage::catalogue::{Catalogue, decode_section, encode_delta, encode_section};
use bop_storage::checksum::Crc64;
use bop_storage::error::{ManifestError, Place, Reject};
use bop_storage::ids::{ChangeNo, DbId, DbKind, Lsn};
use bop_storage::manifest::{
    DatabaseState, Edit, Manifest, ManifestStore, MemoryManifest, SnapshotKey, SnapshotRow, Table,
    Write,
};
use std::sync::Arc;

fn key(owner: DbId, lsn: u64) -> SnapshotKey {
    SnapshotKey {
        owner,
        lsn: Lsn::new(lsn),
    }
}

fn row(text: &str, source: DbId) -> SnapshotRow {
    SnapshotRow {
        name: name(text),
        point: point((source.get(), 3)),
        created_us: 4,
    }
}

/// A database goes with all that its chunks held.
fn forget(edit: &mut Edit<'_>, id: DbId) {
    let keys: Vec<_> = edit.state().ranges(id).map(|(key, _)| *key).collect();
    keys.into_iter().for_each(|key| edit.delete_range(key));
    let generations = edit
        .state()
        .generations(id)
        .map(|(generation, _)| generation);
    let generations: Vec<_> = generations.collect();
    let delete = |generation| edit.delete_generation(id, generation);
    generations.into_iter().for_each(delete);
    edit.delete_database(id);
}

fn broken(
    edit: impl FnOnce(&mut Edit<'_>) -> Result<(), ManifestError> + Send + 'static,
) -> &'static str {
    let (_, manifest) = sample();
    let made = manifest.transact(|edit| {
        let mut fork = database("fork");
        fork.origin = Some(Box::new(point((1, 3))));
        edit.put_database(DbId::new(3), fork)?;
        let mut gone = database("gone");
        gone.state = DatabaseState::Tombstone { dropped_us: 1 };
        edit.put_database(DbId::new(4), gone)?;
        edit.put_snapshot(key(TWO, 5), row("before", ONE))
    });
    made.unwrap();
    let rows = manifest.state();
    match manifest.transact(edit) {
        Err(ManifestError::Invariant { invariant, .. }) => {
            assert!(manifest.state().databases().eq(rows.databases()));
            assert!(manifest.state().all_snapshots().eq(rows.all_snapshots()));
            invariant
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn transactions_that_leave_points_in_the_air_are_refused() {
    let (unknown, gone) = (DbId::new(9), DbId::new(4));
    let owners = "snapshots_have_owners";
    assert_eq!(
        broken(move |edit| edit.put_snapshot(key(unknown, 6), row("s", ONE))),
        owners
    );
    assert_eq!(
        broken(move |edit| edit.put_snapshot(key(gone, 6), row("s", ONE))),
        owners
    );
    let dropped = broken(|edit| {
        let mut row = edit.state().database(TWO).unwrap().clone();
        row.state = DatabaseState::Tombstone { dropped_us: 1 };
        edit.put_database(TWO, row)
    });
    assert_eq!(dropped, owners, "it has a snapshot");
    let twins = broken(|edit| edit.put_snapshot(key(TWO, 6), row("BEFORE", ONE)));
    assert_eq!(twins, "snapshot_names_are_unique");

    let sources = "points_have_sources";
    assert_eq!(
        broken(move |edit| edit.put_snapshot(key(TWO, 6), row("s", unknown))),
        sources
    );
    for source in [9, 5] {
        let from_nowhere = broken(move |edit| {
            let mut row = database("five");
            row.origin = Some(Box::new(point((source, 3))));
            edit.put_database(DbId::new(5), row)
        });
        assert_eq!(from_nowhere, sources, "from {source}");
    }
    let forgotten = broken(|edit| {
        forget(edit, ONE);
        Ok(())
    });
    assert_eq!(forgotten, sources, "a fork and a snapshot point at it");
}

#[test]
fn a_forgotten_owner_takes_its_snapshots_along() {
    let (_, manifest) = sample();
    let made = manifest.transact(|edit| edit.put_snapshot(key(TWO, 5), row("before", ONE)));
    made.unwrap();
    let gone = manifest.transact(|edit| {
        forget(edit, TWO);
        Ok(())
    });
    gone.unwrap();
    assert_eq!(manifest.state().all_snapshots().count(), 0);
}

/// A store whose rows say: 1, its fork 2 with a snapshot of 1, and 3 with a snapshot of its own.
fn written() -> (MemoryManifest, Manifest, Catalogue) {
    let store = MemoryManifest::new();
    let manifest = Manifest::initialize(Arc::new(store.clone()), STORE).unwrap();
    let mut catalogue = Catalogue::new();
    for change in [
        create(1, "one", DbKind::Raw),
        fork(2, "two", point((1, 3))),
        create(3, "three", DbKind::Raw),
        snapshot(2, "of one", point((1, 2))),
        snapshot(3, "own", point((3, 1))),
    ] {
        apply(&mut catalogue, &change);
    }
    let rows = catalogue.clone();
    manifest
        .transact(move |edit| rows.write_rows(edit))
        .unwrap();
    (store, manifest, catalogue)
}

#[test]
fn a_lost_source_or_owner_closes_the_catalogue_and_is_found() {
    for (lost, places) in [(1_u64, 2), (3, 2)] {
        let (store, _, catalogue) = written();
        let delete = Write::Delete {
            table: Table::Databases,
            key: lost.to_be_bytes().to_vec(),
        };
        store.commit(&[delete]).unwrap();
        let manifest = Manifest::open(Arc::new(store), STORE).unwrap();
        let read = Catalogue::from_rows(&manifest.state());
        assert!(read.damage().is_some(), "without {lost}");
        assert_ne!(read, catalogue);
        let found = manifest.verify().unwrap();
        let of_rows = |place: &Place| matches!(place, Place::Manifest { .. });
        assert!(found.iter().all(|damage| of_rows(&damage.place)));
        assert_eq!(found.len(), places, "without {lost}: {found:?}");
    }
}

#[test]
fn what_happened_is_told() {
    let (_, manifest, mut catalogue) = written();
    let told = |from: u64| {
        let page = manifest.changes(ChangeNo::new(from), 100).unwrap();
        let told = page.changes.iter().map(|(_, change)| {
            let database = change.database.map_or(0, DbId::get);
            let name = change.name.as_ref().map(|name| name.to_string());
            (
                change.kind.name(),
                database,
                name.unwrap_or_default(),
                change.number,
                change.lsn.get(),
            )
        });
        told.collect::<Vec<_>>()
    };
    let made =
        |kind, database, name: &str, number, lsn| (kind, database, name.to_owned(), number, lsn);
    assert_eq!(
        told(1),
        [
            made("created", 1, "one", 0, 10),
            made("forked", 2, "two", 1, 40),
            made("created", 3, "three", 0, 50),
            made("snapshot_made", 2, "of one", 1, 2),
            made("snapshot_made", 3, "own", 3, 1),
        ]
    );
    apply(&mut catalogue, &drop_now(3));
    manifest
        .transact(move |edit| catalogue.write_rows(edit))
        .unwrap();
    assert_eq!(
        told(6),
        [
            made("dropped", 3, "three", 0, 60),
            made("snapshot_dropped", 3, "own", 3, 1),
        ]
    );
}

/// The section with some bytes replaced, and a checksum that is right.
fn forged(section: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = section.windows(from.len()).rposition(|bytes| bytes == from);
    let mut forged = section.to_vec();
    forged[at.unwrap()..][..to.len()].copy_from_slice(to);
    forged[48..56].fill(0);
    let checksum = Crc64::new().update(&forged).finish();
    forged[48..56].copy_from_slice(&checksum.to_le_bytes());
    forged
}

#[test]
fn a_section_that_contradicts_itself_is_refused() {
    let (_, _, catalogue) = written();
    let section = encode_section(&catalogue, &[]);
    assert_eq!(decode_section(&section).unwrap().catalogue, catalogue);
    assert!(decode_section(&forged(&section, b"own", b"owN")).is_ok());
    let at = |source: u64, lsn: u64| [source.to_le_bytes(), lsn.to_le_bytes()].concat();
    for (from, to, why) in [
        (at(1, 3), at(9, 3), "an origin that is not there"),
        (at(1, 3), at(3, 3), "an origin of a later database"),
        (at(1, 3), at(0, 3), "an origin of the catalogue"),
        (at(1, 2), at(9, 2), "a point of none that is there"),
        (at(1, 2), at(0, 0), "no point"),
        (at(3, 50), at(1, 50), "snapshots out of order"),
        (at(3, 50), at(9, 50), "a snapshot of nobody"),
        (at(3, 50), at(3, 51), "a snapshot behind the last record"),
        (b"own".to_vec(), b"o/n".to_vec(), "no name"),
    ] {
        let decoded = decode_section(&forged(&section, &from, &to));
        assert!(decoded.is_err(), "{why}");
    }
}

#[test]
fn a_delta_whose_sources_are_not_below_it_is_refused() {
    let mut catalogue = Catalogue::new();
    apply(&mut catalogue, &create(1, "one", DbKind::Raw));
    apply(&mut catalogue, &create(2, "two", DbKind::Raw));
    let below = decode_section(&encode_section(&catalogue, &[])).unwrap();
    // The same position, another history.
    let mut other = Catalogue::new();
    apply(&mut other, &create(1, "one", DbKind::Log));
    apply(&mut other, &create(2, "two", DbKind::Raw));
    let other = decode_section(&encode_section(&other, &[])).unwrap();
    let since = catalogue.last_lsn();
    apply(&mut catalogue, &fork(3, "three", point((1, 3))));
    apply(&mut catalogue, &snapshot(2, "of one", point((1, 2))));
    let delta = decode_section(&encode_delta(&catalogue, since, &[], &[])).unwrap();
    assert_eq!(
        delta.clone().on(below.clone()).unwrap().catalogue,
        catalogue
    );
    let refused = delta.clone().on(other).unwrap_err();
    assert!(matches!(refused, Reject::Invalid(_)), "{refused:?}");
    // A source that is forgotten by the delta itself.
    let forgets = decode_section(&encode_delta(&catalogue, since, &[id(1)], &[])).unwrap();
    let refused = forgets.on(below).unwrap_err();
    assert!(matches!(refused, Reject::Invalid(_)), "{refused:?}");
}
