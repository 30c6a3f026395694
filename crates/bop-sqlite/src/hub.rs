//! Hub: what the open files of one store share in this process.
//!
//! Invariants
//! - every open file of the store is listed, and no other;
//! - a process that was forked off since the store was opened gets an error from every call, and gives
//!   nothing of it back: the threads that write for the store are its parent's.
//!
//! Never: holds a lock of its own while it calls the engine.

use crate::claims::{Claims, Connection};
use crate::handle::Handle;
use crate::supers::Supers;
use bop_sqlite_common::engine_error::{EngineError, ErrorSlot};
use bop_sqlite_common::shown::{self, Shown};
use bop_storage::{CatalogueError, Db, DbKind, Manager};
use parking_lot::Mutex;
use std::sync::{Arc, Weak};

/// An open store, and its files.
#[derive(Debug)]
pub(crate) struct Hub {
    manager: Manager,
    /// The process that opened it.
    process: u32,
    handles: Mutex<Vec<Weak<Handle>>>,
    pub(crate) supers: Supers,
    pub(crate) claims: Claims,
    pub(crate) errors: ErrorSlot,
}

impl Hub {
    pub(crate) fn new(manager: Manager) -> Self {
        Self {
            manager,
            process: std::process::id(),
            handles: Mutex::default(),
            supers: Supers::default(),
            claims: Claims::default(),
            errors: ErrorSlot::default(),
        }
    }

    pub(crate) fn manager(&self) -> &Manager {
        &self.manager
    }

    pub(crate) fn is_of_this_process(&self) -> bool {
        self.process == std::process::id()
    }

    /// Refuses in a forked child.
    pub(crate) fn check_process(&self, operation: &'static str) -> Result<(), EngineError> {
        match self.is_of_this_process() {
            true => Ok(()),
            false => Err(EngineError::Forked { operation }),
        }
    }

    /// The database, or the state of one, that a name means; created when `create` and missing.
    pub(crate) fn find(&self, name: &str, create: bool) -> Result<Shown, EngineError> {
        self.check_process("open")?;
        match shown::parse_file_name(name)? {
            (name, None) => Ok(Shown::Present(self.database(name, create)?)),
            (name, Some(at)) => {
                let state = self.database(name, false)?.begin_read_at(&at)?;
                Ok(Shown::State(Arc::new(state)))
            }
        }
    }

    fn database(&self, name: &str, create: bool) -> Result<Db, CatalogueError> {
        let found = match create {
            true => self.manager.database_or_create(name, DbKind::Sqlite),
            false => self.manager.database(name),
        }?;
        match found.kind() {
            DbKind::Sqlite => Ok(found),
            kind => Err(CatalogueError::WrongKind {
                name: found.name(),
                found: kind.name(),
                wanted: DbKind::Sqlite.name(),
            }),
        }
    }

    /// Lists a file.
    pub(crate) fn add(&self, handle: &Arc<Handle>) {
        self.handles.lock().push(Arc::downgrade(handle));
    }

    /// A file was closed.
    pub(crate) fn remove(&self, handle: &Arc<Handle>) {
        let mut handles = self.handles.lock();
        handles.retain(|other| !std::ptr::eq(other.as_ptr(), Arc::as_ptr(handle)));
        let others = handles.iter().filter_map(Weak::upgrade);
        let is_last = others
            .into_iter()
            .all(|other| other.full_name() != handle.full_name());
        drop(handles);
        if is_last {
            self.supers.forget_of(handle.full_name());
        }
    }

    /// The open files that `wanted` is true of, in the order they were opened.
    pub(crate) fn handles(&self, wanted: impl Fn(&Handle) -> bool) -> Vec<Arc<Handle>> {
        let handles = self.handles.lock();
        let open = handles.iter().filter_map(Weak::upgrade);
        open.filter(|handle| wanted(handle)).collect()
    }

    /// The open files of one connection.
    pub(crate) fn handles_of(&self, connection: Connection) -> Vec<Arc<Handle>> {
        self.handles(|handle| connection != 0 && handle.connection() == connection)
    }
}
