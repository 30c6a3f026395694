//! What is done to the databases of a [`World`], and to the beliefs about them.

use crate::world::{LONG, Saved, World};
use bop_storage::{At, JobState, Lsn, PastError, Retention};
use std::ops::RangeInclusive;

/// Everything for ever.
pub(crate) const ALL: Retention = Retention {
    window_us: 1 << 60,
    bytes: u64::MAX - 1,
};

impl World {
    pub(crate) fn snapshot_at(
        &mut self,
        nth: usize,
        at: &At,
        saved: Saved,
    ) -> Result<String, PastError> {
        let name = format!("s{}", self.new_name());
        let model = &self.live[nth];
        let made = self.store().snapshot_database(&model.name, &name, at)?;
        assert_eq!(made.page_count, saved.state.page_count);
        self.live[nth].snapshots.insert(name.clone(), saved);
        Ok(name)
    }

    /// Returns its place among the live ones.
    pub(crate) fn fork_at(
        &mut self,
        nth: usize,
        at: &At,
        saved: Saved,
    ) -> Result<usize, PastError> {
        self.make_room();
        let name = self.new_name();
        let source = &self.live[nth].name;
        self.store().fork_database(source, &name, at)?;
        self.store().set_retention(&name, self.retention)?;
        let mut model = self.live[nth].clone();
        model.name = name;
        model.states = vec![begun(saved)];
        model.snapshots.clear();
        model.is_fork = true;
        self.live.push(model);
        Ok(self.live.len() - 1)
    }

    pub(crate) fn restore_at(
        &mut self,
        nth: usize,
        at: &At,
        saved: Saved,
    ) -> Result<(), PastError> {
        // Each is named by its moment.
        self.clock.advance(1);
        let before = self.live[nth].head().clone();
        let name = self.live[nth].name.clone();
        self.end_readers(Some(&name));
        let made = self.store().restore_database(&name, at)?;
        let model = &mut self.live[nth];
        model.snapshots.insert(made.name, before);
        model.states = vec![begun(saved)];
        model.is_fork = true;
        Ok(())
    }

    /// A scrub finds nothing.
    pub(crate) fn scrub(&self) {
        let job = self.store().scrub(None).unwrap();
        let done = self.store().wait_for_job(job, LONG).unwrap();
        assert_eq!(done.state, JobState::Done, "{:?}", done.failure);
    }

    /// Everything about one database.
    pub(crate) fn look(&mut self, nth: usize) {
        let model = self.live[nth].clone();
        self.check_head(&model);
        for (name, saved) in &model.snapshots {
            self.check_at(&model, &At::Snapshot(name.clone()), saved);
        }
        let listed = self.store().snapshots(&model.name).unwrap();
        let names: Vec<&String> = listed.iter().map(|one| &one.name).collect();
        assert_eq!(names, model.snapshots.keys().collect::<Vec<_>>());
        self.look_back(nth);
    }

    /// What the window has: the newest states, without a gap.
    pub(crate) fn look_back(&mut self, nth: usize) {
        let model = self.live[nth].clone();
        let points = self.store().restore_points(&model.name).unwrap();
        let first = if model.is_fork { 0 } else { 1 };
        let expected: Vec<Lsn> = model
            .states
            .iter()
            .skip(first)
            .map(|saved| saved.lsn)
            .collect();
        let found: Vec<Lsn> = points.iter().map(|point| point.lsn).collect();
        if expected.is_empty() {
            assert_eq!(found, [Lsn::ZERO]);
            return;
        }
        let newest = &expected[expected.len().saturating_sub(found.len())..];
        assert_eq!(found, newest, "{}", model.name);
        if self.retention == ALL {
            assert_eq!(found, expected, "{}", model.name);
        } else if self.retention == Retention::NOTHING {
            assert_eq!(found.len(), 1);
        }
        for _ in 0..3 {
            let chosen = model.states.len() - 1 - self.random.index(found.len());
            let saved = &model.states[chosen];
            self.check_at(&model, &At::Lsn(saved.lsn), saved);
            let same_time = model
                .states
                .iter()
                .rfind(|one| one.time_us == saved.time_us);
            self.check_at(&model, &At::Time(saved.time_us), same_time.unwrap());
        }
    }
}

/// The state that a fork begins with.
pub(crate) fn begun(saved: Saved) -> Saved {
    Saved {
        lsn: Lsn::ZERO,
        ..saved
    }
}

/// The seeds of a test: these, or the one that `BOP_SEED` is.
pub(crate) fn seeds(these: RangeInclusive<u64>) -> RangeInclusive<u64> {
    let one = std::env::var("BOP_SEED").ok();
    match one.and_then(|one| one.parse().ok()) {
        Some(one) => one..=one,
        None => these,
    }
}

/// Tells the seed of a run that fails.
pub(crate) struct Told(pub(crate) u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed was {}: BOP_SEED={} runs it again", self.0, self.0);
        }
    }
}
