//! A thousand record logs of which nearly all are cold, in a log that is small against what is
//! written: it stays under its cap, and nothing of the cold ones is lost.

use crate::model::Model;
use crate::rig::{Keep, ManifestFault, Rig};
use bop_storage::testing::SplitMix64;
use bop_storage::{Housekeeping, Limits, Manager, NewEntry, RecordLog};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const CAP: u64 = 4 << 20;

fn limits() -> Limits {
    let mut limits = Limits::tiny();
    limits.segment_bytes_max = 256 << 10;
    limits.log_bytes_max = CAP;
    limits.fragment_bytes_max = 32 << 10;
    limits.writer_wait = Duration::from_secs(20);
    limits
}

fn name(nth: usize) -> String {
    format!("log-{nth}")
}

/// Makes a log with a vote and an entry; a few start elsewhere and have no entry.
fn make(store: &Manager, nth: usize) -> Model {
    let log = store.create_record_log(&name(nth)).unwrap();
    let vote = format!("vote of {nth}").into_bytes();
    log.set_vote(&vote).unwrap();
    let mut model = Model {
        first: 1,
        vote: Some(vote),
        ..Model::default()
    };
    if nth % 10 == 3 {
        log.start_after(76, 5).unwrap();
        (model.first, model.purged_term) = (77, 5);
    } else {
        let payload = format!("entry of {nth}").into_bytes();
        let (index, term) = (1, 2);
        log.append(&[NewEntry {
            index,
            term,
            payload: &payload,
        }])
        .unwrap();
        model.entries.push((term, payload));
    }
    store.keep_house();
    model
}

/// Appends to a hot log, cuts what it appended now and then, and forgets what is old.
struct Hot {
    log: RecordLog,
    model: Model,
    random: SplitMix64,
}

impl Hot {
    /// Answers how many bytes were written.
    fn round(&mut self) -> u64 {
        let next = self.model.next();
        let mut payloads = Vec::new();
        for _ in 0..24 {
            let mut payload = vec![0; 512];
            self.random.fill(&mut payload);
            payloads.push(payload);
        }
        // No lower than where any of them started.
        let term = 5;
        let entries = (next..).zip(&payloads).map(|(index, payload)| NewEntry {
            index,
            term,
            payload,
        });
        self.log.append(&entries.collect::<Vec<_>>()).unwrap();
        self.model
            .entries
            .extend(payloads.into_iter().map(|payload| (term, payload)));
        if self.random.chance(1, 4) {
            let cut = 1 + self.random.below(20);
            let from = self.model.next() - cut;
            self.log.truncate(from).unwrap();
            let kept = self.model.entries.len() - usize::try_from(cut).unwrap();
            self.model.entries.truncate(kept);
        }
        let old = self.model.entries.len().saturating_sub(60);
        if old > 0 {
            let up_to = self.model.first + old as u64 - 1;
            self.log.purge(up_to).unwrap();
            self.model.purged_term = self.model.entries[old - 1].0;
            self.model.first = up_to + 1;
            self.model.entries.drain(..old);
        }
        24 * 512
    }
}

fn check_all(store: &Manager, models: &[Model]) {
    for (nth, model) in models.iter().enumerate() {
        let found = Model::of(&store.record_log(&name(nth)).unwrap());
        assert_eq!(&found, model, "log {nth}");
    }
    let report = store.verify();
    assert!(report.is_healthy(), "{report:?}");
    assert_eq!(report.record_logs, models.len());
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn log_bytes(rig: &Rig) -> u64 {
    let files = rig.disk.files();
    let segments = files.iter().filter(|(path, _)| path.starts_with("log"));
    segments.map(|(_, bytes)| *bytes).sum()
}

#[test]
fn a_thousand_logs_stay_under_the_cap_and_keep_their_votes() {
    let seed = 14;
    let mut rig = Rig::new(seed, ManifestFault::NotApplied);
    let limits = limits();
    let store = rig.open(&limits).unwrap();
    let mut models: Vec<Model> = (0..1000).map(|nth| make(&store, nth)).collect();
    let hot = |nth: usize, store: &Manager, models: &[Model]| Hot {
        log: store.record_log(&name(nth)).unwrap(),
        model: models[nth].clone(),
        random: SplitMix64::new(seed + nth as u64),
    };
    let mut store = store;
    let mut written = 0;
    for life in 0..3 {
        let mut hots: Vec<Hot> = (0..10).map(|nth| hot(nth * 100, &store, &models)).collect();
        while written < (life + 1) * 10 * CAP / 3 {
            for hot in &mut hots {
                written += hot.round();
                store.keep_house();
                let status = store.status();
                assert!(status.log_bytes <= CAP, "{status:?}");
                // Spares come on top.
                let spares = status.spare_segments as u64 + 2;
                let files = log_bytes(&rig);
                assert!(files <= CAP + spares * limits.segment_bytes_max, "{files}");
            }
        }
        for (nth, hot) in hots.into_iter().enumerate() {
            models[nth * 100] = hot.model;
        }
        let crashed = rig.crashed(Keep::Some(seed + life), seed + life);
        drop(store);
        rig = crashed;
        store = rig.open(&limits).unwrap();
        check_all(&store, &models);
    }
    // Nothing is held by what is dropped: the log shrinks to what is left.
    for nth in 0..999 {
        store.drop_database(&name(nth)).unwrap();
    }
    store.checkpoint().unwrap();
    store.checkpoint().unwrap();
    let status = store.status();
    assert_eq!(status.record_entries, 1);
    assert!(status.log_segments <= 8, "{status:?}");
    let last = store.record_log(&name(999)).unwrap();
    assert_eq!(Model::of(&last), models[999]);
}

#[test]
fn writers_in_many_threads_wait_for_relocation_and_for_nothing_else() {
    let seed = 15;
    let mut rig = Rig::new(seed, ManifestFault::NotApplied);
    rig.housekeeping = Housekeeping::Background;
    let limits = limits();
    // The log is full when its segments are as large as the cap: the last of them may begin right below
    // it, and one more may take what was let in before, and what is moved.
    let log_bytes_most = CAP + 2 * limits.segment_bytes_max;
    let store = rig.open(&limits).unwrap();
    let mut models: Vec<Model> = (0..100).map(|nth| make(&store, nth)).collect();
    let stop = AtomicBool::new(false);
    let hots: Vec<Hot> = std::thread::scope(|scope| {
        // Also when a writer panics.
        let stopped = Stop(&stop);
        let reader = scope.spawn(|| {
            // Cold logs are read while they are moved.
            while !stop.load(Ordering::Relaxed) {
                for (nth, model) in models.iter().enumerate().skip(8) {
                    let found = Model::of(&store.record_log(&name(nth)).unwrap());
                    assert_eq!(&found, model, "log {nth}");
                }
            }
        });
        let threads: Vec<_> = (0..8)
            .map(|nth| {
                let mut hot = Hot {
                    log: store.record_log(&name(nth)).unwrap(),
                    model: models[nth].clone(),
                    random: SplitMix64::new(seed + nth as u64),
                };
                let store = &store;
                scope.spawn(move || {
                    for _ in 0..CAP / (24 * 512) {
                        hot.round();
                        let status = store.status();
                        assert!(status.log_bytes < log_bytes_most, "{status:?}");
                    }
                    hot
                })
            })
            .collect();
        let hots = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        drop(stopped);
        reader.join().unwrap();
        hots
    });
    for (nth, hot) in hots.into_iter().enumerate() {
        models[nth] = hot.model;
    }
    check_all(&store, &models);
    store.close(Duration::from_secs(20)).unwrap();
    drop(store);
    let store = rig.open(&limits).unwrap();
    check_all(&store, &models);
}
