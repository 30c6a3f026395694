//! The pages of a commit on their way into the cache, and of those that they replace out of it: by its committer, as far as
//! he is there, while the device writes and after he was woken. Whoever makes commits visible does so for one after the other.
//!
//! ```text
//!   made --the committer waits--> in the cache where it will probably stand --visible, there--> dropped: replaced versions leave
//!     |                             '-- refused, or stands elsewhere: what was put in leaves
//!     '--about to become visible, where nobody waited: put in now
//! ```
//! Invariants
//! - a key of the cache under which a commit that is not visible has put a page is asked for by nobody: the index names no
//!   such version. It is gone, or has the bytes of who stands there, before one can: a commit that is refused takes its pages
//!   out before the writer's slot of its database is free, one that becomes visible has put its own in before;
//! - a version leaves the cache when the one that replaces it is visible, never before.
//!
//! Never: reads or writes a device.

use super::engine::Engine;
use super::images::OwnPage;
use crate::cache::PageKey;
use crate::ids::{DbId, Lsn, PageNo};
use std::sync::Arc;

/// The pages of a commit: when this is dropped and it is visible, what they replaced leaves the cache, else they do.
pub(super) struct CachedCommit {
    engine: Arc<Engine>,
    database: DbId,
    own: Vec<OwnPage>,
    /// The commit under which they are in the cache, or some of them.
    cached_as: Option<Lsn>,
    /// All of them are.
    is_cached: bool,
    is_visible: bool,
}

impl CachedCommit {
    pub(super) fn new(engine: &Arc<Engine>, database: DbId, own: Vec<OwnPage>) -> Self {
        Self {
            engine: Arc::clone(engine),
            database,
            own,
            cached_as: None,
            is_cached: false,
            is_visible: false,
        }
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The pages.
    pub(super) fn own(&self) -> &[OwnPage] {
        &self.own
    }

    /// Puts the pages in as those of the commit at `version`, and nowhere else.
    pub(super) fn put_in(&mut self, version: Lsn) {
        if self.cached_as != Some(version) {
            self.take_out();
        } else if self.is_cached {
            return;
        }
        self.cached_as = Some(version);
        let cache = self.engine.reader().cache();
        for own in &self.own {
            cache.insert(self.key(version, own.page), own.content.clone());
        }
        self.is_cached = true;
    }

    /// The commit is visible, where its pages are in the cache.
    pub(super) fn set_visible(&mut self) {
        self.is_visible = true;
    }

    fn take_out(&mut self) {
        self.is_cached = false;
        if let Some(version) = self.cached_as.take() {
            let cache = self.engine.reader().cache();
            for own in &self.own {
                cache.remove(self.key(version, own.page));
            }
        }
    }

    /// Only readers that are older than the commit could want what it replaced, and most of them have read it; kept, it would
    /// take the place of something that is read again.
    fn take_replaced_out(&self) {
        let cache = self.engine.reader().cache();
        for own in &self.own {
            if let Some(replaced) = own.replaced {
                cache.remove(self.key(replaced, own.page));
            }
        }
    }

    fn key(&self, version: Lsn, page: PageNo) -> PageKey {
        PageKey::in_log(self.database, version, page)
    }
}

impl Drop for CachedCommit {
    fn drop(&mut self) {
        if self.is_visible {
            self.take_replaced_out();
        } else {
            self.take_out();
        }
    }
}

#[cfg(test)]
#[path = "cached_commit_tests.rs"]
mod tests;
