//! Hub: what all connections of a store share.
//!
//! Invariant: the hub lives as long as anything that SQLite may call back into: the store's
//! handles, every connection's WAL manager, every open database file. The last of them to go takes
//! the VFS away from SQLite.
//!
//! Never: holds a connection, or a lock while it calls the engine.

use crate::engine_error::ErrorSlot;
use crate::error::Error;
use crate::ffi::Registration;
use crate::shown::{self, Shown};
use crate::turns::Turns;
use bop_storage::error::{CatalogueError, PastError};
use bop_storage::{At, Db, Manager};
use std::sync::Arc;

/// A store and its VFS.
pub(crate) struct Hub {
    manager: Manager,
    /// Errors of opening a database by name: SQLite asks the VFS for that, which knows no
    /// connection.
    open_errors: ErrorSlot,
    turns: Arc<Turns>,
    registration: Registration,
}

impl Hub {
    /// Makes the store known to SQLite.
    pub(crate) fn register(manager: Manager) -> Result<Arc<Self>, Error> {
        let registration = Registration::new()?;
        let hub = Arc::new(Self {
            manager,
            open_errors: ErrorSlot::default(),
            turns: Arc::default(),
            registration,
        });
        hub.registration.serve(&hub);
        Ok(hub)
    }

    pub(crate) fn manager(&self) -> &Manager {
        &self.manager
    }

    pub(crate) fn open_errors(&self) -> &ErrorSlot {
        &self.open_errors
    }

    pub(crate) fn turns(&self) -> &Arc<Turns> {
        &self.turns
    }

    /// The name under which SQLite knows the store.
    pub(crate) fn vfs_name(&self) -> &str {
        self.registration.name()
    }

    /// The database of that name, which must hold a SQLite file; created when `create` and missing.
    pub(crate) fn open(&self, name: &str, create: bool) -> Result<Db, CatalogueError> {
        shown::open_database(&self.manager, name, create)
    }

    /// A state of the database of that name, held.
    pub(crate) fn open_at(&self, name: &str, at: &At) -> Result<Shown, PastError> {
        shown::open_state(&self.manager, name, at)
    }
}
