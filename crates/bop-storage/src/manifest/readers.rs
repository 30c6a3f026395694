//! Who reads at the same moment: LMDB has a place for so many readers, and each read takes one.
//!
//! ```text
//!   place free --enter--> reads --drop--> place free
//!   none free --waits, for patience at most--> reads | stalled
//! ```
//! Invariants
//! - at most so many read as there are places: the next one waits for one that ends, and a read
//!   ends with its call;
//! - nobody waits longer than for the device.
//!
//! Never: reads.

use crate::error::ManifestError;
use crate::runtime::after;
use crate::runtime::sync::{Condvar, Mutex, elapsed, now};
use std::time::Duration;

/// The places for readers.
#[derive(Debug)]
pub(super) struct Readers {
    free: Mutex<u32>,
    freed: Condvar,
    patience: Duration,
}

/// A place that is taken.
#[must_use]
pub(super) struct Reader<'r>(&'r Readers);

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        *self.0.free.lock() += 1;
        self.0.freed.notify_one();
    }
}

impl Readers {
    /// So many places; who finds none waits for `patience` at most.
    pub(super) fn new(places: u32, patience: Duration) -> Self {
        Self {
            free: Mutex::new(places),
            freed: Condvar::new(),
            patience,
        }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// [`ManifestError::Stalled`] when none is free in time: as many reads have not come back.
    pub(super) fn enter(&self) -> Result<Reader<'_>, ManifestError> {
        let asked = now();
        let deadline = after(asked, self.patience);
        let mut free = self.free.lock();
        while *free == 0 {
            let late = self.freed.wait_until(&mut free, deadline).timed_out();
            if late && *free == 0 {
                let waited = elapsed(asked);
                return Err(ManifestError::Stalled { waited });
            }
        }
        *free -= 1;
        Ok(Reader(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    const LONG: Duration = Duration::from_secs(50);

    #[test]
    fn who_finds_no_place_waits_for_one_and_is_told_when_none_comes() {
        let impatient = Readers::new(2, Duration::from_millis(5));
        let (one, _two) = (impatient.enter().unwrap(), impatient.enter().unwrap());
        let stalled = impatient.enter().map(drop).unwrap_err();
        assert_eq!(stalled.code(), ErrorCode::Stalled);
        drop(one);
        drop(impatient.enter().unwrap());

        let patient = Readers::new(1, LONG);
        let first = patient.enter().unwrap();
        std::thread::scope(|scope| {
            let waits: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| patient.enter().map(drop)))
                .collect();
            drop(first);
            for waits in waits {
                waits.join().unwrap().unwrap();
            }
        });
        assert_eq!(*patient.free.lock(), 1);
    }
}
