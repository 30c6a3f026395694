//! The pages of a commit on their way into the cache, and of those that they replace out of it: by its committer, as far as
//! he is there, while the device writes and after he was woken. Whoever makes commits visible does so for one after the other.
//!
//! ```text
//!   made --the committer waits--> in the cache where it will probably stand --visible, there--> replaced versions leave
//!     '---------- visible, nobody waited, or it stands elsewhere: put in now ----------'
//! ```
//! Invariants
//! - what is in the cache under a commit that is not visible is asked for by nobody: the index names no such version. If the
//!   commit comes to stand elsewhere or nowhere, a later one of the database may stand there: it has its own pages put in
//!   before it is visible, and it begins only when this one is over, since that has the writer's slot;
//! - a version leaves the cache when the one that replaces it is visible, never before.
//!
//! Never: reads or writes a device.

use super::engine::Engine;
use super::images::OwnPage;
use crate::cache::PageKey;
use crate::ids::{DbId, Lsn, PageNo};
use std::sync::Arc;

/// The pages of a commit that is not visible yet.
pub(super) struct CachedCommit {
    engine: Arc<Engine>,
    database: DbId,
    own: Vec<OwnPage>,
    /// The commit under which they are in the cache.
    cached_as: Option<Lsn>,
}

impl CachedCommit {
    pub(super) fn new(engine: &Arc<Engine>, database: DbId, own: Vec<OwnPage>) -> Self {
        Self {
            engine: Arc::clone(engine),
            database,
            own,
            cached_as: None,
        }
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The pages.
    pub(super) fn own(&self) -> &[OwnPage] {
        &self.own
    }

    /// Puts the pages in as those of the commit at `version`.
    pub(super) fn put_in(&mut self, version: Lsn) {
        if self.cached_as.replace(version) == Some(version) {
            return;
        }
        let cache = self.engine.reader().cache();
        for own in &self.own {
            cache.insert(key(self.database, version, own.page), own.content.clone());
        }
    }

    /// The commit at `version` is visible.
    pub(super) fn visible(mut self, version: Lsn) -> Outlived {
        self.put_in(version);
        Outlived(self)
    }
}

/// Versions that were replaced: they leave the cache when this is dropped. Only readers that are older than the commit could
/// want them, and most of these have read them; kept, they would take the place of something that is read again.
pub(super) struct Outlived(CachedCommit);

impl Drop for Outlived {
    fn drop(&mut self) {
        let CachedCommit {
            engine,
            database,
            own,
            ..
        } = &self.0;
        for own in own {
            if let Some(replaced) = own.replaced {
                engine
                    .reader()
                    .cache()
                    .remove(key(*database, replaced, own.page));
            }
        }
    }
}

impl std::fmt::Debug for Outlived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outlived({} pages)", self.0.own.len())
    }
}

fn key(database: DbId, version: Lsn, page: PageNo) -> PageKey {
    PageKey::Log {
        database,
        version,
        page,
    }
}

#[cfg(test)]
#[path = "cached_commit_tests.rs"]
mod tests;
