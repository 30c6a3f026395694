//! What the owner of a database sets for it: how much of its past is kept, how large it may grow.
//!
//! Invariants
//! - a setting is a record of the log, in one order with all that happens to the database;
//! - a commit that makes a database larger than its quota is refused before it is written; one that does
//!   not make it larger never is, so that what is too large can shrink.
//!
//! Never: refuses a checkpoint of what was acknowledged.

use super::engine::Engine;
use super::manager::Manager;
use super::names::check_pages;
use super::state::DbState;
use crate::catalogue::{CatalogueChange, Retention};
use crate::error::{CatalogueError, Rejection};
use crate::ids::{DbId, PageSize};
use crate::log::Priority;

impl Manager {
    /// Sets how much of the past of a database is kept from now on. Today that is how long a drop of it
    /// can be taken back, and how large it may be for that.
    ///
    /// # Errors
    /// [`CatalogueError::NotFound`], or why the record could not be committed.
    pub fn set_retention(&self, name: &str, retention: Retention) -> Result<(), CatalogueError> {
        let change = |id| CatalogueChange::Retention { id, retention };
        self.engine.told(self.engine.set(name, change).map(drop))
    }

    /// Sets how large a database may grow, in bytes of its pages; `None`: as large as it likes. One
    /// that is larger already takes commits that do not make it larger.
    ///
    /// # Errors
    /// [`CatalogueError::NotFound`], [`CatalogueError::WrongKind`] for a record log, or why the record
    /// could not be committed.
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use bop_storage::{DbKind, ErrorCode, Manager, Options, PageNo};
    ///
    /// let store = Manager::open(dir.path(), Options::new())?;
    /// let db = store.create_database("tenant", DbKind::Raw)?;
    /// store.set_quota("tenant", Some(4000))?;
    /// let mut write = db.begin_write(std::time::Duration::from_secs(1))?;
    /// write.write_page(PageNo::FIRST, &[7; 4096])?;
    /// let refused = write.commit().map_err(|error| error.code());
    /// assert!(matches!(refused, Err(ErrorCode::OverQuota)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_quota(&self, name: &str, bytes: Option<u64>) -> Result<(), CatalogueError> {
        self.engine.told(self.engine.set_quota(name, bytes))
    }
}

impl Engine {
    fn set_quota(&self, name: &str, bytes: Option<u64>) -> Result<(), CatalogueError> {
        self.by_name(name, |_, kind| check_pages(name, kind))?;
        // Zero bytes is what the record says for no quota: nobody can want a database without a page.
        let bytes = bytes.map_or(0, |bytes| bytes.max(1));
        let id = self.set(name, |id| CatalogueChange::Quota { id, bytes })?;
        if let Some(state) = self.state_of(id) {
            state.set_quota(bytes);
        }
        Ok(())
    }

    fn set(
        &self,
        name: &str,
        change: impl FnOnce(DbId) -> CatalogueChange,
    ) -> Result<DbId, CatalogueError> {
        let _work = self.lifecycle.enter_work().ok_or(CatalogueError::Closed)?;
        let writer = self.catalogue_slot()?;
        let change = self.catalogue.lock().catalogue.plan_setting(name, change)?;
        let id = change.database();
        self.commit_changes(vec![change], Priority::User, writer, None)?;
        Ok(id)
    }
}

/// Refuses a commit that makes a database of `before` pages larger than its quota.
pub(super) fn check_quota(
    state: &DbState,
    page_size: PageSize,
    (before, after): (u32, u32),
) -> Result<(), Rejection> {
    let bytes = u64::from(after) * u64::from(page_size.get());
    match state.quota_bytes() {
        Some(quota) if quota < bytes && before < after => Err(Rejection::OverQuota {
            name: state.name().to_string(),
            bytes,
            quota,
        }),
        _ => Ok(()),
    }
}
