//! Record logs: entries that are appended, cut, forgotten and read again.

use super::{Load, same};
use crate::Result;
use crate::random::Random;
use crate::stop::Stop;
use bop_libsql::Store;
use bop_storage::{ErrorCode, Manager, NewEntry, RecordLog};
use std::sync::atomic::{AtomicU64, Ordering};

const LOGS: usize = 24;
/// A log is shortened when it has so many entries.
const ENTRIES_MAX: u64 = 200;
const PAYLOAD_BYTES_MAX: usize = 400;
const READ_BYTES_MAX: u64 = 16 << 10;

/// Which entries a log has, and its vote.
#[derive(Clone, Default)]
struct Known {
    first: u64,
    next: u64,
    vote: Option<Vec<u8>>,
}

/// Logs of one thread.
pub(super) struct Records {
    number: usize,
    random: Random,
    known: Vec<Known>,
}

impl Records {
    pub(super) fn new(number: usize) -> Self {
        let empty = Known {
            first: 1,
            next: 1,
            vote: None,
        };
        Self {
            number,
            random: Random::new(200 + number as u64),
            known: vec![empty; LOGS],
        }
    }

    fn open(&self, manager: &Manager) -> Result<Vec<RecordLog>> {
        let open = |log: usize| {
            let name = format!("log-{}-{log}", self.number);
            match manager.record_log(&name) {
                Err(error) if error.code() == ErrorCode::DatabaseNotFound => {
                    manager.create_record_log(&name)
                }
                answer => answer,
            }
        };
        Ok((0..LOGS).map(open).collect::<std::result::Result<_, _>>()?)
    }

    fn step(&mut self, logs: &[RecordLog]) -> Result<()> {
        // Most work is on a few of them: the others stay behind, and relocation carries them along.
        let at = if self.random.one_in(8) {
            self.random.below(LOGS)
        } else {
            self.random.below(4)
        };
        let (log, known) = (&logs[at], &mut self.known[at]);
        match self.random.below(20) {
            0 => {
                let mut vote = vec![0; 1 + self.random.below(60)];
                self.random.fill(&mut vote);
                log.set_vote(&vote)?;
                known.vote = Some(vote);
            }
            1 if known.first + 3 < known.next => {
                known.next -= 2;
                log.truncate(known.next)?;
            }
            _ => {
                let mut payloads = Vec::new();
                for index in known.next..=known.next + self.random.below(4) as u64 {
                    let mut payload = vec![0; 8 + self.random.below(PAYLOAD_BYTES_MAX)];
                    self.random.fill(&mut payload);
                    payload[..8].copy_from_slice(&index.to_le_bytes());
                    payloads.push((index, payload));
                }
                let entry = |(index, payload)| NewEntry {
                    index,
                    term: 1,
                    payload,
                };
                let entries: Vec<_> = payloads
                    .iter()
                    .map(|(index, payload)| entry((*index, &payload[..])))
                    .collect();
                log.append(&entries)?;
                known.next += entries.len() as u64;
            }
        }
        if ENTRIES_MAX < known.next - known.first {
            let up_to = known.next - ENTRIES_MAX / 4;
            log.purge(up_to)?;
            known.first = up_to + 1;
        }
        self.look(log, at)
    }

    /// Some entries of a log, from anywhere in it.
    fn look(&mut self, log: &RecordLog, at: usize) -> Result<()> {
        let Known { first, next, vote } = &self.known[at];
        let bounds = log.bounds()?;
        if first == next {
            return same("the vote", &log.vote()?.map(|vote| vote.to_vec()), vote);
        }
        let found = (bounds.first, bounds.next);
        same("the bounds of a log", &found, &(*first, *next))?;
        let length = usize::try_from(next - first)?;
        let from = first + self.random.below(length) as u64;
        for (entry, index) in log.read(from..*next, READ_BYTES_MAX)?.iter().zip(from..) {
            let mut stamp = [0; 8];
            stamp.copy_from_slice(entry.payload.get(..8).ok_or("a short entry")?);
            let found = (entry.index, u64::from_le_bytes(stamp));
            same("an entry", &found, &(index, index))?;
        }
        same("the vote", &log.vote()?.map(|vote| vote.to_vec()), vote)
    }
}

impl Load for Records {
    fn name(&self) -> String {
        format!("record logs {}", self.number)
    }

    fn run(&mut self, store: &Store, stop: &Stop, commits: &AtomicU64) -> Result<()> {
        let logs = self.open(store.manager())?;
        for (at, log) in logs.iter().enumerate() {
            self.look(log, at)?;
        }
        while !stop.is_set() {
            self.step(&logs)?;
            commits.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
