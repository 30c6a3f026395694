//! What the window of a database has: each commit, by its place and by its time, and a fork of each.

use crate::acts::{ALL, Told, seeds};
use crate::world::{Model, Saved, World};
use bop_storage::{At, Lsn, PastError, Retention};

/// The states that are asked for: of a fork that it was made with, of others from the first commit on.
fn states(model: &Model) -> &[Saved] {
    let first = usize::from(!model.is_fork);
    &model.states[first.min(model.states.len())..]
}

fn is_before(world: &World, model: &Model, at: &At, oldest: &Saved) {
    let refused = world.db(&model.name).begin_read_at(at).map(drop);
    match refused {
        Err(PastError::BeforeWindow {
            database,
            asked,
            oldest: named,
            oldest_us,
        }) => {
            assert_eq!((&database, &asked), (&model.name, at));
            assert_eq!((named, oldest_us), (oldest.lsn, oldest.time_us));
        }
        other => panic!("{at}: {other:?}"),
    }
}

#[test]
fn every_place_of_a_random_history_is_what_it_was() {
    for seed in seeds(1..=9) {
        let told = Told(seed);
        let mut world = World::new(seed, ALL);
        (0..200).for_each(|_| world.step());
        for turn in 0..2 {
            every_place(&world);
            if turn == 0 {
                world.store().checkpoint().unwrap();
            }
        }
        world.close();
        world.open();
        every_place(&world);
        world.close();
        drop(told);
    }
}

/// Asks each database for its state at the place of every commit, also of the others', and beside it.
fn every_place(world: &World) {
    let all = world.live.iter().flat_map(|model| &model.states);
    let mut places: Vec<u64> = all.map(|saved| saved.lsn.get()).collect();
    places.sort_unstable();
    places.dedup();
    for model in &world.live {
        let states = states(model);
        let Some(oldest) = states.first() else {
            continue;
        };
        for place in places.iter().flat_map(|place| [*place, place + 1]) {
            let at = At::Lsn(Lsn::new(place));
            match states.iter().rfind(|saved| saved.lsn.get() <= place) {
                Some(saved) if saved.lsn.get() == place => world.check_at(model, &at, saved),
                Some(saved) => {
                    let read = world.db(&model.name).begin_read_at(&at).unwrap();
                    assert_eq!(
                        (read.lsn(), read.page_count()),
                        (saved.lsn, saved.state.page_count)
                    );
                }
                None => is_before(world, model, &at, oldest),
            }
        }
    }
}

#[test]
fn the_window_has_each_commit_and_each_can_be_restored() {
    for seed in seeds(1..=16) {
        let told = Told(seed);
        let bytes = if seed % 2 == 0 { u64::MAX - 1 } else { 1 << 18 };
        let window_us = 500_000 << (seed % 5);
        let retention = Retention { window_us, bytes };
        let mut world = World::new(seed, retention);
        for _ in 0..150 {
            world.step();
        }
        for nth in 0..world.live.len() {
            the_window(&mut world, nth);
        }
        world.close();
        drop(told);
    }
}

fn the_window(world: &mut World, nth: usize) {
    let model = world.live[nth].clone();
    let states = states(&model);
    let points = world.store().restore_points(&model.name).unwrap();
    let listed: Vec<Lsn> = points.iter().map(|point| point.lsn).collect();
    let Some(newest) = states.last() else {
        assert_eq!(listed, [Lsn::ZERO]);
        return;
    };
    assert!(listed.len() <= states.len());
    let kept = &states[states.len() - listed.len()..];
    let expected: Vec<Lsn> = kept.iter().map(|saved| saved.lsn).collect();
    assert_eq!(listed, expected);
    if world.retention.bytes == u64::MAX - 1 {
        // The state at the start of the window, and all behind it.
        let since_us = world.now_us().saturating_sub(world.retention.window_us);
        let until = states.partition_point(|saved| saved.time_us <= since_us);
        assert_eq!(listed.len(), states.len() - until.saturating_sub(1));
    }
    let oldest = &kept[0];
    if oldest.lsn != Lsn::ZERO && oldest.time_us > 0 {
        is_before(
            world,
            &model,
            &At::Lsn(Lsn::new(oldest.lsn.get() - 1)),
            oldest,
        );
        is_before(world, &model, &At::Time(oldest.time_us - 1), oldest);
    }
    for _ in 0..4 {
        let span = newest.time_us - oldest.time_us + 2;
        let time = oldest.time_us + world.random.below(span);
        let saved = kept.iter().rfind(|saved| saved.time_us <= time).unwrap();
        world.check_at(&model, &At::Time(time), saved);
    }
    for (point, saved) in points.iter().zip(kept) {
        assert_eq!(point.rolling_checksum, saved.rolling);
        assert_eq!(
            (point.time_us, point.page_count),
            (saved.time_us, saved.state.page_count)
        );
        let at = At::Lsn(point.lsn);
        let fork = world.fork_at(nth, &at, saved.clone()).unwrap();
        let fork = world.live.remove(fork);
        world.check_head(&fork);
        world.store().drop_database_now(&fork.name).unwrap();
    }
}
