//! A database that is being made: nobody finds it before it is finished.
//!
//! ```text
//! begin_database --> Unfinished --finish--> a database like any other
//!                       |------ drop, or the next open of the store ------> gone
//! ```
//! It has a name that no user can give ([`DbName::UNFINISHED_PREFIX`](crate::name::DbName)), and the
//! catalogue's record of its new name is what makes it visible: as durable and as whole as its
//! pages, which were committed before.
//!
//! Never: shown in a list, or found by name.

use super::database::Db;
use super::engine::OpenStore;
use crate::error::CatalogueError;
use std::sync::Arc;

/// A database that is being made. Dropping it drops the database.
#[derive(Debug)]
pub struct Unfinished {
    engine: Arc<OpenStore>,
    db: Db,
    finished: bool,
}

impl Unfinished {
    pub(super) fn new(engine: Arc<OpenStore>, db: Db) -> Self {
        Self {
            engine,
            db,
            finished: false,
        }
    }

    /// The database, to be filled.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Gives the database its name.
    ///
    /// # Errors
    /// As for [`Manager::create_database`](super::Manager::create_database); the database is gone
    /// then.
    pub fn finish(mut self, name: &str) -> Result<Db, CatalogueError> {
        self.engine.told(self.engine.finish(self.db.id(), name))?;
        self.finished = true;
        Ok(self.db.clone())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let id = self.db.id();
        if let Err(error) = self.engine.abandon(id) {
            tracing::warn!(database = %id, %error, "dropped at the next open");
        }
    }
}
