//! Who still needs which part of the log: the one answer that truncation follows.
//!
//! Owns: a registry of *holds*. A hold names an Lsn; nothing at or above the smallest one is
//! released. Index layers, un-checkpointed catalogue records and open fragment chains hold the log;
//! a reader holds it only through the layers of its view.
//!
//! Invariant: a hold is registered before the position it protects can be passed by truncation,
//! and unregistered when its last owner is gone (it is counted by `Arc`).
//!
//! Never: releases a segment itself.

use crate::ids::{DbId, Lsn};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a part of the log is needed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum HoldReason {
    /// Page versions of a database that no checkpoint covers, or that an old reader still sees.
    Pages(DbId),
    /// Catalogue records that no checkpoint covers.
    Catalogue,
    /// A transaction whose fragments are being written.
    FragmentChain(DbId),
}

/// The registry. One for each store.
#[derive(Debug, Default)]
pub struct LogHolds {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    holds: BTreeMap<(Lsn, u64), HoldReason>,
    next: u64,
}

impl LogHolds {
    /// A registry without holds.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Keeps everything from `lsn` on until the hold is dropped.
    pub fn hold(self: &Arc<Self>, lsn: Lsn, reason: HoldReason) -> Arc<LogHold> {
        let mut inner = self.inner.lock();
        let key = (lsn, inner.next);
        inner.next += 1;
        inner.holds.insert(key, reason);
        Arc::new(LogHold {
            registry: Arc::clone(self),
            key,
        })
    }

    /// The oldest position that is needed, and why.
    pub fn oldest(&self) -> Option<(Lsn, HoldReason)> {
        let inner = self.inner.lock();
        inner
            .holds
            .first_key_value()
            .map(|((lsn, _), reason)| (*lsn, *reason))
    }
}

/// Keeps a part of the log while it lives.
#[derive(Debug)]
pub struct LogHold {
    registry: Arc<LogHolds>,
    key: (Lsn, u64),
}

impl LogHold {
    /// The oldest position it keeps.
    pub fn lsn(&self) -> Lsn {
        self.key.0
    }
}

impl Drop for LogHold {
    fn drop(&mut self) {
        self.registry.inner.lock().holds.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_hold_decides_until_its_last_owner_is_gone() {
        let holds = LogHolds::new();
        assert_eq!(holds.oldest(), None);
        let late = holds.hold(Lsn::new(90), HoldReason::Catalogue);
        let early = holds.hold(Lsn::new(10), HoldReason::Pages(DbId::new(7)));
        let shared = Arc::clone(&early);
        drop(early);
        assert_eq!(
            holds.oldest(),
            Some((Lsn::new(10), HoldReason::Pages(DbId::new(7))))
        );
        drop(shared);
        assert_eq!(holds.oldest(), Some((Lsn::new(90), HoldReason::Catalogue)));
        drop(late);
        assert_eq!(holds.oldest(), None);
    }
}
