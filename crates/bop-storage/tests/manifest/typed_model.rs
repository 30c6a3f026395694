//! Random operations on the rows that no other model with power cuts has: segments, those set aside, closed
//! databases, snapshots, moved sections, histories, watermarks, scrubs, policies and runs. What a cut leaves is what was
//! committed, each transaction as a whole, and it verifies.
//!
//! The reference has plain maps of small numbers and knows nothing of rows, keys or checksums.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use crate::gates::power_cut;
use crate::rows::{ONE, TWO, reopen, sample};
use bop_storage::catalogue::DbName;
use bop_storage::checksum::RollingChecksum;
use bop_storage::error::{Damage, ManifestError, Place, Reject};
use bop_storage::ids::{ChunkId, DbId, Epoch, Generation, Incarnation, JobId, Lsn, SegmentId};
use bop_storage::manifest::{
    ClosedRow, Edit, GenerationRow, HistoryLink, Manifest, ManifestState, MovedTo, Moves, RunRow,
    SalvageRow, ScrubRow, SegmentRow, SnapshotKey, SnapshotRow,
};
use bop_storage::point::Point;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const GENERATION: Generation = Generation::new(1);
const LONG: Duration = Duration::from_secs(50);

/// An operation; numbers are ids and what a row is told apart by.
#[derive(Clone, Debug)]
enum Op {
    Register {
        segment: u8,
        life: u8,
    },
    Unregister {
        segment: u8,
    },
    SetAside {
        segment: u8,
        life: u8,
    },
    ForgetAside {
        segment: u8,
    },
    /// What is remembered already stays as it is.
    Close {
        two: bool,
        from: u8,
    },
    ForgetClosed {
        two: bool,
    },
    Snapshot {
        at: u8,
    },
    DropSnapshot {
        at: u8,
    },
    /// The section of the first database goes to a chunk of its own.
    Move,
    /// The second database's generation gets a history, in a chunk of its own, if it has none.
    KeepHistory,
    ForgetHistory,
    /// The log is checkpointed and shortened by so much.
    Shorten {
        by: u8,
    },
    Scrubbed {
        two: bool,
        pages: u8,
    },
    Quota {
        two: bool,
        bytes: u8,
    },
    BeginRun,
    EndRun {
        at: u8,
    },
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Then {
    Nothing,
    Reopen,
    /// The power goes within the commit: nothing of it is there, or all.
    CutBefore,
    CutAfter,
}

/// All that the rows say.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Reference {
    segments: BTreeMap<u8, u8>,
    aside: BTreeMap<u8, u8>,
    closed: BTreeMap<bool, u8>,
    snapshots: Vec<u8>,
    chunk: u64,
    history: Option<u64>,
    checkpointed: u64,
    scrubbed: BTreeMap<bool, u8>,
    quotas: BTreeMap<bool, u8>,
    /// The epoch of the newest run, and when it ended.
    run: Option<(u64, Option<u64>)>,
}

impl Reference {
    fn of_sample() -> Self {
        Self {
            segments: BTreeMap::from([(4, 9)]),
            chunk: 1,
            checkpointed: 500,
            quotas: BTreeMap::from([(false, 0), (true, 0)]),
            ..Self::default()
        }
    }

    fn after(&self, op: &Op, next_chunk: u64) -> Self {
        let mut next = self.clone();
        match *op {
            Op::Register { segment, life } => drop(next.segments.insert(segment, life)),
            Op::Unregister { segment } => drop(next.segments.remove(&segment)),
            Op::SetAside { segment, life } => {
                next.segments.remove(&segment);
                next.aside.insert(segment, life);
            }
            Op::ForgetAside { segment } => drop(next.aside.remove(&segment)),
            Op::Close { two, from } => drop(next.closed.entry(two).or_insert(from)),
            Op::ForgetClosed { two } => drop(next.closed.remove(&two)),
            Op::Snapshot { at } => {
                if let Err(place) = next.snapshots.binary_search(&at) {
                    next.snapshots.insert(place, at);
                }
            }
            Op::DropSnapshot { at } => next.snapshots.retain(|known| *known != at),
            Op::Move => next.chunk = next_chunk,
            Op::KeepHistory => drop(next.history.get_or_insert(next_chunk)),
            Op::ForgetHistory => next.history = None,
            Op::Shorten { by } => next.checkpointed += u64::from(by),
            Op::Scrubbed { two, pages } => drop(next.scrubbed.insert(two, pages)),
            Op::Quota { two, bytes } => drop(next.quotas.insert(two, bytes)),
            Op::BeginRun => next.run = Some((next.run.map_or(1, |(epoch, _)| epoch + 1), None)),
            Op::EndRun { at } => {
                if let Some((_, closed)) = &mut next.run {
                    *closed = Some(u64::from(at));
                }
            }
        }
        next
    }

    /// What the manifest says, in the same words.
    fn read(state: &ManifestState) -> Self {
        let small = |number: u64| u8::try_from(number).unwrap();
        let segments = state.segments();
        let aside = state.salvage();
        let link = state.ranges(ONE).next().unwrap().1.links()[0];
        let both = [(false, ONE), (true, TWO)];
        Self {
            segments: segments
                .map(|(id, row)| (small(id.get()), small(row.incarnation.get())))
                .collect(),
            aside: aside
                .map(|(id, row)| (small(id.get()), small(row.incarnation.get())))
                .collect(),
            closed: state
                .closed()
                .map(|(id, row)| (id == TWO, small(row.from.get())))
                .collect(),
            snapshots: state
                .snapshots(TWO)
                .map(|(key, _)| small(key.lsn.get()))
                .collect(),
            chunk: link.chunk.get(),
            history: history_of(state).map(|link| link.chunk.get()),
            checkpointed: state.watermarks().checkpointed.get(),
            scrubbed: both
                .into_iter()
                .filter_map(|(two, id)| Some((two, small(u64::from(state.scrub(id)?.pages)))))
                .collect(),
            quotas: both
                .map(|(two, id)| {
                    let row = state.database(id).unwrap();
                    (two, small(row.policy.quota_bytes))
                })
                .into(),
            run: state.run().map(|run| (run.epoch.get(), run.closed_us)),
        }
    }
}

fn history_of(state: &ManifestState) -> Option<HistoryLink> {
    state.generation(TWO, GENERATION)?.history
}

fn database(two: bool) -> DbId {
    if two { TWO } else { ONE }
}

fn segment(id: u8) -> SegmentId {
    SegmentId::new(u64::from(id))
}

fn key(at: u8) -> SnapshotKey {
    SnapshotKey {
        owner: TWO,
        lsn: Lsn::new(u64::from(at)),
    }
}

fn snapshot(at: u8) -> SnapshotRow {
    SnapshotRow {
        name: DbName::new(&format!("at {at}")).unwrap(),
        point: Point {
            source: ONE,
            lsn: Lsn::new(u64::from(at)),
            time_us: 1,
            page_size: None,
            page_count: 0,
            rolling_checksum: RollingChecksum::EMPTY,
        },
        created_us: 2,
    }
}

/// The transaction of an operation that has none of its own.
fn edit(op: &Op, edit: &mut Edit<'_>, next_chunk: u64) -> Result<(), ManifestError> {
    match *op {
        Op::Register { segment: id, life } => {
            let row = SegmentRow {
                incarnation: Incarnation::new(u64::from(life)),
                capacity_bytes: 1 << 20,
            };
            edit.put_segment(segment(id), row)?;
        }
        Op::Unregister { segment: id } => edit.delete_segment(segment(id)),
        Op::SetAside { segment: id, life } => {
            let row = SalvageRow {
                incarnation: Incarnation::new(u64::from(life)),
                capacity_bytes: 1 << 20,
                base: Lsn::new(100),
                end: Lsn::new(300),
            };
            edit.set_aside(segment(id), row)?;
        }
        Op::ForgetAside { segment: id } => edit.delete_salvage(segment(id)),
        Op::Close { two, from } => {
            let place = Place::Log {
                segment: segment(3),
                lsn: Lsn::new(u64::from(from)),
            };
            let damage = Damage::new(place, Reject::Checksum);
            let row = ClosedRow::new(&damage, Lsn::new(u64::from(from)), Lsn::new(250));
            edit.close_database(database(two), &row);
        }
        Op::ForgetClosed { two } => edit.delete_closed(database(two)),
        Op::Snapshot { at } => edit.put_snapshot(key(at), snapshot(at))?,
        Op::DropSnapshot { at } => edit.delete_snapshot(key(at)),
        Op::Move => move_section(edit, next_chunk)?,
        Op::KeepHistory => keep_history(edit, next_chunk)?,
        Op::ForgetHistory => {
            let link = history_of(edit.state());
            edit.delete_history(TWO, GENERATION);
            link.into_iter()
                .for_each(|link| edit.delete_chunk(link.chunk));
        }
        Op::Shorten { by } => {
            let up = |lsn: Lsn| Lsn::new(lsn.get() + u64::from(by));
            let marks = *edit.state().watermarks();
            edit.set_checkpointed(up(marks.checkpointed));
            edit.set_truncated(up(marks.truncated));
        }
        Op::Scrubbed { two, pages } => {
            let row = ScrubRow {
                job: JobId::new(1),
                finished_us: 2,
                pages: u32::from(pages),
                bytes: 4,
            };
            edit.put_scrub(database(two), row);
        }
        Op::Quota { two, bytes } => {
            let mut row = edit.state().database(database(two)).unwrap().clone();
            row.policy.quota_bytes = u64::from(bytes);
            edit.put_database(database(two), row)?;
        }
        Op::BeginRun | Op::EndRun { .. } => {}
    }
    Ok(())
}

fn move_section(edit: &mut Edit<'_>, next_chunk: u64) -> Result<(), ManifestError> {
    let link = edit.state().ranges(ONE).next().unwrap().1.links()[0];
    let to = MovedTo {
        chunk: ChunkId::new(next_chunk),
        section: link.section,
        bytes: 4096,
    };
    edit.insert_chunk(to.chunk, 4096, 78)?;
    edit.move_sections(ONE, &Moves::from([((link.chunk, link.section), to)]));
    edit.delete_chunk(link.chunk);
    Ok(())
}

fn keep_history(edit: &mut Edit<'_>, next_chunk: u64) -> Result<(), ManifestError> {
    if history_of(edit.state()).is_some() {
        return Ok(());
    }
    let link = HistoryLink {
        chunk: ChunkId::new(next_chunk),
        section: 0,
        bytes: 4096,
    };
    edit.insert_chunk(link.chunk, 4096, 79)?;
    let row = *edit.state().generation(TWO, GENERATION).unwrap();
    let history = Some(link);
    edit.put_generation(TWO, GENERATION, GenerationRow { history, ..row });
    Ok(())
}

fn ask(manifest: &Manifest, op: &Op, next_chunk: u64, epoch: u64) -> Result<(), ManifestError> {
    match *op {
        Op::BeginRun => manifest.begin_run(RunRow {
            epoch: Epoch::new(epoch),
            boot: [7; 16],
            pid: 9,
            opened_us: 10,
            closed_us: None,
        }),
        // Nobody has it open.
        Op::EndRun { .. } if epoch == 1 => Ok(()),
        Op::EndRun { at } => manifest.end_run(u64::from(at), LONG),
        ref op => {
            let op = op.clone();
            manifest.transact(move |rows| edit(&op, rows, next_chunk))
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    // Segments that were made: no larger number was ever given out.
    let (id, some, two) = (1..5_u8, 1..9_u8, any::<bool>());
    prop_oneof![
        (id.clone(), some.clone()).prop_map(|(segment, life)| Op::Register { segment, life }),
        id.clone().prop_map(|segment| Op::Unregister { segment }),
        (id.clone(), some.clone()).prop_map(|(segment, life)| Op::SetAside { segment, life }),
        id.prop_map(|segment| Op::ForgetAside { segment }),
        (two, some.clone()).prop_map(|(two, from)| Op::Close { two, from }),
        two.prop_map(|two| Op::ForgetClosed { two }),
        some.clone().prop_map(|at| Op::Snapshot { at }),
        some.clone().prop_map(|at| Op::DropSnapshot { at }),
        Just(Op::Move),
        Just(Op::KeepHistory),
        Just(Op::ForgetHistory),
        some.clone().prop_map(|by| Op::Shorten { by }),
        (two, some.clone()).prop_map(|(two, pages)| Op::Scrubbed { two, pages }),
        (two, some.clone()).prop_map(|(two, bytes)| Op::Quota { two, bytes }),
        Just(Op::BeginRun),
        some.prop_map(|at| Op::EndRun { at }),
    ]
}

fn then() -> impl Strategy<Value = Then> {
    prop_oneof![
        5 => Just(Then::Nothing),
        1 => Just(Then::Reopen),
        1 => Just(Then::CutBefore),
        1 => Just(Then::CutAfter),
    ]
}

proptest! {
    #[test]
    fn what_a_cut_leaves_of_any_row_is_what_was_committed(
        steps in prop::collection::vec((op(), then()), 1..60)
    ) {
        let (mut store, mut manifest) = sample();
        let mut reference = Reference::of_sample();
        prop_assert_eq!(&Reference::read(&manifest.state()), &reference);
        // Numbers of a lost transaction may be given out again; here they are not.
        for ((op, then), next_chunk) in steps.into_iter().zip(10..) {
            match then {
                Then::CutBefore => store.set_gate(Some(power_cut())),
                Then::CutAfter => store.set_gate_after(Some(power_cut())),
                Then::Nothing | Then::Reopen => {}
            }
            let epoch = reference.run.map_or(1, |(epoch, _)| epoch + 1);
            let done = ask(&manifest, &op, next_chunk, epoch);
            store.set_gate(None);
            store.set_gate_after(None);
            let cut = matches!(then, Then::CutBefore | Then::CutAfter);
            prop_assert!(done.is_ok() || cut, "{op:?}: {done:?}");
            // A transaction that changes nothing asks nobody.
            if done.is_ok() || then == Then::CutAfter {
                reference = reference.after(&op, next_chunk);
            }
            if done.is_err() || then == Then::Reopen {
                store = store.snapshot();
                manifest = reopen(&store).unwrap();
            }
            prop_assert_eq!(&Reference::read(&manifest.state()), &reference, "{:?}", op);
            prop_assert_eq!(manifest.verify().unwrap(), []);
        }
    }
}
