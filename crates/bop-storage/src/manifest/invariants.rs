//! What is true of the manifest after every transaction, as a list of predicates.
//!
//! A predicate looks at the rows that a transaction touched: if all rows held before and the
//! touched ones hold after, all hold after. [`check_all`] asks the same of every row, for `verify`.
//!
//! Never: repairs anything.

use super::cursor_row::CursorPlace;
use super::edit::RowKey;
use super::generation_row::{GenerationKey, GenerationRow};
use super::job_rows::{JobRow, JobState};
use super::jobs::JOB_ATTEMPTS_MAX;
use super::lineage;
use super::rows::ChunkRow;
use super::schema::{Key, RangeKey, row_damage};
use super::state::ManifestState;
use super::store::Table;
use crate::error::{Damage, ManifestError, Reject};
use crate::ids::{ChunkId, DbId, Generation, JobId};
use crate::name::DbName;
use std::collections::{BTreeMap, BTreeSet};

/// A transaction that is about to be committed.
pub(super) struct Change<'a> {
    pub before: &'a ManifestState,
    pub after: &'a ManifestState,
    pub touched: &'a BTreeSet<RowKey>,
}

/// Says what is wrong.
type Invariant = fn(&Change<'_>) -> Result<(), String>;

const INVARIANTS: &[(&str, Invariant)] = &[
    ("ranges_have_chunks", ranges_have_chunks),
    ("references_match_ranges", references_match_ranges),
    ("ranges_have_databases", ranges_have_databases),
    ("checkpointed_is_monotone", checkpointed_is_monotone),
    ("generations_go_up", generations_go_up),
    (
        "the_newest_generation_is_told",
        the_newest_generation_is_told,
    ),
    ("watermarks_are_monotone", watermarks_are_monotone),
    ("names_are_unique", names_are_unique),
    ("numbers_are_below_the_next", numbers_are_below_the_next),
    ("cursors_stay_in_the_feed", cursors_stay_in_the_feed),
    ("jobs_go_their_way", jobs_go_their_way),
    ("jobs_are_asked_for_once", jobs_are_asked_for_once),
    ("snapshots_have_owners", lineage::snapshots_have_owners),
    (
        "snapshot_names_are_unique",
        lineage::snapshot_names_are_unique,
    ),
    ("points_have_sources", lineage::points_have_sources),
];

/// Runs every predicate.
pub(super) fn check(change: &Change<'_>) -> Result<(), ManifestError> {
    for (invariant, holds) in INVARIANTS {
        holds(change).map_err(|detail| ManifestError::Invariant { invariant, detail })?;
    }
    Ok(())
}

impl Change<'_> {
    /// The chunks that the touched rows name in a state, each as often as it is counted.
    fn named_in<'s>(&'s self, state: &'s ManifestState) -> impl Iterator<Item = ChunkId> + 's {
        let rows = self.ranges().filter_map(|key| state.ranges.get(&key));
        let links = rows.flat_map(|row| row.links().iter().map(|link| link.chunk));
        let rows = self
            .generations()
            .filter_map(|key| state.generations.get(&key));
        links.chain(rows.filter_map(|row| Some(row.history?.chunk)))
    }

    fn databases(&self) -> impl Iterator<Item = DbId> {
        self.touched.iter().filter_map(|key| match key {
            RowKey::Database(id) => Some(*id),
            _ => None,
        })
    }

    fn jobs(&self) -> impl Iterator<Item = JobId> {
        self.touched.iter().filter_map(|key| match key {
            RowKey::Job(id) => Some(*id),
            _ => None,
        })
    }

    fn ranges(&self) -> impl Iterator<Item = RangeKey> {
        self.touched.iter().filter_map(|key| match key {
            RowKey::Range(key) => Some(*key),
            _ => None,
        })
    }

    fn generations(&self) -> impl Iterator<Item = GenerationKey> {
        self.touched.iter().filter_map(|key| match key {
            RowKey::Generation(key) => Some(*key),
            _ => None,
        })
    }

    fn chunks(&self) -> impl Iterator<Item = ChunkId> {
        self.touched.iter().filter_map(|key| match key {
            RowKey::Chunk(id) => Some(*id),
            _ => None,
        })
    }
}

fn references(row: Option<&ChunkRow>) -> i128 {
    row.map_or(0, |row| i128::from(row.references))
}

fn references_match_ranges(change: &Change<'_>) -> Result<(), String> {
    let mut named: BTreeMap<ChunkId, i128> = change.chunks().map(|chunk| (chunk, 0)).collect();
    for (state, one) in [(change.before, -1), (change.after, 1)] {
        for chunk in change.named_in(state) {
            *named.entry(chunk).or_default() += one;
        }
    }
    for (chunk, more) in named {
        let (before, after) = (
            references(change.before.chunk(chunk)),
            references(change.after.chunk(chunk)),
        );
        // The row of the chunk is damaged or lost: its ranges can only go, with their database.
        let no_row = change.before.chunk(chunk).is_none() && change.after.chunk(chunk).is_none();
        if no_row && more <= 0 {
            continue;
        }
        if before + more != after {
            return Err(format!(
                "chunk {chunk} had {before} references, {more:+} in this transaction, but says {after}"
            ));
        }
    }
    Ok(())
}

fn ranges_have_chunks(change: &Change<'_>) -> Result<(), String> {
    let mut named = change.named_in(change.after);
    match named.find(|chunk| change.after.chunk(*chunk).is_none()) {
        None => Ok(()),
        Some(chunk) => Err(format!("chunk {chunk} is named and is not there")),
    }
}

/// A range belongs to a database that is remembered, and is no newer than its head.
fn ranges_have_databases(change: &Change<'_>) -> Result<(), String> {
    for key in change.ranges() {
        if key.database == DbId::CATALOGUE || change.after.ranges.get(&key).is_none() {
            continue;
        }
        match change.after.database(key.database) {
            None => return Err(format!("{key:?} is of a database that is not there")),
            Some(row) if row.checkpointed.generation < key.generation => {
                return Err(format!("{key:?} is newer than its database's head"));
            }
            Some(_) => {}
        }
    }
    for id in change.databases() {
        let has_rows = || {
            let has_generations = change.after.generations(id).next().is_some();
            has_generations || change.after.ranges(id).next().is_some()
        };
        if change.after.database(id).is_none() && has_rows() {
            return Err(format!("database id {id} is forgotten but has ranges"));
        }
    }
    Ok(())
}

/// A generation belongs to a database that is remembered, is no newer than its head, and shows no less
/// than the one before.
fn generations_go_up(change: &Change<'_>) -> Result<(), String> {
    for key in change.generations() {
        let GenerationKey {
            database,
            generation,
        } = key;
        let Some(own) = change.after.generation(database, generation) else {
            continue;
        };
        let head = change.after.database(database);
        if head.is_none_or(|row| row.checkpointed.generation < generation) {
            return Err(format!("{key:?} is no generation of its database"));
        }
        let around = |key: Option<(&GenerationKey, &GenerationRow)>| {
            key.filter(|(key, _)| key.database == database)
                .map(|(_, row)| row.lsn)
        };
        let older = around(change.after.generations.range(..key).next_back());
        let newer = around(change.after.generations.range(key..).nth(1));
        if older.is_some_and(|older| own.lsn < older) || newer.is_some_and(|newer| newer < own.lsn)
        {
            return Err(format!("{key:?} at {} is out of order", own.lsn));
        }
    }
    Ok(())
}

/// Databases that have pages have the row of their newest generation, and it shows their head.
fn the_newest_generation_is_told(change: &Change<'_>) -> Result<(), String> {
    let generations = change.generations().map(|key| key.database);
    for id in change.databases().chain(generations) {
        let Some(row) = change.after.database(id) else {
            continue;
        };
        let head = &row.checkpointed;
        let told = match change.after.generation(id, head.generation) {
            Some(own) => own.shows(head, row.page_size),
            None => head.generation == Generation::default() || !row.state.has_pages(),
        };
        // What the present rows have wrong was so before: the database is closed for it.
        if !told && !change.before.damaged().databases.contains_key(&id) {
            return Err(format!(
                "generation {} of database id {id} does not show its head",
                head.generation
            ));
        }
    }
    Ok(())
}

fn checkpointed_is_monotone(change: &Change<'_>) -> Result<(), String> {
    for id in change.databases() {
        let (Some(before), Some(after)) = (change.before.database(id), change.after.database(id))
        else {
            continue;
        };
        let (old, new) = (&before.checkpointed, &after.checkpointed);
        let grows = old.generation < new.generation && old.lsn <= new.lsn;
        if !(grows || old == new) || after.catalogue_lsn < before.catalogue_lsn {
            return Err(format!("database id {id} goes from {old:?} to {new:?}"));
        }
    }
    Ok(())
}

fn watermarks_are_monotone(change: &Change<'_>) -> Result<(), String> {
    let (old, new) = (change.before.watermarks(), change.after.watermarks());
    let monotone = old.checkpointed <= new.checkpointed
        && old.truncated <= new.truncated
        && old.catalogue <= new.catalogue
        && old.next_database <= new.next_database
        && old.next_chunk <= new.next_chunk
        && old.next_segment <= new.next_segment;
    if monotone && new.truncated <= new.checkpointed {
        Ok(())
    } else {
        Err(format!("{old:?} to {new:?}"))
    }
}

fn names_are_unique(change: &Change<'_>) -> Result<(), String> {
    for id in change.databases() {
        let Some(row) = change.after.database(id) else {
            continue;
        };
        let holder = change.after.names.get(&row.name.folded());
        let live = row.state == super::DatabaseState::Live;
        if live && holder != Some(&id) {
            return Err(format!(
                "database id {id} is named {:?}, as is another one",
                row.name
            ));
        }
    }
    Ok(())
}

fn numbers_are_below_the_next(change: &Change<'_>) -> Result<(), String> {
    let next = change.after.watermarks();
    let taken = |key: &&RowKey| match key {
        RowKey::Database(id) => *id == DbId::CATALOGUE || next.next_database <= *id,
        RowKey::Segment(id) => next.next_segment <= *id,
        RowKey::Chunk(id) => next.next_chunk <= *id,
        RowKey::Cursor(id) => change
            .after
            .feed()
            // Without a feed the next run says which id comes next.
            .is_some_and(|feed| feed.next_cursor <= *id),
        RowKey::Job(id) => change.after.job_ids().is_none_or(|ids| ids.next <= *id),
        RowKey::Range(_)
        | RowKey::Salvage(_)
        | RowKey::Closed(_)
        | RowKey::Watermarks
        | RowKey::Feed
        | RowKey::Run
        | RowKey::JobIds
        | RowKey::Scrub(_)
        | RowKey::Snapshot(_)
        | RowKey::Generation(_)
        | RowKey::Meta => false,
    };
    match change.touched.iter().find(taken) {
        None => Ok(()),
        Some(key) => Err(format!("{key:?} is not below {next:?}")),
    }
}

/// A cursor never goes back, nor past the newest change, and has a name of its own.
fn cursors_stay_in_the_feed(change: &Change<'_>) -> Result<(), String> {
    let cursors = change.touched.iter().filter_map(|key| match key {
        RowKey::Cursor(id) => Some(*id),
        _ => None,
    });
    for id in cursors {
        let Some(row) = change.after.cursor(id) else {
            continue;
        };
        if let Some(before) = change.before.cursor(id) {
            goes_on(&row.name, &before.place, &row.place)?;
        }
        if let (CursorPlace::Changes { feed, position }, Some(now)) =
            (row.place, change.after.feed())
            && feed == now.feed
            && now.next < position
        {
            return Err(format!("cursor {} is behind the end", row.name));
        }
        let is_new = change
            .before
            .cursor(id)
            .is_none_or(|old| old.name != row.name);
        let named = || {
            change
                .after
                .cursors()
                .filter(|(_, one)| one.name == row.name)
        };
        if is_new && 1 < named().count() {
            return Err(format!("two cursors are named {}", row.name));
        }
    }
    Ok(())
}

/// A job that is over stays as it is until it is forgotten, and is not forgotten before; what it is
/// asked to do never changes.
fn jobs_go_their_way(change: &Change<'_>) -> Result<(), String> {
    for id in change.jobs() {
        let (before, after) = (change.before.job(id), change.after.job(id));
        let sound = match (before, after) {
            (None, _) => true,
            (Some(before), None) => before.state.is_over(),
            (Some(before), Some(after)) if before.state.is_over() => before == after,
            (Some(before), Some(after)) => {
                let what = |row: &JobRow| (row.kind, row.database, row.token, row.created_us);
                what(before) == what(after)
                    && before.updated_us <= after.updated_us
                    && after.attempts <= JOB_ATTEMPTS_MAX
            }
        };
        if !sound {
            return Err(format!("job {id} goes from {before:?} to {after:?}"));
        }
    }
    Ok(())
}

/// A cursor stays of its feed and of its database, and does not go back; a changes feed that began anew
/// has numbers of its own.
fn goes_on(name: &DbName, before: &CursorPlace, after: &CursorPlace) -> Result<(), String> {
    let back = match (before, after) {
        (
            CursorPlace::Changes { feed, position },
            CursorPlace::Changes {
                feed: now_feed,
                position: now,
            },
        ) => feed == now_feed && now < position,
        (
            CursorPlace::Commits { position, database },
            CursorPlace::Commits {
                position: now,
                database: now_database,
            },
        ) => now < position || database != now_database,
        _ => true,
    };
    if back {
        return Err(format!("cursor {name} goes from {before:?} to {after:?}"));
    }
    Ok(())
}

fn jobs_are_asked_for_once(change: &Change<'_>) -> Result<(), String> {
    if change.jobs().next().is_none() {
        return Ok(());
    }
    match jobs_asked_twice(change.after).first() {
        None => Ok(()),
        Some(id) => Err(format!("job {id} is one that there is already")),
    }
}

/// Jobs with the token of one before, or that are pending beside one of their kind and database.
fn jobs_asked_twice(state: &ManifestState) -> Vec<JobId> {
    let (mut tokens, mut pending) = (BTreeSet::new(), BTreeSet::new());
    let twice = state.jobs().filter(|(_, row)| {
        let waits = matches!(row.state, JobState::Pending { .. });
        let again = waits && !pending.insert((row.kind, row.database));
        !tokens.insert(row.token) || again
    });
    twice.map(|(id, _)| id).collect()
}

/// Asks of all rows what the predicates ask of the touched ones. What the loading of the rows
/// finds (names, missing chunks and databases, lost ranges) is not repeated here.
pub(super) fn check_all(state: &ManifestState) -> Vec<Damage> {
    let next = state.watermarks();
    let mut found = Vec::new();
    let mut finding = |table, key: Vec<u8>, why| {
        found.push(row_damage(table, &key, Reject::Invalid(why)));
    };
    for (id, _) in state.chunks() {
        if next.next_chunk <= id {
            finding(
                Table::Chunks,
                id.encode(),
                "a chunk that was not given out yet",
            );
        }
    }
    for (id, _) in state.segments() {
        if next.next_segment <= id {
            finding(
                Table::Segments,
                id.encode(),
                "a segment that was not given out yet",
            );
        }
    }
    for (id, _) in state.jobs() {
        if state.job_ids().is_some_and(|ids| ids.next <= id) {
            finding(Table::Jobs, id.encode(), "a job that was not given out yet");
        }
    }
    for id in jobs_asked_twice(state) {
        finding(Table::Jobs, id.encode(), "a job that there is already");
    }
    for (id, row) in state.databases() {
        if id == DbId::CATALOGUE || next.next_database <= id {
            finding(
                Table::Databases,
                id.encode(),
                "a database that was not given out yet",
            );
        }
        let head = row.checkpointed.generation;
        if state.ranges(id).any(|(key, _)| head < key.generation) {
            finding(
                Table::Databases,
                id.encode(),
                "a range is newer than the head",
            );
        }
    }
    found.extend(lineage::check_all(state));
    found
}
