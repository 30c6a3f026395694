//! What is garbage, against a model that reads at every point; how far a window reaches, against one that
//! tries every start.

use super::*;
use crate::ids::DbId;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const LSNS: u64 = 30;

/// A database: generations with their heads, and by range the generations that have a row of it.
#[derive(Clone, Debug)]
struct World {
    generations: Vec<(Generation, Lsn)>,
    ranges: Vec<BTreeSet<u64>>,
    points: Vec<Lsn>,
    window_from: Option<Lsn>,
    newest: bool,
}

fn world() -> impl Strategy<Value = World> {
    let heads = prop::collection::btree_map(1..20_u64, 1..LSNS, 0..7);
    let ranges = prop::collection::vec(prop::collection::btree_set(1..20_u64, 0..6), 1..4);
    let points = prop::collection::btree_set(0..LSNS + 5, 0..5);
    let window = prop::option::of(0..LSNS + 5);
    (heads, ranges, points, window, any::<bool>()).prop_map(
        |(heads, ranges, points, window, newest)| {
            // Heads never fall; two may be the same.
            let mut lsns: Vec<u64> = heads.values().copied().collect();
            lsns.sort_unstable();
            let generations = heads.keys().zip(lsns);
            World {
                generations: generations
                    .map(|(number, lsn)| (Generation::new(*number), Lsn::new(lsn)))
                    .collect(),
                ranges,
                points: points.into_iter().map(Lsn::new).collect(),
                window_from: window.map(Lsn::new),
                newest,
            }
        },
    )
}

/// What readers touch: generations, histories by their generation, rows by range and generation.
#[derive(Default)]
struct Touched {
    generations: BTreeSet<Generation>,
    histories: BTreeSet<Generation>,
    rows: BTreeSet<(usize, u64)>,
}

impl World {
    fn rows(&self) -> Vec<RangeKey> {
        let rows = self.ranges.iter().enumerate();
        rows.flat_map(|(range, rows)| {
            rows.iter().rev().map(move |generation| RangeKey {
                database: DbId::new(1),
                range: u32::try_from(range).unwrap(),
                generation: Generation::new(*generation),
            })
        })
        .collect()
    }

    fn garbage(&self) -> Garbage {
        let needs = Needs {
            generations: &self.generations,
            points: &self.points,
            window_from: self.window_from,
            newest: self.newest,
        };
        needs.garbage(self.rows())
    }

    fn read_generation(&self, nth: usize, touched: &mut Touched) {
        let (generation, _) = self.generations[nth];
        touched.generations.insert(generation);
        for (range, rows) in self.ranges.iter().enumerate() {
            if let Some(row) = rows.range(..=generation.get()).next_back() {
                touched.rows.insert((range, *row));
            }
        }
    }

    fn read_at(&self, point: Lsn, touched: &mut Touched) {
        let below = self.generations.iter().filter(|(_, lsn)| *lsn <= point);
        let behind = below.count();
        let base = behind.checked_sub(1);
        if let Some(base) = base {
            self.read_generation(base, touched);
        }
        let exact = base.map_or(Lsn::ZERO, |base| self.generations[base].1) == point;
        if !exact && behind < self.generations.len() {
            self.read_generation(behind, touched);
            touched.histories.insert(self.generations[behind].0);
        }
    }

    fn touched(&self) -> Touched {
        let mut touched = Touched::default();
        if self.newest && !self.generations.is_empty() {
            self.read_generation(self.generations.len() - 1, &mut touched);
        }
        let window = self.window_from.map(Lsn::get);
        let window = window.into_iter().flat_map(|from| from..LSNS + 10);
        let points = self.points.iter().copied().chain(window.map(Lsn::new));
        points.for_each(|point| self.read_at(point, &mut touched));
        touched
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Nothing goes that a reader at any readable point touches, and nothing stays that none does.
    #[test]
    fn garbage_is_what_no_reader_touches(world in world()) {
        let (garbage, touched) = (world.garbage(), world.touched());
        let all = world.generations.iter().map(|(generation, _)| *generation);
        let untouched: Vec<_> = all.clone().filter(|one| !touched.generations.contains(one)).collect();
        prop_assert_eq!(&garbage.generations, &untouched);
        let without: Vec<_> = all
            .filter(|one| touched.generations.contains(one) && !touched.histories.contains(one))
            .collect();
        prop_assert_eq!(&garbage.histories, &without);
        let rows: Vec<RangeKey> = world
            .rows()
            .into_iter()
            .filter(|key| !touched.rows.contains(&(key.range as usize, key.generation.get())))
            .collect();
        prop_assert_eq!(&garbage.ranges, &rows);
    }

    /// Who collects twice finds nothing the second time.
    #[test]
    fn what_is_left_is_no_garbage(world in world()) {
        let garbage = world.garbage();
        let mut left = world.clone();
        left.generations.retain(|(one, _)| !garbage.generations.contains(one));
        for key in &garbage.ranges {
            left.ranges[key.range as usize].remove(&key.generation.get());
        }
        let again = left.garbage();
        prop_assert_eq!(again.generations, []);
        prop_assert_eq!(again.ranges, []);
        prop_assert_eq!(again.histories, garbage.histories);
    }

    #[test]
    fn a_window_reaches_as_far_as_time_and_bytes_let_it(
        past in prop::collection::vec((0..50_u64, 0..20_u64, 0..20_u64), 0..8),
        from_us in 0..60_u64,
        bytes_max in 0..100_u64,
    ) {
        let past: Vec<PastGeneration> = (1..)
            .zip(&past)
            .map(|(number, (time_us, history_bytes, old_bytes))| PastGeneration {
                generation: Generation::new(number),
                lsn: Lsn::new(number),
                time_us: *time_us,
                history_bytes: *history_bytes,
                old_bytes: *old_bytes,
            })
            .collect();
        let cost = |start: usize| -> u64 {
            let histories = past[start + 1..].iter().map(|one| one.history_bytes);
            let old = past[start..past.len() - 1].iter().map(|one| one.old_bytes);
            histories.sum::<u64>() + old.sum::<u64>()
        };
        // A start is wanted while the one behind it is younger than the window.
        let allowed = |start: usize| {
            (start + 1..past.len()).all(|newer| past[newer].time_us > from_us)
                && (start + 1 == past.len() || cost(start) <= bytes_max)
        };
        let model = (0..past.len()).find(|start| allowed(*start));
        let found = window_start(&past, from_us, bytes_max);
        prop_assert_eq!(found, model.map(|start| &past[start]));
    }
}

#[test]
fn a_snapshot_between_two_checkpoints_keeps_both_and_the_history() {
    let numbers = [(1, 10), (2, 20), (3, 30), (4, 40)];
    let generations = numbers.map(|(number, lsn)| (Generation::new(number), Lsn::new(lsn)));
    let needs = Needs {
        generations: &generations,
        points: &[Lsn::new(15)],
        window_from: None,
        newest: true,
    };
    let garbage = needs.garbage([]);
    assert_eq!(garbage.generations, [Generation::new(3)]);
    assert_eq!(garbage.histories, [1, 4].map(Generation::new));
    let rows = BTreeMap::from([(1, false), (2, false), (3, true), (4, false)]);
    for (number, is_garbage) in rows {
        let key = |number| RangeKey {
            database: DbId::new(1),
            range: 0,
            generation: Generation::new(number),
        };
        let mut rows: Vec<RangeKey> = [4, 3, 2, 1].map(key).to_vec();
        rows.retain(|key| key.generation.get() == number || key.generation.get() == 4);
        let gone = needs.garbage(rows).ranges;
        assert_eq!(gone == [key(number)], is_garbage, "{number}: {gone:?}");
    }
}
