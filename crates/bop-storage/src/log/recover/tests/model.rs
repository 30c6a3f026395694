//! Random logs with random damage, against a model of what may be lost.

use super::super::Checkpointed;
use super::writer::{TestLog, damaged};
use crate::ids::DbId;
use crate::testing::SplitMix64;
use std::collections::BTreeSet;

const DATABASES: u64 = 4;

/// A log and what should come out of it.
struct Model {
    log: TestLog,
    /// What each database should get, in order.
    history: Vec<Vec<String>>,
    /// The databases of each batch.
    touched: Vec<BTreeSet<u64>>,
}

impl Model {
    fn random(random: &mut SplitMix64, closed: bool) -> Self {
        let mut log = TestLog::new();
        log.spares(12);
        for database in 1..=DATABASES {
            let known = DbId::new(database);
            log.checkpointed.insert(known, Checkpointed::default());
        }
        let mut model = Self {
            log,
            history: vec![Vec::new(); DATABASES as usize + 1],
            touched: Vec::new(),
        };
        for step in 0..10 + random.below(20) {
            model.step(random, u32::try_from(step).unwrap() + 1);
            model.label();
        }
        if closed {
            model.log.close();
            model.label();
        }
        model
    }

    fn step(&mut self, random: &mut SplitMix64, page: u32) {
        let database = 1 + random.below(DATABASES);
        let other = 1 + database % DATABASES;
        // A chain takes two blocks, and a close record one.
        let room = self.log.space().limit().get() - self.log.active.unwrap().end.get();
        if room < 4 * 4096 {
            self.log.activate();
        }
        match random.below(6) {
            0 => {
                let mut group = [database, other];
                group.sort_unstable();
                let part = self.log.commit_part(&group, page);
                self.log.write(&[part]);
                self.expect(&group, &[page]);
            }
            1 => {
                let before = self.touched.len();
                self.log
                    .chain(u64::from(page), &[database], &[page, page + 1]);
                self.expect(&[database], &[page, page + 1]);
                let parts = self.log.batches.len() - before;
                self.touched
                    .extend((0..parts).map(|_| BTreeSet::from([database])));
            }
            2 if self.log.active.unwrap().identity.segment.get() < 8 => self.log.activate(),
            3 => self.log.note(),
            _ => {
                let first = self.log.commit_part(&[database], page);
                let second = self.log.commit_part(&[other], page);
                self.log.write(&[first, second]);
                self.expect(&[database], &[page]);
                self.expect(&[other], &[page]);
            }
        }
        if self.touched.len() < self.log.batches.len() {
            let noted = self.log.batches.len() - self.touched.len();
            assert_eq!(noted, 1);
            let heads = self.log.heads.clone();
            let (_, start, _) = *self.log.batches.last().unwrap();
            let moved = heads.into_iter().filter(|(_, head)| start < *head);
            self.touched
                .push(moved.map(|(database, _)| database).collect());
        }
    }

    /// A batch that touches nobody.
    fn label(&mut self) {
        let batches = self.log.batches.len();
        self.touched.resize(batches, BTreeSet::new());
    }

    fn expect(&mut self, databases: &[u64], pages: &[u32]) {
        let pages: Vec<String> = pages.iter().map(u32::to_string).collect();
        for database in databases {
            let line = format!("{database}:{}", pages.join(","));
            self.history[*database as usize].push(line);
        }
    }

    /// Damages a random batch, and tells whom that may cost something.
    fn damage(&self, random: &mut SplitMix64, batch: usize) -> Option<BTreeSet<u64>> {
        match random.below(4) {
            0 => self.log.flip_batch(batch, 8),
            1 => self.log.flip_batch(batch, 64 + 40 + 8),
            2 => self.log.flip_batch(batch, -8),
            // Nobody can name the databases of this one.
            _ => {
                self.log.ruin_batch(batch);
                return None;
            }
        }
        Some(self.touched[batch].clone())
    }
}

fn delivered(lines: &[String], database: u64) -> Vec<String> {
    let prefix = format!("{database}:");
    let members = lines.iter().flat_map(|line| line.split(' '));
    let own = members.filter(|member| member.starts_with(&prefix));
    own.map(str::to_owned).collect()
}

/// After a clean close, whatever is damaged: a database gets all of its history, or it is damaged and
/// gets a part from the front; and it is damaged only by a batch that touched it.
#[test]
fn whatever_is_damaged_in_a_closed_log_histories_are_whole_or_reported() {
    let (mut stopped, mut whole) = (0, 0);
    for seed in 0..300 {
        let mut random = SplitMix64::new(seed);
        let model = Model::random(&mut random, true);
        // The close record itself is the newest batch: it may be taken for a torn tail.
        let last = model.log.batches.len() - 1;
        let mut named = BTreeSet::new();
        for _ in 0..1 + random.below(3) {
            let batch = random.index(last);
            let touched = model.damage(&mut random, batch);
            named.extend(touched.unwrap_or_else(|| model.touched[batch].clone()));
        }
        let (recovered, lines) = model.log.recover();
        let hit = damaged(&recovered);
        for database in 1..=DATABASES {
            let context = format!("seed {seed}, database {database}, damaged {hit:?}");
            let (got, all) = (
                delivered(&lines, database),
                &model.history[database as usize],
            );
            if hit.contains(&database) {
                assert!(all.starts_with(&got), "{context}");
                assert!(named.contains(&database), "{context}: nothing of it was");
                stopped += 1;
            } else {
                whole += 1;
                assert_eq!(&got, all, "{context}");
            }
        }
        assert_eq!(model.log.recover(), (recovered, lines), "seed {seed}");
    }
    assert!(200 < stopped && 200 < whole, "{stopped} {whole}");
}

/// After a kill the newest batch may be missing besides, and no database is clean that lost more.
#[test]
fn whatever_is_damaged_in_a_killed_log_only_the_newest_batch_may_go_unreported() {
    for seed in 0..300 {
        let mut random = SplitMix64::new(seed);
        let model = Model::random(&mut random, false);
        let last = model.log.batches.len() - 1;
        for _ in 0..1 + random.below(3) {
            let batch = random.index(last + 1);
            let _ = model.damage(&mut random, batch);
        }
        let (recovered, lines) = model.log.recover();
        let hit = damaged(&recovered);
        for database in 1..=DATABASES {
            let context = format!("seed {seed}, database {database}, damaged {hit:?}");
            let (got, all) = (
                delivered(&lines, database),
                &model.history[database as usize],
            );
            assert!(all.starts_with(&got), "{context}");
            let missing = all.len() - got.len();
            let newest = usize::from(model.touched[last].contains(&database));
            assert!(hit.contains(&database) || missing <= newest, "{context}");
        }
        assert_eq!(model.log.recover(), (recovered, lines), "seed {seed}");
    }
}

/// However many threads read, and whether there are indexes or not, the outcome is the same; of an
/// index that is missing or bad, too.
#[test]
fn threads_and_indexes_change_nothing_but_the_time() {
    let (mut indexed, mut stopped) = (0, 0);
    for seed in 0..200 {
        let mut random = SplitMix64::new(seed);
        let mut model = Model::random(&mut random, seed % 2 == 0);
        let (mut serial, lines) = model.log.recover();
        for helpers in [1, 2, 4] {
            model.log.helpers = helpers;
            assert_eq!(
                model.log.recover(),
                (serial.clone(), lines.clone()),
                "seed {seed}"
            );
        }
        super::indexed::index_all(&model.log, &serial);
        let (mut again, by_index) = model.log.recover();
        indexed += again.sealed.iter().filter(|sealed| sealed.indexed).count();
        assert!(
            again.sealed.iter().all(|sealed| sealed.indexed),
            "seed {seed}"
        );
        again
            .sealed
            .iter_mut()
            .for_each(|sealed| sealed.indexed = false);
        assert_eq!((&again, &by_index), (&serial, &lines), "seed {seed}");
        // With damage, which the threads must not tell in another order.
        let last = model.log.batches.len() - 1;
        for _ in 0..1 + random.below(3) {
            let batch = random.index(last);
            let _ = model.damage(&mut random, batch);
        }
        model.log.helpers = 0;
        (serial, _) = model.log.recover();
        stopped += serial.damaged.len();
        model.log.helpers = 3;
        assert_eq!(model.log.recover().0, serial, "seed {seed}");
    }
    assert!(200 < indexed && 20 < stopped, "{indexed} {stopped}");
}
